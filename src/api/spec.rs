//! What users write.

#![allow(clippy::duplicated_attributes, reason = "false alarm: print columns have types of the same name")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;
use super::status::LosslessUpgradeStatus;
use crate::drain::spec::ProbeSpec;
use crate::drain::spec::nudge::NudgeSpec;
use crate::traffic::spec::LeverSpec;
use crate::workflow::span::Span;

/// Carries every new revision of one StatefulSet with `updateStrategy: OnDelete` to its pods
/// without losing a request: adds surge pods, takes the next pods out of the load balancer, waits
/// until their connections are really gone, replaces them, proves them under live traffic, and
/// goes on or rolls back.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "lossless-upgrade.io",
    version = "v1alpha1",
    kind = "LosslessUpgrade",
    plural = "losslessupgrades",
    singular = "losslessupgrade",
    shortname = "lu",
    namespaced,
    status = "LosslessUpgradeStatus",
    derive = "PartialEq",
    selectable = ".status.phase"
)]
#[kube(printcolumn(
    name = "Target",
    type_ = "string",
    json_path = ".spec.targetRef.name",
    description = "The StatefulSet"
))]
#[kube(printcolumn(
    name = "Phase",
    type_ = "string",
    json_path = ".status.phase",
    description = "What is being done"
))]
#[kube(printcolumn(
    name = "Progress",
    type_ = "string",
    json_path = ".status.progress",
    description = "Pods at the wanted revision, of all"
))]
#[kube(printcolumn(
    name = "Message",
    type_ = "string",
    json_path = ".status.message",
    description = "What it is doing or waiting for"
))]
#[kube(printcolumn(
    name = "Age",
    type_ = "date",
    json_path = ".metadata.creationTimestamp",
    description = "Age of this object"
))]
#[kube(printcolumn(
    name = "From",
    type_ = "string",
    json_path = ".status.run.from",
    priority = "1",
    description = "Revision the run comes from"
))]
#[kube(printcolumn(
    name = "To",
    type_ = "string",
    json_path = ".status.run.to",
    priority = "1",
    description = "Revision the run goes to"
))]
#[kube(printcolumn(
    name = "Batch",
    type_ = "string",
    json_path = ".status.run.batch",
    priority = "1",
    description = "Ordinals in flight"
))]
#[kube(printcolumn(
    name = "Connections",
    type_ = "string",
    json_path = ".status.pods[*].connections",
    priority = "1",
    description = "Connections left on the pods in flight"
))]
#[cfg_attr(test, kube(cel))]
#[serde(rename_all = "camelCase")]
pub struct LosslessUpgradeSpec {
    /// The StatefulSet to upgrade, in the same namespace. Cannot be changed.
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.targetRef cannot be changed; make another LosslessUpgrade for another StatefulSet"))]
    pub target_ref: TargetRef,

    /// Images to bring to the StatefulSet, container name to image. Set: the operator patches the
    /// pod template itself. Left out: a run starts whenever the template changes, for example by
    /// `kubectl set image`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::images")]
    pub images: BTreeMap<String, String>,

    /// Hold everything: nothing moves forward, what is detached stays detached, nothing is deleted.
    #[serde(default)]
    pub paused: bool,

    /// Replicas added for the length of a run, so that capacity never falls below the original.
    /// They are also the canary: the first pods of the new version.
    #[serde(default)]
    pub surge: SurgeSpec,

    /// How many pods are replaced together, and in which order.
    #[serde(default)]
    pub batches: BatchesSpec,

    /// How pods are taken out of the load balancer and put back.
    pub traffic: TrafficSpec,

    /// When a pod that is out of the load balancer has no connection left.
    #[serde(default)]
    pub drain: DrainSpec,

    /// When a replaced pod is good.
    #[serde(default)]
    pub verify: VerifySpec,

