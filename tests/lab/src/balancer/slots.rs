//! Which pod is in which of `HAProxy`'s prepared server slots, and what to tell `HAProxy` to change that.

use std::{collections::VecDeque, fmt, net::SocketAddr};

use super::wanted::Members;

/// How many pods a listener can have.
pub(super) const SLOTS: usize = 64;

/// Who is in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Occupant {
    pub(super) uid: String,
    pub(super) pod: String,
    pub(super) address: SocketAddr,
    pub(super) weight: u16,
}

/// What was done for one pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is a backend now.
    Added {
        /// At this weight.
        weight: u16,
    },
    /// It is weighed differently.
    Weight {
        /// Before.
        from: u16,
        /// Now.
        to: u16,
    },
    /// It is no backend any more.
    Removed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { weight } => write!(f, "added with weight {weight}"),
            Self::Weight { from, to } => write!(f, "weight {from} -> {to}"),
            Self::Removed => write!(f, "removed"),
        }
    }
}

/// One change to a slot. It is carried out by [`Step::commands`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    slot: usize,
    pub(super) pod: String,
    pub(super) uid: String,
    pub(super) change: Change,
    address: SocketAddr,
}

impl Step {
    /// Lines for `HAProxy`'s runtime API. `listener` is the name of the proxy. `ready` comes last where a server
    /// begins and `maint` stands alone where it ends, so that no connection goes to a half-set server.
    pub(super) fn commands(&self, listener: &str) -> Vec<String> {
        let server = format!("{listener}/s{}", self.slot + 1);
        match self.change {
            Change::Added { weight } => vec![
                format!("set server {server} addr {} port {}", self.address.ip(), self.address.port()),
                format!("set server {server} weight {weight}"),
                format!("set server {server} state ready"),
            ],
            Change::Weight { to, .. } => vec![format!("set server {server} weight {to}")],
            Change::Removed => vec![format!("set server {server} state maint")],
        }
    }
}

/// The slots of one listener.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Option<Occupant>>,
    /// The longest free one first, so that connections left over from a removed pod are not counted for the next.
    free: VecDeque<usize>,
}

impl Default for Slots {
    fn default() -> Self {
        Self { slots: vec![None; SLOTS], free: (0..SLOTS).collect() }
    }
}

impl Slots {
    /// Takes over `wanted` and returns what that changes. Pods beyond the number of slots are left out. Who gets more
    /// comes before who gets less: where both are in one change, there is no moment in which nobody gets anything.
    pub(super) fn take(&mut self, wanted: &Members) -> Vec<Step> {
        let mut steps = self.changes(wanted);
        let gets_less = |step: &Step| match step.change {
            Change::Added { .. } => false,
            Change::Weight { from, to } => to < from,
            Change::Removed => true,
        };
        steps.sort_by_key(gets_less);
        steps
    }

    fn changes(&mut self, wanted: &Members) -> Vec<Step> {
        let mut steps = Vec::new();
        for (slot, place) in self.slots.iter_mut().enumerate() {
            let Some(occupant) = place else { continue };
            let step = |change| {
                let Occupant { uid, pod, address, weight: _ } = occupant.clone();
                Step { slot, pod, uid, change, address }
            };
            match wanted.get(&occupant.uid) {
                Some(member) if member.address == occupant.address => {
                    if member.weight != occupant.weight {
                        steps.push(step(Change::Weight { from: occupant.weight, to: member.weight }));
                        occupant.weight = member.weight;
                    }
                }
                Some(_) | None => {
                    steps.push(step(Change::Removed));
                    *place = None;
                    self.free.push_back(slot);
                }
            }
        }
        for (uid, member) in wanted {
            if self.occupants().any(|(_, occupant)| occupant.uid == *uid) {
                continue;
            }
            let Some(slot) = self.free.pop_front() else { break };
            let (pod, address, weight) = (member.pod.clone(), member.address, member.weight);
            let change = Change::Added { weight };
            steps.push(Step { slot, pod: pod.clone(), uid: uid.clone(), change, address });
            self.slots[slot] = Some(Occupant { uid: uid.clone(), pod, address, weight });
        }
        steps
    }

    /// Who is in which slot.
    pub(super) fn occupants(&self) -> impl Iterator<Item = (usize, &Occupant)> {
        let places = self.slots.iter().enumerate();
        places.filter_map(|(slot, place)| place.as_ref().map(|occupant| (slot, occupant)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::wanted::Member;

    fn members(of: &[(&str, u8, u16)]) -> Members {
        let member = |&(uid, host, weight): &(&str, u8, u16)| {
            let address = SocketAddr::from(([10, 0, 0, host], 80));
            (uid.to_owned(), Member { pod: format!("web-{host}"), address, weight, terminating: false })
        };
        of.iter().map(member).collect()
    }

    #[test]
    fn a_new_pod_gets_its_address_and_weight_before_it_is_ready() {
        let steps = Slots::default().take(&members(&[("a", 1, 10)]));
        let commands: Vec<_> = steps.iter().flat_map(|step| step.commands("p80")).collect();
        assert_eq!(
            commands,
            [
                "set server p80/s1 addr 10.0.0.1 port 80",
                "set server p80/s1 weight 10",
                "set server p80/s1 state ready"
            ]
        );
    }

    #[test]
    fn nothing_new_is_nothing_to_do() {
        let mut slots = Slots::default();
        let wanted = members(&[("a", 1, 10), ("b", 2, 10)]);
        slots.take(&wanted);
        assert_eq!(slots.take(&wanted), []);
    }

    #[test]
    fn a_weight_is_changed_in_place_and_a_removed_pod_leaves_its_slot_for_last() {
        let mut slots = Slots::default();
        slots.take(&members(&[("a", 1, 10), ("b", 2, 10)]));
        let steps = slots.take(&members(&[("b", 2, 0), ("c", 3, 10)]));
        let changes: Vec<_> = steps.iter().map(|step| (step.slot, step.change)).collect();
        assert_eq!(
            changes,
            [
                (2, Change::Added { weight: 10 }),
                (0, Change::Removed),
                (1, Change::Weight { from: 10, to: 0 })
            ]
        );
    }

    #[test]
    fn a_pod_that_comes_back_under_its_name_is_another_backend() {
        let mut slots = Slots::default();
        slots.take(&members(&[("old", 1, 0)]));
        let changes: Vec<_> = slots.take(&members(&[("new", 1, 10)])).into_iter().map(|s| s.change).collect();
        assert_eq!(changes, [Change::Added { weight: 10 }, Change::Removed]);
    }

    #[test]
    fn who_gets_more_comes_before_who_gets_less() {
        let mut slots = Slots::default();
        slots.take(&members(&[("a", 1, 10), ("b", 2, 10), ("c", 3, 0)]));
        let steps = slots.take(&members(&[("a", 1, 0), ("c", 3, 10), ("d", 4, 10)]));
        let order: Vec<_> = steps.iter().map(|step| step.pod.as_str()).collect();
        assert_eq!(order, ["web-3", "web-4", "web-1", "web-2"]);
    }
}
