//! The old template back in the StatefulSet: from here on every pod that is created comes at the
//! old revision.

use crate::workflow::batches;
use crate::workflow::decision::Effect;
use crate::workflow::interrupts;
use crate::workflow::reasons::{Problem, Reason};
use crate::workflow::state::Run;
use crate::workflow::steps::attach;
use crate::workflow::turn::{Next, Turn};

/// Puts the template back, unless the user has set a newer one.
pub fn look(turn: &mut Turn<'_>, run: &mut Run) -> Next {
    // Pods of the batch that might have been deleted are kept from a delete that comes late.
    if let Some(next) = attach::fence(turn, run) {
        return next;
    }
    let revision = turn.set().and_then(|set| set.update_revision.clone());
    let Some(revision) = revision else {
        return turn.unnoticed(run, "the template").into();
    };
    if run.failed.as_ref() == Some(&revision) && revision != run.from {
        let known = turn.state.saved.as_ref().is_some_and(|saved| saved.template.is_some());
        if known {
            return Next::Act(Effect::RestoreTemplate, format!("Putting the template of {} back", run.from));
        }
        let text = format!(
            "The template of revision {} is not known any more, so the run cannot go back by itself. Set the template that you want in the StatefulSet; the run goes there",
            run.from
        );
        return turn.halt(run, Problem::new(Reason::NoWayBack, text));
    }
    if revision != run.from {
        // Neither the failed one nor ours: the user was faster, and the newest template counts.
        return interrupts::retarget(turn, run, revision);
    }
    turn.note(Reason::TemplateRestored, format!("The StatefulSet is back at revision {revision}"));
    run.to = revision;
    // What was never taken from the old revision has nothing to prove.
    let there = |ordinal: &u32| turn.seen.pods.get(ordinal).is_some_and(|pod| pod.revision == run.to);
    run.updated = turn.base_ordinals().iter().filter(there).collect();
    // None was asked for yet, or it was taken away: the way back has one as the way there had.
    if run.surge == 0 {
        batches::renew_surge(turn, run);
    }
    turn.end_batch(run);
    turn.got_somewhere(run);
    Next::Again
}
