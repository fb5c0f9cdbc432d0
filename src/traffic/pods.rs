//! What levers on pods have in common: all pods of the StatefulSet together.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;

pub use super::endpoints::SERVICE_NAME;
use super::endpoints::{is_ready, sends_to};
use super::{Confirmation, Held, OnPods, PodHeld, WriteRecord};
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

/// The pod to attach for a moment, so that it is detached anew, when it is in doubt whether it was seen detached:
/// the one that was detached last. What follows the next write has followed all before it. It loses nothing: no
/// pod in doubt is drained yet.
#[must_use]
pub fn again<'a>(
    lever: &dyn OnPods,
    pods: &'a BTreeMap<Ordinal, Pod>,
    manager: &str,
) -> Option<(&'a Pod, bool)> {
    let detached = present(pods).map(|(_, pod)| pod).filter(|pod| lever.held(pod) == PodHeld::Detached);
    let last = detached.max_by_key(|pod| lever.detached_at(pod, manager).unwrap_or(Timestamp::MAX));
    last.map(|pod| (pod, false))
}

/// One Service, and the pods that it sends connections to or would.
pub struct Front<'a> {
    /// The Service.
    pub service: &'a Service,
    /// These pods, without those on their way out.
    pub pods: Vec<&'a Pod>,
    /// The `EndpointSlices` of all Services.
    pub slices: &'a [EndpointSlice],
    /// What this process remembers.
    pub memory: &'a Memory,
    /// The field manager that we write with.
    pub manager: &'a str,
    /// When it is looked at.
    pub now: Timestamp,
}

impl Front<'_> {
    /// Why the slices are not as the pod's hold says; none: they are. `leaves` tells whether a pod that is detached
    /// leaves them.
    pub(super) fn lag(&self, pod: &Pod, held: &PodHeld, leaves: bool) -> Option<String> {
        let sent = sends_to(self.slices, self.service, pod);
        let what = match held {
            PodHeld::Attached if is_ready(pod) && !sent => "do not have yet",
            PodHeld::Detached | PodHeld::Foreign { .. } if leaves && sent => "still have",
            PodHeld::Attached | PodHeld::Detached | PodHeld::Foreign { .. } => return None,
        };
        let name = self.service.name_any();
        Some(format!("the EndpointSlices of Service {name} {what} {}", pod.name_any()))
    }
}

/// Whether every Service's clients are where the pods' hold sends them.
#[must_use]
pub fn confirmed(
    lever: &dyn OnPods,
    pods: &BTreeMap<Ordinal, Pod>,
    services: &[Service],
    slices: &[EndpointSlice],
    memory: &Memory,
    (manager, now): (&str, Timestamp),
) -> Confirmation {
    let fronts = services.iter().map(|service| {
        let reached = present(pods).map(|(_, pod)| pod).filter(|pod| lever.reaches(service, pod));
        Front { service, pods: reached.collect(), slices, memory, manager, now }
    });
    let is_known = |pod: &Pod| services.iter().any(|service| lever.reaches(service, pod));
    let mut detached = present(pods).map(|(_, pod)| pod).filter(|pod| lever.held(pod) == PodHeld::Detached);
    if let Some(pod) = detached.find(|pod| !is_known(pod)) {
        let why = format!(
            "no Service is in front of {} any more, so nobody knows who sends to it; make it again",
            pod.name_any()
        );
        return Confirmation::Unknown { why };
    }
    fronts.fold(Confirmation::Confirmed { at: now }, |so_far, front| so_far.and(lever.followed(&front)))
}

/// What this process remembers of pods and of the Services in front of them. It only ever helps.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Each pod by uid: whether it was attached, and when that was seen to change.
    holds: BTreeMap<String, (bool, Option<Timestamp>)>,
    /// Each Service as it was when the last of the detached pods was first seen to be.
    stamps: BTreeMap<String, WriteRecord>,
    /// The detached pods by uid.
    detached: BTreeSet<String>,
}

