//! Levers: what takes a pod out of the load balancer and puts it back.
//!
//! | file | what is in it |
//! |---|---|
//! | `mod.rs` | the contract [`Lever`], its words, and the table of all levers: one line each |
//! | `spec.rs` | what users write under `spec.traffic.levers[]` |
//! | `tke_service.rs` | lever `tkeService`: which Services, their problems and warnings |
//! | `tke_pod.rs`, `tke_pod/versions.rs` | lever `tkePod`: an annotation of the pods, and when each Service's balancer follows it; which controllers of TKE read it |
//! | `tencent.rs` | what both of them ask of a Service on TKE |
//! | `cce_service.rs`, `cce_service/release.rs` | lever `cceService`: the same for Huawei CCE; which releases of it have that |
//! | `weighed.rs`, `lb_rs_weight.rs`, `json.rs` | the annotation that both write: merged so that foreign bytes survive |
//! | `sync_stamps.rs` | how it knows that a write is in force |
//! | `serving.rs` | since when the pods serve that a balancer must have before others are taken out |
//! | `pod_label.rs` | lever `podLabel`: a label of the pods by which Services select them |
//! | `pods.rs`, `endpoints.rs` | what levers on pods share: all pods together; what EndpointSlices say of them |
//! | `clb.rs` | what Tencent's API is asked beside the stamps |
//! | `none.rs` | lever `none`: nothing to move |
//! | `problems.rs` | what is wrong with a Service or a spec, in the user's words |
//! | `cover.rs` | which Services send traffic to the pods, which of them no lever covers, and which send it where it is not wanted |
//! | `apply.rs` | the one place that writes |
//! | `contract.rs`, `contract/` | the tests that every lever must pass |
//!
//! A lever is pure over the objects that it writes: Services or pods. It is level-based: each value is made anew from
//! the live one, the value from before the run, and the ordinals to hold, so that a repeated, late
//! or lost write heals by looking again.

pub mod apply;
mod cce_service;
mod clb;
#[cfg(test)]
mod contract;
pub mod cover;
mod endpoints;
mod json;
pub mod labels;
mod lb_rs_weight;
mod none;
mod pod_label;
pub mod pods;
mod problems;
mod serving;
pub mod spec;
pub mod sync_stamps;
mod tencent;
mod tke_pod;
mod tke_service;
mod weighed;

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::tencent::spec::ConfirmByApiSpec;
use crate::workflow::ordinals::OrdinalSet;
pub use clb::{CloudAnswer, CloudQuestion};
pub use json::Malformed;
use pods::Front;
pub use problems::{Problem, SpecProblem, Warning};
pub use serving::Serving;
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
    /// By what the StatefulSet finds its pods.
    pub selector: Option<&'a LabelSelector>,
}

/// Makes the closed list of the levers out of the table below it: their kinds, their names, and how each is made
/// of its spec, and of what a run has saved.
macro_rules! levers {
    ($($(#[$what:meta])* $kind:ident $name:literal $member:ident::$lever:ident;)*) => {
        /// Every kind of lever. The text form is the name of its member in the spec.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase")]
        pub enum LeverKind {
            $($(#[$what])* $kind,)*
        }

        impl LeverKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];
        }

        impl fmt::Display for LeverKind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$kind => $name,)*
                })
            }
        }

        /// One item of the spec to its lever.
        ///
        /// # Errors
        /// When not exactly one member is set.
        pub fn lever(spec: &LeverSpec) -> Result<Box<dyn Lever>, SpecProblem> {
            let LeverSpec { $($member),* } = spec;
            let members = [$($member.as_ref().map(|spec| $member::$lever::new(spec).boxed())),*];
            let mut named = members.into_iter().flatten();
            let lever = named.next().ok_or(SpecProblem::NoMember)?;
            if named.next().is_some() { Err(SpecProblem::SeveralMembers) } else { Ok(lever) }
        }

        /// The lever of what a run has saved, for one that has left the spec since: enough to put it back.
        #[must_use]
        pub fn of_saved(kind: LeverKind, name: &str, before: Option<&str>) -> Box<dyn Lever> {
            match kind {
                $(LeverKind::$kind => $member::$lever::of_saved(name, before).boxed(),)*
            }
        }
    };
}

