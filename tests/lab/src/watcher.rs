//! An independent witness: it sees every pod come and go, and notes at the moment of each deletion what the load
//! balancer and the pod itself had open. It trusts nothing that an operator says.

mod connections;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event},
    },
};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

pub use connections::Connection;

use crate::{
    balancer::{Backend, Balancer},
    clock,
};

/// What the load balancer and the pod had when the pod's deletion was first seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Its uid.
    pub uid: String,
    /// When its deletion was first seen, a few milliseconds after it was asked for.
    pub at: Timestamp,
    /// The load balancer's view, one entry for each listener that had the pod. None had it: empty.
    pub backends: Vec<Backend>,
    /// Clients' connections on the serving ports, found in the pod's own network namespace. None: they could not be
    /// looked for, for instance because no container of it ran.
    pub connections: Option<Vec<Connection>>,
    /// Connections of the kubelet's probes at that moment, which are no client's.
    pub probes: usize,
    /// It was Ready once, so clients may have come.
    pub had_served: bool,
    /// Its server was known, and had ended by itself before anybody could look: it takes milliseconds where it has
    /// nothing to do.
    pub had_ended: bool,
}

impl Deletion {
    /// Whether the deletion could cost nobody anything, as far as was looked: no new connections, none open.
    #[must_use]
    pub fn was_drained(&self) -> bool {
        let idle = |backend: &Backend| backend.weight == 0 && backend.sessions == 0;
        self.backends.iter().all(idle) && self.connections.as_ref().is_none_or(Vec::is_empty)
    }

    /// Whether nobody looked for connections that there may have been, without a reason in the pod itself: then
    /// [`Self::was_drained`] says nothing.
    #[must_use]
    pub fn was_overlooked(&self) -> bool {
        self.connections.is_none() && self.had_served && !self.had_ended
    }
}

/// A step in the life of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The object was made.
    Created,
    /// It is ready for the first time.
    Ready,
    /// Its deletion was asked for.
    Terminating,
    /// The object is gone.
    Gone,
}

/// When a pod took a step, as the witness saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// When it was seen.
    pub at: Timestamp,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Its uid.
    pub uid: String,
    /// What it was.
    pub step: Step,
}

/// The witness. It stops looking when dropped.
#[derive(Debug)]
pub struct Watcher {
    notes: Arc<Mutex<Notes>>,
    _watch: AbortOnDropHandle<()>,
}

#[derive(Debug, Default)]
struct Notes {
    moments: Vec<Moment>,
    deletions: Vec<Deletion>,
}

/// What is known of a pod that is there.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    ready: bool,
    terminating: bool,
    /// A process in its network namespace, found while it ran: at its deletion there is no time to look for one.
    process: Option<u32>,
}

impl Watcher {
    /// Watches the pods of all namespaces. Must be called within a tokio runtime.
    #[must_use]
    pub fn start(client: Client, balancer: Arc<Balancer>) -> Self {
        let notes = Arc::new(Mutex::default());
        let watch = tokio::spawn(watch(client, balancer, Arc::clone(&notes)));
        Self { notes, _watch: AbortOnDropHandle::new(watch) }
    }

    /// All deletions seen so far, in their order.
    #[must_use]
    pub fn deletions(&self, namespace: &str) -> Vec<Deletion> {
        let notes = lock(&self.notes);
        let of_namespace = notes.deletions.iter().filter(|deletion| deletion.namespace == namespace);
        let mut deletions: Vec<_> = of_namespace.cloned().collect();
        // Each was noted when the look at it was over.
        deletions.sort_by_key(|deletion| deletion.at);
        deletions
    }

    /// All steps of all pods seen so far, in their order.
    #[must_use]
    pub fn moments(&self, namespace: &str) -> Vec<Moment> {
        let notes = lock(&self.notes);
        notes.moments.iter().filter(|moment| moment.namespace == namespace).cloned().collect()
    }
}

