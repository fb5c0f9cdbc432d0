//! What levers on pods have in common: all pods of the StatefulSet together.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;

pub use super::endpoints::SERVICE_NAME;
use super::endpoints::{is_ready, sends_to};
use super::{Confirmation, Held, OnPods, PodHeld};
use crate::workflow::ordinals::{Ordinal, OrdinalSet};

/// What the lever holds. Of the ordinals that are to be detached, one without a pod is: there is
/// nobody who could get a connection. It is attached again when a pod comes.
#[must_use]
pub fn held(lever: &dyn OnPods, pods: &BTreeMap<Ordinal, Pod>, wanted: &OrdinalSet) -> Held {
    let mut held: OrdinalSet =
        wanted.iter().filter(|ordinal| pods.get(ordinal).is_none_or(is_going)).collect();
    for (ordinal, pod) in present(pods) {
        match lever.held(pod) {
            PodHeld::Attached => {}
            PodHeld::Detached => {
                held.insert(ordinal);
            }
            PodHeld::Foreign { what } => {
                return Held::Foreign { what: format!("{}: {what}", pod.name_any()) };
            }
        }
    }
    Held::Ordinals(held)
}

/// The first pod that is not as wanted, and whether it is to be detached.
#[must_use]
pub fn next<'a>(
    lever: &dyn OnPods,
    pods: &'a BTreeMap<Ordinal, Pod>,
    wanted: &OrdinalSet,
) -> Option<(&'a Pod, bool)> {
    present(pods).find_map(|(ordinal, pod)| {
        let detach = wanted.contains(ordinal);
        let right = if detach { PodHeld::Detached } else { PodHeld::Attached };
        (lever.held(pod) != right).then_some((pod, detach))
    })
}

/// Whether everybody who follows `EndpointSlices` can know what the pods hold: none that is detached is
/// ready in a slice of a Service that it was selected by, and each that serves is ready in one of each.
#[must_use]
pub fn confirmed(
    lever: &dyn OnPods,
    pods: &BTreeMap<Ordinal, Pod>,
    services: &[Service],
    slices: &[EndpointSlice],
    now: Timestamp,
) -> Confirmation {
    let lags = |service: &Service, pod: &Pod| {
        let sent = sends_to(slices, service, pod);
        let what = match lever.held(pod) {
            PodHeld::Attached if is_ready(pod) && !sent => "do not have yet",
            PodHeld::Detached | PodHeld::Foreign { .. } if sent => "still have",
            PodHeld::Attached | PodHeld::Detached | PodHeld::Foreign { .. } => return None,
        };
        Some(format!("the EndpointSlices of Service {} {what} {}", service.name_any(), pod.name_any()))
    };
    let lagging = present(pods).find_map(|(_, pod)| {
        let reached = services.iter().filter(|service| lever.reaches(service, pod));
        reached.into_iter().find_map(|service| lags(service, pod))
    });
    lagging.map_or(Confirmation::Confirmed { at: now }, |why| Confirmation::Pending { why })
}

/// Whose hold it is that was confirmed: the detached pods by identity, so that one that was made anew is
/// another one.
#[must_use]
pub fn basis(lever: &dyn OnPods, pods: &BTreeMap<Ordinal, Pod>) -> String {
    let detached = present(pods).filter(|(_, pod)| lever.held(pod) != PodHeld::Attached);
    detached.filter_map(|(_, pod)| pod.uid()).collect::<Vec<_>>().join(",")
}

fn present(pods: &BTreeMap<Ordinal, Pod>) -> impl Iterator<Item = (Ordinal, &Pod)> {
    pods.iter().filter(|(_, pod)| !is_going(pod)).map(|(ordinal, pod)| (*ordinal, pod))
}

