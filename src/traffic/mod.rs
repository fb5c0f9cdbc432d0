//! Levers: what takes a pod out of the load balancer and puts it back.
//!
//! | file | what is in it |
//! |---|---|
//! | `mod.rs` | the contract [`Lever`], its words, and the table from spec to lever |
//! | `spec.rs` | what users write under `spec.traffic.levers[]` |
//! | `tke_service.rs` | lever `tkeService`: which Services, their problems and warnings |
//! | `lb_rs_weight.rs`, `json.rs` | the annotation it writes: merged so that foreign bytes survive |
//! | `sync_stamps.rs` | how it knows that a write is in force |
//! | `none.rs` | lever `none`: nothing to move |
//! | `problems.rs` | what is wrong with a Service or a spec, in the user's words |
//! | `cover.rs` | which Services send traffic to the pods, and which of them no lever covers |
//! | `apply.rs` | the one place that writes |
//! | `contract.rs` | the test that every lever must pass |
//!
//! A lever is pure over the object that it writes. It is level-based: each value is made anew from
//! the live one, the value from before the run, and the ordinals to hold, so that a repeated, late
//! or lost write heals by looking again.

pub mod apply;
#[cfg(test)]
mod contract;
pub mod cover;
mod json;
mod lb_rs_weight;
mod none;
mod problems;
pub mod spec;
pub mod sync_stamps;
mod tke_service;

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::workflow::ordinals::OrdinalSet;
pub use json::Malformed;
pub use problems::{Problem, SpecProblem, Warning};
use spec::LeverSpec;
pub use sync_stamps::WriteRecord;

/// The pods that a lever moves.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Name of the StatefulSet.
    pub set: &'a str,
    /// Its `spec.serviceName`; empty when it has none.
    pub governing: &'a str,
    /// Labels of the pod template.
    pub pod_labels: &'a BTreeMap<String, String>,
    /// Annotations of the pod template.
    pub pod_annotations: &'a BTreeMap<String, String>,
}

/// Every kind of lever. The text form is the name of its member in the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LeverKind {
    /// Annotation `lb-rs-weight` on Services of Tencent TKE.
    TkeService,
    /// Nothing is moved.
    None,
}

impl LeverKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::TkeService, Self::None];
}

impl fmt::Display for LeverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TkeService => "tkeService",
            Self::None => "none",
        })
    }
}

/// What moves pods out of a load balancer and back. Pure: no client, no clock.
pub trait Lever: Send + Sync + fmt::Debug {
    /// Which lever this is.
    fn kind(&self) -> LeverKind;

    /// Whether a detached ordinal is still detached after its pod was deleted and made again.
    fn survives_recreation(&self) -> bool;

    /// The annotation of a Service that this lever writes; `None` when it writes nothing.
    fn key(&self) -> Option<&'static str>;

    /// The Services that it will write, out of all Services of the namespace, sorted.
    ///
    /// # Errors
    /// Everything that keeps the lever from working, found before anything is written.
    fn services(&self, target: &Target<'_>, all: &[Service]) -> Result<Selection, Vec<Problem>>;

    /// What of ours the live object holds. `before` is the value from before the run.
    fn held(&self, live: &Service, target: &Target<'_>, before: Option<&str>) -> Held;

    /// The value that makes `live` hold exactly these ordinals: the live value with only our
    /// StatefulSet's entries made anew from those in `before`. `None`: the annotation goes. With
    /// no ordinal and no foreign write since, it is `before`, byte for byte.
    ///
    /// # Errors
    /// A live or old value that cannot be understood: nothing may be written over it.
    fn render(
        &self,
        live: &Service,
        target: &Target<'_>,
        before: Option<&str>,
        detached: &OrdinalSet,
    ) -> Result<Option<String>, Problem>;

    /// The live value in other bytes and with the same meaning, so that the cloud's controller
    /// looks at it again. Asked for by [`Confirmation::Doubtful`].
    fn again(&self, live: &Service) -> Option<String>;

    /// Whether the live value, which the caller has found to be ours, is in force in the load
    /// balancer.
    fn confirmed(&self, live: &Service, write: &WriteRecord, now: Timestamp) -> Confirmation;

    /// The live value of [`Lever::key`]: what is saved as `before` when a run begins.
    fn value<'a>(&self, live: &'a Service) -> Option<&'a str> {
        annotation(live, self.key()?)
    }
}

