//! Whatever JSON stands in the annotation of weights, Tencent's or Huawei's: ordinals are held, all that is foreign keeps its bytes, and
//! at the end the old value is back byte for byte. A text that cannot be merged into is never written over.

#![no_main]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use libfuzzer_sys::fuzz_target;
use lossless_upgrade::traffic::{Held, Lever, LeverKind, OnService, Site, Target, of_saved};
use lossless_upgrade::workflow::ordinals::OrdinalSet;
use serde_json::json;
use serde_json::value::RawValue;

/// The levers that write weights.
const WEIGHING: [LeverKind; 2] = [LeverKind::TkeService, LeverKind::CceService];
const OURS: &str = "web";
/// A value that somebody else may find when the run began with another one.
const OTHER: &str = r#"{"groups":[{"key":{"proto":"TCP","port":80},"statefulSets":[{"name":"web","weights":[{"weight":20,"podIndexes":[0,1]}]}]}]}"#;

fn on_service(lever: &dyn Lever) -> &dyn OnService {
    match lever.site() {
        Site::Services(lever) => lever,
        Site::Nothing | Site::Pods(_) => unreachable!("it writes Services"),
    }
}

fn service(key: &str, value: Option<&str>) -> Service {
    let ports = json!([
        {"port": 80}, {"port": 8080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"},
    ]);
    let mut service: Service = serde_json::from_value(json!({
        "metadata": {"name": "front"},
        "spec": {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": ports},
    }))
    .expect("a Service");
    service.metadata.annotations = value.map(|value| BTreeMap::from([(key.to_owned(), value.to_owned())]));
    service
}

/// One run on one Service.
struct Hand<'a> {
    lever: &'a dyn OnService,
    target: Target<'a>,
    before: Option<&'a str>,
}

impl Hand<'_> {
    fn live(&self, value: Option<&str>) -> Service {
        service(self.lever.key(), value)
    }

    fn held(&self, live: Option<&str>) -> Held {
        self.lever.held(&self.live(live), &self.target, self.before)
    }

    /// What it writes; none: it will not write over this.
    fn write(&self, live: Option<&str>, detached: &OrdinalSet) -> Option<Option<String>> {
        self.lever.render(&self.live(live), &self.target, self.before, detached).ok()
    }
}

/// The parts of a value that are not ours, each byte by byte. Groups that the value did not have may come after its own.
#[derive(Debug, PartialEq)]
struct Foreign {
    members: BTreeMap<String, String>,
    groups: Vec<(BTreeMap<String, String>, Vec<String>)>,
}

type Members<'a> = BTreeMap<String, &'a RawValue>;

fn foreign(text: &str) -> Foreign {
    let texts = |members: Members<'_>, but: &str| {
        let members = members.into_iter().filter(|(key, _)| key != but);
        members.map(|(key, raw)| (key, raw.get().to_owned())).collect()
    };
    let members: Members<'_> = serde_json::from_str(text).expect("an object");
    let groups: Vec<Members<'_>> =
        members.get("groups").map(|raw| serde_json::from_str(raw.get()).expect("groups")).unwrap_or_default();
    let group = |group: Members<'_>| {
        let sets: Vec<&RawValue> = group
            .get("statefulSets")
            .map(|raw| serde_json::from_str(raw.get()).expect("sets"))
            .unwrap_or_default();
        let is_ours = |raw: &&RawValue| {
            let set: Members<'_> = serde_json::from_str(raw.get()).expect("an entry");
            serde_json::from_str::<String>(set["name"].get()).expect("its name") == OURS
        };
        let others = sets.into_iter().filter(|raw| !is_ours(raw)).map(|raw| raw.get().to_owned()).collect();
        (texts(group, "statefulSets"), others)
    };
    Foreign { groups: groups.into_iter().map(group).collect(), members: texts(members, "groups") }
}

fn keeps_what_is_foreign(before: &str, written: &str) {
    let (before, mut written) = (foreign(before), foreign(written));
    written.groups.truncate(before.groups.len());
    assert_eq!(written, before);
}

fuzz_target!(|data: &[u8]| {
    // The last three bytes say which of the ordinals 0 to 7 are detached, one after the other.
    let Some((text, orders)) = data.split_last_chunk::<3>() else { return };
    let Ok(text) = str::from_utf8(text) else { return };
    let orders = orders.map(|mask| (0..8).filter(|bit| mask >> bit & 1 == 1).collect::<OrdinalSet>());
    for kind in WEIGHING {
        run(on_service(&*of_saved(kind, "front", None)), text, &orders);
    }
});

/// One run with this value in the annotation, through each of these sets of detached ordinals.
fn run(lever: &dyn OnService, text: &str, orders: &[OrdinalSet; 3]) {
    let nobody = OrdinalSet::new();
    let nothing = BTreeMap::new();
    let target =
        Target { set: OURS, governing: "", pod_labels: &nothing, pod_annotations: &nothing, selector: None };
    let hand = Hand { lever, target, before: Some(text) };

    let Some(attached) = hand.write(Some(text), &nobody) else {
        for before in [None, Some(OTHER), Some(text)] {
            let hand = Hand { before, ..hand };
            assert!(
                matches!(hand.held(Some(text)), Held::Unreadable { .. }),
                "neither detached nor attached"
            );
            assert_eq!(hand.write(Some(text), &orders[0]), None, "written over");
        }
        return;
    };
    assert_eq!(attached.as_deref(), Some(text), "nothing was detached, so nothing changes");
    assert_eq!(hand.held(Some(text)), Held::Ordinals(nobody.clone()));

    let mut live = text.to_owned();
    for detached in orders {
        let written = hand.write(Some(&live), detached).expect("it is written").expect("it stays");
        assert_eq!(hand.held(Some(&written)), Held::Ordinals(detached.clone()));
        keeps_what_is_foreign(text, &written);
        assert_eq!(hand.write(Some(&written), detached), Some(Some(written.clone())), "twice is once");
        assert_eq!(hand.write(Some(text), detached), Some(Some(written.clone())), "the way does not matter");
        let again = lever.again(&hand.live(Some(&written))).expect("other bytes");
        assert_ne!(again, written);
        assert_eq!(hand.held(Some(&again)), Held::Ordinals(detached.clone()), "the same meaning");
        live = written;
    }
    assert_eq!(hand.write(Some(&live), &nobody), Some(Some(text.to_owned())), "byte for byte");

    // As what somebody else made of it in mid-run, it is mended, and what is his stays.
    for before in [None, Some(OTHER)] {
        let hand = Hand { before, ..hand };
        let written = hand.write(Some(text), &orders[0]).expect("it is written");
        assert_eq!(hand.held(written.as_deref()), Held::Ordinals(orders[0].clone()));
    }
}
