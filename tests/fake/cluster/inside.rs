//! A second way to the pods: a Service that selects them by a label too. Its `EndpointSlice` follows the pods,
//! and who sends clients follows the slice, each some time after.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{NAME, NAMESPACE, is_ending, is_ready, name, ordinal, pods, uid};
use crate::fake::call::{Part, PatchKind, Resource};
use crate::fake::store::{Author, Key, Store};

/// The Service, and its slice.
const INSIDE: &str = "inside";
/// What the lever takes off, and its value.
pub const SERVING: (&str, &str) = ("serving", "true");
/// From a change of the pods until it is in the slice.
const SLICE_LAG: SignedDuration = SignedDuration::from_millis(750);
/// From a change of the slice until clients are sent by it.
const PROXY_LAG: SignedDuration = SignedDuration::from_millis(500);

/// The `EndpointSlice` controller and those who follow it.
#[derive(Default)]
pub struct Inside {
    /// What the slice does not have yet, since when.
    unwritten: Option<Timestamp>,
    /// Who is to be sent clients, and from when on.
    unfollowed: Option<(Timestamp, BTreeMap<String, u32>)>,
    /// To whom clients are sent: uid and ordinal. None: there is no such Service.
    pub attached: Option<BTreeMap<String, u32>>,
    /// Who was without the label, one after the other.
    pub history: Vec<BTreeSet<u32>>,
}

/// The Service as a user applies it.
pub fn apply(store: &mut Store, now: Timestamp) {
    let (label, value) = SERVING;
    let service = json!({"spec": {
        "type": "ClusterIP", "clusterIP": "10.1.0.1", "selector": {"app": NAME, label: value},
        "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
    }});
    let author = Author { manager: "kubectl", at: now };
    store.create(&Key::new(Resource::Services, NAMESPACE, INSIDE), service, author).expect("a new object");
}

impl Inside {
    pub fn tick(&mut self, store: &mut Store, now: Timestamp) {
        if store.get(&Key::new(Resource::Services, NAMESPACE, INSIDE)).is_err() {
            return;
        }
        self.write(store, now);
        if let Some((_, attached)) = self.unfollowed.take_if(|(at, _)| now >= *at) {
            self.attached = Some(attached);
        }
    }

    fn write(&mut self, store: &mut Store, now: Timestamp) {
        let slice = Key::new(Resource::Slices, NAMESPACE, INSIDE);
        let pods = pods(store);
        let out = unlabelled(pods.iter().map(AsRef::as_ref));
        if self.history.last() != Some(&out) {
            self.history.push(out);
        }
        let selected: Vec<_> = pods.iter().filter(|pod| has_label(pod)).collect();
        let endpoints: Vec<Value> = selected.iter().map(|pod| endpoint(pod)).collect();
        let is = store.get(&slice).ok().map(|slice| slice["endpoints"].clone());
        if is == Some(json!(endpoints)) {
            self.unwritten = None;
            return;
        }
        if now.duration_since(*self.unwritten.get_or_insert(now)) < SLICE_LAG {
            return;
        }
        self.unwritten = None;
        let author = Author { manager: "endpointslice-controller", at: now };
        if is.is_some() {
            let change = json!({"endpoints": endpoints});
            store
                .patch(&slice, Part::Whole, PatchKind::Merge, &change, false, author)
                .expect("the slice is there");
        } else {
            let labels = json!({"kubernetes.io/service-name": INSIDE});
            let object =
                json!({"metadata": {"labels": labels}, "addressType": "IPv4", "endpoints": endpoints});
            store.create(&slice, object, author).expect("a new slice");
        }
        let ready = selected.into_iter().filter(|pod| is_ready(pod));
        let attached = ready.filter_map(|pod| Some((uid(pod).to_owned(), ordinal(pod)?))).collect();
        self.unfollowed = Some((now.checked_add(PROXY_LAG).unwrap_or(now), attached));
    }
}

/// The pods that live on without the label.
pub fn unlabelled<'a>(pods: impl Iterator<Item = &'a Value>) -> BTreeSet<u32> {
    pods.filter(|pod| !is_ending(pod) && !has_label(pod)).filter_map(ordinal).collect()
}

fn has_label(pod: &Value) -> bool {
    pod["metadata"]["labels"][SERVING.0] == SERVING.1
}

fn endpoint(pod: &Value) -> Value {
    let (ready, ending) = (is_ready(pod), is_ending(pod));
    json!({
        "addresses": [pod["status"]["podIP"].as_str().unwrap_or("10.0.0.254")],
        "conditions": {"ready": ready, "serving": ready, "terminating": ending},
        "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": name(pod), "uid": uid(pod)},
    })
}
