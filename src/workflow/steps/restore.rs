//! The levers back, byte for byte where nobody else wrote, and the run is over.

use crate::workflow::interrupts::RELEASE_TIMEOUT;
use crate::workflow::levers;
use crate::workflow::observed::Held;
use crate::workflow::ordinals::OrdinalSet;
use crate::workflow::reasons::{Problem, Reason};
use crate::workflow::state::{Goal, Outcome, Rest, Run};
use crate::workflow::takeover;
use crate::workflow::turn::{Next, Turn, Wait, later};

/// Puts the levers back and ends the run.
pub fn look(turn: &mut Turn<'_>, run: &mut Run) -> Next {
    let gone = turn.seen.namespace_terminating;
    let deadline = later(turn.first_entered(run), turn.plan.confirm_timeout);
    let let_go = later(turn.since(run.leaving_since.unwrap_or(run.entered)), RELEASE_TIMEOUT).max(deadline);
    if let Some(pod) = turn.ending().filter(|_| !gone && turn.now < deadline) {
        return Wait::new(format!("Waiting for {} to end before the levers are put back", pod.name))
            .until(deadline)
            .into();
    }
    turn.state.detached = OrdinalSet::new();
    for lever in turn.seen.levers.iter().filter(|_| !gone) {
        match &lever.held {
            Held::Ordinals(_) | Held::Foreign(_) if lever.restored => {}
            Held::Gone if turn.set().is_none() => {}
            Held::Gone if turn.now >= deadline => {
                let text = format!("{} is gone, so nothing is put back in it", lever.name);
                turn.warn(Reason::LeverNotRestored, text);
            }
            Held::Gone => {
                let text = format!(
                    "Putting the levers back: {} is gone; waiting until {} should it come back",
                    lever.name,
                    levers::clock(deadline)
                );
                return Wait::new(text).until(deadline).into();
            }
            Held::Ordinals(_) | Held::Foreign(_) | Held::Unreadable(_)
                if run.goal == Goal::Release && turn.now >= let_go =>
            {
                turn.warn(Reason::LeverNotRestored, format!("{} could not be put back", lever.name));
            }
            Held::Unreadable(why) => {
                let wait =
                    Wait::new(format!("Putting the levers back: {} cannot be read: {why}", lever.name));
                let wait = if run.goal == Goal::Release { wait.until(let_go) } else { wait };
                return wait.deadline(deadline, turn.now, Reason::LeverNotRestored).into();
            }
            Held::Ordinals(_) | Held::Foreign(_) => {
                return levers::write(turn, run, false, format!("Putting back {}", lever.name));
            }
        }
    }
    if let Some(next) = takeover::clear(turn).filter(|_| !gone) {
        return next;
    }
    end(turn, run)
}

fn end(turn: &mut Turn<'_>, run: &Run) -> Next {
    let cause = run
        .cause
        .clone()
        .unwrap_or_else(|| Problem::new(Reason::Aborted, format!("Run {} was ended", run.id)));
    if cause.reason == Reason::NoRoomForSurge {
        return Next::End(Outcome::Blocked, Rest::Blocked(cause));
    }
    match run.goal {
        Goal::Upgrade => {
            turn.state.rejected = None;
            Next::End(Outcome::Succeeded, Rest::Succeeded)
        }
        Goal::RollBack => Next::End(Outcome::RolledBack, Rest::RolledBack(cause)),
        Goal::Abort | Goal::Release => Next::End(Outcome::Aborted, Rest::Aborted(cause)),
    }
}
