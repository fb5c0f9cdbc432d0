//! What acts in a cluster beside the operator. It acts on the store itself, four times a second.

mod balancer;
mod clients;
mod inside;
mod kubelet;
mod nodes;
mod stateful_set;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::call::Resource;
use super::judge::Judge;
use super::store::{Author, Key, Store};
pub use balancer::{Balancer, WEIGHTS, out as weightless};
pub use clients::Clients;
pub use inside::{Inside, SERVING, apply as apply_inside, unlabelled};
pub use kubelet::{FLAKY, Kubelet};
pub use nodes::Nodes;
pub use stateful_set::SetController;

/// Everything happens in it.
pub const NAMESPACE: &str = "shop";
/// The StatefulSet, the Service and the upgrade.
pub const NAME: &str = "web";

/// All of them.
#[derive(Default)]
pub struct Cluster {
    sets: SetController,
    kubelet: Kubelet,
    nodes: Nodes,
    pub balancer: Balancer,
    pub inside: Inside,
    clients: Clients,
    pub judge: Judge,
}

impl Cluster {
    /// A quarter of a second.
    pub fn tick(&mut self, store: &mut Store, now: Timestamp) {
        // What was deleted since the last tick had the connections of the last tick.
        self.judge(store);
        self.sets.tick(store, now);
        self.judge(store);
        self.balancer.tick(store, now);
        self.inside.tick(store, now);
        self.clients.tick(store, &ways(&self.balancer, &self.inside), now);
        self.kubelet.tick(store, &self.clients, &self.nodes, now);
        self.nodes.tick(store, now);
    }

    fn judge(&mut self, store: &Store) {
        self.judge.look(store, &ways(&self.balancer, &self.inside), &self.clients, &self.nodes);
    }

    /// The node of this pod is lost, and one pod less has to serve. False where the pod has no node.
    pub fn lose_node(&mut self, store: &mut Store, ordinal: u32, now: Timestamp) -> bool {
        let lost = self.nodes.lose(store, ordinal, now);
        self.judge.floor -= usize::from(lost);
        lost
    }
}

/// Whom clients are sent to on one way, by uid.
pub type Way = BTreeMap<String, u32>;

/// All ways on which clients come: through the load balancer, and from inside where there is a Service for it.
fn ways<'a>(balancer: &'a Balancer, inside: &'a Inside) -> Vec<&'a Way> {
    std::iter::once(&balancer.attached).chain(&inside.attached).collect()
}

/// A StatefulSet whose first pod has this ordinal, with a Service, as a user applies them.
pub fn apply(store: &mut Store, first: u32, replicas: u32, image: &str, now: Timestamp) {
    let author = Author { manager: "kubectl", at: now };
    let labels = json!({"app": NAME});
    let (label, value) = SERVING;
    let set = json!({
        "metadata": {"labels": labels},
        "spec": {
            "replicas": replicas, "ordinals": {"start": first},
            "serviceName": NAME, "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "OnDelete"}, "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": {"app": NAME, label: value}},
                "spec": {
                    "terminationGracePeriodSeconds": 30,
                    "containers": [
                        {"name": "app", "image": image, "ports": [{"name": "http", "containerPort": 8080}]},
                        {"name": "side", "image": "side:1"},
                    ],
                },
            },
        },
    });
    let service = json!({
        "metadata": {"annotations": {
            "service.cloud.tencent.com/direct-access": "true",
            WEIGHTS: balancer::BEFORE,
        }},
        "spec": {
            "type": "LoadBalancer", "selector": labels,
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
        },
    });
    for (resource, object) in [(Resource::StatefulSets, set), (Resource::Services, service)] {
        store.create(&Key::new(resource, NAMESPACE, NAME), object, author).expect("a new object");
    }
}

/// The StatefulSet's pods.
fn pods(store: &Store) -> Vec<Arc<Value>> {
    store.list(Resource::Pods, NAMESPACE).cloned().collect()
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

pub fn ordinal(pod: &Value) -> Option<u32> {
    name(pod).rsplit_once('-')?.1.parse().ok()
}

pub fn is_ending(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    !is_ending(pod) && conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// How long ago it was.
fn age(since: Timestamp, now: Timestamp) -> SignedDuration {
    now.duration_since(since)
}
