//! What every lever must do, whatever it writes. The tests of a lever on Services call [`contract`] with
//! Services of each shape that it knows; those of a lever on pods call [`contract_on_pods`].

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{Held, LeverKind, OnPods, OnService, PodHeld, Site, Target, of_saved};
use crate::workflow::ordinals::OrdinalSet;

fn ordinals(ordinals: &[u32]) -> OrdinalSet {
    ordinals.iter().copied().collect()
}

/// One Service under one lever, written the way the shell does.
struct Hand<'a> {
    lever: &'a dyn OnService,
    target: Target<'a>,
    before: Option<String>,
}

impl Hand<'_> {
    fn set(&self, live: &mut Service, value: Option<String>) {
        let key = self.lever.key();
        let annotations = live.metadata.annotations.get_or_insert_default();
        match value {
            Some(value) => annotations.insert(key.to_owned(), value),
            None => annotations.remove(key),
        };
    }

    fn write(&self, live: &mut Service, detached: &OrdinalSet) {
        let value = self.lever.render(live, &self.target, self.before.as_deref(), detached).unwrap();
        self.set(live, value);
        assert_eq!(self.held(live), Held::Ordinals(detached.clone()), "what was written is held");
        let again = self.lever.render(live, &self.target, self.before.as_deref(), detached).unwrap();
        assert_eq!(again.as_deref(), self.lever.value(live), "writing twice is writing once");
    }

    fn held(&self, live: &Service) -> Held {
        self.lever.held(live, &self.target, self.before.as_deref())
    }
}

/// Holds a lever to its contract on every Service that it selects.
pub(super) fn contract(lever: &dyn OnService, target: Target<'_>, all: &[Service]) {
    let selection = lever.services(&target, all).unwrap();
    for service in all.iter().filter(|service| selection.services.contains(&service.name_any())) {
        let before = lever.value(service).map(str::to_owned);
        let hand = Hand { lever, target, before };
        detaches_and_restores(&hand, service.clone());
        is_looked_at_again(&hand, service.clone());
        shares_with_another(&hand, service);
        refuses_what_it_cannot_read(&hand, service.clone());
    }
}

fn detaches_and_restores(hand: &Hand<'_>, mut live: Service) {
    assert_eq!(hand.held(&live), Held::Ordinals(ordinals(&[])), "before a run nothing is detached");
    for detached in [&[0][..], &[], &[0, 1, 2, 7], &[1], &[1, 3], &[]] {
        hand.write(&mut live, &ordinals(detached));
        if detached.is_empty() {
            assert_eq!(hand.lever.value(&live), hand.before.as_deref(), "restored byte for byte");
        }
    }
}

fn is_looked_at_again(hand: &Hand<'_>, mut live: Service) {
    for detached in [ordinals(&[2]), ordinals(&[])] {
        hand.write(&mut live, &detached);
        for _ in 0..3 {
            let old = hand.lever.value(&live).map(str::to_owned);
            let other = hand.lever.again(&live);
            assert_ne!(other, old, "other bytes");
            hand.set(&mut live, other);
            assert_eq!(hand.held(&live), Held::Ordinals(detached.clone()), "the same meaning");
        }
    }
    hand.write(&mut live, &ordinals(&[]));
    assert_eq!(hand.lever.value(&live), hand.before.as_deref(), "restored byte for byte");
}

/// Two objects on two StatefulSets behind one Service, begun and ended in either order.
fn shares_with_another(hand: &Hand<'_>, service: &Service) {
    for we_end_first in [true, false] {
        let mut live = service.clone();
        hand.write(&mut live, &ordinals(&[0]));
        let target = Target { set: "the-other", ..hand.target };
        let before = hand.lever.value(&live).map(str::to_owned);
        let other = Hand { lever: hand.lever, target, before };
        other.write(&mut live, &ordinals(&[4, 5]));
        assert_eq!(hand.held(&live), Held::Ordinals(ordinals(&[0])), "ours stays beside theirs");
        hand.write(&mut live, &ordinals(&[1]));
        assert_eq!(other.held(&live), Held::Ordinals(ordinals(&[4, 5])), "theirs stays beside ours");
        let (first, second, rest) =
            if we_end_first { (hand, &other, &[4, 5][..]) } else { (&other, hand, &[1][..]) };
        first.write(&mut live, &ordinals(&[]));
        assert_eq!(second.held(&live), Held::Ordinals(ordinals(rest)), "who ends leaves the other's");
        second.write(&mut live, &ordinals(&[]));
        for hand in [hand, &other] {
            assert_eq!(hand.held(&live), Held::Ordinals(ordinals(&[])), "nothing is left behind");
        }
        if hand.before.is_none() {
            assert_eq!(hand.lever.value(&live), None, "not even the frame");
        }
    }
}

fn refuses_what_it_cannot_read(hand: &Hand<'_>, mut live: Service) {
    hand.set(&mut live, Some("\u{0}not a value of any lever".to_owned()));
    assert!(matches!(hand.held(&live), Held::Unreadable { .. }), "never taken for detached or attached");
    let written = hand.lever.render(&live, &hand.target, hand.before.as_deref(), &ordinals(&[0]));
    assert!(written.is_err(), "never written over");
}

/// Holds a lever on pods to its contract on each of these pods, which are attached.
pub(super) fn contract_on_pods(lever: &dyn OnPods, pods: &[Pod]) {
    for pod in pods {
        let mut live = serde_json::to_value(pod).unwrap();
        let pod = |live: &Value| serde_json::from_value::<Pod>(live.clone()).unwrap();
        let before = live.clone();
        assert_eq!(lever.held(&pod(&live)), PodHeld::Attached);
        for detached in [true, true, false, false, true, false] {
            let change = lever.change(&pod(&live), detached);
            json_patch::merge(&mut live, &json!({"metadata": change}));
            let expected = if detached { PodHeld::Detached } else { PodHeld::Attached };
            assert_eq!(lever.held(&pod(&live)), expected, "what was written is held");
            assert_eq!(live == before, !detached, "all else stays, and nothing is left behind");
        }
    }
    let (name, value) = lever.saved();
    let again = of_saved(lever.kind(), name, value);
    assert_ne!(again.kind(), LeverKind::None);
    let Site::Pods(again) = again.site() else { panic!("another kind of lever is made of what was saved") };
    assert_eq!(again.saved(), lever.saved());
    for (pod, detached) in pods.iter().flat_map(|pod| [(pod, true), (pod, false)]) {
        assert_eq!(again.change(pod, detached), lever.change(pod, detached));
    }
}
