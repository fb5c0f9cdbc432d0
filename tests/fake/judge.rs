//! What may never happen, told by the cluster itself and not by the operator.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::OPERATOR;
use super::call::Resource;
use super::cluster::{Clients, NAMESPACE, Nodes, Way, is_ready, name, uid, unlabelled, weightless};
use super::store::{Deletion, Store};

/// What was on its way when a node was lost is made all the same, also by the StatefulSet controller.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_secs(1);

/// Sees everything.
#[derive(Default)]
pub struct Judge {
    /// So many pods must serve; none before the story begins.
    pub floor: usize,
    pub violations: Vec<String>,
    /// What went because the operator wanted it: name and revision, in order.
    pub gone: Vec<(String, String)>,
    looked_at: usize,
    version: u64,
    misled: usize,
    times: BTreeMap<String, usize>,
}

impl Judge {
    pub fn look(&mut self, store: &Store, ways: &[&Way], clients: &Clients, nodes: &Nodes) {
        for deletion in &store.deletions[self.looked_at..] {
            let pod = &deletion.object;
            let (uid, name) = (uid(pod), name(pod));
            let revision = pod["metadata"]["labels"]["controller-revision-hash"].as_str().unwrap_or_default();
            self.gone.push((name.to_owned(), revision.to_owned()));
            if clients.left(uid) > 0 {
                self.violations.push(format!("{name} goes with {} connections", clients.left(uid)));
            }
            if ways.iter().any(|way| way.contains_key(uid)) {
                self.violations.push(format!("{name} goes while clients are sent to it"));
            }
            if let Some(lost) = another_is_lost(deletion, nodes) {
                self.violations.push(format!("{name} goes while the node of {lost} is lost"));
            }
            let times = self.times.entry(uid.to_owned()).or_default();
            *times += 1;
            if *times > 1 && deletion.manager == OPERATOR {
                self.violations.push(format!("{name} is deleted {times} times"));
            }
        }
        self.looked_at = store.deletions.len();
        self.violations.extend(clients.misled[self.misled..].iter().cloned());
        self.misled = clients.misled.len();

        let pods: Vec<_> = store.list(Resource::Pods, NAMESPACE).collect();
        let serves = |pod: &Value| is_ready(pod) && ways.iter().all(|way| way.contains_key(uid(pod)));
        let serving = pods.iter().filter(|pod| serves(pod)).count();
        if serving < self.floor {
            self.violations.push(format!("only {serving} pods serve"));
        }
        if store.version() == self.version {
            return;
        }
        self.version = store.version();
        let weightless = store.list(Resource::Services, NAMESPACE).flat_map(|service| weightless(service));
        let out: BTreeSet<u32> = weightless.chain(unlabelled(pods.iter().map(|pod| &***pod))).collect();
        if out.len() > 1 {
            self.violations.push(format!("{out:?} are detached"));
        }
        self.violations.dedup();
    }
}

/// The pod of another name that is on a lost node when this one goes.
fn another_is_lost<'a>(deletion: &Deletion, nodes: &'a Nodes) -> Option<&'a str> {
    let mut lost = nodes.lost();
    let hit = |(one, since): &(&str, Timestamp)| {
        *one != name(&deletion.object) && deletion.at.duration_since(*since) > ON_ITS_WAY
    };
    lost.find(hit).map(|(name, _)| name)
}
