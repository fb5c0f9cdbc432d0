//! The one place of the lab that reads the wall clock. Everything else takes a time as an argument, or uses
//! tokio's monotonic clock for waiting.

use jiff::Timestamp;

/// Now, as this machine has it. The lab's API server, balancer and load all run on this one clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the lab's one reading of the wall clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}
