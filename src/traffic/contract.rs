//! What every lever must do, whatever it writes. The tests of a lever on Services call [`contract`] with
//! Services of each shape that it knows, those of a lever on pods call [`contract_on_pods`], and those of a lever
//! that merges JSON into what is there call [`merges`] too.

mod merge;
mod pods;
mod texts;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::ResourceExt;
use serde_json::json;

pub(super) use self::merge::merges;
pub(super) use self::pods::contract_on_pods;
use super::sync_stamps::{BEGIN, END};
use super::{Confirmation, Held, OnService, Problem, Target, Warning, WriteRecord};
use crate::workflow::ordinals::OrdinalSet;

/// The field manager that writes.
const US: &str = "lossless-upgrade";
/// `spec.ordinals.start` of the StatefulSets.
const STARTS: [u32; 2] = [0, 5];

/// What the cloud of a lever does, played by its tests.
pub(super) struct Cloud<'a> {
    /// How a Service looks when its controller has followed what was written at [`wrote`].
    pub follows: fn(Service) -> Service,
    /// What keeps the controller from following, or from telling that it has.
    pub fails: &'a [fn(Service) -> Service],
}

/// When everything is written.
fn wrote() -> Timestamp {
    "2026-01-04T16:24:50+08:00".parse().unwrap()
}

/// Right after that.
fn at_once() -> Timestamp {
    wrote() + SignedDuration::from_millis(400)
}

/// When whoever follows has done so.
fn in_time() -> Timestamp {
    wrote() + SignedDuration::from_mins(2)
}

/// The stamps of a synchronisation that began after the write, as TKE's controller leaves them.
pub(super) fn stamped(service: Service) -> Service {
    let service = annotated(service, BEGIN, Some("2026-01-04T16:24:51+08:00"));
    annotated(service, END, Some("2026-01-04T16:24:52+08:00"))
}

/// A Service with an annotation, or without it.
pub(super) fn annotated(mut service: Service, key: &str, value: Option<&str>) -> Service {
    let annotations = service.metadata.annotations.get_or_insert_default();
    match value {
        Some(value) => annotations.insert(key.to_owned(), value.to_owned()),
        None => annotations.remove(key),
    };
    service
}

fn ordinals(start: u32, ordinals: &[u32]) -> OrdinalSet {
    ordinals.iter().map(|ordinal| start + ordinal).collect()
}

