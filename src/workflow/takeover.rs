//! A process that finds a run which another one carried. What that one has ordered may still be
//! under way, and would land on whatever this one decides next. So the record goes over first, which
//! ends its orders; then every object that an order may be on its way to is patched, so that its
//! version moves and the order is refused. Pods are fenced where they stop being deletable.

use std::time::Duration;

use jiff::Timestamp;

use super::decision::Effect;
use super::observed::{Held, PodView, Site};
use super::ordinals::{Ordinal, OrdinalSet};
use super::state::{Run, Step};
use super::turn::{Next, Turn, Wait, later};

/// How far the clocks of two operators may differ.
const SKEW: Duration = Duration::from_secs(30);

/// Takes the run over where another process carried it; none: it is ours and nothing is under way.
pub fn look(turn: &Turn<'_>, run: &mut Run) -> Option<Next> {
    if turn.seen.namespace_terminating {
        return None;
    }
    if run.carrier != turn.seen.process {
        if let Some(until) = turn.seen.yields_until.filter(|until| *until > turn.now) {
            let text =
                format!("Another operator, {}, carries this run; is leader election off?", run.carrier);
            return Some(Wait::new(text).until(until).into());
        }
        run.carrier.clone_from(&turn.seen.process);
        // Before the surge is asked for nothing is written but counters, which do no harm.
        run.fencing = run.step != Step::Preflight;
    }
    if !run.fencing {
        return None;
    }
    let mark = &run.carrier;
    let stale = |fence: &Option<String>| fence.as_ref() != Some(mark);
    let set = turn.set().filter(|set| set.uid == run.set_uid && !set.deleting);
    if let Some(set) = set.filter(|set| stale(&set.fence)) {
        let text = format!("Taking over: making sure that no late write reaches StatefulSet {}", set.name);
        return Some(Next::Act(Effect::FenceSet { mark: Some(mark.clone()) }, text));
    }
    let there = |held: &Held| match held {
        Held::Ordinals(_) | Held::Foreign(_) => true,
        Held::Unreadable(_) | Held::Gone => false,
    };
    for lever in turn.seen.levers.iter().filter(|lever| there(&lever.held)) {
        match &lever.site {
            Site::Object { fence } if stale(fence) => {
                let text = format!("Taking over: making sure that no late write reaches {}", lever.name);
                let effect = Effect::FenceLever { lever: lever.name.clone(), mark: Some(mark.clone()) };
                return Some(Next::Act(effect, text));
            }
            Site::Object { .. } => {}
            Site::Pods => {
                // The one write that can be under way is about a pod that is to be held or is held still.
                let pods = reached(turn, run, &lever.held);
                if let Some((ordinal, pod)) = pods.into_iter().find(|(_, pod)| stale(&pod.fence)) {
                    let text = format!("Taking over: making sure that no late write reaches {}", pod.name);
                    let effect = Effect::Fence { ordinal, uid: pod.uid.clone(), mark: mark.clone() };
                    return Some(Next::Act(effect, text));
                }
            }
        }
    }
    run.fencing = false;
    None
}

/// The pods that a late write of a lever on pods may reach.
fn reached<'a>(turn: &Turn<'a>, run: &Run, held: &Held) -> Vec<(Ordinal, &'a PodView)> {
    let held = match held {
        Held::Ordinals(held) => held.clone(),
        Held::Foreign(_) | Held::Unreadable(_) | Held::Gone => OrdinalSet::new(),
    };
    let batch = &run.batch.ordinals;
    let all = turn.seen.pods.iter().filter(|(_, pod)| !pod.terminating);
    all.map(|(ordinal, pod)| (*ordinal, pod))
        .filter(|(one, _)| held.contains(*one) || batch.contains(*one) || turn.state.detached.contains(*one))
        .collect()
}

/// Takes our marks off again, at the end of the run. Those of pods go with the pods.
pub fn clear(turn: &Turn<'_>) -> Option<Next> {
    if let Some(set) = turn.set().filter(|set| set.fence.is_some() && !set.deleting) {
        let text = format!("Taking the mark off StatefulSet {}", set.name);
        return Some(Next::Act(Effect::FenceSet { mark: None }, text));
    }
    let lever = turn.seen.levers.iter().find(|lever| lever.fence().is_some())?;
    let text = format!("Taking the mark off {}", lever.name);
    Some(Next::Act(Effect::FenceLever { lever: lever.name.clone(), mark: None }, text))
}

impl Turn<'_> {
    /// A recorded moment by this process' clock, and never earlier than it was. What was recorded
    /// before this process knew of the run was read from another clock: the wait that counts from it
    /// is longer by what the two may differ, but never longer than one that began when this process
    /// came to know.
    pub fn since(&self, recorded: Timestamp) -> Timestamp {
        let known = self.seen.known_since;
        if recorded >= known { recorded } else { known.min(later(recorded, SKEW)) }
    }

    /// When the step was first entered since the run last got somewhere.
    pub fn first_entered(&self, run: &Run) -> Timestamp {
        self.since(run.first_entered.get(&run.step).copied().unwrap_or(run.entered))
    }
}