    /// What to do when the new version is not good (never for a lever or a probe that fails).
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// The StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    /// Always `apps/v1`.
    #[serde(default = "apps_v1")]
    #[x_kube(validation = Rule::new("self == 'apps/v1'").message("spec.targetRef.apiVersion must be apps/v1"))]
    #[schemars(length(max = 64))]
    pub api_version: String,
    /// Always `StatefulSet`.
    #[serde(default = "stateful_set")]
    #[x_kube(validation = Rule::new("self == 'StatefulSet'").message("spec.targetRef.kind must be StatefulSet"))]
    #[schemars(length(max = 64))]
    pub kind: String,
    /// Name of the StatefulSet.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

fn apps_v1() -> String {
    "apps/v1".into()
}

fn stateful_set() -> String {
    "StatefulSet".into()
}

/// Replicas added for a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SurgeSpec {
    /// Number, or percentage of the replicas (rounded up). 0 is allowed: then capacity falls by a
    /// batch during the run. Left out: as many as a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::amount")]
    #[x_kube(validation = Rule::new("string(self).matches('^([0-9]{1,4}|([0-9]{1,2}|100)%)$')").message("spec.surge.replicas must be a number from 0 to 9999 or a percentage from 0% to 100%"))]
    pub replicas: Option<IntOrString>,
    /// What becomes of the volume claims that surge pods bring, where the StatefulSet has
    /// `volumeClaimTemplates`; then it must be said. Keep: they stay, and the next run's surge pods
    /// find their old data in them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<SurgeVolumes>,
}

/// What becomes of the surge's volume claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SurgeVolumes {
    /// They stay.
    Keep,
}

/// How many pods are replaced together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchesSpec {
    /// Number, or percentage of the replicas (rounded down, at least 1). Where the StatefulSet
    /// starts its pods in order (`OrderedReady`) it is 1.
    #[serde(default = "one")]
    #[schemars(schema_with = "schema::amount")]
    #[x_kube(validation = Rule::new("string(self).matches('^([1-9][0-9]{0,3}|([1-9][0-9]?|100)%)$')").message("spec.batches.size must be a number from 1 to 9999 or a percentage from 1% to 100%"))]
    pub size: IntOrString,
    /// Which ordinals come first.
    #[serde(default)]
    pub order: Order,
}

impl Default for BatchesSpec {
    fn default() -> Self {
        Self { size: one(), order: Order::default() }
    }
}

/// Which ordinals come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Order {
    /// Lowest first.
    #[default]
    Ascending,
    /// Highest first.
    Descending,
}

/// How pods are taken out of the load balancer and put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficSpec {
    /// The levers. They are moved together: a pod is detached when every one of them says so.
    #[x_kube(
        validation = Rule::new("self.filter(lever, has(lever.tkeService)).size() <= 1").message("name tkeService once in spec.traffic.levers, with all its services"),
        validation = Rule::new("self.all(lever, [has(lever.tkeService), has(lever.tkePod), has(lever.cceService), has(lever.podLabel), has(lever.none)].filter(named, named).size() == 1)").message("name exactly one lever in an item of spec.traffic.levers: tkeService, tkePod, cceService, podLabel or none"),
        validation = Rule::new("self.filter(lever, has(lever.tkePod)).size() <= 1").message("name tkePod once in spec.traffic.levers, with all its ingressServices"),
        validation = Rule::new("!self.exists(lever, has(lever.tkePod)) || !self.exists(lever, has(lever.tkeService))").message("tkeService and tkePod exclude each other in spec.traffic.levers: which of the two weights counts is not documented"),
        validation = Rule::new("self.all(lever, !has(lever.tkePod) || !has(lever.tkePod.ingressServices) || has(lever.tkePod.confirmAfter))").message("ingressServices of the lever tkePod need confirmAfter: nothing tells when an Ingress has followed"),
        validation = Rule::new("self.filter(lever, has(lever.cceService)).size() <= 1").message("name cceService once in spec.traffic.levers, with all its services"),
        validation = Rule::new("self.all(one, !has(one.podLabel) || self.filter(other, has(other.podLabel) && other.podLabel.key == one.podLabel.key).size() == 1)").message("name each label once in spec.traffic.levers"),
        validation = Rule::new("size(self) == 1 || !self.exists(lever, has(lever.none))").message("the lever `none` stands alone in spec.traffic.levers")
    )]
    #[schemars(length(min = 1, max = 8))]
    pub levers: Vec<LeverSpec>,
    /// Services that select the pods and need no lever, for example one that only the cluster's
    /// monitoring uses. Any other uncovered Service blocks the run, as its clients would lose requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 63)))]
    pub ignore_services: Vec<String>,
    /// Wait after a confirmed change, for the data plane to follow.
    #[serde(default = "seconds::<5>")]
    pub settle: Span,
    /// A change that is not confirmed by then makes the run Stalled. It waits on; nothing is
    /// deleted and nothing is rolled back.
    #[serde(default = "seconds::<120>")]
    pub confirm_timeout: Span,
}