fn is_going(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::traffic::pod_label::PodLabel;

    fn pod(ordinal: u32, serving: &Value, ready: &str, going: bool) -> (Ordinal, Pod) {
        let mut metadata = json!({"name": format!("web-{ordinal}"), "uid": format!("u-{ordinal}"),
            "labels": {"app": "web"}});
        if !serving.is_null() {
            metadata["labels"]["serving"] = serving.clone();
        }
        if going {
            metadata["deletionTimestamp"] = json!("2026-01-04T16:24:42Z");
        }
        let status = json!({"conditions": [{"type": "Ready", "status": ready}]});
        let pod = json!({"metadata": metadata, "status": status});
        (ordinal, serde_json::from_value(pod).unwrap())
    }

    fn world() -> BTreeMap<Ordinal, Pod> {
        BTreeMap::from([
            pod(0, &Value::Null, "True", false),
            pod(1, &json!("true"), "True", false),
            pod(2, &json!("true"), "False", false),
            pod(3, &json!("true"), "True", true),
        ])
    }

    fn slice(service: &str, ready: &[(u32, Option<bool>)]) -> EndpointSlice {
        let endpoints: Vec<Value> = ready
            .iter()
            .map(|(ordinal, ready)| {
                json!({"addresses": ["10.1.0.9"], "conditions": {"ready": ready},
                    "targetRef": {"kind": "Pod", "name": format!("web-{ordinal}"), "uid": format!("u-{ordinal}")}})
            })
            .collect();
        serde_json::from_value(json!({"metadata": {"name": format!("{service}-x"),
            "labels": {"kubernetes.io/service-name": service}}, "addressType": "IPv4", "endpoints": endpoints}))
        .unwrap()
    }

    fn lever() -> PodLabel {
        PodLabel::new("serving", "true")
    }

    fn ordinals(ordinals: &[u32]) -> OrdinalSet {
        ordinals.iter().copied().collect()
    }

    #[test]
    fn a_pod_that_is_away_or_going_is_held_as_wanted_and_one_that_is_there_as_it_is() {
        let is = |wanted: &[u32]| held(&lever(), &world(), &ordinals(wanted));
        assert_eq!(is(&[]), Held::Ordinals(ordinals(&[0])));
        assert_eq!(is(&[0, 1, 3, 7]), Held::Ordinals(ordinals(&[0, 3, 7])), "1 has its label");
        let mut foreign = world();
        foreign.extend([pod(1, &json!("no"), "True", false)]);
        assert!(matches!(held(&lever(), &foreign, &ordinals(&[])), Held::Foreign { .. }));
    }

    #[test]
    fn one_pod_after_the_other_is_made_as_wanted() {
        let step = |wanted: &[u32]| {
            next(&lever(), &world(), &ordinals(wanted)).map(|(pod, detach)| (pod.name_any(), detach))
        };
        assert_eq!(step(&[0]), None);
        assert_eq!(step(&[]), Some(("web-0".into(), false)));
        assert_eq!(step(&[0, 2, 3]), Some(("web-2".into(), true)), "3 is going");
    }

    #[test]
    fn it_is_confirmed_when_every_slice_has_who_serves_and_none_has_who_is_detached() {
        let selector = json!({"app": "web", "serving": "true"});
        let service = |name: &str| -> Service {
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"selector": selector}}))
                .unwrap()
        };
        let services = [service("inside"), service("outside")];
        let told = |inside: &[(u32, Option<bool>)], outside: &[(u32, Option<bool>)]| {
            let slices = [slice("inside", inside), slice("outside", outside), slice("other", &[(0, None)])];
            match confirmed(&lever(), &world(), &services, &slices, Timestamp::UNIX_EPOCH) {
                Confirmation::Confirmed { .. } => String::new(),
                Confirmation::Pending { why } => why,
                other => panic!("{other:?}"),
            }
        };
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(told(&[(1, yes), (2, no)], &[(1, None)]), "");
        assert_eq!(told(&[(0, no), (1, yes)], &[(1, yes)]), "", "not ready is not sent to");
        assert!(told(&[(0, yes), (1, yes)], &[(1, yes)]).contains("inside still have web-0"));
        assert!(told(&[(1, yes)], &[(0, None), (1, yes)]).contains("outside still have web-0"));
        assert!(told(&[(1, yes)], &[]).contains("outside do not have yet web-1"));
    }
}
