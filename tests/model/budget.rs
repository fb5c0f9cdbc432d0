//! A world in which fewer faults and edits have happened can go every way that the same world can go in
//! which more have: the latter need not be looked at once the former was.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::world::World;

/// Counts from here on are told apart no more; no configuration has as many.
const MOST: u8 = 4;

/// With how much behind them the worlds were met, by a hash of each.
#[derive(Default)]
pub struct Budgets {
    hasher: ahash::RandomState,
    /// A bit for each number of faults and edits.
    met: Mutex<HashMap<u64, u16, ahash::RandomState>>,
    retold: AtomicBool,
}

fn bit(faults: u8, edits: u8) -> u16 {
    1 << (faults * MOST + edits)
}

impl Budgets {
    /// Whether the world may lead to something that no other one led to.
    pub fn is_worth_a_look(&self, world: &World) -> bool {
        if self.retold.load(Ordering::Relaxed) {
            return true;
        }
        assert!(world.faults < MOST && world.edits < MOST, "more than there are bits for");
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        let met = met.entry(self.hasher.hash_one(world.without_counts())).or_default();
        *met |= bit(world.faults, world.edits);
        let less =
            (0..=world.faults).flat_map(|faults| (0..=world.edits).map(move |edits| bit(faults, edits)));
        less.filter(|less| *less != bit(world.faults, world.edits)).all(|less| *met & less == 0)
    }

    /// From here on ways are gone once more, to tell them: those that led to what was met too.
    pub fn retell(&self) {
        self.retold.store(true, Ordering::Relaxed);
    }
}
