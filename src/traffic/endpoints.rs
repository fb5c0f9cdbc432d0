//! What `EndpointSlices` say of a pod.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::ResourceExt;

/// The label of an `EndpointSlice` that names its Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Whether who follows the Service sends new connections to the pod: it is in one of its slices, and
/// ready there. A condition that is left out counts as true, as the API says (`discovery/v1`).
pub(super) fn sends_to(slices: &[EndpointSlice], service: &Service, pod: &Pod) -> bool {
    let name = service.name_any();
    slices
        .iter()
        .filter(|slice| slice.labels().get(SERVICE_NAME) == Some(&name))
        .flat_map(|slice| &slice.endpoints)
        .filter(|endpoint| is_about(endpoint, pod))
        .any(|endpoint| endpoint.conditions.as_ref().and_then(|all| all.ready) != Some(false))
}

/// By identity, or by address in a slice that somebody wrote by hand.
fn is_about(endpoint: &Endpoint, pod: &Pod) -> bool {
    if let Some(target) = &endpoint.target_ref
        && let Some(uid) = &target.uid
    {
        return pod.metadata.uid.as_ref() == Some(uid);
    }
    let status = pod.status.as_ref();
    let mut ips = status.and_then(|status| status.pod_ips.as_ref()).into_iter().flatten().map(|ip| &ip.ip);
    ips.any(|ip| endpoint.addresses.contains(ip))
}

/// The pod's condition Ready is True.
pub(super) fn is_ready(pod: &Pod) -> bool {
    ready(pod).is_some()
}

/// When it became so.
pub(super) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    ready(pod)?.last_transition_time.as_ref().map(|at| at.0)
}

fn ready(pod: &Pod) -> Option<&PodCondition> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().find(|one| one.type_ == "Ready" && one.status == "True")
}
