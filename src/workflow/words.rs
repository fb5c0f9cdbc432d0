//! What the user says by annotations on the object, once per value.

use serde::{Deserialize, Serialize};

/// The user's words, each handled once per value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Actions {
    /// `lossless-upgrade.io/abort`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort: Option<String>,
    /// `lossless-upgrade.io/rollback`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<String>,
    /// `lossless-upgrade.io/retry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<String>,
}

impl Actions {
    /// Which of these words are new beside those that were handled.
    #[must_use]
    pub fn beside(&self, handled: &Self) -> NewWords {
        let new = |asked: &Option<String>, handled: &Option<String>| asked.is_some() && asked != handled;
        NewWords {
            abort: new(&self.abort, &handled.abort),
            rollback: new(&self.rollback, &handled.rollback),
            retry: new(&self.retry, &handled.retry),
        }
    }
}

/// The user's words that were not acted on yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewWords {
    /// `lossless-upgrade.io/abort`.
    pub abort: bool,
    /// `lossless-upgrade.io/rollback`.
    pub rollback: bool,
    /// `lossless-upgrade.io/retry`.
    pub retry: bool,
}
