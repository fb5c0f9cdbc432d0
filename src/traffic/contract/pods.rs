//! The contract of a lever on pods.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{Cloud, STARTS, US, at_once, in_time, is_confirmed, ordinals, recorded, wrote};
use crate::traffic::pods::{self, Memory, SERVICE_NAME};
use crate::traffic::{Confirmation, Held, LeverKind, OnPods, PodHeld, Site, of_saved};
use crate::workflow::ordinals::{Ordinal, OrdinalSet};

type Pods = BTreeMap<Ordinal, Pod>;

/// Holds a lever on pods to its contract on each of these pods, which are attached and which this Service sends
/// connections to. `foreign`: what somebody else may leave of a pod.
pub(in crate::traffic) fn contract_on_pods(
    lever: &dyn OnPods,
    all: &[Pod],
    foreign: &[Pod],
    service: &Service,
    cloud: &Cloud<'_>,
) {
    for pod in all {
        detaches_and_restores(lever, pod);
        for start in STARTS {
            let pods: Pods = (start..start + 3).map(|ordinal| (ordinal, numbered(pod, ordinal))).collect();
            whoever_is_away_is_held_as_wanted(lever, &pods, start);
            is_confirmed_once_it_is_followed(lever, &pods, start, service, cloud);
            for changed in foreign {
                what_is_foreign_is_neither(lever, &pods, start, changed);
            }
        }
    }
    is_made_again_of_what_was_saved(lever, all);
}

fn detaches_and_restores(lever: &dyn OnPods, pod: &Pod) {
    let before = pod;
    let mut live = pod.clone();
    assert_eq!(lever.held(&live), PodHeld::Attached);
    for detached in [true, true, false, false, true, false] {
        live = changed(&live, &lever.change(&live, detached));
        let expected = if detached { PodHeld::Detached } else { PodHeld::Attached };
        assert_eq!(lever.held(&live), expected, "what was written is held");
        assert_eq!(live == *before, !detached, "all else stays, and nothing is left behind");
    }
}

fn whoever_is_away_is_held_as_wanted(lever: &dyn OnPods, attached: &Pods, start: Ordinal) {
    let [first, second, third] = [0, 1, 2].map(|ordinal| start + ordinal);
    let mut pods = attached.clone();
    write(lever, &mut pods, first, true);
    pods.remove(&second);
    let going = serde_json::from_value(json!(wrote())).unwrap();
    pods.get_mut(&third).unwrap().metadata.deletion_timestamp = Some(going);
    for (wanted, holds) in
        [(&[][..], &[0][..]), (&[0], &[0]), (&[0, 1, 2, 7], &[0, 1, 2, 7]), (&[1], &[0, 1])]
    {
        let held = pods::held(lever, &pods, &ordinals(start, wanted));
        assert_eq!(held, Held::Ordinals(ordinals(start, holds)), "wanted {wanted:?}");
    }
    assert_eq!(next(lever, &pods, &ordinals(start, &[0, 1, 2])), None, "there is nobody to write");
    assert_eq!(next(lever, &pods, &OrdinalSet::new()), Some((first, false)));

    // They come back as the template has them.
    let mut new = attached.clone();
    for pod in new.values_mut() {
        pod.metadata.uid = Some(format!("new-{}", pod.name_any()));
    }
    let wanted = ordinals(start, &[0, 1]);
    assert_eq!(pods::held(lever, &new, &wanted), Held::Ordinals(OrdinalSet::new()), "attached again");
    for ordinal in [first, second] {
        assert_eq!(next(lever, &new, &wanted), Some((ordinal, true)));
        write(lever, &mut new, ordinal, true);
    }
    assert_eq!(next(lever, &new, &wanted), None);
    assert_eq!(pods::held(lever, &new, &wanted), Held::Ordinals(wanted));
}

fn what_is_foreign_is_neither(lever: &dyn OnPods, pods: &Pods, start: Ordinal, changed: &Pod) {
    let second = start + 1;
    for (detach, wanted) in [(true, ordinals(start, &[1])), (false, OrdinalSet::new())] {
        let mut pods = pods.clone();
        pods.insert(second, numbered(changed, second));
        assert!(matches!(lever.held(&pods[&second]), PodHeld::Foreign { .. }), "{changed:?}");
        let Held::Foreign { what } = pods::held(lever, &pods, &wanted) else { panic!("{changed:?}") };
        assert!(what.starts_with(&format!("web-{second}: ")), "{what}");
        assert_eq!(next(lever, &pods, &wanted), Some((second, detach)));
        write(lever, &mut pods, second, detach);
        assert_eq!(pods::held(lever, &pods, &wanted), Held::Ordinals(wanted), "put right again");
    }
}