// One line a lever: kind, name in the spec, file and type.
levers! {
    /// Annotation `lb-rs-weight` on Services of Tencent TKE.
    TkeService "tkeService" tke_service::TkeService;
    /// Annotation `custom-weight` on the pods, read by Tencent TKE.
    TkePod "tkePod" tke_pod::TkePod;
    /// Annotation `elb.custom-backend-weights` on Services of Huawei CCE.
    CceService "cceService" cce_service::CceService;
    /// A label of the pods by which Services select them.
    PodLabel "podLabel" pod_label::PodLabel;
    /// Nothing is moved.
    None "none" none::NoLever;
}

impl LeverKind {
    /// All of them, for sentences.
    fn names() -> String {
        Self::ALL.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.to_string() == name)
    }

    /// What a lever of this kind writes, as it is called in sentences.
    #[must_use]
    pub fn title(self, name: &str) -> String {
        match of_saved(self, name, None).site() {
            Site::Services(_) | Site::Nothing => format!("{self} on Service {name}"),
            Site::Pods(_) => format!("{self} {name}"),
        }
    }
}

/// A version that a lever depends on.
#[derive(Clone, Copy, Debug)]
pub struct ByVersion {
    /// Whose version.
    pub of: VersionOf,
    /// What it says of the lever.
    pub judge: JudgeVersion,
}

/// Where a version stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionOf {
    /// In the API server's own words. Whoever is logged in may ask for them.
    ApiServer,
    /// In a ConfigMap.
    ConfigMap {
        /// Its namespace.
        namespace: &'static str,
        /// Its name.
        name: &'static str,
        /// Under which key.
        key: &'static str,
        /// The file that gives the operator the right to read it, which it has not got as it is shipped.
        right: &'static str,
    },
}

/// What a version says of a lever. `told` is its text, or why it is not known: that is no proof against the lever, and a
/// warning; so is a text that is no version.
pub type JudgeVersion = fn(told: Result<&str, &str>) -> Result<Option<Warning>, Problem>;

/// What moves pods out of a load balancer and back. Pure: no client, no clock.
pub trait Lever: Send + Sync + fmt::Debug {
    /// Which lever this is.
    fn kind(&self) -> LeverKind;

    /// The Services whose connections it keeps away from a pod, out of all Services of the namespace, sorted.
    ///
    /// # Errors
    /// Everything that keeps the lever from working, found before anything is written.
    fn services(&self, target: &Target<'_>, all: &[Service]) -> Result<Selection, Vec<Problem>>;

    /// What it writes, and how.
    fn site(&self) -> Site<'_>;

    /// The versions that are to be judged before anything is written; none: it depends on no version that could be told.
    fn by_version(&self) -> Vec<ByVersion> {
        Vec::new()
    }

    /// What stands against it in a pod that runs, before anything is written.
    fn stands_against(&self, _: &Pod) -> Option<Problem> {
        None
    }

    /// Whether what sends connections for this Service has new pods, of which the last became Ready at `since`: before
    /// that nobody may be left there when others are taken out. A lever for which [`OnPods::followed`] tells need not.
    fn taken(&self, _: &Service, since: Timestamp, _now: Timestamp) -> Confirmation {
        Confirmation::Confirmed { at: since }
    }

    /// Whether its controller complained of the Service at a moment from which on no synchronisation has begun: then the
    /// one by which the lever is believed may have failed. A lever that believes no synchronisation is not belied so.
    fn belies(&self, _: &Service, _complained: Timestamp) -> bool {
        false
    }

    /// As one of several.
    fn boxed(self) -> Box<dyn Lever>
    where
        Self: Sized + 'static,
    {
        Box::new(self)
    }
}

/// What a lever writes.
#[derive(Clone, Copy, Debug)]
pub enum Site<'a> {
    /// Nothing.
    Nothing,
    /// An annotation of each Service, which names ordinals: a pod that is made again is still detached.
    Services(&'a dyn OnService),
    /// Each pod itself: a pod that is made again is attached.
    Pods(&'a dyn OnPods),
}

/// A lever that writes an annotation of Services.
pub trait OnService: Lever {
    /// The annotation.
    fn key(&self) -> &'static str;

    /// What on the Service keeps its cloud from following the annotation. It may come in mid-run, so it is looked for
    /// at every look: nothing that the stamps say counts then.
    fn obstacles(&self, live: &Service) -> Vec<Problem>;

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

    /// What the cloud itself is to be asked before a detach counts as in force; none: nothing.
    fn confirm_by_api(&self) -> Option<&ConfirmByApiSpec> {
        None
    }

    /// The live value of [`OnService::key`]: what is saved as `before` when a run begins.
    fn value<'a>(&self, live: &'a Service) -> Option<&'a str> {
        annotation(live, self.key())
    }
}