fn lock(notes: &Mutex<Notes>) -> MutexGuard<'_, Notes> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn watch(client: Client, balancer: Arc<Balancer>, notes: Arc<Mutex<Notes>>) {
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    let pods = watcher::watcher(Api::<Pod>::all(client), watcher::Config::default()).default_backoff();
    let mut pods = pin!(pods);
    // They end with the watch.
    let mut looks = JoinSet::new();
    while let Some(event) = pods.next().await {
        match event {
            Ok(Event::Apply(pod) | Event::InitApply(pod)) => {
                let Some(uid) = pod.uid() else { continue };
                let before = known.entry(uid.clone()).or_insert_with(|| {
                    note(&notes, &pod, Step::Created);
                    Known::default()
                });
                if !before.ready && is_ready(&pod) {
                    before.ready = true;
                    note(&notes, &pod, Step::Ready);
                }
                // A container that was started again has another one; in one that leaves there is no time to look.
                let leaves = pod.metadata.deletion_timestamp.is_some();
                if before.process.is_none_or(|process| !leaves && has_ended(process)) {
                    before.process = process_of(&pod).or(before.process);
                }
                if !before.terminating && leaves {
                    before.terminating = true;
                    note(&notes, &pod, Step::Terminating);
                    // Beside what comes next: the servers of a whole batch end within the same milliseconds.
                    let (before, balancer, notes) = (*before, Arc::clone(&balancer), Arc::clone(&notes));
                    looks.spawn(async move {
                        let deletion = look(&pod, uid, before, &balancer).await;
                        lock(&notes).deletions.push(deletion);
                    });
                    while looks.try_join_next().is_some() {}
                }
            }
            Ok(Event::Delete(pod)) => {
                note(&notes, &pod, Step::Gone);
                pod.uid().and_then(|uid| known.remove(&uid));
            }
            // Errors are tried again by the back-off.
            Ok(Event::Init | Event::InitDone) | Err(_) => {}
        }
    }
}

fn note(notes: &Mutex<Notes>, pod: &Pod, step: Step) {
    let moment = Moment {
        at: clock::now(),
        namespace: pod.namespace().unwrap_or_default(),
        pod: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        step,
    };
    lock(notes).moments.push(moment);
}

/// The pod's own connections come first: they are what changes within milliseconds.
async fn look(pod: &Pod, uid: String, known: Known, balancer: &Balancer) -> Deletion {
    let at = clock::now();
    let found = match known.process {
        Some(process) => connections::look(process, &serving_ports(pod)).await,
        None => None,
    };
    let had_ended = known.process.is_some() && found.is_none();
    let (connections, probes) = found.unzip();
    let mut backends = balancer.backends().await;
    backends.retain(|backend| backend.uid == uid);
    let namespace = pod.namespace().unwrap_or_default();
    Deletion {
        namespace,
        pod: pod.name_any(),
        uid,
        at,
        backends,
        connections,
        probes: probes.unwrap_or(0),
        had_served: known.ready,
        had_ended,
    }
}

fn has_ended(process: u32) -> bool {
    !Path::new(&format!("/proc/{process}")).exists()
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The ports that its containers declare; the lab's applications declare just those that they serve on.
fn serving_ports(pod: &Pod) -> Vec<u16> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports.filter_map(|port| u16::try_from(port.container_port).ok()).collect()
}

/// A process of the pod's first running container: the one whose control group is named after the container.
pub(crate) fn process_of(pod: &Pod) -> Option<u32> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let running =
        statuses.iter().find(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()))?;
    let container = running.container_id.as_ref()?.strip_prefix("containerd://")?;
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let process = entry.file_name().to_str()?.parse().ok()?;
        let groups = fs::read_to_string(entry.path().join("cgroup")).ok()?;
        groups.contains(container).then_some(process)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deletion(connections: Option<Vec<Connection>>) -> Deletion {
        Deletion {
            namespace: "shop".to_owned(),
            pod: "web-0".to_owned(),
            uid: "u".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            backends: Vec::new(),
            connections,
            probes: 0,
            had_served: true,
            had_ended: false,
        }
    }

    #[test]
    fn a_pod_without_connections_that_no_listener_sends_to_was_drained() {
        let open = Connection { ends: "0A00F40A:0050 0100F40A:A1B2".to_owned(), holder: None };
        assert!(deletion(Some(Vec::new())).was_drained() && deletion(None).was_drained());
        assert!(!deletion(Some(vec![open])).was_drained());
    }

    #[test]
    fn a_pod_that_nobody_looked_into_was_overlooked_unless_it_never_served_or_had_ended() {
        assert!(deletion(None).was_overlooked());
        assert!(!deletion(Some(Vec::new())).was_overlooked());
        assert!(!Deletion { had_served: false, ..deletion(None) }.was_overlooked());
        assert!(!Deletion { had_ended: true, ..deletion(None) }.was_overlooked());
    }
}
