//! The only place that reads time. Everything else takes it as an argument.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// Wall time for what is stored and shown, monotonic time for what is measured.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    wall: Wall,
}

/// Where wall time comes from.
#[derive(Clone, Copy, Debug)]
enum Wall {
    /// The machine.
    Machine,
    /// It was this when the clock was made, and goes on with the monotonic time.
    Since(Timestamp),
}

impl Clock {
    /// The machine's clock; its monotonic zero is now.
    #[must_use]
    pub fn system() -> Self {
        Self { start: Instant::now(), wall: Wall::Machine }
    }

    /// A clock that says `wall` now and goes on with the runtime's time: with one that is paused it
    /// is virtual, and with another `wall` it is the clock of a machine that goes wrong.
    #[must_use]
    pub fn beginning_at(wall: Timestamp) -> Self {
        Self { start: Instant::now(), wall: Wall::Since(wall) }
    }

    /// Wall time. It may jump either way, so no wait that protects a connection is measured with it.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this module is the one that may read time")]
    pub fn now(&self) -> Timestamp {
        match self.wall {
            Wall::Machine => Timestamp::now(),
            Wall::Since(wall) => wall.checked_add(self.start.elapsed()).unwrap_or(Timestamp::MAX),
        }
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

    #[tokio::test(start_paused = true)]
    async fn a_clock_with_a_beginning_goes_on_with_the_runtime() {
        let clock = Clock::beginning_at(Timestamp::UNIX_EPOCH);
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.now().as_second(), 90);
        assert_eq!(clock.monotonic(), Duration::from_secs(90));
    }
}
