//! The batch is watched under live traffic; then the next one is chosen.

use crate::workflow::batches;
use crate::workflow::interrupts;
use crate::workflow::levers::{self, clock};
use crate::workflow::reasons::{Problem, Reason};
use crate::workflow::state::{BatchKind, Run, Step};
use crate::workflow::steps::verify::restarted;
use crate::workflow::turn::{Next, Turn, Wait, later};

/// Watches the batch until its time is over.
pub fn look(turn: &mut Turn<'_>, run: &mut Run) -> Next {
    if run.batch.kind == BatchKind::None {
        return batches::choose(turn, run);
    }
    let mut fault = None;
    let mut replaced = false;
    for (record, pod) in turn.records() {
        let name = turn.seen.name(record.ordinal);
        match pod {
            Some(pod) if pod.uid == record.uid && !pod.terminating => {
                fault = fault.or_else(|| {
                    restarted(turn, record, pod)
                        .or_else(|| (!pod.ready).then(|| format!("{name} is not Ready any more")))
                });
            }
            Some(_) | None => replaced = true,
        }
    }
    if let Some(why) = fault {
        let text = format!("The new version did not stay good under traffic: {why}");
        return interrupts::fail(turn, run, Problem::new(Reason::SoakFailed, text));
    }
    if replaced {
        // Evicted, drained or lost with its node: no word on the version. The new pod is verified first.
        turn.enter(run, Step::Verify);
        return Next::Again;
    }
    let in_rotation = match run.batch.kind {
        // These were Ready without an attach of ours, so the load balancer has its lag still to go.
        BatchKind::Canary | BatchKind::Found | BatchKind::Broken => {
            later(turn.since(run.entered), turn.plan.settle)
        }
        BatchKind::None | BatchKind::Serving | BatchKind::Retiring => turn.since(run.entered),
    };
    let over = later(in_rotation, turn.plan.verify.soak);
    let names = turn.seen.names(&run.batch.ordinals);
    if turn.now < over {
        return Wait::new(format!("{names} under live traffic until {}", clock(over))).until(over).into();
    }
    if let Some(next) = levers::serve(turn, run, over, &names) {
        return next;
    }
    turn.note(Reason::Soaked, format!("{names} stayed good under live traffic"));
    let proven = turn.state.pods.iter().map(|record| record.ordinal).filter(|ordinal| {
        turn.base_ordinals().contains(*ordinal)
            && turn.seen.pods.get(ordinal).is_some_and(|pod| pod.revision == run.to)
    });
    let proven: Vec<_> = proven.collect();
    run.updated.extend(proven);
    turn.end_batch(run);
    turn.got_somewhere(run);
    Next::Again
}
