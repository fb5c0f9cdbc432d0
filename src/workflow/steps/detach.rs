//! No new connections for the batch. The drain counters start meanwhile.

use crate::workflow::batches;
use crate::workflow::decision::Effect;
use crate::workflow::levers;
use crate::workflow::observed::{CounterView, Held};
use crate::workflow::reasons::Reason;
use crate::workflow::state::{PodState, Run, Step};
use crate::workflow::steps::attach;
use crate::workflow::turn::{Next, Turn};

/// Detaches the batch.
pub fn look(turn: &mut Turn<'_>, run: &mut Run) -> Next {
    if let Some(next) = attach::take_back(turn, run) {
        return next;
    }
    turn.state.detached = run.batch.ordinals.clone();
    let names = turn.seen.names(&run.batch.ordinals);
    let held = levers::hold(turn, run, &format!("Detaching {names}"));
    if let Some(Next::Act(..)) = held {
        if !turn.can_spare(run) {
            // Others were lost since the batch was chosen.
            batches::turn_back(turn, run);
            return Next::Again;
        }
        return held.unwrap_or(Next::Again);
    }
    if let Some(next) = start_counters(turn, run) {
        return next;
    }
    if let Some(next) = held {
        return next;
    }
    for record in &mut turn.state.pods {
        if record.state == PodState::Chosen {
            record.state = PodState::Detached;
        }
    }
    turn.note(Reason::Detached, format!("{names}: no new connections, confirmed"));
    if run.draining_since.is_none() {
        run.draining_since = Some(turn.now);
    }
    turn.enter(run, Step::Drain);
    Next::Again
}

/// Starts a counter in each pod of the batch that has none. A counter that cannot be had shows as
/// an Unknown count while draining.
pub fn start_counters(turn: &Turn<'_>, run: &Run) -> Option<Next> {
    let written = turn
        .levers(run)
        .all(|lever| matches!(&lever.held, Held::Ordinals(held) if *held == turn.state.detached));
    if !turn.plan.drain.counted || !written {
        return None;
    }
    turn.records().find_map(|(record, pod)| {
        let pod = pod.filter(|pod| pod.uid == record.uid && !pod.terminating)?;
        if turn.owes_nothing(record.ordinal, pod) {
            return None;
        }
        match &pod.counter {
            CounterView::Absent => {
                let effect = Effect::StartCounter { ordinal: record.ordinal, uid: record.uid.clone() };
                Some(Next::Act(effect, format!("Starting the drain counter in {}", pod.name)))
            }
            CounterView::Present | CounterView::NotNeeded | CounterView::Refused(_) => None,
        }
    })
}
