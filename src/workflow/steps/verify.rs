//! The new pods are looked at: Ready, right revision, right image, no restarts.

use crate::workflow::interrupts;
use crate::workflow::observed::{ImageView, PodView};
use crate::workflow::reasons::{Problem, Reason};
use crate::workflow::state::{BatchKind, PodRecord, Run, Step};
use crate::workflow::steps::{replace, surge};
use crate::workflow::turn::{Next, Turn, Wait, later};

/// Waits until every pod of the batch is good.
pub fn look(turn: &mut Turn<'_>, run: &mut Run) -> Next {
    if came_anew(turn) {
        // A pod of its own time; that it took several is seen in the deadline.
        turn.enter(run, Step::Verify);
    }
    replace::adopt(turn);
    let elsewhere = |pod: &PodView| !pod.terminating && pod.revision != run.to;
    if turn.records().any(|(_, pod)| pod.is_some_and(elsewhere)) {
        // Created before the StatefulSet controller took notice of the newest template: it goes
        // through a batch once more.
        turn.end_batch(run);
        return Next::Again;
    }
    let entered = turn.since(run.entered);
    let deadline = later(entered, turn.plan.verify.timeout);
    let overdue = turn.now >= deadline;
    let mut faults: Vec<Fault> =
        turn.records().filter_map(|(record, pod)| fault(turn, record, pod)).collect();
    faults.sort_by_key(|fault| match fault {
        Fault::Never(_) => 0,
        Fault::Ending(_) => 1,
        Fault::NotYet { .. } => 2,
    });
    let wait = |why: &str, deadline| {
        Wait::new(format!("Verifying: {why}")).deadline(deadline, turn.now, Reason::VerifyFailed)
    };
    match faults.into_iter().next() {
        Some(Fault::Never(why)) => return failed(turn, run, &why, false),
        // Whoever ends it, and however long its node is away, says nothing about the version: the one after it has
        // at least half of the time for itself.
        Some(Fault::Ending(why)) => {
            let half = later(entered, turn.plan.verify.timeout / 2);
            if turn.now >= half {
                turn.enter(run, Step::Verify);
                return Next::Again;
            }
            let whole = later(turn.first_entered(run), turn.plan.verify.timeout);
            return wait(&why, whole).until(half).into();
        }
        Some(Fault::NotYet { why, no_room }) if overdue => return failed(turn, run, &why, no_room),
        Some(Fault::NotYet { why, .. }) => {
            let whole = later(turn.first_entered(run), turn.plan.verify.timeout);
            return wait(&why, whole).until(deadline).into();
        }
        None => {}
    }
    turn.state.pods.iter_mut().for_each(|record| record.seen_ready = true);
    let names = turn.seen.names(&run.batch.ordinals);
    turn.note(Reason::Verified, format!("{names}: Ready at revision {}", run.to));
    turn.enter(run, if turn.state.detached.is_empty() { Step::Soak } else { Step::Attach });
    Next::Again
}

/// Notes pods that came anew without our hand, and remembers which were Ready. Whether there are any.
fn came_anew(turn: &mut Turn<'_>) -> bool {
    let seen = turn.seen;
    let mut gone = Vec::new();
    for record in &mut turn.state.pods {
        let Some(pod) = seen.pods.get(&record.ordinal) else { continue };
        if pod.uid == record.uid {
            record.seen_ready |= pod.ready;
        } else {
            gone.push(pod.name.clone());
        }
    }
    let any = !gone.is_empty();
    for name in gone {
        turn.warn(
            Reason::UpgradedWithoutDrain,
            format!("{name} was replaced by somebody else; it is verified anew"),
        );
    }
    any
}

enum Fault {
    /// It cannot become good.
    Never(String),
    /// It is on its way out.
    Ending(String),
    /// It may still become good.
    NotYet { why: String, no_room: bool },
}

fn fault(turn: &Turn<'_>, record: &PodRecord, pod: Option<&PodView>) -> Option<Fault> {
    let not_yet = |why: String| Some(Fault::NotYet { why, no_room: false });
    let Some(pod) = pod else {
        let why = format!("{} does not exist", turn.seen.name(record.ordinal));
        return Some(Fault::NotYet { why, no_room: true });
    };
    if pod.terminating {
        return Some(Fault::Ending(format!("{} is being deleted", pod.name)));
    }
    if let Some(why) = restarted(turn, record, pod) {
        return Some(Fault::Never(why));
    }
    if !pod.ready {
        let trouble = pod.trouble.as_deref().map(|trouble| format!(": {trouble}")).unwrap_or_default();
        let why = format!("{} is not Ready{trouble}", pod.name);
        return Some(Fault::NotYet { why, no_room: pod.unschedulable });
    }
    match &pod.image {
        ImageView::Right => None,
        ImageView::Unknown => not_yet(format!("{} has not told its image yet", pod.name)),
        ImageView::Wrong(what) => not_yet(format!("{} runs {what}", pod.name)),
    }
}

/// Why the pod has restarted too often; none: it has not.
pub fn restarted(turn: &Turn<'_>, record: &PodRecord, pod: &PodView) -> Option<String> {
    let restarts = pod.restarts.saturating_sub(record.restarts);
    let most = turn.plan.verify.max_restarts;
    (restarts > most).then(|| {
        let trouble = pod.trouble.as_deref().map(|trouble| format!(" ({trouble})")).unwrap_or_default();
        format!("{} restarted {restarts} times, at most {most} allowed{trouble}", pod.name)
    })
}

fn failed(turn: &mut Turn<'_>, run: &mut Run, why: &str, no_room: bool) -> Next {
    let text = format!("The new version was not good in time: {why}");
    if no_room && run.batch.kind == BatchKind::Canary {
        return surge::no_room(turn, run, format!("The surge pods found no room: {why}"));
    }
    interrupts::fail(turn, run, Problem::new(Reason::VerifyFailed, text))
}
