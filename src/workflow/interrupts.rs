//! What comes before the step's own work: another process carried the run, the target is gone, the
//! object goes, the user's words, a pause, another update strategy, a newer revision, a lost surge.

use std::time::Duration;

use super::batches;
use super::holds;
use super::ordinals::{Ordinal, OrdinalSet};
use super::plan::OnFailure;
use super::reasons::{Problem, Reason};
use super::state::{Batch, BatchKind, Goal, Outcome, Rest, Run, Step};
use super::steps::{attach, rest};
use super::takeover;
use super::turn::{Next, Turn, Wait, later};

/// How long the deletion of the object waits for a lossless end.
pub const RELEASE_TIMEOUT: Duration = Duration::from_mins(15);

/// None: nothing comes before the step's own work.
pub fn look(turn: &mut Turn<'_>, run: &mut Run) -> Option<Next> {
    takeover::look(turn, run)
        .or_else(|| target_gone(turn, run))
        .or_else(|| released(turn, run))
        .or_else(|| heed(turn, run))
        .or_else(|| holds::look(turn, run))
        .or_else(|| moved(turn, run))
        .or_else(|| halted(run))
        .or_else(|| surge_lost(turn, run))
        .or_else(|| shrunk(turn, run))
        .or_else(|| last_one(turn, run))
}

fn target_gone(turn: &mut Turn<'_>, run: &mut Run) -> Option<Next> {
    let same = turn.set().is_some_and(|set| set.uid == run.set_uid && !set.deleting);
    if same || run.step == Step::Restore || turn.seen.namespace_terminating {
        return None;
    }
    let text = "The StatefulSet was deleted or made anew in mid-run. The levers are put back; nothing else is touched";
    let problem = Problem::new(Reason::StatefulSetReplaced, text);
    turn.notes.push(problem.clone().into());
    run.cause = Some(problem);
    run.goal = if turn.seen.deleting { Goal::Release } else { Goal::Abort };
    run.halted = None;
    run.batch = Batch::none();
    turn.state.pods.clear();
    turn.enter(run, Step::Restore);
    Some(Next::Again)
}

fn released(turn: &mut Turn<'_>, run: &mut Run) -> Option<Next> {
    if !turn.seen.deleting {
        return None;
    }
    if turn.seen.namespace_terminating {
        let problem = Problem::new(Reason::Releasing, "The namespace is being deleted");
        return Some(Next::End(Outcome::Aborted, Rest::Aborted(problem)));
    }
    if run.goal != Goal::Release {
        let text =
            "The LosslessUpgrade was deleted: pods attached, surge removed, levers back; nothing is promoted";
        return Some(leave(turn, run, Goal::Release, Problem::new(Reason::Releasing, text)));
    }
    let over = run.leaving_since.is_some_and(|since| turn.now >= later(turn.since(since), RELEASE_TIMEOUT));
    if over && run.step != Step::Restore {
        if let Some(next) = attach::take_back(turn, run) {
            return Some(next);
        }
        run.halted = None;
        turn.warn(
            Reason::Releasing,
            "The object was to go and could not be let go losslessly in time: the levers are put back, the surge stays for you to remove",
        );
        turn.enter(run, Step::Restore);
        return Some(Next::Again);
    }
    None
}

/// The user's words, each once per value.
fn heed(turn: &mut Turn<'_>, run: &mut Run) -> Option<Next> {
    // A target that is gone, or another one of its name, has nothing to be asked of.
    let set = turn.set().filter(|set| set.uid == run.set_uid)?;
    let asked = &turn.seen.actions;
    let new = asked.beside(&turn.state.handled);
    let abort = new.abort && !run.goal.leaves();
    let rollback = new.rollback && matches!(run.goal, Goal::Upgrade | Goal::Abort);
    let newest = set.update_revision.clone();
    if (abort || rollback) && newest.is_none() {
        // What is given up is the newest template, and a write of ours to it may just be on its way.
        return Some(turn.unnoticed(run, "the newest template before the run ends as asked").into());
    }
    turn.state.handled = asked.clone();
    if new.retry && run.halted.is_some() {
        run.halted = None;
        run.reasserted = 0;
        run.relieved = 0;
        run.surge_lost = 0;
        forgive(turn, run);
        resume(turn, run);
        return Some(Next::Again);
    }
    if abort {
        let problem =
            Problem::new(Reason::Aborted, "Aborted by the user: pods stay as they are, the surge is removed");
        return Some(leave(turn, run, Goal::Abort, problem));
    }
    if rollback {
        // The user's word is about what is newest now, be it noticed by the run or not. Where the images
        // of the spec are not in the template yet, the run has not touched it.
        if let Some(newest) = newest.filter(|newest| *newest != run.from && set.runs(&turn.plan.images)) {
            run.to = newest;
        }
        return Some(roll_back(turn, run, Problem::new(Reason::RollingBack, "Rollback asked by the user")));
    }
    None
}

