//! The kubelet: pods start, become Ready, end; drain counters run in them and write their log.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use lossless_upgrade::drain::line::{Line, Report};
use serde_json::{Value, json};

use super::clients::Clients;
use super::nodes::Nodes;
use super::{NAMESPACE, age, is_ending, name, ordinal, pods, text, uid};
use crate::fake::call::{Part, PatchKind, Resource};
use crate::fake::store::{Author, Key, Store, second};

const MANAGER: &str = "kubelet";
/// From a pod's creation until it has a node, until its containers run, until it is Ready.
const STEPS: [SignedDuration; 3] =
    [SignedDuration::from_millis(500), SignedDuration::from_millis(1000), SignedDuration::from_millis(2500)];
/// From a deletion until the pod is gone.
const ENDS_AFTER: SignedDuration = SignedDuration::from_millis(1500);
/// From an ephemeral container's creation until it runs.
const COUNTER_STARTS: SignedDuration = SignedDuration::from_secs(1);
/// An image whose container restarts once, some time after it was Ready; only in pods that were there before.
pub const FLAKY: &str = "app:flaky";
const FLAKES_AFTER: SignedDuration = SignedDuration::from_secs(7);
const FLAKES_BELOW: u32 = 3;

/// How far a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    New,
    Placed,
    Running,
    Ready,
    Restarted,
}

/// What the kubelet remembers, by pod uid.
#[derive(Default)]
pub struct Kubelet {
    stages: BTreeMap<String, Stage>,
    born: BTreeMap<String, Timestamp>,
    ending: BTreeMap<String, Timestamp>,
    counters: BTreeMap<(String, String), Counter>,
}

struct Counter {
    asked: Timestamp,
    /// When it last wrote a line.
    wrote: Option<Timestamp>,
    lines: u64,
}

impl Kubelet {
    pub fn tick(&mut self, store: &mut Store, clients: &Clients, nodes: &Nodes, now: Timestamp) {
        for pod in pods(store).into_iter().filter(|pod| !nodes.has(uid(pod))) {
            let author = Author { manager: MANAGER, at: now };
            let key = Key::new(Resource::Pods, NAMESPACE, name(&pod));
            if is_ending(&pod) {
                let since = *self.ending.entry(uid(&pod).to_owned()).or_insert(now);
                if age(since, now) >= ENDS_AFTER {
                    store.remove(&key, author);
                    continue;
                }
            } else {
                self.step(store, &key, &pod, author);
            }
            self.count(store, &key, &pod, clients, author);
        }
    }

    fn step(&mut self, store: &mut Store, key: &Key, pod: &Value, author: Author<'_>) {
        let now = author.at;
        let old = age(*self.born.entry(uid(pod).to_owned()).or_insert(now), now);
        let stage = self.stages.entry(uid(pod).to_owned()).or_insert(Stage::New);
        let flaky = text(pod, "/spec/containers/0/image") == FLAKY && ordinal(pod) < Some(FLAKES_BELOW);
        let next = match *stage {
            Stage::New if old >= STEPS[0] => Stage::Placed,
            Stage::Placed if old >= STEPS[1] => Stage::Running,
            Stage::Running if old >= STEPS[2] => Stage::Ready,
            Stage::Ready if flaky && old >= FLAKES_AFTER => Stage::Restarted,
            Stage::New | Stage::Placed | Stage::Running | Stage::Ready | Stage::Restarted => return,
        };
        if next == Stage::Placed {
            let node = json!({"spec": {"nodeName": "node"}});
            store.patch(key, Part::Whole, PatchKind::Merge, &node, false, author).expect("the pod is there");
        }
        *stage = next;
        let status = status(pod, next, now);
        store.patch(key, Part::Status, PatchKind::Merge, &status, false, author).expect("the pod is there");
    }

    /// The drain counters in the pod: they start, and then write a line a second.
    fn count(&mut self, store: &mut Store, key: &Key, pod: &Value, clients: &Clients, author: Author<'_>) {
        let now = author.at;
        let asked = pod["spec"]["ephemeralContainers"].as_array().cloned().unwrap_or_default();
        for container in &asked {
            let name = text(container, "/name").to_owned();
            let id = (uid(pod).to_owned(), name);
            let new = Counter { asked: now, wrote: None, lines: 0 };
            let counter = self.counters.entry(id.clone()).or_insert(new);
            if age(counter.asked, now) < COUNTER_STARTS {
                continue;
            }
            let Some(wrote) = counter.wrote else {
                counter.wrote = Some(now);
                store.logs.insert(id, Vec::new());
                let names = asked.iter().filter(|one| {
                    store.logs.contains_key(&(uid(pod).to_owned(), text(one, "/name").to_owned()))
                });
                let running = json!({"running": {"startedAt": second(now)}});
                let statuses: Vec<_> = names.map(|one| container_status(one, &running, 0)).collect();
                let status = json!({"status": {"ephemeralContainerStatuses": statuses}});
                store
                    .patch(key, Part::Status, PatchKind::Merge, &status, false, author)
                    .expect("the pod is there");
                continue;
            };
            if age(wrote, now) >= SignedDuration::from_secs(1) {
                counter.wrote = Some(now);
                counter.lines += 1;
                let seen = clients.of(uid(pod));
                let report = Report::Seen { max: seen.most, opened: seen.opened, ms: 1000, silent: None };
                let line = Line { seq: counter.lines, report };
                store.logs.entry(id).or_default().push((now, format!("{line}\n")));
            }
        }
    }
}

fn status(pod: &Value, stage: Stage, now: Timestamp) -> Value {
    let (ready, restarts) = match stage {
        Stage::New | Stage::Placed | Stage::Running => (false, 0),
        Stage::Ready => (true, 0),
        Stage::Restarted => (true, 1),
    };
    let runs = if stage == Stage::Placed {
        json!({"waiting": {"reason": "ContainerCreating"}})
    } else {
        json!({"running": {"startedAt": second(now)}})
    };
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let containers: Vec<_> = containers.map(|one| container_status(one, &runs, restarts)).collect();
    let started = pod["status"].get("startTime").cloned().unwrap_or_else(|| json!(second(now)));
    let ready = if ready { "True" } else { "False" };
    let old = pod["status"]["conditions"].as_array().into_iter().flatten().find(|one| one["type"] == "Ready");
    let since = old
        .filter(|old| old["status"] == ready)
        .map_or_else(|| json!(second(now)), |old| old["lastTransitionTime"].clone());
    let ip = format!("10.0.0.{}", ordinal(pod).unwrap_or_default() + 1);
    json!({"status": {
        "phase": if stage == Stage::Placed { "Pending" } else { "Running" },
        "startTime": started, "podIP": ip, "containerStatuses": containers,
        "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": since}],
    }})
}

fn container_status(container: &Value, state: &Value, restarts: u32) -> Value {
    let runs = state.get("running").is_some();
    let image = text(container, "/image");
    json!({
        "name": container["name"], "image": image, "imageID": if runs { format!("{image}@sha256:0") } else { String::new() },
        "ready": runs, "restartCount": restarts, "state": state,
    })
}
