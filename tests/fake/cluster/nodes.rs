//! Nodes that are lost: nobody hears of what runs on one any more. The pod is no longer Ready, its log cannot
//! be had, it is deleted after a while, and it is gone only when somebody gives the node up.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{NAME, NAMESPACE, age, uid};
use crate::fake::call::{Part, PatchKind, Resource};
use crate::fake::store::{Author, Key, Store, second};

const MANAGER: &str = "node-controller";
/// From the loss until its pod is deleted, and until the pod is gone.
const DELETED_AFTER: SignedDuration = SignedDuration::from_secs(40);
const GONE_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// The lost ones.
#[derive(Default)]
pub struct Nodes {
    /// Since when, by the uid of the pod on it.
    lost: BTreeMap<String, (Key, Timestamp)>,
}

impl Nodes {
    /// The node of this pod is lost. Answers whether there is such a pod on a node.
    pub fn lose(&mut self, store: &mut Store, ordinal: u32, now: Timestamp) -> bool {
        let key = Key::new(Resource::Pods, NAMESPACE, &format!("{NAME}-{ordinal}"));
        let Ok(pod) = store.get(&key).cloned() else { return false };
        if !pod["spec"]["nodeName"].is_string() {
            return false;
        }
        let ready = json!({"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "lastTransitionTime": second(now)});
        let status = json!({"status": {"conditions": [ready]}});
        let author = Author { manager: MANAGER, at: now };
        store.patch(&key, Part::Status, PatchKind::Merge, &status, false, author).expect("the pod is there");
        store.unreachable.insert(uid(&pod).to_owned());
        self.lost.insert(uid(&pod).to_owned(), (key, now));
        true
    }

    pub fn tick(&mut self, store: &mut Store, now: Timestamp) {
        let author = Author { manager: MANAGER, at: now };
        self.lost.retain(|uid, (key, since)| {
            let is_there = store.get(key).is_ok_and(|pod| pod["metadata"]["uid"] == **uid);
            let lost = age(*since, now);
            if is_there && lost >= GONE_AFTER {
                store.remove(key, author);
            } else if is_there && lost >= DELETED_AFTER {
                store.delete(key, &Value::Null, author).expect("the pod is there");
            }
            is_there && lost < GONE_AFTER
        });
    }

    /// Whether nobody hears of the pod.
    pub fn has(&self, uid: &str) -> bool {
        self.lost.contains_key(uid)
    }

    /// The pods that are on a lost node, by name, and since when.
    pub fn lost(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.lost.values().map(|(key, since)| (key.name.as_str(), *since))
    }
}
