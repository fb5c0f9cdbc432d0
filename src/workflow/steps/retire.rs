//! The drained surge goes: replicas back.

use std::time::Duration;

use crate::workflow::batches;
use crate::workflow::checks::{Guard, SURGE_GUARDS, refusal};
use crate::workflow::decision::Effect;
use crate::workflow::levers;
use crate::workflow::observed::{Confirmation, Held, LeverView, Site};
use crate::workflow::reasons::Reason;
use crate::workflow::state::{PodState, Run, Step};
use crate::workflow::steps::attach;
use crate::workflow::turn::{Next, Turn, Wait, later};

/// The StatefulSet controller is held up by an ordinal that it cannot create when it has not
/// begun to remove the surge after this long; then the drained pods are deleted directly.
const HELD_UP: Duration = Duration::from_secs(30);
/// How long the surge may take to go.
const TIMEOUT: Duration = Duration::from_mins(10);

/// The surge may go from here on.
pub fn begin(turn: &mut Turn<'_>, run: &mut Run) {
    turn.state.pods.iter_mut().for_each(|record| record.state = PodState::Deletable);
    turn.enter(run, Step::Retire);
}

/// Takes the replicas back and waits until the surge pods are gone.
pub fn look(turn: &mut Turn<'_>, run: &mut Run) -> Next {
    let Some(set) = turn.set() else { return Wait::new("Waiting for the StatefulSet").into() };
    let base = turn.base();
    let surge = run.batch.ordinals.clone();
    if set.replicas != base && set.replicas != base + run.surge {
        // Somebody set the replicas meanwhile, and their number counts. What was to go may stay.
        if let Some(next) = attach::take_back(turn, run) {
            return next;
        }
        batches::yield_replicas(turn, run);
        turn.state.pods.clear();
        turn.enter(run, Step::Restore);
        return Next::Again;
    }
    if set.replicas > base {
        if let Some(next) = moved(turn, run).or_else(|| not_yet(turn, run)) {
            return next;
        }
        // Whether the controller is held up counts from here.
        turn.enter(run, Step::Retire);
        let effect = Effect::Scale { replicas: base, images: false };
        return Next::Act(effect, format!("Back to {base} replicas; {} may go", turn.seen.names(&surge)));
    }
    if turn.surge_ordinals(run) != surge {
        // Somebody moved the ordinals meanwhile: what was to go is one of the replicas, or goes without us.
        if let Some(next) = attach::take_back(turn, run) {
            return next;
        }
        run.surge = 0;
        turn.state.pods.clear();
        turn.enter(run, Step::Restore);
        return Next::Again;
    }
    if let Some(next) = reprieve(turn, run, base) {
        return next;
    }
    let deadline = later(turn.first_entered(run), TIMEOUT);
    if set.update_revision.is_none() && !surge.is_empty() {
        // Until then it makes a surge pod that goes anew, and that one would get connections if the
        // levers were back.
        return turn.unnoticed(run, "the replicas").into();
    }
    let left = turn.records().find_map(|(record, pod)| Some((record.clone(), pod?)));
    if let Some((record, pod)) = left {
        let held_up = later(turn.since(run.entered), HELD_UP);
        let in_time = turn.now < held_up;
        if pod.uid == record.uid && !pod.terminating && !in_time {
            if let Some(next) = not_yet(turn, run) {
                return next;
            }
            turn.warn(
                Reason::SurgeRemoved,
                format!(
                    "The StatefulSet controller does not remove {}; it is drained and deleted directly",
                    pod.name
                ),
            );
            let effect = Effect::Delete { ordinal: record.ordinal, uid: record.uid };
            return Next::Act(effect, format!("Removing {}", pod.name));
        }
        let wait = Wait::new(format!("Waiting for {} to go", pod.name));
        let wait = if in_time { wait.until(held_up) } else { wait };
        return wait.deadline(deadline, turn.now, Reason::ReclaimTimedOut).into();
    }
    let unrecorded = surge.iter().find_map(|ordinal| turn.seen.pods.get(&ordinal));
    if let Some(pod) = unrecorded {
        // It came late, while the levers hold it: it goes before it gets a connection.
        return Wait::new(format!("Waiting for {} to go, which came late", pod.name))
            .deadline(deadline, turn.now, Reason::ReclaimTimedOut)
            .into();
    }
    if !surge.is_empty() {
        turn.note(Reason::SurgeRemoved, format!("{base} replicas again"));
    }
    // There is no surge any more: what is set from here on is what the user wants.
    run.surge = 0;
    turn.state.pods.clear();
    turn.enter(run, Step::Restore);
    Next::Again
}