/// When a pod has no connection left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("duration(self.minimum) <= duration(self.timeout)").message("spec.drain.minimum must not be longer than spec.drain.timeout"),
    validation = Rule::new("duration(self.stableFor) <= duration(self.timeout)").message("spec.drain.stableFor must not be longer than spec.drain.timeout"),
    validation = Rule::new("!has(self.idleAfter) || duration(self.idleAfter) >= duration('10s')").message("spec.drain.idleAfter must be at least 10s"),
    validation = Rule::new("!has(self.idleAfter) || self.probes.filter(probe, has(probe.socket)).size() == 1").message("spec.drain.idleAfter needs the probe socket in spec.drain.probes: no other one can tell a silent connection"),
    validation = Rule::new("duration(self.interval) >= duration('500ms') && duration(self.interval) <= duration('30s')").message("spec.drain.interval must be from 500ms to 30s")
)]
pub struct DrainSpec {
    /// What counts connections. A pod is drained when every probe is at or below its threshold.
    /// No answer from one of them is Unknown, never zero.
    #[schemars(length(min = 1, max = 8))]
    #[serde(default = "DrainSpec::probes")]
    #[x_kube(validation = Rule::new("self.filter(probe, has(probe.socket)).size() <= 1").message("name socket once in spec.drain.probes, with all its ports"))]
    pub probes: Vec<ProbeSpec>,
    /// New connections a second, beyond the kubelet's own probes, with which a detached pod still
    /// counts as quiet (health checks of load balancers, for example). More means that the levers
    /// do not cover these clients: not drained. Only the probe socket sees them come and go; by the
    /// others alone, requests that begin and end between two readings are not noticed.
    #[schemars(range(min = 0, max = 10_000))]
    #[serde(default = "three")]
    pub max_new_per_second: i32,
    /// How long every probe must have been quiet without a break.
    #[serde(default = "seconds::<10>")]
    pub stable_for: Span,
    /// Never sooner than this after the detach was confirmed.
    #[serde(default = "seconds::<5>")]
    pub minimum: Span,
    /// How often a pod is asked.
    #[serde(default = "seconds::<2>")]
    pub interval: Span,
    /// The probe socket leaves out connections on which no byte went either way for this long, and from which none is
    /// owed. They are cut with the pod: what a client sends on one just then, or waits for in silence, is lost.
    /// Left out: every connection counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_after: Option<Span>,
    /// With connections left after this long, `onTimeout` says how to go on.
    #[serde(default = "seconds::<1800>")]
    pub timeout: Span,
    /// Pause: wait for the user. Proceed: replace the pod all the same, but never with an Unknown
    /// count. Rollback: go back to the old revision.
    #[serde(default)]
    pub on_timeout: OnTimeout,
    /// What is done to each pod once, when its first drain begins, in this order, for example to have
    /// it tell its clients to leave. One that fails is an event and holds nothing up; none is repeated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub on_start: Vec<NudgeSpec>,
}

impl DrainSpec {
    fn probes() -> Vec<ProbeSpec> {
        vec![ProbeSpec::default()]
    }
}

impl Default for DrainSpec {
    fn default() -> Self {
        Self {
            probes: Self::probes(),
            max_new_per_second: three(),
            stable_for: Span::seconds(10),
            minimum: Span::seconds(5),
            interval: Span::seconds(2),
            idle_after: None,
            timeout: Span::seconds(1800),
            on_timeout: OnTimeout::default(),
            on_start: Vec::new(),
        }
    }
}

/// What to do when connections are left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnTimeout {
    /// Wait for the user.
    #[default]
    Pause,
    /// Replace the pod all the same.
    Proceed,
    /// Go back to the old revision.
    Rollback,
}

/// When a replaced pod is good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerifySpec {
    /// Time from replacing a pod until it must be Ready at the right revision and image.
    #[serde(default = "seconds::<600>")]
    pub timeout: Span,
    /// Time that it is then watched under live traffic.
    #[serde(default = "seconds::<30>")]
    pub soak: Span,
    /// Container restarts allowed from its creation to the end of the soak.
    #[schemars(range(min = 0, max = 1000))]
    #[serde(default)]
    pub max_restarts: i32,
}

impl Default for VerifySpec {
    fn default() -> Self {
        Self { timeout: Span::seconds(600), soak: Span::seconds(30), max_restarts: 0 }
    }
}

/// What to do when the new version is not good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    /// Go back to the old revision by the same lossless steps.
    #[default]
    Rollback,
    /// Wait for the user.
    Pause,
}

fn one() -> IntOrString {
    IntOrString::Int(1)
}

fn three() -> i32 {
    3
}

fn seconds<const SECONDS: u64>() -> Span {
    Span::seconds(SECONDS)
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