/// The Services of a lever, and what the user should know about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Names, sorted.
    pub services: Vec<String>,
    /// What may disturb the run, or make it slow, and does not forbid it.
    pub warnings: Vec<Warning>,
}

/// What of ours a live object holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Our entries are as we write them for these ordinals, on every port.
    Ordinals(OrdinalSet),
    /// Somebody else changed our entries, or they differ from port to port.
    Foreign {
        /// Where, and what is there.
        what: String,
    },
    /// The live value cannot be understood: Unknown, never detached.
    Unreadable {
        /// What is wrong with it.
        why: String,
    },
}

/// Whether a written value is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// The load balancer follows it.
    Confirmed {
        /// An instant after which it surely did; settling is counted from here.
        at: Timestamp,
    },
    /// Not yet; it will show by itself.
    Pending {
        /// What is waited for.
        why: String,
    },
    /// Perhaps; waiting brings no more light. Write [`Lever::again`], best at
    /// [`apply::best_write_moment`], and look again.
    Doubtful {
        /// What is in doubt.
        why: String,
    },
    /// No way to tell; the user has to act.
    Unknown {
        /// What is missing and what to do.
        why: String,
    },
}

/// The table: one item of the spec to its lever.
///
/// # Errors
/// When not exactly one member is set.
pub fn lever(spec: &LeverSpec) -> Result<Box<dyn Lever>, SpecProblem> {
    match spec {
        LeverSpec { tke_service: Some(tke), none: None } => Ok(Box::new(tke_service::TkeService::new(tke))),
        LeverSpec { tke_service: None, none: Some(spec::NoneSpec {}) } => Ok(Box::new(none::NoLever)),
        LeverSpec { tke_service: None, none: None } => Err(SpecProblem::NoMember),
        LeverSpec { tke_service: Some(_), none: Some(_) } => Err(SpecProblem::SeveralMembers),
    }
}

/// The lever of a kind with no settings: what puts back what a lever wrote that has left the spec since.
#[must_use]
pub fn of_kind(kind: LeverKind) -> Box<dyn Lever> {
    match kind {
        LeverKind::TkeService => Box::new(tke_service::TkeService::new(&spec::TkeServiceSpec::default())),
        LeverKind::None => Box::new(none::NoLever),
    }
}

/// All levers of a spec, in its order.
///
/// # Errors
/// When there is none, an item is not exactly one lever, or `none` has company.
pub fn levers(specs: &[LeverSpec]) -> Result<Vec<Box<dyn Lever>>, SpecProblem> {
    let levers = specs.iter().map(lever).collect::<Result<Vec<_>, _>>()?;
    match levers.len() {
        0 => Err(SpecProblem::Empty),
        1 => Ok(levers),
        _ if levers.iter().any(|lever| lever.kind() == LeverKind::None) => Err(SpecProblem::NoneNotAlone),
        _ => Ok(levers),
    }
}

/// The value of an annotation of a Service.
pub(crate) fn annotation<'a>(service: &'a Service, key: &str) -> Option<&'a str> {
    service.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use spec::{NoneSpec, TkeServiceSpec};

    #[test]
    fn an_item_is_exactly_one_lever_and_none_stands_alone() {
        let tke = LeverSpec { tke_service: Some(TkeServiceSpec::default()), none: None };
        let none = LeverSpec { tke_service: None, none: Some(NoneSpec {}) };
        let both = LeverSpec { none: Some(NoneSpec {}), ..tke.clone() };
        for (specs, expected) in [
            (vec![tke.clone()], Ok(1)),
            (vec![none.clone()], Ok(1)),
            (vec![tke.clone(), tke.clone()], Ok(2)),
            (vec![], Err(SpecProblem::Empty)),
            (vec![LeverSpec::default()], Err(SpecProblem::NoMember)),
            (vec![both], Err(SpecProblem::SeveralMembers)),
            (vec![tke, none], Err(SpecProblem::NoneNotAlone)),
        ] {
            assert_eq!(levers(&specs).map(|levers| levers.len()), expected);
        }
    }

    #[test]
    fn a_kind_is_written_as_its_member_in_the_spec() {
        for kind in LeverKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.to_string());
        }
    }
}