/// What was held against the batch is not held against it any more: it is looked at anew.
fn forgive(turn: &mut Turn<'_>, run: &mut Run) {
    for record in &mut turn.state.pods {
        if let Some(pod) = turn.seen.pods.get(&record.ordinal).filter(|pod| pod.uid == record.uid) {
            record.restarts = pod.restarts;
        }
    }
    if run.step == Step::Soak && run.batch.kind != BatchKind::None {
        turn.enter(run, Step::Verify);
    }
}

/// Deadlines count anew from here: the wait was the user's.
pub fn resume(turn: &mut Turn<'_>, run: &mut Run) {
    let step = run.step;
    run.draining_since = run.draining_since.map(|_| turn.now);
    turn.enter(run, step);
    turn.got_somewhere(run);
}

/// The StatefulSet has another update revision than the run's.
fn moved(turn: &mut Turn<'_>, run: &mut Run) -> Option<Next> {
    let revision = turn.set()?.update_revision.clone()?;
    let follows = match run.step {
        Step::Template | Step::Retire | Step::Restore => false,
        Step::Preflight
        | Step::Surge
        | Step::Detach
        | Step::Drain
        | Step::Replace
        | Step::Verify
        | Step::Attach
        | Step::Soak => run.batch.kind != BatchKind::Retiring,
    };
    if !follows || run.goal.leaves() || run.to.is_empty() || revision == run.to {
        return None;
    }
    if run.goal == Goal::RollBack && run.failed.as_ref() == Some(&revision) {
        let text = format!(
            "Somebody put the template of revision {revision} back, which has failed. Nothing more is deleted. Take it out of where it comes from (a GitOps repository?) and set a good template, or set the annotation lossless-upgrade.io/abort"
        );
        return match &run.halted {
            Some(_) => None,
            None => Some(turn.halt(run, Problem::new(Reason::Rejected, text))),
        };
    }
    Some(retarget(turn, run, revision))
}

/// Goes to a newer revision. Nothing in flight is cut short, and nothing skips its drain.
pub fn retarget(turn: &mut Turn<'_>, run: &mut Run, revision: String) -> Next {
    turn.note(
        Reason::Retargeted,
        format!("The StatefulSet moved from revision {} to {revision}; the run goes there", run.to),
    );
    let there = |ordinal: &u32| turn.seen.pods.get(ordinal).is_some_and(|pod| pod.revision == revision);
    run.updated = turn.base_ordinals().iter().filter(there).collect();
    run.to = revision;
    run.first_entered.clear();
    turn.state.rejected = None;
    run.goal = Goal::Upgrade;
    run.cause = None;
    run.failed = None;
    run.halted = None;
    match run.step {
        Step::Preflight | Step::Surge => {}
        Step::Detach | Step::Drain | Step::Replace if batches::undeleted(turn) => {
            batches::turn_back(turn, run);
        }
        Step::Attach => run.turned_back = true,
        Step::Detach
        | Step::Drain
        | Step::Replace
        | Step::Verify
        | Step::Soak
        | Step::Template
        | Step::Retire
        | Step::Restore => turn.end_batch(run),
    }
    Next::Again
}

fn halted(run: &Run) -> Option<Next> {
    let problem = run.halted.as_ref()?;
    Some(Wait::new(problem.text.clone()).stalled(problem.reason).into())
}

/// The surge was taken away: it is asked for again before it is proven, and before anything more is
/// deleted where a batch is out already.
fn surge_lost(turn: &mut Turn<'_>, run: &mut Run) -> Option<Next> {
    let set = turn.set()?;
    if set.replicas == turn.base() + run.surge {
        return None;
    }
    if run.batch.kind == BatchKind::Canary && matches!(run.step, Step::Verify | Step::Soak) {
        turn.end_batch(run);
        return batches::replicas_changed(turn, run).or(Some(Next::Again));
    }
    let at_risk = matches!(run.step, Step::Detach | Step::Drain | Step::Replace)
        && run.batch.kind == BatchKind::Serving;
    if !at_risk || !batches::undeleted(turn) {
        return None;
    }
    let text = format!(
        "spec.replicas was set to {} in mid-run, so the surge is lost. The batch serves again, then the surge is added again",
        set.replicas
    );
    turn.warn(Reason::ReplicasChanged, text);
    batches::turn_back(turn, run);
    Some(Next::Again)
}

/// The user wants fewer replicas than the batch has: a pod that is gone and lies beyond them does not
/// come back, so nothing waits for it.
fn shrunk(turn: &mut Turn<'_>, run: &mut Run) -> Option<Next> {
    let set = turn.set()?;
    let waits = match run.batch.kind {
        BatchKind::Serving | BatchKind::Broken | BatchKind::Found => {
            matches!(run.step, Step::Replace | Step::Verify | Step::Soak)
        }
        BatchKind::None | BatchKind::Canary | BatchKind::Retiring => false,
    };
    let lost = |ordinal: &Ordinal| !set.has(*ordinal) && !turn.seen.pods.contains_key(ordinal);
    let lost: OrdinalSet = run.batch.ordinals.iter().filter(lost).collect();
    if !waits || lost.is_empty() {
        return None;
    }
    let text = format!("spec.replicas is {}: nothing waits for {}", set.replicas, turn.seen.names(&lost));
    turn.warn(Reason::ReplicasChanged, text);
    turn.state.pods.retain(|record| !lost.contains(record.ordinal));
    run.batch.ordinals = run.batch.ordinals.difference(&lost);
    if run.batch.ordinals.is_empty() {
        batches::turn_back(turn, run);
    }
    Some(Next::Again)
}

