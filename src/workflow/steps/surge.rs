//! Template (with `images`) and replicas in one write. The surge pods are the first pods of the new
//! revision: the canary.

use crate::workflow::batches;
use crate::workflow::decision::Effect;
use crate::workflow::interrupts;
use crate::workflow::reasons::{Problem, Reason};
use crate::workflow::state::{BatchKind, Goal, Run, Step};
use crate::workflow::turn::{Next, Turn, Wait, later};

/// Asks for the surge and waits until its pods exist.
pub fn look(turn: &mut Turn<'_>, run: &mut Run) -> Next {
    let Some(set) = turn.set() else { return Wait::new("Waiting for the StatefulSet").into() };
    // With OrderedReady a broken pod holds up the surge, so it is replaced first.
    if set.ordered_ready
        && run.goal == Goal::Upgrade
        && let Some(next) = batches::broken(turn, run)
    {
        return next;
    }
    // Neither without nor with the surge: the user wants another number.
    if set.replicas != turn.base()
        && let Some(next) = batches::replicas_changed(turn, run)
    {
        return next;
    }
    let replicas = turn.base() + run.surge;
    let images = run.goal == Goal::Upgrade && !set.runs(&turn.plan.images);
    if set.replicas != replicas || images {
        let what = if images { "the new images and " } else { "" };
        let text = format!("Asking for {what}{replicas} replicas ({} of them surge)", run.surge);
        return Next::Act(Effect::Scale { replicas, images }, text);
    }
    let Some(revision) = set.update_revision.clone() else {
        return turn.unnoticed(run, "the new spec").into();
    };
    if run.to.is_empty() {
        run.to = revision;
    }
    if run.surge == 0 {
        turn.end_batch(run);
        return Next::Again;
    }
    let surge = turn.surge_ordinals(run);
    if surge.iter().all(|ordinal| turn.seen.pods.get(&ordinal).is_some_and(|pod| !pod.terminating)) {
        let old = surge
            .iter()
            .any(|ordinal| turn.seen.pods.get(&ordinal).is_some_and(|pod| pod.revision != run.to));
        if old {
            // Left from before the target moved: they go through the batches like all others.
            turn.end_batch(run);
            return Next::Again;
        }
        turn.note(Reason::SurgeAdded, format!("Surge pods: {}", turn.seen.names(&surge)));
        // They are new: whatever restarts they have already, they have at this revision.
        turn.begin(run, BatchKind::Canary, surge, Step::Verify);
        turn.state.pods.iter_mut().for_each(|record| record.restarts = 0);
        return Next::Again;
    }
    let deadline = later(turn.first_entered(run), turn.plan.verify.timeout);
    if turn.now >= deadline {
        let out = turn.base_ordinals().difference(&turn.serving());
        let why = if set.ordered_ready && !out.is_empty() {
            format!("{} is not Ready and holds them up, as the pods start in order", turn.seen.names(&out))
        } else {
            "look for a quota or an admission that forbids them".to_owned()
        };
        let text = format!(
            "The surge pods {} were not created in time: {why} (`kubectl describe statefulset {}`)",
            turn.seen.names(&surge),
            set.name
        );
        return no_room(turn, run, text);
    }
    Wait::new(format!("Waiting for the surge pods {}", turn.seen.names(&surge)))
        .deadline(deadline, turn.now, Reason::NoRoomForSurge)
        .into()
}

/// The surge cannot be had: everything back, and nothing is held against the new version.
pub fn no_room(turn: &mut Turn<'_>, run: &mut Run, text: String) -> Next {
    let problem = Problem::new(Reason::NoRoomForSurge, text);
    match run.goal {
        Goal::Upgrade if turn.plan.images.is_empty() => interrupts::leave(turn, run, Goal::Abort, problem),
        Goal::Upgrade => interrupts::roll_back(turn, run, problem),
        Goal::RollBack | Goal::Abort | Goal::Release => turn.halt(run, problem),
    }
}
