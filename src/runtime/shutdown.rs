//! The end of the process: asked for by a signal, over within five seconds.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long the reconciles under way may take to finish once the end was asked for.
pub const FINISH: Duration = Duration::from_secs(3);

/// How long everything may take once the end was asked for; under the 5 s that are promised.
const LIMIT: Duration = Duration::from_millis(4500);

/// A token that is cancelled by the first SIGTERM or SIGINT.
///
/// # Errors
/// When the signal handlers cannot be installed.
pub fn on_signal() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let asked = stop.clone();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
        asked.cancel();
    });
    Ok(stop)
}

/// The program was asked to stop and did not.
#[derive(Debug, thiserror::Error)]
#[error(
    "the program did not stop within {LIMIT:?} of being asked, so it was cut off; what it was doing is in the log above"
)]
pub struct CutOff;

/// Runs `program`, but no longer than the limit after `stop` was asked for.
///
/// # Errors
/// [`CutOff`] when the limit passed. What was under way is then dropped: every effect of ours is
/// recorded before it is made, so the next process goes on from there.
pub async fn within_limit<T>(
    stop: &CancellationToken,
    program: impl Future<Output = T>,
) -> Result<T, CutOff> {
    let limit = async {
        stop.cancelled().await;
        tokio::time::sleep(LIMIT).await;
    };
    tokio::select! {
        outcome = program => Ok(outcome),
        () = limit => Err(CutOff),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_ends_by_itself_gives_its_outcome() {
        let stop = CancellationToken::new();
        assert_eq!(within_limit(&stop, async { 7 }).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_program_that_ignores_the_request_to_stop_is_cut_off() {
        let stop = CancellationToken::new();
        stop.cancel();
        let outcome =
            tokio::time::timeout(Duration::from_secs(6), within_limit(&stop, std::future::pending::<()>()));
        assert!(outcome.await.expect("cut off by the limit, not by the test").is_err());
    }
}
