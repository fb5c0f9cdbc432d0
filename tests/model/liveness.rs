//! From every state: if nothing more goes wrong, does it end? The way on is one and always the same,
//! so each state is asked once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::workflow::state::Rest;

use super::Upgrade;
use super::actions::{Action, calm};
use super::normal::Age;
use super::world::{Mark, Word, World};

/// More steps than any way to the end has.
const MOST_STEPS: u16 = 200;

/// How a way ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No run is under way, or it says what it waits for.
    Ends,
    /// Nothing happens any more, and it does not say why.
    Hangs,
    /// It goes on for ever.
    Wanders,
    /// It ends, and something of the run is left.
    LeavesSomething,
}

/// A verdict, and how many steps away it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    pub verdict: Verdict,
    pub steps: u16,
}

/// The fates that are known, by a hash of the state.
#[derive(Default)]
pub struct Fates {
    hasher: ahash::RandomState,
    known: Mutex<HashMap<u64, Fate, ahash::RandomState>>,
    /// Two properties ask for the fate of each state, one after the other.
    last: Mutex<Option<(World, Fate)>>,
}

impl Fates {
    /// How much went wrong before makes no difference where nothing more does.
    fn key(&self, world: &World) -> u64 {
        self.hasher.hash_one(world.without_counts())
    }

    /// The longest way to an end.
    pub fn longest(&self) -> u16 {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().map(|fate| fate.steps).max().unwrap_or_default()
    }
}

impl Upgrade {
    /// What becomes of the world if nothing more goes wrong.
    pub fn fate(&self, world: &World) -> Fate {
        let mut last = self.fates.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, fate)) = last.filter(|(asked, _)| asked == world) {
            return fate;
        }
        let fate = self.played(world);
        *last = Some((*world, fate));
        fate
    }

    /// Goes on until it meets a state whose fate is known, or an end.
    fn played(&self, world: &World) -> Fate {
        let known =
            |key: u64| self.fates.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        let mut way = Vec::new();
        let mut here = *world;
        let end = loop {
            let key = self.fates.key(&here);
            if let Some(fate) = known(key) {
                break fate;
            }
            way.push(key);
            match self.calmly(&here) {
                _ if way.len() > usize::from(MOST_STEPS) => {
                    break Fate { verdict: Verdict::Wanders, steps: 0 };
                }
                Some(action) => match self.after(&here, action) {
                    Some(next) => here = next,
                    None => break Fate { verdict: Verdict::Wanders, steps: 0 },
                },
                None => break Fate { verdict: self.verdict(&here), steps: 0 },
            }
        };
        let mut all = self.fates.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fate = end;
        for (key, steps) in way.into_iter().rev().zip(end.steps..) {
            fate.steps = steps;
            all.insert(key, fate);
        }
        fate
    }

    /// What happens next when nothing goes wrong; none: nothing happens any more.
    pub fn calmly(&self, world: &World) -> Option<Action> {
        if world.broken.is_some() {
            return None;
        }
        if let Some(cluster) = calm(world) {
            return Some(Action::Cluster(cluster));
        }
        if world.gone {
            return None;
        }
        let looked = self.look(world);
        let due = |age: Age| looked.wake == Some(age) || looked.deadline == Some(age);
        let time = Age::ALL.into_iter().filter(|age| due(*age)).map(Action::Time);
        let resume = (world.said == Some(Word::Pause)).then_some(Action::Resume);
        [Action::Look]
            .into_iter()
            .chain(resume)
            .chain(time)
            .find(|action| self.after(world, *action).is_some())
    }

    fn verdict(&self, world: &World) -> Verdict {
        if world.broken.is_some() {
            return Verdict::Ends;
        }
        let state = self.records.get(world.record);
        let looked = self.look(world);
        if state.run.is_some() && !world.gone {
            return if looked.stalled { Verdict::Ends } else { Verdict::Hangs };
        }
        let told = world.gone || looked.stalled || !matches!(state.rest, Rest::Blocked(_));
        let arrived =
            world.gone || given_up(&state.rest) || world.which(|pod| pod.image != world.set.image).is_empty();
        let unmarked = world.set.mark == Mark::None && world.lever.mark == Mark::None;
        // Past its deadline a deletion leaves the surge for the user to remove, and says so.
        let left = world.gone && world.overdue;
        let kept = (world.set.replicas == world.wanted || left) && world.lever.value.is_empty() && unmarked;
        if arrived && kept && told { Verdict::Ends } else { Verdict::LeavesSomething }
    }
}

/// Whether a run was given up rather than ended.
pub fn given_up(rest: &Rest) -> bool {
    match rest {
        Rest::RolledBack(_) | Rest::Aborted(_) | Rest::Blocked(_) => true,
        Rest::Idle | Rest::Succeeded => false,
    }
}