/// A lever that writes the pods.
pub trait OnPods: Lever {
    /// What a run saves of it: what it writes, and the value that an attached pod has there, if that is one for
    /// all pods. [`of_saved`] makes the lever of these two again.
    fn saved(&self) -> (&str, Option<&str>);

    /// Whether the pod is detached.
    fn held(&self, pod: &Pod) -> PodHeld;

    /// The merge patch of the pod's `metadata` that detaches or attaches it.
    fn change(&self, pod: &Pod, detached: bool) -> Value;

    /// Whether this Service sends connections to the pod while it is attached.
    fn reaches(&self, service: &Service, pod: &Pod) -> bool;

    /// Whether what sends connections for one Service follows what its pods hold.
    fn followed(&self, front: &Front<'_>) -> Confirmation;

    /// When the pod was detached by `manager`, as the API server has recorded it. A lever that never answers
    /// [`Confirmation::Doubtful`] is not asked.
    fn detached_at(&self, _pod: &Pod, _manager: &str) -> Option<Timestamp> {
        None
    }
}

/// What of ours a live pod holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodHeld {
    /// It is attached.
    Attached,
    /// It is detached.
    Detached,
    /// Somebody else wrote there.
    Foreign {
        /// What is there.
        what: String,
    },
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
    /// Perhaps; waiting brings no more light. Write [`OnService::again`] or [`pods::again`], best at
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

impl Confirmation {
    /// Both together: the one that is further from being confirmed, or the later one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if let (Self::Confirmed { at: one }, Self::Confirmed { at: other }) = (&self, &other) {
            return Self::Confirmed { at: *one.max(other) };
        }
        if other.distance() > self.distance() { other } else { self }
    }

    const fn distance(&self) -> u8 {
        match self {
            Self::Confirmed { .. } => 0,
            Self::Pending { .. } => 1,
            Self::Doubtful { .. } => 2,
            Self::Unknown { .. } => 3,
        }
    }
}

/// All levers of a spec, in its order.
///
/// # Errors
/// When there is none, an item is not exactly one lever, or two exclude each other.
pub fn levers(specs: &[LeverSpec]) -> Result<Vec<Box<dyn Lever>>, SpecProblem> {
    let levers = specs.iter().map(lever).collect::<Result<Vec<_>, _>>()?;
    let has = |kind| levers.iter().any(|lever| lever.kind() == kind);
    match levers.len() {
        0 => Err(SpecProblem::Empty),
        1 => Ok(levers),
        _ if has(LeverKind::None) => Err(SpecProblem::NoneNotAlone),
        _ if has(LeverKind::TkeService) && has(LeverKind::TkePod) => Err(SpecProblem::TwoWeights),
        _ => Ok(levers),
    }
}

/// The value of an annotation of a Service.
pub(crate) fn annotation<'a>(service: &'a Service, key: &str) -> Option<&'a str> {
    service.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

#[cfg(test)]
mod tests;