/// The API server's record that `manager` wrote these annotations.
fn recorded<'a>(manager: &str, keys: impl Iterator<Item = &'a str>) -> Vec<ManagedFieldsEntry> {
    let fields: serde_json::Map<_, _> = keys.map(|key| (format!("f:{key}"), json!({}))).collect();
    let entry = json!({"manager": manager, "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "time": wrote(), "fieldsV1": {"f:metadata": {"f:annotations": fields}}});
    vec![serde_json::from_value(entry).unwrap()]
}

/// One Service under one lever, written the way the shell does.
struct Hand<'a> {
    lever: &'a dyn OnService,
    target: Target<'a>,
    start: u32,
    before: Option<String>,
}

impl<'a> Hand<'a> {
    /// A run begins.
    fn on(lever: &'a dyn OnService, target: Target<'a>, start: u32, live: &Service) -> Self {
        Self { lever, target, start, before: lever.value(live).map(str::to_owned) }
    }

    fn ordinals(&self, ordinals: &[u32]) -> OrdinalSet {
        self::ordinals(self.start, ordinals)
    }

    fn set(&self, live: &mut Service, value: Option<&str>) {
        let key = self.lever.key();
        live.metadata.managed_fields = Some(recorded(US, value.iter().map(|_| key)));
        *live = annotated(std::mem::take(live), key, value);
    }

    fn rendered(&self, live: &Service, detached: &OrdinalSet) -> Option<String> {
        self.lever.render(live, &self.target, self.before.as_deref(), detached).unwrap()
    }

    fn write(&self, live: &mut Service, detached: &OrdinalSet) {
        let value = self.rendered(live, detached);
        self.set(live, value.as_deref());
        assert_eq!(self.held(live), Held::Ordinals(detached.clone()), "what was written is held");
        assert_eq!(
            self.rendered(live, detached).as_deref(),
            self.lever.value(live),
            "writing twice is writing once"
        );
    }

    fn held(&self, live: &Service) -> Held {
        self.lever.held(live, &self.target, self.before.as_deref())
    }

    /// What the shell takes it for.
    fn told(&self, live: &Service, write: &WriteRecord, now: Timestamp) -> Confirmation {
        match self.lever.obstacles(live).first() {
            Some(problem) => Confirmation::Unknown { why: problem.to_string() },
            None => self.lever.confirmed(live, write, now),
        }
    }
}

/// Holds a lever to its contract on every Service that it selects.
pub(super) fn contract(lever: &dyn OnService, target: Target<'_>, all: &[Service], cloud: &Cloud<'_>) {
    let selection = lever.services(&target, all).unwrap();
    for service in all.iter().filter(|service| selection.services.contains(&service.name_any())) {
        for start in STARTS {
            let hand = Hand::on(lever, target, start, service);
            detaches_and_restores(&hand, service.clone());
            is_looked_at_again(&hand, service.clone());
            shares_with_another(&hand, service);
            is_confirmed_once_it_is_followed(&hand, service, cloud);
        }
        let hand = Hand::on(lever, target, 0, service);
        tells_what_somebody_else_wrote(&hand, service.clone());
        refuses_what_it_cannot_read(&hand, service.clone());
        refuses_what_is_being_deleted(&hand, service.clone());
        warns(&hand, service.clone());
    }
}

fn detaches_and_restores(hand: &Hand<'_>, mut live: Service) {
    assert_eq!(hand.held(&live), Held::Ordinals(OrdinalSet::new()), "before a run nothing is detached");
    for detached in [&[0][..], &[], &[0, 1, 2, 7], &[1], &[1, 3], &[]] {
        hand.write(&mut live, &hand.ordinals(detached));
        if detached.is_empty() {
            assert_eq!(hand.lever.value(&live), hand.before.as_deref(), "restored byte for byte");
        }
    }
}

fn is_looked_at_again(hand: &Hand<'_>, mut live: Service) {
    for detached in [hand.ordinals(&[2]), OrdinalSet::new()] {
        hand.write(&mut live, &detached);
        for _ in 0..3 {
            let old = hand.lever.value(&live).map(str::to_owned);
            let other = hand.lever.again(&live);
            assert_ne!(other, old, "other bytes");
            hand.set(&mut live, other.as_deref());
            assert_eq!(hand.held(&live), Held::Ordinals(detached.clone()), "the same meaning");
        }
    }
    hand.write(&mut live, &OrdinalSet::new());
    assert_eq!(hand.lever.value(&live), hand.before.as_deref(), "restored byte for byte");
}

/// Two objects on two StatefulSets behind one Service, begun and ended in either order.
fn shares_with_another(hand: &Hand<'_>, service: &Service) {
    let nobody = OrdinalSet::new();
    for we_end_first in [true, false] {
        let mut live = service.clone();
        hand.write(&mut live, &hand.ordinals(&[0]));
        let target = Target { set: "the-other", ..hand.target };
        let other = Hand::on(hand.lever, target, hand.start, &live);
        other.write(&mut live, &other.ordinals(&[4, 5]));
        assert_eq!(hand.held(&live), Held::Ordinals(hand.ordinals(&[0])), "ours stays beside theirs");
        hand.write(&mut live, &hand.ordinals(&[1]));
        assert_eq!(other.held(&live), Held::Ordinals(other.ordinals(&[4, 5])), "theirs stays beside ours");
        let (first, second, rest) =
            if we_end_first { (hand, &other, &[4, 5][..]) } else { (&other, hand, &[1][..]) };
        first.write(&mut live, &nobody);
        assert_eq!(second.held(&live), Held::Ordinals(hand.ordinals(rest)), "who ends leaves the other's");
        second.write(&mut live, &nobody);
        for hand in [hand, &other] {
            assert_eq!(hand.held(&live), Held::Ordinals(nobody.clone()), "nothing is left behind");
        }
        if hand.before.is_none() {
            assert_eq!(hand.lever.value(&live), None, "not even the frame");
        }
    }
}

/// A detach, another one and the attach of all, each by who remembers its write and by who does not.
fn is_confirmed_once_it_is_followed(hand: &Hand<'_>, service: &Service, cloud: &Cloud<'_>) {
    let mut live = service.clone();
    for detached in [&[0][..], &[1, 2], &[]] {
        hand.write(&mut live, &hand.ordinals(detached));
        let (key, forgot) = (hand.lever.key(), WriteRecord::unknown(US));
        let remembers = WriteRecord::of_answer(US, key, &live, at_once());
        for write in [&remembers, &forgot] {
            let told = hand.told(&live, write, at_once());
            assert!(!is_confirmed(&told), "nobody has followed yet: {told:?}");
        }
        let told = hand.lever.taken(&live, wrote(), at_once());
        assert!(!is_confirmed(&told), "nobody has seen yet who serves: {told:?}");

        let followed = (cloud.follows)(live.clone());
        let told = hand.told(&followed, &remembers, in_time());
        assert!(is_confirmed(&told), "{detached:?}: {told:?}");
        assert!(is_confirmed(&hand.lever.taken(&followed, wrote(), in_time())));
        // Of an annotation that was taken away there is no record.
        let told = hand.told(&followed, &forgot, in_time());
        assert_eq!(
            is_confirmed(&told),
            hand.lever.value(&live).is_some(),
            "by the API server's word: {told:?}"
        );
        let mut theirs = followed.clone();
        theirs.metadata.managed_fields = Some(recorded("someone", [key].into_iter()));
        let told = hand.told(&theirs, &forgot, in_time());
        assert!(matches!(told, Confirmation::Doubtful { .. }), "another's write is not ours: {told:?}");
        for fail in cloud.fails {
            let told = hand.told(&fail(followed.clone()), &remembers, in_time());
            assert!(matches!(told, Confirmation::Unknown { .. }), "{told:?}");
        }
    }
}

fn is_confirmed(told: &Confirmation) -> bool {
    match told {
        Confirmation::Confirmed { at } => {
            assert!((wrote()..=in_time()).contains(at), "since {at}");
            true
        }
        Confirmation::Pending { .. } | Confirmation::Doubtful { .. } | Confirmation::Unknown { .. } => false,
    }
}

/// A weight of ours at which somebody has set another one is neither out nor in, and a write mends it.
fn tells_what_somebody_else_wrote(hand: &Hand<'_>, mut live: Service) {
    let detached = hand.ordinals(&[0, 1]);
    hand.write(&mut live, &detached);
    let ours = hand.lever.value(&live).unwrap().to_owned();
    let at = ours.rfind(":0").expect("a weight of 0");
    hand.set(&mut live, Some(&format!("{}:7{}", &ours[..at], &ours[at + 2..])));
    assert!(matches!(hand.held(&live), Held::Foreign { .. }), "{:?}", hand.held(&live));
    hand.write(&mut live, &detached);
    assert_eq!(hand.held(&live), Held::Ordinals(detached), "ours again");
}

fn refuses_what_is_being_deleted(hand: &Hand<'_>, mut live: Service) {
    live.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(wrote()));
    let service = live.name_any();
    let problems = hand.lever.services(&hand.target, &[live]).unwrap_err();
    assert!(problems.contains(&Problem::BeingDeleted { service }), "{problems:?}");
}

fn refuses_what_it_cannot_read(hand: &Hand<'_>, mut live: Service) {
    hand.set(&mut live, Some("\u{0}not a value of any lever"));
    assert!(matches!(hand.held(&live), Held::Unreadable { .. }), "never taken for detached or attached");
    let written = hand.lever.render(&live, &hand.target, hand.before.as_deref(), &hand.ordinals(&[0]));
    assert!(written.is_err(), "never written over");
}

fn warns(hand: &Hand<'_>, mut live: Service) {
    let service = live.name_any();
    let spec = live.spec.as_mut().unwrap();
    (spec.session_affinity, spec.publish_not_ready_addresses) = (Some("ClientIP".into()), Some(true));
    let told = hand.lever.services(&hand.target, &[live]).unwrap().warnings;
    assert!(told.contains(&Warning::SessionAffinity { service: service.clone() }), "{told:?}");
    assert!(told.contains(&Warning::NotReadyAddresses { service }), "{told:?}");
}
