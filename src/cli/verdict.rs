//! Whether what is set now has arrived: what `wait` and `status -w` end by.

use k8s_openapi::api::apps::v1::StatefulSet;

use super::code::Code;
use super::get::halted;
use crate::api::LosslessUpgrade;
use crate::controller::observe::set_view;
use crate::workflow::state::Phase;

/// How things stand for the revision, and the images, that are set now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not over; what is waited for.
    Going(String),
    /// Every pod runs it.
    Arrived(String),
    /// It was rolled back or aborted.
    Failed(String),
    /// It does not go on without a person.
    Stuck(String),
}

impl Verdict {
    /// How a command ends by it; none: it is not over.
    pub const fn code(&self) -> Option<Code> {
        match self {
            Self::Going(_) => None,
            Self::Arrived(_) => Some(Code::Done),
            Self::Failed(_) => Some(Code::Failed),
            Self::Stuck(_) => Some(Code::Stuck),
        }
    }

    /// In a sentence.
    pub fn text(&self) -> &str {
        match self {
            Self::Going(text) | Self::Arrived(text) | Self::Failed(text) | Self::Stuck(text) => text,
        }
    }
}

/// The verdict on an object, by what its status has seen of the object and of the StatefulSet: a status
/// that is about what was set before says nothing.
pub fn verdict(object: &LosslessUpgrade, set: Option<&StatefulSet>) -> Verdict {
    let Some(status) = &object.status else {
        return Verdict::Going("Waiting for the operator to look at the object".into());
    };
    if status.observed_generation < object.metadata.generation.unwrap_or_default() {
        return Verdict::Going("Waiting for the operator to take notice of the object's new spec".into());
    }
    let raw = set.and_then(|set| set.status.as_ref());
    if let Some(set) = set {
        if raw.and_then(|raw| raw.observed_generation) < set.metadata.generation {
            let text = "Waiting for the StatefulSet controller to take notice of the new template";
            return Verdict::Going(text.into());
        }
        let seen = status.target.as_ref().map(|target| target.update_revision.as_str());
        if seen != raw.and_then(|raw| raw.update_revision.as_deref()) {
            return Verdict::Going("Waiting for the operator to take notice of the new revision".into());
        }
    }
    let message = status.message.clone();
    if halted(status) {
        let why = status.run.as_ref().and_then(|run| run.halted.as_ref()).map(|why| why.text.clone());
        return Verdict::Stuck(why.unwrap_or(message));
    }
    match status.phase {
        Phase::Succeeded | Phase::Idle if at_rest(object, set) => Verdict::Arrived(message),
        Phase::RolledBack | Phase::Aborted => Verdict::Failed(message),
        Phase::Blocked => Verdict::Stuck(message),
        Phase::Succeeded
        | Phase::Idle
        | Phase::Preflight
        | Phase::Surge
        | Phase::Detach
        | Phase::Drain
        | Phase::Replace
        | Phase::Verify
        | Phase::Attach
        | Phase::Soak
        | Phase::Reclaim
        | Phase::RollingBack
        | Phase::Aborting => Verdict::Going(message),
    }
}

/// A run that is wanted and held by `spec.paused` leaves the phase of the run before; and `images` that
/// the template has not are still to come.
fn at_rest(object: &LosslessUpgrade, set: Option<&StatefulSet>) -> bool {
    let status = object.status.as_ref();
    let all = status.is_some_and(|status| status.run.is_none() && status.updated_replicas == status.replicas);
    let set = set.and_then(|set| set_view(set).ok());
    all && set.is_none_or(|set| set.runs(&object.spec.images))
}
