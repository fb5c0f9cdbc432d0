//! What may never happen: the design's invariants on each decision, and what is really so in the
//! cluster whatever the procedure believes.

use crate::workflow::decision::Decision;
use crate::workflow::invariants::{ALL, Moment};
use crate::workflow::state::{State, Step};
use crate::workflow::transitions::allowed;
use stateright::Property;

use super::Upgrade;
use super::liveness::Verdict;
use super::normal::NOW;
use super::world::{Pod, Pods, What, World};

/// Something that may never happen: the design's invariants by their number there, or one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Broken {
    /// `invariants::ALL`, counted from 0.
    Invariant(usize),
    OwedBytes,
    TooFewServe,
    NobodyServes,
    DeletedTwice,
    WrongStep,
    Spins,
}

/// An invariant without a property here does not compile; else only the long check would find it.
const _: () = assert!(ALL.len() == 10, "give the new invariant its line in `all`");

/// The properties in the words of stateright. Those of a single decision or act are noted in the
/// world when they break; how a run ends is found out from each state.
pub fn all() -> Vec<Property<Upgrade>> {
    macro_rules! never {
        ($($name:expr => $broken:expr),+ $(,)?) => {
            vec![$(Property::always($name, |_, world: &World| world.broken != Some($broken))),+]
        };
    }
    let mut all = never![
        ALL[0].0 => Broken::Invariant(0),
        ALL[1].0 => Broken::Invariant(1),
        ALL[2].0 => Broken::Invariant(2),
        ALL[3].0 => Broken::Invariant(3),
        ALL[4].0 => Broken::Invariant(4),
        ALL[5].0 => Broken::Invariant(5),
        ALL[6].0 => Broken::Invariant(6),
        ALL[7].0 => Broken::Invariant(7),
        ALL[8].0 => Broken::Invariant(8),
        ALL[9].0 => Broken::Invariant(9),
        "a pod with open connections does not go by our hand" => Broken::OwedBytes,
        "our hand leaves as many to serve as there must be" => Broken::TooFewServe,
        "our hand leaves somebody to serve" => Broken::NobodyServes,
        "a pod is deleted once" => Broken::DeletedTwice,
        "a step is followed by what the table says" => Broken::WrongStep,
        "a look that changes nothing says why, and asks for no other at once" => Broken::Spins,
    ];
    assert_eq!(all.len(), ALL.len() + 6, "each invariant of the design is a property");
    all.push(Property::always("every run ends, or says what it waits for", |model: &Upgrade, world| {
        !matches!(model.fate(world).verdict, Verdict::Hangs | Verdict::Wanders)
    }));
    all.push(Property::always(
        "at the end levers, replicas and pods are as they should be",
        |model: &Upgrade, world| model.fate(world).verdict != Verdict::LeavesSomething,
    ));
    all
}

/// What is wrong with a decision, by what the procedure can know.
pub fn of_decision(moment: &Moment<'_>) -> Option<Broken> {
    let Decision { state, effect, wake, trail, message, .. } = moment.decision;
    let invariant = ALL.iter().position(|(_, check)| check(moment).is_err()).map(Broken::Invariant);
    if invariant.is_some() {
        return invariant;
    }
    let mut step = moment.before.run.as_ref().map(|run| run.step);
    for next in trail {
        // A new run begins with Preflight, whatever the last one ended with.
        if *next != Step::Preflight && step.is_some_and(|step| !allowed(step, *next)) {
            return Some(Broken::WrongStep);
        }
        step = Some(*next);
    }
    let idle = effect.is_none() && state == moment.before;
    let at_once = wake.is_some_and(|wake| wake <= NOW);
    (idle && (at_once || message.is_empty())).then_some(Broken::Spins)
}

/// What is wrong with an act that was decided just now, by what is really so.
pub fn of_act(world: &World, state: &State, what: What, batch: u32) -> Option<Broken> {
    let serving = Pods::which(|ordinal| world.reached(ordinal));
    // The load balancer takes in the annotation as a whole, so who is let in again serves as the others go.
    let ready = world.which(Pod::ready);
    let (taken, left) = match what {
        // What the annotation has already taken was judged when it did.
        What::Levers { detached, .. } => {
            (serving.and(detached).without(world.lever.value), ready.without(detached))
        }
        What::Delete(ordinal) => {
            let gone = Pods::which(|one| one == ordinal);
            (serving.and(gone), serving.without(gone))
        }
        What::Scale { replicas, .. } => {
            let gone = Pods::which(|one| one >= usize::from(replicas));
            (serving.and(gone), serving.without(gone))
        }
        What::Template | What::Fence(_) | What::MarkSet(_) | What::MarkLever(_) | What::Finalizer => {
            return None;
        }
    };
    // What lies beyond the replicas is going already.
    let taken = taken.and(Pods::which(|ordinal| ordinal < usize::from(world.set.replicas)));
    if taken.is_empty() {
        return None;
    }
    if left.is_empty() {
        return Some(Broken::NobodyServes);
    }
    let (run, saved) = (state.run.as_ref()?, state.saved.as_ref()?);
    let floor = if run.surge >= batch { saved.replicas } else { saved.replicas.saturating_sub(batch) };
    // A run that is told to leave waits for the others for a time only, and then its surge goes.
    let surge = Pods::which(|ordinal| ordinal >= saved.replicas as usize);
    let leaves = run.leaving_since.is_some() && taken.without(surge).is_empty();
    (left.len() < floor && !leaves).then_some(Broken::TooFewServe)
}

/// What is wrong with a pod's going by our hand at this moment.
pub fn of_going(world: &World, ordinal: usize, excused: bool) -> Option<Broken> {
    let pod = world.pods[ordinal]?;
    if pod.deleted_by_us {
        return Some(Broken::DeletedTwice);
    }
    (pod.owing && !pod.terminating && !excused).then_some(Broken::OwedBytes)
}
