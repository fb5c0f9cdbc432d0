//! Between runs: is one wanted, and may it begin?

use std::collections::BTreeMap;
use std::time::Duration;

use crate::workflow::decision::Effect;
use crate::workflow::observed::{Observed, SetView};
use crate::workflow::ordinals::OrdinalSet;
use crate::workflow::plan::Plan;
use crate::workflow::reasons::{Problem, Reason};
use crate::workflow::state::{Batch, Goal, Outcome, Past, Rejected, Rest, Run, Saved, Step};
use crate::workflow::turn::{Next, Turn, Wait, later};

/// What stands against a run is looked at again after this long, as not all of it is watched.
const LOOK_AGAIN: Duration = Duration::from_secs(20);
/// A surge that found no room is tried again after this long.
const TRY_ROOM_AGAIN: Duration = Duration::from_mins(5);
/// A probe that could not be used is tried again after this long.
const TRY_PROBE_AGAIN: Duration = Duration::from_mins(1);

/// Looks whether a run is wanted.
pub fn look(turn: &mut Turn<'_>) -> Next {
    if turn.seen.deleting {
        return Next::Act(Effect::RemoveFinalizer, "Nothing is left to put back; the object may go".into());
    }
    heed(turn);
    let Some(set) = turn.set() else {
        return block(turn, missing());
    };
    let Some(revision) = set.update_revision.clone() else {
        return Wait::new("Waiting for the StatefulSet controller to take notice of the newest template")
            .into();
    };
    let images = match template_change(turn.plan, set) {
        Ok(images) => images,
        Err(problem) => return block(turn, problem),
    };
    let behind = turn.seen.behind(set, &revision);
    if set.deleting || (behind.is_empty() && !images) {
        return rest(turn, set, &revision);
    }
    if let Some(rejected) = turn.state.rejected.clone()
        && rejected.is_wanted(&turn.plan.images, images, Some(&revision))
    {
        unblock(turn, |past| match past.outcome {
            Outcome::RolledBack => past.to == rejected.revision,
            // What is given up by an abort is the newest revision then, be it the run's or not.
            Outcome::Aborted => true,
            Outcome::Succeeded | Outcome::Blocked => false,
        });
        let why = match &turn.state.rest {
            Rest::RolledBack(problem) | Rest::Aborted(problem) => format!("{}. ", problem.text),
            Rest::Idle | Rest::Blocked(_) | Rest::Succeeded => String::new(),
        };
        let text = format!(
            "{why}Revision {} was given up and is not tried again by itself. Change the template or spec.images, or set the annotation lossless-upgrade.io/retry to a new value",
            rejected.revision
        );
        return Wait::new(text).into();
    }
    if let Some(problem) = obstacles(turn.plan, turn.seen, set).into_iter().next() {
        return block(turn, problem);
    }
    if let Some(wait) = not_again_yet(turn, &revision, images) {
        return wait;
    }
    if turn.plan.paused {
        unblock(turn, |_| false);
        return Wait::new(format!("Paused; a run to {} is wanted", wanted(&revision, images))).into();
    }
    begin(turn, set, revision, images);
    Next::Again
}

/// A retry takes back that something was given up. Abort and rollback have nothing to act on between
/// runs, and must not end the next one.
fn heed(turn: &mut Turn<'_>) {
    let asked = &turn.seen.actions;
    let new = asked.beside(&turn.state.handled);
    turn.state.handled = asked.clone();
    if new.retry {
        turn.state.rejected = None;
        turn.state.rest = Rest::Idle;
    }
    if new.abort {
        turn.warn(Reason::NothingUnderWay, "There is no run to abort");
    }
    if new.rollback {
        let text =
            "There is no run to roll back. Set the template that you want in the StatefulSet, or spec.images";
        turn.warn(Reason::NothingUnderWay, text);
    }
}

