//! Waiting for a condition, never for luck.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::error::LabError;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(100);

/// Why a scenario could not be played.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The lab itself failed.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The API server refused or did not answer.
    #[error("API server of the lab: {0}")]
    Api(#[from] kube::Error),
    /// An object of the scenario cannot be written as Kubernetes has it.
    #[error("an object of the scenario: {0}")]
    Object(#[from] serde_json::Error),
    /// Something that was waited for did not happen.
    #[error("waited {} s until {what}; at last: {seen}", limit.as_secs())]
    TooLate {
        /// The condition.
        what: String,
        /// How long was waited.
        limit: Duration,
        /// What was there instead.
        seen: String,
    },
}

/// What a look at a condition found.
pub type Look<T> = Result<T, String>;

/// Looks until the condition holds and returns what it found; `look` says what it saw instead as the inner error.
///
/// # Errors
/// [`ScenarioError::TooLate`] with the last look after `limit`; an error of a look at once.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    look: impl AsyncFn() -> Result<Look<T>, ScenarioError>,
) -> Result<T, ScenarioError> {
    let start = Instant::now();
    loop {
        match look().await? {
            Ok(found) => return Ok(found),
            Err(seen) if start.elapsed() > limit => {
                return Err(ScenarioError::TooLate { what: what.to_owned(), limit, seen });
            }
            Err(_) => sleep(POLL).await,
        }
    }
}
