//! What can go wrong in a reconcile, by what to do about it.

use crate::api::plan::NotAnAmount;
use crate::drain::Refusal;
use crate::traffic::{Problem, SpecProblem};

/// A reconcile that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or did not answer.
    #[error("{what}: {source}")]
    Api {
        /// What was being done.
        what: &'static str,
        /// The answer.
        source: Box<kube::Error>,
    },
    /// The spec cannot be read.
    #[error(transparent)]
    Amount(#[from] NotAnAmount),
    /// The spec's levers cannot be read.
    #[error(transparent)]
    Levers(#[from] SpecProblem),
    /// A lever's value cannot be made.
    #[error(transparent)]
    Lever(#[from] Problem),
    /// A drain counter may not be started.
    #[error(transparent)]
    Counter(#[from] Refusal),
    /// A probe of the spec cannot be made.
    #[error("spec.drain.probes: {0}")]
    Probe(Refusal),
    /// What is to be done at the start of a drain cannot be made.
    #[error("spec.drain.onStart: {0}")]
    Nudge(Refusal),
    /// The object was written by an operator that knows more than this one.
    #[error(
        "the status was written by a newer operator (form {found}; this one knows forms up to {known}), so this one leaves the object alone. Run the newer operator again"
    )]
    Newer {
        /// The form of the status.
        found: u32,
        /// The newest form that this operator knows.
        known: u32,
    },
    /// The object cannot be read as one of ours.
    #[error("the object cannot be read: {0}. It was left alone; is the operator older than what wrote it?")]
    Unreadable(String),
    /// An object lacks what the API server always gives.
    #[error("{0}")]
    Incomplete(&'static str),
}

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The world moved: look again at once.
    Conflict,
    /// Try again later, more and more slowly.
    Retry,
    /// The user has to change the object.
    Invalid,
}

impl Class {
    /// Label value for metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Retry => "retry",
            Self::Invalid => "invalid",
        }
    }
}

impl Error {
    /// Wraps an answer of the API server with what was being done.
    pub fn api(what: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Api { what, source: Box::new(source) }
    }

    /// Whether a write that ended so may have been made, or may still be made. A refusal says no; a
    /// lost answer and an API server in trouble say nothing.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => status.code >= 500 || status.code == 408,
                _ => true,
            },
            Self::Amount(_)
            | Self::Levers(_)
            | Self::Lever(_)
            | Self::Counter(_)
            | Self::Probe(_)
            | Self::Nudge(_)
            | Self::Newer { .. }
            | Self::Unreadable(_)
            | Self::Incomplete(_) => false,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                // A stale version is 409; a uid that is not the expected one is 422.
                kube::Error::Api(status) if matches!(status.code, 409 | 422) => Class::Conflict,
                _ => Class::Retry,
            },
            Self::Amount(_)
            | Self::Levers(_)
            | Self::Probe(_)
            | Self::Nudge(_)
            | Self::Newer { .. }
            | Self::Unreadable(_) => Class::Invalid,
            Self::Lever(_) | Self::Counter(_) | Self::Incomplete(_) => Class::Retry,
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn answered(code: u16) -> Error {
        let status = Status { code, ..Status::default() };
        Error::api("writing")(kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn a_refused_write_was_not_made_and_a_lost_answer_says_nothing() {
        for code in [400, 401, 403, 404, 409, 410, 422, 429] {
            assert!(!answered(code).is_outcome_unknown(), "{code}");
        }
        for code in [408, 500, 502, 503, 504] {
            assert!(answered(code).is_outcome_unknown(), "{code}");
        }
        let lost = Error::api("writing")(kube::Error::Service("the connection was closed".into()));
        assert!(lost.is_outcome_unknown());
    }

    #[test]
    fn a_world_that_moved_is_looked_at_again_at_once_and_all_else_later() {
        for (code, class) in
            [(409, Class::Conflict), (422, Class::Conflict), (429, Class::Retry), (500, Class::Retry)]
        {
            assert_eq!(answered(code).class(), class, "{code}");
        }
    }
}