fn rest(turn: &mut Turn<'_>, set: &SetView, revision: &str) -> Next {
    let rejected = turn.state.rejected.clone();
    let given_up = |revision: &str| rejected.as_ref().is_some_and(|rejected| rejected.revision == revision);
    unblock(turn, |past| match past.outcome {
        Outcome::Succeeded => past.to == revision,
        Outcome::RolledBack => past.from == revision && given_up(&past.to),
        Outcome::Aborted if past.from == revision => rejected.is_some(),
        Outcome::Aborted => past.to == revision && given_up(revision),
        Outcome::Blocked => false,
    });
    let message = match &turn.state.rest {
        Rest::RolledBack(problem) => format!("Rolled back to {revision}: {}", problem.text),
        Rest::Aborted(problem) => problem.text.clone(),
        Rest::Idle | Rest::Succeeded | Rest::Blocked(_) => {
            format!("All {} pods run revision {revision}", set.replicas)
        }
    };
    Wait::new(message).into()
}

/// Nothing stands against a run any more, or none is wanted. Where `holds` says that the last run is still the last
/// word, it is shown as it ended: one answer that the StatefulSet is not there changes nothing of that.
fn unblock(turn: &mut Turn<'_>, holds: impl Fn(&Past) -> bool) {
    if !matches!(turn.state.rest, Rest::Blocked(_)) {
        return;
    }
    let last = turn.state.history.first().filter(|past| holds(past));
    turn.state.rest = last.map_or(Rest::Idle, |past| match (past.outcome, why(past)) {
        (Outcome::Succeeded, _) => Rest::Succeeded,
        (Outcome::RolledBack, Some(cause)) => Rest::RolledBack(cause),
        (Outcome::Aborted, Some(cause)) => Rest::Aborted(cause),
        (Outcome::RolledBack | Outcome::Aborted | Outcome::Blocked, _) => Rest::Idle,
    });
}

/// Why the run ended so, where it did not succeed.
fn why(past: &Past) -> Option<Problem> {
    let reason = past.reason?;
    Some(Problem::new(reason, past.text.clone().unwrap_or_else(|| reason.to_string())))
}

fn block(turn: &mut Turn<'_>, problem: Problem) -> Next {
    let wait = Wait::new(problem.text.clone()).until(later(turn.now, LOOK_AGAIN)).stalled(problem.reason);
    let blocked = Rest::Blocked(problem.clone());
    if turn.state.rest != blocked {
        turn.notes.push(problem.into());
        turn.state.rest = blocked;
    }
    wait.into()
}

/// There is nothing to upgrade.
pub fn missing() -> Problem {
    let text = "There is no StatefulSet of this name in the namespace. Create it, or delete this object and make one with the right spec.targetRef.name";
    Problem::new(Reason::StatefulSetMissing, text)
}

/// Whether `spec.images` asks for another template.
///
/// # Errors
/// It names a container that the template has not.
pub fn template_change(plan: &Plan, set: &SetView) -> Result<bool, Problem> {
    let mut change = false;
    for (container, image) in &plan.images {
        let Some(have) = set.images.get(container) else {
            let have = set.images.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let text = format!(
                "spec.images names the container `{container}`, which the pod template has not (it has: {have})"
            );
            return Err(Problem::new(Reason::NoSuchContainer, text));
        };
        change |= have != image;
    }
    Ok(change)
}