impl Memory {
    /// Takes note of a look. The Services must have been read after the pods.
    pub fn saw(
        &mut self,
        lever: &dyn OnPods,
        pods: &BTreeMap<Ordinal, Pod>,
        services: &[Service],
        (manager, now): (&str, Timestamp),
    ) {
        let before = std::mem::take(&mut self.holds);
        for (_, pod) in present(pods) {
            let Some(uid) = pod.uid() else { continue };
            let attached = lever.held(pod) == PodHeld::Attached;
            let since = match before.get(&uid) {
                Some((was, since)) if *was == attached => *since,
                Some(_) => Some(now),
                None => None,
            };
            self.holds.insert(uid, (attached, since));
        }
        // What somebody changed is not among them, so that it is new when it is written again.
        let detached = present(pods).filter(|(_, pod)| lever.held(pod) == PodHeld::Detached);
        let detached: BTreeSet<String> = detached.filter_map(|(_, pod)| pod.uid()).collect();
        // One that has gone since changes nothing for the others.
        if !detached.is_subset(&self.detached) {
            self.stamps.clear();
        }
        self.detached = detached;
        for service in services {
            let fresh = || WriteRecord::of_look(manager, service, now);
            self.stamps.entry(service.name_any()).or_insert_with(fresh).saw(service);
        }
    }

    /// When the pod was seen to be attached or detached.
    pub(super) fn moved(&self, pod: &Pod) -> Option<Timestamp> {
        self.holds.get(pod.metadata.uid.as_deref()?)?.1
    }

    /// The Service when the last of the detached pods was first seen to be.
    pub(super) fn stamps(&self, service: &Service) -> Option<&WriteRecord> {
        self.stamps.get(service.metadata.name.as_deref()?)
    }
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
        PodLabel::of_saved("serving", Some("true"))
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
            let at = ("us", Timestamp::UNIX_EPOCH);
            match confirmed(&lever(), &world(), &services, &slices, &Memory::default(), at) {
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

    #[test]
    fn what_changed_before_this_process_looked_is_not_remembered_and_what_it_saw_is() {
        let (mut memory, mut pods) = (Memory::default(), world());
        let at = |second| Timestamp::from_second(second).unwrap();
        memory.saw(&lever(), &pods, &[], ("us", at(1)));
        memory.saw(&lever(), &pods, &[], ("us", at(2)));
        assert_eq!(memory.moved(&pods[&0]), None);
        pods.extend([pod(0, &json!("true"), "True", false)]);
        memory.saw(&lever(), &pods, &[], ("us", at(3)));
        memory.saw(&lever(), &pods, &[], ("us", at(4)));
        assert_eq!((memory.moved(&pods[&0]), memory.moved(&pods[&1])), (Some(at(3)), None));
    }

    #[test]
    fn the_services_are_looked_at_anew_when_one_more_pod_is_detached_and_not_when_one_goes() {
        let service: Service = serde_json::from_value(json!({"metadata": {"name": "inside"}})).unwrap();
        let (mut memory, mut pods) = (Memory::default(), world());
        let mut looked = |pods: &BTreeMap<Ordinal, Pod>, second| {
            let at = Timestamp::from_second(second).unwrap();
            memory.saw(&lever(), pods, std::slice::from_ref(&service), ("us", at));
            memory.stamps(&service).unwrap().at.unwrap().as_second()
        };
        assert_eq!((looked(&pods, 1), looked(&pods, 2)), (1, 1));
        pods.extend([pod(1, &Value::Null, "True", false)]);
        assert_eq!((looked(&pods, 3), looked(&pods, 4)), (3, 3));
        pods.extend([pod(0, &Value::Null, "True", true)]);
        assert_eq!(looked(&pods, 5), 3, "it is going");
        pods.extend([pod(1, &json!("true"), "True", false)]);
        assert_eq!(looked(&pods, 6), 3, "it is attached again");
        pods.extend([pod(1, &Value::Null, "True", false)]);
        assert_eq!(looked(&pods, 7), 7, "and detached anew");
    }

    #[test]
    fn what_was_confirmed_holds_for_the_pods_that_are_held_and_for_no_others() {
        let mut pods = world();
        assert_eq!(basis(&lever(), &pods), "u-0");
        pods.extend([pod(1, &json!("no"), "True", false), pod(3, &Value::Null, "True", true)]);
        assert_eq!(
            basis(&lever(), &pods),
            "u-0,u-1",
            "what somebody else wrote too; who goes does not count"
        );
    }
}
