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

    /// What to do about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                // A stale version is 409; a uid that is not the expected one is 422.
                kube::Error::Api(status) if matches!(status.code, 409 | 422) => Class::Conflict,
                _ => Class::Retry,
            },
            Self::Amount(_) | Self::Levers(_) | Self::Probe(_) => Class::Invalid,
            Self::Lever(_) | Self::Counter(_) | Self::Incomplete(_) => Class::Retry,
        }
    }
}
