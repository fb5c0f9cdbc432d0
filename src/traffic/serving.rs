//! Since when new pods serve: a load balancer must have seen that before others are taken out.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::endpoints::ready_since;
use super::tencent::is_gated;
use crate::workflow::ordinals::{Ordinal, OrdinalSet};

/// A pod that becomes Ready is seen sooner than that by whoever watches it.
const APART: SignedDuration = SignedDuration::from_secs(5);

/// When this process first saw each pod Ready, by its uid and the node's time of becoming so. It only ever helps.
#[derive(Clone, Debug, Default)]
pub struct Serving(BTreeMap<(String, Timestamp), Timestamp>);

impl Serving {
    /// Takes note of a look.
    pub fn saw(&mut self, pods: &BTreeMap<Ordinal, Pod>, now: Timestamp) {
        let before = std::mem::take(&mut self.0);
        let known = |key| (before.get(&key).copied().unwrap_or(now), key);
        self.0 = pods.values().filter_map(key).map(known).map(|(seen, key)| (key, seen)).collect();
    }

    /// Since when the last of the pods that are not detached is Ready: by the clock of its node, but not later than this process has seen
    /// it, nor more than [`APART`] earlier, as clocks differ. None: nobody is, or each of them was held back by TKE's
    /// readiness gate until its load balancer had it.
    #[must_use]
    pub fn since(&self, pods: &BTreeMap<Ordinal, Pod>, detached: &OrdinalSet) -> Option<Timestamp> {
        let new = pods.iter().filter(|(ordinal, pod)| {
            !detached.contains(**ordinal) && pod.metadata.deletion_timestamp.is_none() && !is_gated(pod)
        });
        let since = |key: (String, Timestamp)| match self.0.get(&key) {
            Some(seen) => key.1.clamp(seen.saturating_sub(APART).unwrap_or(*seen), *seen),
            None => key.1,
        };
        new.filter_map(|(_, pod)| key(pod)).map(since).max()
    }
}

fn key(pod: &Pod) -> Option<(String, Timestamp)> {
    Some((pod.metadata.uid.clone()?, ready_since(pod)?))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + second).unwrap()
    }

    fn pod(ordinal: u32, ready: Option<i64>, more: &Value) -> (Ordinal, Pod) {
        let status = if ready.is_some() { "True" } else { "False" };
        let condition =
            json!({"type": "Ready", "status": status, "lastTransitionTime": at(ready.unwrap_or(99))});
        let mut pod = json!({"metadata": {"name": format!("web-{ordinal}"), "uid": format!("u-{ordinal}")},
            "spec": {"containers": []}, "status": {"conditions": [condition]}});
        json_patch::merge(&mut pod, more);
        (ordinal, serde_json::from_value(pod).unwrap())
    }

    fn of(ordinals: &[u32]) -> OrdinalSet {
        ordinals.iter().copied().collect()
    }

    #[test]
    fn the_last_of_the_pods_that_became_ready_counts() {
        let going = json!({"metadata": {"deletionTimestamp": at(0)}});
        let gated = json!({"spec": {"readinessGates": [{"conditionType": "cloud.tencent.com/load-balancer-backendgroup-ready"}]}});
        let pods = BTreeMap::from([
            pod(0, Some(10), &json!({})),
            pod(1, Some(20), &json!({})),
            pod(2, None, &json!({})),
            pod(3, Some(30), &going),
            pod(4, Some(40), &gated),
        ]);
        let told = Serving::default();
        assert_eq!(told.since(&pods, &of(&[])), Some(at(20)));
        assert_eq!(told.since(&pods, &of(&[1])), Some(at(10)), "who is detached is not to serve");
        assert_eq!(told.since(&pods, &of(&[0, 1])), None);
    }

    #[test]
    fn a_clock_of_a_node_that_is_ahead_or_behind_is_not_followed() {
        let mut told = Serving::default();
        let ready = |second| BTreeMap::from([pod(0, Some(second), &json!({}))]);
        told.saw(&ready(3600), at(5));
        told.saw(&ready(3600), at(8));
        assert_eq!(told.since(&ready(3600), &of(&[])), Some(at(5)));
        told.saw(&ready(3700), at(100));
        assert_eq!(told.since(&ready(3700), &of(&[])), Some(at(100)), "it became Ready again");
        // One that is behind would make an older synchronisation count.
        told.saw(&ready(130), at(200));
        assert_eq!(told.since(&ready(130), &of(&[])), Some(at(195)));
        told.saw(&ready(297), at(300));
        assert_eq!(told.since(&ready(297), &of(&[])), Some(at(297)));
        assert_eq!(told.since(&ready(7), &of(&[])), Some(at(7)), "what was never seen is believed");
    }
}
