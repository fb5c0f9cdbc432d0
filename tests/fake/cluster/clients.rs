//! Clients: on each way one new connection a second to each pod that they are sent to, and each stays
//! for a while.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use lossless_upgrade::api::status::PodStatus;
use lossless_upgrade::workflow::ordinals::OrdinalSet;

use super::{NAME, NAMESPACE, Way, is_ending, name, pods, text, uid};
use crate::fake::call::Resource;
use crate::fake::store::Store;

/// How long connections stay, in turn, in seconds.
const STAYS: [i64; 3] = [1, 2, 4];

/// All connections.
#[derive(Default)]
pub struct Clients {
    /// When each ends, by pod uid.
    open: BTreeMap<String, Vec<Timestamp>>,
    seen: BTreeMap<String, Seen>,
    last: Option<Timestamp>,
    turn: usize,
    /// Connections that were sent to a pod that ends, is gone, or is believed to get none.
    pub misled: Vec<String>,
}

/// What a counter in the pod saw in the last second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub most: u64,
    pub opened: u64,
}

impl Clients {
    pub fn tick(&mut self, store: &Store, ways: &[&Way], now: Timestamp) {
        if self.last.is_some_and(|last| now.duration_since(last) < SignedDuration::from_secs(1)) {
            return;
        }
        self.last = Some(now);
        self.seen = self
            .open
            .iter()
            .map(|(uid, open)| (uid.clone(), Seen { most: open.len() as u64, opened: 0 }))
            .collect();
        for open in self.open.values_mut() {
            open.retain(|end| *end > now);
        }
        let pods = pods(store);
        let believed = believed(store);
        for uid_of in ways.iter().flat_map(|way| way.keys()) {
            let Some(pod) = pods.iter().find(|pod| uid(pod) == uid_of && !is_ending(pod)) else {
                self.misled.push(format!("a client was sent to the pod {uid_of}, which ends or is gone"));
                continue;
            };
            if believed.contains(uid(pod)) {
                self.misled.push(format!("a client was sent to {}, which drains", name(pod)));
            }
            self.turn += 1;
            let end =
                now.checked_add(SignedDuration::from_secs(STAYS[self.turn % STAYS.len()])).unwrap_or(now);
            self.open.entry(uid_of.clone()).or_default().push(end);
            let seen = self.seen.entry(uid_of.clone()).or_default();
            seen.opened += 1;
            seen.most += 1;
        }
        self.open.retain(|uid_of, _| pods.iter().any(|pod| uid(pod) == uid_of));
    }

    pub fn of(&self, uid: &str) -> Seen {
        self.seen.get(uid).copied().unwrap_or_default()
    }

    /// Connections that are open now.
    pub fn left(&self, uid: &str) -> usize {
        self.open.get(uid).map_or(0, Vec::len)
    }
}

/// The pods, by uid, of which the operator says that every lever's effect is confirmed, and followed. Not their
/// ordinals: a label does not survive that a pod is made anew, and the new one may get clients before it is looked at.
fn believed(store: &Store) -> BTreeSet<String> {
    let object = store.list(Resource::Upgrades, NAMESPACE).find(|object| name(object) == NAME);
    let drains = object.filter(|object| matches!(text(object, "/status/run/step"), "Drain" | "Replace"));
    let Some(status) = drains.map(|object| &object["status"]) else { return BTreeSet::new() };
    let detached: OrdinalSet = serde_json::from_value(status["detached"].clone()).unwrap_or_default();
    let recorded: Vec<PodStatus> = serde_json::from_value(status["pods"].clone()).unwrap_or_default();
    recorded.into_iter().filter(|pod| detached.contains(pod.ordinal)).map(|pod| pod.uid).collect()
}
