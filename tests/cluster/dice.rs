//! Chance that can be played again, and how much of it.

use std::ops::Range;
use std::time::Duration;

/// Random numbers from a seed that is printed.
pub struct Dice(fastrand::Rng);

impl Dice {
    /// A new seed, or the one that `SEED` says.
    pub fn cast(what: &str) -> Self {
        let seed = setting("SEED").and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
        println!("    {what}: SEED={seed} plays the same again");
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A length of time.
    pub fn time(&mut self, range: Range<Duration>) -> Duration {
        let length = range.end.saturating_sub(range.start).mul_f64(self.0.f64());
        range.start + length
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end)
    }
}

/// How often: few in every run of the tests, many in `make soak`.
pub fn times(few: u32, many: u32) -> u32 {
    if soaks() { many } else { few }
}

/// Whether the tests may take as long as they like.
pub fn soaks() -> bool {
    setting("SOAK").is_some()
}

#[expect(clippy::disallowed_methods, reason = "the one place where the tests read what they are told")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