/// All others fell while the batch is out: it serves again rather than that nobody does.
fn last_one(turn: &mut Turn<'_>, run: &mut Run) -> Option<Next> {
    // Serving pods are taken out no more by then, and what is left to do with the surge is to drain it.
    let tried = run.relieved > batches::RELIEFS;
    let out = !tried
        && matches!(run.batch.kind, BatchKind::Serving | BatchKind::Retiring)
        && matches!(run.step, Step::Drain | Step::Replace);
    let could_serve = turn.records().any(|(record, pod)| {
        // What lies beyond the replicas goes in any case.
        let is_out = turn.state.detached.contains(record.ordinal) && turn.stays(record.ordinal);
        is_out && pod.is_some_and(|pod| pod.uid == record.uid && pod.ready)
    });
    if !out || !could_serve || !turn.serving().is_empty() || turn.base() == 0 {
        return None;
    }
    let names = turn.batch_names(run);
    turn.warn(Reason::OthersNotReady, format!("Nobody else serves any more, so {names} serves again"));
    run.relieved += 1;
    batches::turn_back(turn, run);
    Some(Next::Again)
}

/// The new version failed.
pub fn fail(turn: &mut Turn<'_>, run: &mut Run, problem: Problem) -> Next {
    match (run.goal, turn.plan.on_failure) {
        (Goal::Upgrade, OnFailure::Rollback) => roll_back(turn, run, problem),
        (Goal::Upgrade, OnFailure::Pause) | (Goal::RollBack, _) => {
            let text = format!(
                "{}. Nothing more is deleted. Push a better version, or set the annotation lossless-upgrade.io/retry, /rollback or /abort",
                problem.text
            );
            turn.halt(run, Problem::new(problem.reason, text))
        }
        (Goal::Abort | Goal::Release, _) => {
            turn.end_batch(run);
            Next::Again
        }
    }
}

/// Goes back to the old revision.
pub fn roll_back(turn: &mut Turn<'_>, run: &mut Run, problem: Problem) -> Next {
    if run.to.is_empty() {
        // The template was not touched yet.
        return leave(turn, run, Goal::Abort, problem);
    }
    turn.warn(Reason::RollingBack, problem.text.clone());
    if run.step == Step::Preflight {
        // No surge was asked for. Whether one is needed shows when the template is back.
        run.surge = 0;
    }
    if run.step == Step::Restore {
        // The surge is gone already and is needed once more.
        batches::renew_surge(turn, run);
    }
    if problem.reason != Reason::NoRoomForSurge {
        // Now, by the images that it was for: the spec may have others when the run is over.
        rest::reject(turn, run.to.clone());
    }
    run.goal = Goal::RollBack;
    run.leaving_since = None;
    run.failed = Some(run.to.clone());
    run.cause = Some(problem);
    run.halted = None;
    run.first_entered.clear();
    turn.enter(run, Step::Template);
    Next::Again
}

/// Ends the run with the pods as they are: all attached, the surge drained and removed.
pub fn leave(turn: &mut Turn<'_>, run: &mut Run, goal: Goal, problem: Problem) -> Next {
    turn.warn(problem.reason, problem.text.clone());
    // No room, or a target that went away, is no word on the revision.
    let is_word = !matches!(problem.reason, Reason::NoRoomForSurge | Reason::StatefulSetReplaced);
    if goal == Goal::Abort && is_word {
        let newest = turn.set().and_then(|set| set.update_revision.clone());
        rest::reject(turn, newest.unwrap_or_else(|| run.to.clone()));
    }
    run.goal = goal;
    run.cause = Some(problem);
    run.halted = None;
    run.held = false;
    run.first_entered.clear();
    run.leaving_since = Some(turn.now);
    let untouched = run.step == Step::Preflight;
    let ending = run.batch.kind == BatchKind::Retiring || matches!(run.step, Step::Retire | Step::Restore);
    if untouched {
        // No surge was asked for: whatever is added from here on is the user's.
        run.surge = 0;
        turn.begin(run, BatchKind::Retiring, OrdinalSet::new(), Step::Restore);
    } else if !ending && nothing_is_out(turn, run) {
        // There is nothing to attach, and a lever that was not moved owes no confirmation.
        turn.end_batch(run);
    } else if !ending {
        batches::turn_back(turn, run);
    }
    Next::Again
}

/// Whether every lever lets connections to every pod, confirmed, and no pod may be deleted.
fn nothing_is_out(turn: &Turn<'_>, run: &Run) -> bool {
    match run.step {
        Step::Surge | Step::Verify | Step::Soak | Step::Template => turn.state.detached.is_empty(),
        Step::Preflight
        | Step::Detach
        | Step::Drain
        | Step::Replace
        | Step::Attach
        | Step::Retire
        | Step::Restore => false,
    }
}
