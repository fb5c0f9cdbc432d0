//! What is to be recorded and then done.

use jiff::Timestamp;

use super::ordinals::{Ordinal, OrdinalSet};
use super::reasons::{Problem, Reason};
use super::state::{State, Step};

/// The answer of `decide`.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// To be recorded before the effect.
    pub state: State,
    /// The one act on the world that the recorded state orders.
    pub effect: Option<Effect>,
    /// Look again at this moment at the latest; none: when something changes.
    pub wake: Option<Timestamp>,
    /// One sentence: what is being done or waited for.
    pub message: String,
    /// The wait is over its deadline, or cannot end by itself.
    pub stalled: Option<Reason>,
    /// When the step's deadline is.
    pub deadline: Option<Timestamp>,
    /// What happened, for events.
    pub notes: Vec<Note>,
    /// The steps that the run entered in this look, in order.
    pub trail: Vec<Step>,
}

/// Something worth an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What kind.
    pub reason: Reason,
    /// One sentence.
    pub text: String,
    /// Whether it is a warning.
    pub warning: bool,
}

impl From<Problem> for Note {
    fn from(problem: Problem) -> Self {
        Self { reason: problem.reason, text: problem.text, warning: true }
    }
}

/// One act on the world. Each names what it is about by identity, so that it can be refused when
/// the world has moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make the StatefulSet have these replicas and, with `images`, the plan's images.
    Scale {
        /// `spec.replicas`.
        replicas: u32,
        /// Whether the plan's images go into the template in the same write.
        images: bool,
    },
    /// Put the saved template back; only while the update revision is still the failed one.
    RestoreTemplate,
    /// Make every lever hold exactly these ordinals, one object at a time.
    SetLevers {
        /// The ordinals that get no new connections.
        detached: OrdinalSet,
        /// Write although the value is right, so that the load balancer answers anew.
        again: bool,
    },
    /// Start a drain counter in the pod.
    StartCounter {
        /// Which pod.
        ordinal: Ordinal,
        /// Its identity.
        uid: String,
    },
    /// Nudge the pods, whose drain begins. It is ordered once: one that is lost in a crash after it was
    /// recorded is not made up for, as nobody knows whether it was done.
    Nudge {
        /// Which pods, with their identity.
        pods: Vec<(Ordinal, String)>,
    },
    /// Delete the pod.
    Delete {
        /// Which pod.
        ordinal: Ordinal,
        /// Its identity.
        uid: String,
    },
    /// Patch the pod so that a delete still under way conflicts.
    Fence {
        /// Which pod.
        ordinal: Ordinal,
        /// Its identity.
        uid: String,
        /// The annotation's new value.
        mark: String,
    },
    /// Patch the StatefulSet so that a write still under way conflicts; without a mark, take the
    /// annotation off again.
    FenceSet {
        /// The annotation's new value.
        mark: Option<String>,
    },
    /// Patch a lever's object so that a write still under way conflicts; without a mark, take the
    /// annotation off again.
    FenceLever {
        /// The lever by its name in what was seen.
        lever: String,
        /// The annotation's new value.
        mark: Option<String>,
    },
    /// Let the object go.
    RemoveFinalizer,
}
