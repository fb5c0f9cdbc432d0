//! Which Services send traffic to the pods, which of them no lever covers, and which send it where it is not wanted.

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use kube::ResourceExt;

use super::labels::{POD_INDEX, POD_NAME, REVISION};
use super::{Target, Warning};
use crate::workflow::ordinals::{Ordinal, ordinal_of};

/// Whether this Service sends traffic to a pod of the target.
#[must_use]
pub fn selects(target: &Target<'_>, service: &Service) -> bool {
    let Some(spec) = &service.spec else { return false };
    let Some(selector) = spec.selector.as_ref().filter(|selector| !selector.is_empty()) else { return false };
    kind(spec) != "ExternalName"
        && selector.iter().all(|(key, value)| {
            given_to_each_pod(target.set, key, value)
                .unwrap_or_else(|| target.pod_labels.get(key) == Some(value))
        })
}

/// The Services that select the pods and that are neither covered by a lever nor ignored by the
/// user: a detached pod would still get their connections. Sorted.
///
/// The governing headless Service is left out: it has no virtual IP that a load balancer or
/// kube-proxy serves, it gives the pods their names and peers find each other by it. Any other
/// headless Service counts, for its clients choose a pod by DNS.
#[must_use]
pub fn uncovered(
    target: &Target<'_>,
    all: &[Service],
    covered: &[String],
    ignored: &[String],
) -> Vec<String> {
    let mut names: Vec<_> = all
        .iter()
        .filter(|service| selects(target, service) && !is_governing(target, service))
        .map(ResourceExt::name_any)
        .filter(|name| !covered.contains(name) && !ignored.contains(name))
        .collect();
    names.sort();
    names
}

/// What on a Service that a lever covers sends connections to pods against its will, whatever the lever is.
pub(super) fn warnings(service: &Service) -> Vec<Warning> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let sticky = spec.session_affinity.as_deref() == Some("ClientIP");
    let early = spec.publish_not_ready_addresses == Some(true);
    let name = || service.name_any();
    let sticky = sticky.then(|| Warning::SessionAffinity { service: name() });
    let early = early.then(|| Warning::NotReadyAddresses { service: name() });
    sticky.into_iter().chain(early).collect()
}

/// The Service's type; a Service without one has a cluster IP.
pub(super) fn kind(spec: &ServiceSpec) -> &str {
    spec.type_.as_deref().unwrap_or("ClusterIP")
}

/// Whether it is the headless Service that gives the pods their names.
pub(super) fn is_governing(target: &Target<'_>, service: &Service) -> bool {
    let cluster_ip = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref());
    service.name_any() == target.governing && cluster_ip == Some("None")
}

/// For a label that the StatefulSet controller gives to each pod, and that no template has: whether
/// a pod of this StatefulSet may have the value.
fn given_to_each_pod(set: &str, key: &str, value: &str) -> Option<bool> {
    match key {
        POD_NAME => Some(ordinal_of(set, value).is_some()),
        POD_INDEX => Some(value.parse::<Ordinal>().is_ok()),
        REVISION => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn service(name: &str, spec: &serde_json::Value) -> Service {
        serde_json::from_value(serde_json::json!({"metadata": {"name": name}, "spec": spec})).unwrap()
    }

    #[test]
    fn every_service_that_selects_the_pods_is_uncovered_unless_levered_ignored_or_governing() {
        use serde_json::json;
        let (labels, none) = (map(&[("app", "web"), ("tier", "front")]), BTreeMap::new());
        let target = Target {
            set: "web",
            governing: "peers",
            pod_labels: &labels,
            pod_annotations: &none,
            selector: None,
        };
        let app = json!({"app": "web"});
        let all = [
            service("public", &json!({"type": "LoadBalancer", "selector": app})),
            service("inside", &json!({"selector": app})),
            service("monitored", &json!({"selector": app})),
            service(
                "peers",
                &json!({"clusterIP": "None", "selector": app, "publishNotReadyAddresses": true}),
            ),
            service("by-dns", &json!({"clusterIP": "None", "selector": app})),
            service("other", &json!({"selector": {"app": "db"}})),
            service("narrower", &json!({"selector": {"app": "web", "serving": "true"}})),
            service(
                "elsewhere",
                &json!({"type": "ExternalName", "externalName": "a.example", "selector": app}),
            ),
            service("by-hand", &json!({})),
            service("empty", &json!({"selector": {}})),
            service("first", &json!({"selector": {"statefulset.kubernetes.io/pod-name": "web-0"}})),
            service("by-index", &json!({"selector": {"apps.kubernetes.io/pod-index": "1"}})),
            service("by-no-index", &json!({"selector": {"apps.kubernetes.io/pod-index": "one"}})),
            service("by-revision", &json!({"selector": {"controller-revision-hash": "web-1"}})),
            service("cousin", &json!({"selector": {"statefulset.kubernetes.io/pod-name": "web-b-0"}})),
        ];
        let names = uncovered(&target, &all, &["public".to_owned()], &["monitored".to_owned()]);
        assert_eq!(names, ["by-dns", "by-index", "by-revision", "first", "inside"]);
    }

    #[test]
    fn a_service_that_brings_clients_back_or_sends_them_too_early_is_warned_of() {
        let told = |spec| warnings(&service("s", &spec));
        let one = || "s".to_owned();
        let both = serde_json::json!({"sessionAffinity": "ClientIP", "publishNotReadyAddresses": true});
        let expected =
            [Warning::SessionAffinity { service: one() }, Warning::NotReadyAddresses { service: one() }];
        assert_eq!(told(both), expected);
        let neither = serde_json::json!({"sessionAffinity": "None", "publishNotReadyAddresses": false});
        assert_eq!(told(neither), []);
        assert_eq!(told(serde_json::json!({})), []);
    }

    #[test]
    fn a_governing_service_with_a_virtual_ip_is_like_any_other() {
        let (labels, none) = (map(&[("app", "web")]), BTreeMap::new());
        let target = Target {
            set: "web",
            governing: "web",
            pod_labels: &labels,
            pod_annotations: &none,
            selector: None,
        };
        let spec = serde_json::json!({"clusterIP": "10.96.0.7", "selector": {"app": "web"}});
        assert_eq!(uncovered(&target, &[service("web", &spec)], &[], &[]), ["web"]);
    }
}
