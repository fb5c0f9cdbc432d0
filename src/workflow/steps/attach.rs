//! The batch serves again.

use crate::workflow::decision::Effect;
use crate::workflow::levers;
use crate::workflow::ordinals::OrdinalSet;
use crate::workflow::reasons::Reason;
use crate::workflow::state::{PodState, Run, Step};
use crate::workflow::turn::{Next, Turn};

/// Attaches everything.
pub fn look(turn: &mut Turn<'_>, run: &mut Run) -> Next {
    if let Some(next) = fence(turn, run) {
        return next;
    }
    turn.state.detached = OrdinalSet::new();
    let names = turn.seen.names(&run.batch.ordinals);
    if let Some(next) = levers::hold(turn, run, &format!("Attaching {names}")) {
        return next;
    }
    turn.note(Reason::Attached, format!("{names} get connections again"));
    if run.turned_back {
        // It was not replaced, so there is nothing to prove.
        turn.end_batch(run);
    } else {
        turn.enter(run, Step::Soak);
    }
    Next::Again
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
