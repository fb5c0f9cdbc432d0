//! What holds a run where it is until somebody lets it go: `spec.paused`, and another update strategy.
//! What is detached stays detached, nothing is deleted, and no deadline runs.

use super::interrupts::resume;
use super::reasons::Reason;
use super::state::{Goal, Run, Step};
use super::steps::attach;
use super::turn::{Next, Turn, Wait};

/// None: nothing holds the run.
pub fn look(turn: &mut Turn<'_>, run: &mut Run) -> Option<Next> {
    let Some(wait) = paused(turn, run).or_else(|| rolling(turn, run)) else {
        if run.held {
            run.held = false;
            resume(turn, run);
        }
        return None;
    };
    if !run.held {
        run.held = true;
        if turn.plan.paused {
            let text = format!("Paused in {:?}; nothing moves until spec.paused is false", run.phase());
            turn.note(Reason::PausedByUser, text);
        } else {
            turn.warn(Reason::NotOnDelete, wait.message.clone());
        }
    }
    attach::fence(turn, run).or(Some(wait.into()))
}

fn paused(turn: &Turn<'_>, run: &Run) -> Option<Wait> {
    if !turn.plan.paused || run.goal == Goal::Release {
        return None;
    }
    let detached = if turn.state.detached.is_empty() {
        "nothing is detached".to_owned()
    } else {
        format!("{} stay detached", turn.seen.names(&turn.state.detached))
    };
    Some(Wait::new(format!("Paused by spec.paused; {detached}")))
}

/// Under another strategy than `OnDelete` Kubernetes replaces the pods itself, whoever they serve.
/// The run deletes nothing beside that; it may still be ended.
fn rolling(turn: &Turn<'_>, run: &Run) -> Option<Wait> {
    let set = turn.set()?;
    if set.on_delete || run.goal.leaves() || run.step == Step::Restore {
        return None;
    }
    let text = format!(
        "StatefulSet {} was switched to another update strategy than OnDelete in mid-run, so Kubernetes replaces its pods itself, without draining them. Set spec.updateStrategy.type back to OnDelete and the run goes on, or set the annotation lossless-upgrade.io/abort",
        set.name
    );
    Some(Wait::new(text).stalled(Reason::NotOnDelete))
}
