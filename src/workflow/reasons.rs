//! Why something is so. One closed list feeds conditions, events and metric labels.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        /// A reason in `CamelCase`, as Kubernetes writes them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason { $($(#[doc = $doc])+ $name),+ }

        impl Reason {
            /// All reasons, for documentation and tests.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The reason as it stands in conditions, events and labels.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }
        }
    };
}

reasons! {
    /// Every pod runs the wanted revision.
    UpToDate,
    /// A run goes on.
    Progressing,
    /// A run began.
    RunStarted,
    /// The run ended with every pod at the new revision.
    Succeeded,
    /// The run ended with every pod at the old revision.
    RolledBack,
    /// The run was ended by the user.
    Aborted,
    /// The user asked for an end or a way back while no run was under way.
    NothingUnderWay,
    /// `spec.paused` holds the run.
    PausedByUser,
    /// Something that may disturb the run, or make it slow, and does not forbid it.
    MayDisturb,
    /// The surge pods were asked for.
    SurgeAdded,
    /// The surge is gone again.
    SurgeRemoved,
    /// Somebody changed `spec.replicas` in mid-run.
    ReplicasChanged,
    /// Pods are being taken out of the load balancer.
    Detaching,
    /// Pods get no new connections, confirmed.
    Detached,
    /// No connection is left on the pods.
    Drained,
    /// A pod was deleted so that it comes back at the wanted revision.
    PodReplaced,
    /// A pod came to the new revision without our hand, so its connections were not waited for.
    UpgradedWithoutDrain,
    /// A replaced pod is Ready at the right revision and image.
    Verified,
    /// Pods get connections again, confirmed.
    Attached,
    /// Pods stayed good under live traffic.
    Soaked,
    /// The StatefulSet has a newer revision; the run goes there.
    Retargeted,
    /// The new version failed and the run goes back.
    RollingBack,
    /// The old template is back in the StatefulSet.
    TemplateRestored,
    /// There is no such StatefulSet.
    StatefulSetMissing,
    /// The StatefulSet was deleted or made anew in mid-run.
    StatefulSetReplaced,
    /// The StatefulSet's update strategy is not `OnDelete`.
    NotOnDelete,
    /// `spec.images` names a container that the pod template has not.
    NoSuchContainer,
    /// One replica and no surge: replacing it would leave nobody to serve.
    NoCapacity,
    /// The StatefulSet has volume claims and `surge.volumes` is not set.
    SurgeVolumesUndecided,
    /// The surge pods found no room, or a quota forbids them.
    NoRoomForSurge,
    /// Another LosslessUpgrade has the same target.
    TargetTaken,
    /// A `HorizontalPodAutoscaler` owns the replicas.
    AutoscalerOwnsReplicas,
    /// A lever cannot be used as it is set.
    LeverUnusable,
    /// A Service selects the pods and no lever covers it.
    ServiceNotCovered,
    /// The levers hold again what they held before the run.
    LeversRestored,
    /// A lever could not be put back in time; it may still keep connections from pods.
    LeverNotRestored,
    /// The load balancer has not confirmed the change in time.
    LeverNotConfirmed,
    /// What we wrote into a lever is changed by somebody again and again.
    LeverContested,
    /// A probe cannot be used, or gave no answer before anything was detached.
    ProbeUnusable,
    /// A probe gives no answer.
    ProbeSilent,
    /// What was to be done to a pod at the start of its drain failed; it is not done again.
    NudgeFailed,
    /// Connections were left when the time for draining was over.
    DrainTimedOut,
    /// Pods outside the batch are not Ready, so no more is taken out.
    OthersNotReady,
    /// The old pod did not go, or no new one came, in time.
    ReplaceTimedOut,
    /// The replaced pod was not good in time.
    VerifyFailed,
    /// The replaced pod did not stay good under traffic.
    SoakFailed,
    /// The StatefulSet controller does not take notice of what the StatefulSet says.
    ControllerSilent,
    /// The surge pods did not go in time.
    ReclaimTimedOut,
    /// The old template is not known, so there is no way back.
    NoWayBack,
    /// The revision was rolled back or aborted before and is not tried again by itself.
    Rejected,
    /// The object is being deleted: levers back, surge away.
    Releasing,
    /// The API server refuses what is to be done.
    EffectRefused,
    /// The spec or the status cannot be read.
    InvalidObject,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A reason with what a user needs to know: what is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Problem {
    /// The kind of problem.
    pub reason: Reason,
    /// One or two sentences.
    pub text: String,
}

impl Problem {
    /// A problem with its sentence.
    pub fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_its_reason_and_its_sentence() {
        let problem = Problem::new(Reason::NoCapacity, "One replica and no surge");
        assert_eq!(problem.to_string(), "NoCapacity: One replica and no surge");
    }
}
