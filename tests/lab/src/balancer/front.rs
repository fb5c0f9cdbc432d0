//! The balancer of one Service or Ingress: its `HAProxy` and who is in which slot.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use tokio::sync::{Mutex, Notify};

use super::{
    Backend, Listener, Owner, Transport,
    haproxy::{Haproxy, SlotState},
    slots::{Slots, Step},
    wanted::Wanted,
};
use crate::error::{AtPath as _, LabError};

/// The balancer of one Service or Ingress.
pub(super) struct Front {
    pub(super) owner: Owner,
    pub(super) address: IpAddr,
    /// As the cloud knows it.
    pub(super) id: String,
    /// Something of its owner or of the slices may have changed.
    pub(super) changed: Notify,
    directory: PathBuf,
    running: Mutex<Option<Running>>,
}

struct Running {
    haproxy: Haproxy,
    listeners: BTreeMap<Listener, Slots>,
}

impl Front {
    /// A balancer that does not run yet. Its files go to a folder in `directory`. `existing`: the id of the one that it is
    /// to be a part of; the cloud's must be there before, here the first Service that names it brings it. Without one its
    /// address and its id are such as no other in this process has.
    pub(super) fn new(
        owner: Owner,
        existing: Option<String>,
        others: &BTreeMap<Owner, Arc<Self>>,
        directory: &Path,
    ) -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let [high, low] = number.to_be_bytes();
        let id = existing.unwrap_or_else(|| format!("lb-{number:08x}"));
        let shared = others.values().find(|other| other.id == id);
        let address = shared.map_or(IpAddr::V4(Ipv4Addr::new(127, 77, high, low)), |other| other.address);
        let directory = directory.join(format!("{number}"));
        Self { owner, address, id, changed: Notify::new(), directory, running: Mutex::default() }
    }

    /// Makes the balancer do what is wanted, and returns what that changed, by listener. A new set of ports is a
    /// new process, which ends the connections of the old one.
    pub(super) async fn apply(&self, wanted: &Wanted) -> Result<Vec<(Listener, Step)>, LabError> {
        let mut running = self.running.lock().await;
        // Taken out, so that after an error the next sync begins from nothing instead of from a guess.
        let same_ports = |running: &Running| running.listeners.keys().eq(wanted.keys());
        let mut balancer = match running.take().filter(same_ports) {
            Some(balancer) => balancer,
            None => self.start(wanted).await?,
        };
        let mut done = Vec::new();
        for (listener, members) in wanted {
            let Some(slots) = balancer.listeners.get_mut(listener) else { continue };
            let steps = slots.take(members);
            match listener.transport {
                Transport::Tcp => {
                    let proxy = format!("p{}", listener.port);
                    let commands: Vec<_> = steps.iter().flat_map(|step| step.commands(&proxy)).collect();
                    balancer.haproxy.change(&commands).await.at(&self.directory)?;
                }
                Transport::Udp => {}
            }
            done.extend(steps.into_iter().map(|step| (*listener, step)));
        }
        *running = Some(balancer);
        Ok(done)
    }

    async fn start(&self, wanted: &Wanted) -> Result<Running, LabError> {
        let carried = wanted.keys().filter(|listener| listener.transport == Transport::Tcp);
        let ports: Vec<_> = carried.map(|listener| listener.port).collect();
        let haproxy = Haproxy::start(&self.directory, self.address, &ports).await?;
        let listeners = wanted.keys().map(|listener| (*listener, Slots::default())).collect();
        Ok(Running { haproxy, listeners })
    }

    /// What it has at this moment; nothing when it does not run or does not answer.
    pub(super) async fn backends(&self) -> Vec<Backend> {
        let running = self.running.lock().await;
        let Some(running) = running.as_ref() else { return Vec::new() };
        let Ok(states) = running.haproxy.slots().await else { return Vec::new() };
        let mut backends = Vec::new();
        for (listener, slots) in &running.listeners {
            for (slot, occupant) in slots.occupants() {
                let of_slot = |state: &&SlotState| state.port == listener.port && state.slot == slot;
                let state = match listener.transport {
                    Transport::Tcp => states.iter().find(of_slot).map(|it| (it.weight, it.sessions)),
                    // Nobody but this controller ever had a hand in it.
                    Transport::Udp => Some((occupant.weight, 0)),
                };
                let Some((weight, sessions)) = state else { continue };
                backends.push(Backend {
                    owner: self.owner.clone(),
                    listener: *listener,
                    pod: occupant.pod.clone(),
                    uid: occupant.uid.clone(),
                    address: occupant.address,
                    weight,
                    sessions,
                });
            }
        }
        backends
    }
}