/// What stands against beginning a run, the first to be mended first.
pub fn obstacles(plan: &Plan, seen: &Observed, set: &SetView) -> Vec<Problem> {
    let mut found = Vec::new();
    if !set.on_delete {
        let text = format!(
            "StatefulSet {} has another update strategy than OnDelete, so Kubernetes replaces its pods itself. Set spec.updateStrategy.type to OnDelete",
            set.name
        );
        found.push(Problem::new(Reason::NotOnDelete, text));
    }
    let surge = plan.surge_size(set.replicas, set.ordered_ready);
    if set.replicas <= 1 && surge == 0 {
        let text = "With one replica and spec.surge.replicas 0 nobody would serve while it is replaced. Allow a surge of at least 1";
        found.push(Problem::new(Reason::NoCapacity, text));
    }
    if set.claims && surge > 0 && !plan.volumes_decided {
        let text = "The StatefulSet has volumeClaimTemplates: a surge pod brings a claim of its own, with old data where one is left from before. Say what is to become of it in spec.surge.volumes, or set spec.surge.replicas to 0";
        found.push(Problem::new(Reason::SurgeVolumesUndecided, text));
    }
    found.extend(seen.problems.iter().cloned());
    found
}

/// A run that was given up before it began in earnest is not tried again at once: each try costs a
/// pod start, or a counter.
fn not_again_yet(turn: &Turn<'_>, revision: &str, images: bool) -> Option<Next> {
    let last = turn.state.history.first()?;
    let Rest::Blocked(problem) = &turn.state.rest else { return None };
    let pause = if problem.reason == Reason::NoRoomForSurge { TRY_ROOM_AGAIN } else { TRY_PROBE_AGAIN };
    let again = later(last.finished_at, pause);
    (last.outcome == Outcome::Blocked
        && last.reason == Some(problem.reason)
        && (images || last.to == revision)
        && turn.now < again)
        .then(|| Wait::new(problem.text.clone()).until(again).stalled(problem.reason).into())
}

fn begin(turn: &mut Turn<'_>, set: &SetView, revision: String, images: bool) {
    let to = if images { String::new() } else { revision };
    let from = most_run(turn, &to);
    turn.state.saved = Some(Saved {
        replicas: set.replicas,
        levers: turn.seen.levers_before.clone(),
        template: turn.seen.templates.get(&from).cloned(),
    });
    turn.state.detached = OrdinalSet::new();
    turn.state.pods.clear();
    let run = Run {
        id: format!("{:x}", turn.now.as_millisecond()),
        surge: turn.plan.surge_size(set.replicas, set.ordered_ready),
        from,
        to,
        set_uid: set.uid.clone(),
        started_at: turn.now,
        goal: Goal::Upgrade,
        step: Step::Preflight,
        entered: turn.now,
        first_entered: BTreeMap::from([(Step::Preflight, turn.now)]),
        carrier: turn.seen.process.clone(),
        fencing: false,
        batch: Batch::none(),
        updated: OrdinalSet::new(),
        reasserted: 0,
        relieved: 0,
        surge_lost: 0,
        lever_writes: 0,
        halted: None,
        cause: None,
        failed: None,
        draining_since: None,
        forced: false,
        turned_back: false,
        held: false,
        leaving_since: None,
        timeouts: Vec::new(),
    };
    let wanted = wanted(&run.to, images);
    turn.note(Reason::RunStarted, format!("Run {} from revision {} to {wanted}", run.id, run.from));
    turn.state.rest = Rest::Idle;
    turn.trail.push(run.step);
    turn.state.run = Some(run);
}

fn wanted(revision: &str, images: bool) -> String {
    if images { "the images of the spec".into() } else { format!("revision {revision}") }
}

/// The revision that most Ready pods run, other than `to`; where there is none, that of most pods.
fn most_run(turn: &Turn<'_>, to: &str) -> String {
    let most = |only_ready: bool| {
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        for pod in turn.seen.pods.values().filter(|pod| pod.revision != to && (pod.ready || !only_ready)) {
            *count.entry(&pod.revision).or_default() += 1;
        }
        count.into_iter().max_by_key(|(_, pods)| *pods).map(|(revision, _)| revision.to_owned())
    };
    most(true).or_else(|| most(false)).unwrap_or_default()
}

/// What the run leaves behind, so that it is not tried again by itself.
pub fn reject(turn: &mut Turn<'_>, revision: String) {
    turn.state.rejected = Some(Rejected { revision, images: turn.plan.images.clone() });
}