/// A lever may let connections to a pod that waits for its turn to go, as in an `OrderedReady` set: its replica comes
/// back, and it is drained again before it goes. For one that ends it is too late.
fn reprieve(turn: &Turn<'_>, run: &Run, base: u32) -> Option<Next> {
    // Through one that is gone nobody comes.
    let may_serve = |ordinal, lever: &LeverView| lever.held != Held::Gone && !lever.holds(ordinal);
    let (pod, lever) = run.batch.ordinals.iter().find_map(|ordinal| {
        let pod = turn.seen.pods.get(&ordinal)?;
        let waits = !pod.terminating && !turn.owes_nothing(ordinal, pod);
        let lever = turn.levers(run).find(|lever| waits && may_serve(ordinal, lever))?;
        Some((pod, lever))
    })?;
    let replicas = base + run.surge;
    let text = format!(
        "{} may let new connections to {}, which waits to go; {replicas} replicas until it is drained again",
        lever.name, pod.name
    );
    Some(Next::Act(Effect::Scale { replicas, images: false }, text))
}

/// Somebody moved the ordinals: others would go than those that are drained, and these are no surge any more.
fn moved(turn: &mut Turn<'_>, run: &mut Run) -> Option<Next> {
    let surge = turn.surge_ordinals(run);
    if surge == run.batch.ordinals {
        return None;
    }
    if let Some(pod) = turn.ending() {
        let deadline = later(turn.first_entered(run), TIMEOUT);
        let wait =
            Wait::new(format!("Waiting for {} to go, which the StatefulSet has no place for", pod.name));
        return Some(wait.deadline(deadline, turn.now, Reason::ReclaimTimedOut).into());
    }
    Some(attach::take_back(turn, run).unwrap_or_else(|| {
        turn.begin(run, run.batch.kind, surge, Step::Detach);
        Next::Again
    }))
}

/// The last look before the surge goes: the guards of a deletion, as far as they concern it. A pod
/// that came anew since, or that counts again, is drained again.
fn not_yet(turn: &mut Turn<'_>, run: &mut Run) -> Option<Next> {
    let guards: Vec<Guard> =
        turn.guards.iter().copied().filter(|guard| SURGE_GUARDS.contains(guard)).collect();
    let refused = turn
        .records()
        .filter_map(|(record, pod)| Some((record, pod?)))
        .find_map(|(record, pod)| refusal(&guards, turn, run, record, pod));
    // Before anything is waited for: meanwhile connections come.
    if matches!(refused, Some((Guard::LeversHold, _)))
        && let Some(next) = still_held(turn, run)
    {
        return Some(next);
    }
    if let Some((_, Some(pod))) = turn.records().find(|(_, pod)| pod.is_some_and(|pod| pod.terminating)) {
        // It comes back anew, or is gone.
        let deadline = later(turn.first_entered(run), TIMEOUT);
        let wait = Wait::new(format!("Waiting for {} to end, which is on its way out", pod.name));
        return Some(wait.deadline(deadline, turn.now, Reason::ReclaimTimedOut).into());
    }
    if let Some(next) = absent_are_held(turn, run) {
        return Some(next);
    }
    let recorded = |ordinal: &u32| turn.state.pods.iter().any(|record| record.ordinal == *ordinal);
    let unrecorded =
        run.batch.ordinals.iter().any(|ordinal| turn.seen.pods.contains_key(&ordinal) && !recorded(&ordinal));
    let lost = match refused {
        None if !unrecorded => return None,
        Some((Guard::OthersServe, why)) => {
            let deadline = later(turn.first_entered(run), turn.plan.verify.timeout);
            let wait = Wait::new(format!("The surge is not removed yet: {why}"));
            Some(wait.deadline(deadline, turn.now, Reason::OthersNotReady).into())
        }
        Some(_) | None => None,
    };
    Some(lost.or_else(|| attach::take_back(turn, run)).unwrap_or_else(|| {
        let ordinals = run.batch.ordinals.clone();
        turn.begin(run, run.batch.kind, ordinals, Step::Detach);
        Next::Again
    }))
}

/// The levers are set again where they do not hold the surge any more, and what has come meanwhile has its own time to
/// go.
fn still_held(turn: &mut Turn<'_>, run: &mut Run) -> Option<Next> {
    let next = levers::still_held(turn, run)?;
    run.draining_since = None;
    run.forced = false;
    Some(next)
}

/// A surge pod that is away just now may come back before the controller takes notice of the
/// replicas: the levers hold it then, in force.
fn absent_are_held(turn: &mut Turn<'_>, run: &mut Run) -> Option<Next> {
    if run.batch.ordinals.iter().all(|ordinal| turn.seen.pods.contains_key(&ordinal)) {
        return None;
    }
    if let Some(next) = still_held(turn, run) {
        return Some(next);
    }
    if turn.seen.levers.iter().any(|lever| lever.site == Site::Pods) {
        // Nothing can hold a pod that is not there. One that is away for so long cannot be made.
        let held_up = later(turn.first_entered(run), HELD_UP);
        if turn.now < held_up {
            let text = "Waiting for the surge pods that are away: they would come back attached";
            return Some(Wait::new(text).until(held_up).into());
        }
    }
    let in_force = |lever: &LeverView| matches!(lever.confirmed, Confirmation::Confirmed(_));
    if turn.levers(run).all(in_force) {
        return None;
    }
    turn.enter(run, Step::Detach);
    Some(Next::Again)
}
