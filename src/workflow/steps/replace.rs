//! Delete the pods of the batch, so that they come back at the update revision.

use crate::workflow::batches;
use crate::workflow::checks::{Guard, refusal};
use crate::workflow::decision::Effect;
use crate::workflow::levers;
use crate::workflow::observed::PodView;
use crate::workflow::reasons::Reason;
use crate::workflow::state::{BatchKind, PodRecord, PodState, Run, Step};
use crate::workflow::turn::{Next, Turn, Wait, later};

/// Deletes what may be deleted, one at a time, and waits for the new pods.
pub fn look(turn: &mut Turn<'_>, run: &mut Run) -> Next {
    let old: Vec<(PodRecord, &PodView)> = turn
        .records()
        .filter_map(|(record, pod)| Some((record.clone(), pod.filter(|pod| pod.uid == record.uid)?)))
        .collect();
    let alive =
        |(record, pod): &(PodRecord, &PodView)| !pod.terminating && !turn.owes_nothing(record.ordinal, pod);
    if run.batch.kind == BatchKind::Broken && old.iter().any(alive) {
        // What was thought to owe nothing has come to life, and was counted without a detach. It goes
        // in its turn, if it has to.
        batches::turn_back(turn, run);
        return Next::Again;
    }
    if let Some((record, pod)) = old.iter().find(|(_, pod)| !pod.terminating) {
        return match refusal(turn.guards, turn, run, record, pod) {
            None => {
                turn.note(Reason::PodReplaced, format!("Deleting {} (uid {})", pod.name, pod.uid));
                let effect = Effect::Delete { ordinal: record.ordinal, uid: record.uid.clone() };
                Next::Act(effect, format!("Replacing {}", pod.name))
            }
            Some((guard, why)) => refused(turn, run, guard, &pod.name, &why),
        };
    }
    let deadline = later(turn.first_entered(run), turn.plan.verify.timeout);
    let wait = |message: String| Wait::new(message).deadline(deadline, turn.now, Reason::ReplaceTimedOut);
    if let Some((_, pod)) = old.first() {
        return wait(format!("Waiting for the old {} to end", pod.name)).into();
    }
    let missing = turn.records().find(|(_, pod)| pod.is_none_or(|pod| pod.terminating));
    if let Some((record, _)) = missing {
        return wait(format!("Waiting for the new {}", turn.seen.name(record.ordinal))).into();
    }
    adopt(turn);
    turn.enter(run, Step::Verify);
    Next::Again
}

/// From here on the records are about the new pods. All restarts of theirs count.
pub fn adopt(turn: &mut Turn<'_>) {
    for record in &mut turn.state.pods {
        if let Some(pod) = turn.seen.pods.get(&record.ordinal).filter(|pod| pod.uid != record.uid) {
            *record = PodRecord {
                ordinal: record.ordinal,
                uid: pod.uid.clone(),
                state: PodState::Replaced,
                restarts: 0,
                seen_ready: pod.ready,
            };
        }
    }
}

fn refused(turn: &mut Turn<'_>, run: &mut Run, guard: Guard, name: &str, why: &str) -> Next {
    let deadline = later(turn.first_entered(run), turn.plan.verify.timeout);
    let text = format!("{name} is not deleted yet: {why}");
    match guard {
        Guard::LeversHold => levers::still_held(turn, run).unwrap_or_else(|| {
            Wait::new(text).deadline(deadline, turn.now, Reason::LeverNotConfirmed).into()
        }),
        Guard::Recorded | Guard::LeversConfirmed | Guard::Drained => {
            turn.enter(run, if guard == Guard::LeversConfirmed { Step::Detach } else { Step::Drain });
            Next::Again
        }
        Guard::RevisionUnmoved => {
            Wait::new(text).deadline(deadline, turn.now, Reason::ReplaceTimedOut).into()
        }
        Guard::OthersServe => Wait::new(text).deadline(deadline, turn.now, Reason::OthersNotReady).into(),
    }
}