fn is_confirmed_once_it_is_followed(
    lever: &dyn OnPods,
    attached: &Pods,
    start: Ordinal,
    service: &Service,
    cloud: &Cloud<'_>,
) {
    let told = |pods: &Pods, services: &[Service], slices: &EndpointSlice, now: Timestamp| {
        let slices = std::slice::from_ref(slices);
        pods::confirmed(lever, pods, services, slices, &Memory::default(), (US, now))
    };
    let (one, before) = ([service.clone()], slice(service, attached));
    assert!(is_confirmed(&told(attached, &one, &before, in_time())), "nothing is written");
    let mut without = attached.clone();
    without.pop_first();
    let lags = told(attached, &one, &slice(service, &without), in_time());
    assert!(matches!(lags, Confirmation::Pending { .. }), "a pod that serves is not there yet: {lags:?}");

    let mut pods = attached.clone();
    for ordinal in [start, start + 2] {
        write(lever, &mut pods, ordinal, true);
        let at_once = told(&pods, &one, &before, at_once());
        assert!(!is_confirmed(&at_once), "nobody has followed yet: {at_once:?}");
        let (one, now) = ([(cloud.follows)(service.clone())], slice(service, &pods));
        let followed = told(&pods, &one, &now, in_time());
        assert!(is_confirmed(&followed), "{followed:?}");
        let gone = told(&pods, &[], &now, in_time());
        assert!(matches!(gone, Confirmation::Unknown { .. }), "no Service is in front of it: {gone:?}");
        for fail in cloud.fails {
            let failed = told(&pods, &[fail(one[0].clone())], &now, in_time());
            assert!(matches!(failed, Confirmation::Unknown { .. }), "{failed:?}");
        }
    }
}

/// A lever that has left the spec is made again of what a run has saved of it.
fn is_made_again_of_what_was_saved(lever: &dyn OnPods, pods: &[Pod]) {
    let (name, value) = lever.saved();
    let again = of_saved(lever.kind(), name, value);
    assert_ne!(again.kind(), LeverKind::None);
    let Site::Pods(again) = again.site() else { panic!("another kind of lever is made of what was saved") };
    assert_eq!(again.saved(), lever.saved());
    for (pod, detached) in pods.iter().flat_map(|pod| [(pod, true), (pod, false)]) {
        assert_eq!(again.change(pod, detached), lever.change(pod, detached));
    }
}

/// The pod of this ordinal, which is Ready.
fn numbered(pod: &Pod, ordinal: Ordinal) -> Pod {
    let mut pod = pod.clone();
    (pod.metadata.name, pod.metadata.uid) = (Some(format!("web-{ordinal}")), Some(format!("u-{ordinal}")));
    let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    pod.status = serde_json::from_value(ready).unwrap();
    pod
}

fn changed(pod: &Pod, change: &Value) -> Pod {
    let mut live = serde_json::to_value(pod).unwrap();
    json_patch::merge(&mut live, &json!({"metadata": change}));
    serde_json::from_value(live).unwrap()
}

/// The write and the API server's record of it.
fn write(lever: &dyn OnPods, pods: &mut Pods, ordinal: Ordinal, detached: bool) {
    let pod = pods.get_mut(&ordinal).unwrap();
    let change = lever.change(pod, detached);
    *pod = changed(pod, &change);
    let written =
        change["annotations"].as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    pod.metadata.managed_fields = Some(recorded(US, written.map(|(key, _)| key.as_str())));
}

fn next(lever: &dyn OnPods, pods: &Pods, wanted: &OrdinalSet) -> Option<(Ordinal, bool)> {
    let (pod, detach) = pods::next(lever, pods, wanted)?;
    Some((pod.name_any().rsplit('-').next()?.parse().ok()?, detach))
}

/// What Kubernetes makes of the Service's selector and the pods' labels.
fn slice(service: &Service, pods: &Pods) -> EndpointSlice {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).unwrap();
    let selected = |pod: &&Pod| selector.iter().all(|(key, value)| pod.labels().get(key) == Some(value));
    let endpoint =
        |pod: &Pod| json!({"addresses": ["10.1.0.9"], "targetRef": {"kind": "Pod", "uid": pod.metadata.uid}});
    let endpoints: Vec<Value> = pods.values().filter(selected).map(endpoint).collect();
    let metadata = json!({"labels": {SERVICE_NAME: service.name_any()}});
    let slice = json!({"metadata": metadata, "addressType": "IPv4", "endpoints": endpoints});
    serde_json::from_value(slice).unwrap()
}
