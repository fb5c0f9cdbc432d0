//! What the levers for Tencent TKE ask of a Service, whichever annotation they write.

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;

use super::sync_stamps::BEGIN;
use super::{Problem, Warning, annotation, cover};

/// Weights of StatefulSet pods, on a Service. Source: the vendor's procedure for lossless upgrades.
pub(super) const SERVICE_WEIGHTS: &str = "service.cloud.tencent.com/lb-rs-weight";
/// Weight of a single pod, on the pod, for the load balancers of Services. Source: TKE 457/128647.
pub(super) const POD_WEIGHT: &str = "service.cloud.tencent.com/custom-weight";
/// The same for the load balancers of Ingresses.
pub(super) const POD_WEIGHT_OF_INGRESS: &str = "ingress.cloud.tencent.com/custom-weight";
/// `true`: the load balancer knows pods, not nodes.
pub(super) const DIRECT_ACCESS: &str = "service.cloud.tencent.com/direct-access";
/// `skip`: the cloud's controller leaves the Service alone. Source: TKE 457/51258.
pub(super) const MODE: &str = "service.cloud.tencent.com/mode";
/// The readiness gate that TKE gives to pods of a Service in direct access mode: they are Ready only once the load
/// balancer has them and finds them healthy. Source: `imroc/tke-guide`, `clb-to-pod-directly.md`.
const GATE: &str = "cloud.tencent.com/load-balancer-backendgroup-ready";
/// Target groups, which the vendor excludes beside `lb-rs-weight`, and says nothing of beside `custom-weight`.
pub(super) const TARGET_GROUPS: &str = "service.cloud.tencent.com/target-groups";

/// What on a Service keeps the controller from following the annotation `with`.
pub(super) fn problems(service: &Service, with: &'static str) -> Vec<Problem> {
    let mut problems = Vec::new();
    if annotation(service, MODE) == Some("skip") {
        problems.push(Problem::Skipped { service: service.name_any(), key: MODE });
    }
    if annotation(service, TARGET_GROUPS).is_some() {
        let on = format!("Service {}", service.name_any());
        problems.push(Problem::Conflict { on, key: TARGET_GROUPS, with });
    }
    // Its backends would be nodes. Source: the vendor's procedure.
    if annotation(service, DIRECT_ACCESS) != Some("true") {
        let (key, value) = (DIRECT_ACCESS, "true");
        problems.push(Problem::NeedsAnnotation { service: service.name_any(), key, value });
    }
    problems
}

/// What on a Service may disturb a run. `stamped`: it is only believed by its stamps.
pub(super) fn warnings(service: &Service, stamped: bool) -> Vec<Warning> {
    let mut warnings = cover::warnings(service);
    if stamped && annotation(service, BEGIN).is_none() {
        warnings.push(Warning::NoStamps { service: service.name_any() });
    }
    warnings
}

/// A weight on a pod beside weights on a Service: which of the two counts is documented nowhere.
pub(super) fn weighed_twice(pod: &Pod) -> Option<Problem> {
    pod.annotations().contains_key(POD_WEIGHT).then(|| Problem::Conflict {
        on: format!("pod {}", pod.name_any()),
        key: POD_WEIGHT,
        with: SERVICE_WEIGHTS,
    })
}

/// The pod's readiness waited for the load balancer.
pub(super) fn is_gated(pod: &Pod) -> bool {
    let gates = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_ref());
    gates.into_iter().flatten().any(|gate| gate.condition_type == GATE)
}
