//! The only place that reads time. Everything else takes it as an argument.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Wall time for what is stored and shown, monotonic time for what is measured.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// The machine's clock; its monotonic zero is now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this module is the one that may read time")]
    pub fn system() -> Self {
        Self { start: Instant::now() }
    }

    /// Wall time. It may jump either way, so no wait that protects a connection is measured with it.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this module is the one that may read time")]
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Time since this clock was made. It never goes back, and it means nothing to another process.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_never_goes_back() {
        let clock = Clock::system();
        let readings: Vec<_> = (0..1000).map(|_| clock.monotonic()).collect();
        assert!(readings.is_sorted());
    }
}
