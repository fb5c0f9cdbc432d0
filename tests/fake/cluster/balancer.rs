//! The load balancer and its controller: it honours weights by ordinal, some time after they were
//! written, and stamps the Service when it begins and when it has ended.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{NAME, NAMESPACE, is_ending, is_ready, name, ordinal, pods, uid};
use crate::fake::call::{Part, PatchKind, Resource};
use crate::fake::store::{Author, Key, Store, second};

/// What the lever writes.
pub const WEIGHTS: &str = "service.cloud.tencent.com/lb-rs-weight";
const BEGIN: &str = "service.cloud.tencent.com/sync-begin-time";
const END: &str = "service.cloud.tencent.com/sync-end-time";
/// Half of its way behind.
const HALF: SignedDuration = SignedDuration::from_millis(750);
/// What somebody else has in the annotation, in a form that nobody would render.
pub const BEFORE: &str = r#"{ "defaultWeight":10, "groups":[{"statefulSets":[{"name":"other","weights":[{"weight":5,"podIndexes":[0, 1]}]}], "key":{"port":80,"proto":"TCP"}}] }"#;

/// All that a sync depends on.
type Input = (Value, Vec<(String, bool)>);

/// The load balancer.
#[derive(Default)]
pub struct Balancer {
    synced: Option<Input>,
    sync: Option<Sync>,
    /// To whom it sends new connections: uid and ordinal.
    pub attached: BTreeMap<String, u32>,
    /// What was in force, one after the other.
    pub history: Vec<BTreeSet<u32>>,
}

enum Sync {
    Queued(Timestamp),
    UnderWay { end: Timestamp, input: Input, attached: BTreeMap<String, u32>, out: BTreeSet<u32> },
}

impl Balancer {
    pub fn tick(&mut self, store: &mut Store, now: Timestamp) {
        let key = Key::new(Resource::Services, NAMESPACE, NAME);
        let Ok(service) = store.get(&key).cloned() else { return };
        let later = now.checked_add(HALF).unwrap_or(now);
        match self.sync.take() {
            None => {
                if self.synced.as_ref() != Some(&input(store, &service)) {
                    self.sync = Some(Sync::Queued(later));
                }
            }
            Some(Sync::Queued(at)) if now >= at => {
                let out = out(&service);
                let serving = pods(store).into_iter().filter(|pod| is_ready(pod));
                let attached = serving.filter_map(|pod| Some((uid(&pod).to_owned(), ordinal(&pod)?)));
                let attached = attached.filter(|(_, ordinal)| !out.contains(ordinal)).collect();
                self.sync = Some(Sync::UnderWay { end: later, input: input(store, &service), attached, out });
                stamp(store, &key, BEGIN, now);
            }
            Some(Sync::UnderWay { end, input, attached, out }) if now >= end => {
                self.synced = Some(input);
                self.attached = attached;
                if self.history.last() != Some(&out) {
                    self.history.push(out);
                }
                stamp(store, &key, END, now);
            }
            under_way @ Some(Sync::Queued(_) | Sync::UnderWay { .. }) => self.sync = under_way,
        }
    }
}

fn input(store: &Store, service: &Value) -> Input {
    let pods = pods(store);
    let pods =
        pods.iter().map(|pod| (format!("{} {}", name(pod), uid(pod)), is_ready(pod) && !is_ending(pod)));
    (service["metadata"]["annotations"][WEIGHTS].clone(), pods.collect())
}

/// The ordinals of weight 0.
pub fn out(service: &Value) -> BTreeSet<u32> {
    let text = service["metadata"]["annotations"][WEIGHTS].as_str().unwrap_or("{}");
    let weights: Value = serde_json::from_str(text).expect("the annotation is JSON");
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let sets = list(&weights, "groups").into_iter().flat_map(|group| list(&group, "statefulSets"));
    let ours = sets.filter(|set| set["name"] == NAME).flat_map(|set| list(&set, "weights"));
    let zero = ours.filter(|class| class["weight"] == 0).flat_map(|class| list(&class, "podIndexes"));
    zero.filter_map(|index| u32::try_from(index.as_u64()?).ok()).collect()
}

fn stamp(store: &mut Store, key: &Key, which: &str, now: Timestamp) {
    let patch = json!({"metadata": {"annotations": {which: second(now)}}});
    let author = Author { manager: "service-controller", at: now };
    store.patch(key, Part::Whole, PatchKind::Merge, &patch, false, author).expect("the Service is there");
}
