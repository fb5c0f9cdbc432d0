//! The batch serves again.

use crate::workflow::decision::Effect;
use crate::workflow::levers;
use crate::workflow::ordinals::OrdinalSet;
use crate::workflow::reasons::Reason;
use crate::workflow::state::{PodState, Run, Step};
use crate::workflow::turn::{Next, Turn, Wait, later};

/// Attaches everything.
pub fn look(turn: &mut Turn<'_>, run: &mut Run) -> Next {
    if let Some(next) = fence(turn, run) {
        return next;
    }
    if let Some(pod) = turn.ending() {
        let deadline = later(turn.first_entered(run), turn.plan.verify.timeout);
        return Wait::new(format!("Waiting for the old {} to end before it is attached", pod.name))
            .deadline(deadline, turn.now, Reason::ReplaceTimedOut)
            .into();
    }
    turn.state.detached = OrdinalSet::new();
    let names = turn.batch_names(run);
    if let Some(next) = levers::hold(turn, run, &format!("Attaching {names}")) {
        return next;
    }
    turn.note(Reason::Attached, format!("{names}: new connections again, confirmed"));
    if run.turned_back {
        // It was not replaced, so there is nothing to prove.
        turn.end_batch(run);
    } else {
        turn.enter(run, Step::Soak);
    }
    Next::Again
}

/// The batch goes back to an earlier step: its pods may not be deleted any more.
pub fn take_back(turn: &mut Turn<'_>, run: &Run) -> Option<Next> {
    let next = fence(turn, run);
    if next.is_none() {
        let deletable = turn.state.pods.iter_mut().filter(|record| record.state == PodState::Deletable);
        deletable.for_each(|record| record.state = PodState::Chosen);
    }
    next
}

/// A delete of a pod that was deletable may still be under way in a process that stalled. Before
/// the pod may serve again its resourceVersion moves, so that such a delete conflicts.
pub fn fence(turn: &Turn<'_>, run: &Run) -> Option<Next> {
    let mark = format!("{}-{:x}", run.id, run.entered.as_millisecond());
    turn.records().find_map(|(record, pod)| {
        let pod = pod
            .filter(|pod| pod.uid == record.uid && record.state == PodState::Deletable && !pod.terminating)?;
        if pod.fence.as_deref() == Some(mark.as_str()) {
            return None;
        }
        let effect = Effect::Fence { ordinal: record.ordinal, uid: record.uid.clone(), mark: mark.clone() };
        Some(Next::Act(effect, format!("Making sure that no late delete reaches {}", pod.name)))
    })
}
