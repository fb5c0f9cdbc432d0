//! The balancer of one Service: its `HAProxy` and who is in which slot.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::atomic::{AtomicU16, Ordering},
};

use tokio::sync::{Mutex, Notify};

use super::{
    Backend, ServiceName,
    haproxy::Haproxy,
    slots::{Slots, Step},
    wanted::Wanted,
};
use crate::error::{AtPath as _, LabError};

/// The balancer of one Service.
pub(super) struct Front {
    pub(super) name: ServiceName,
    pub(super) address: IpAddr,
    /// As the cloud knows it.
    pub(super) id: String,
    /// Something of the Service or its slices may have changed.
    pub(super) changed: Notify,
    directory: PathBuf,
    running: Mutex<Option<Running>>,
}

struct Running {
    haproxy: Haproxy,
    listeners: BTreeMap<u16, Slots>,
}

impl Front {
    /// A balancer that does not run yet, with an address and an id that no other one in this process has. Its files go to a
    /// folder in `directory`.
    pub(super) fn new(name: ServiceName, directory: &std::path::Path) -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let [high, low] = number.to_be_bytes();
        let address = IpAddr::V4(Ipv4Addr::new(127, 77, high, low));
        let id = format!("lb-{number:08x}");
        let directory = directory.join(format!("{number}"));
        Self { name, address, id, changed: Notify::new(), directory, running: Mutex::default() }
    }

    /// Makes the balancer do what is wanted, and returns what that changed, by listener. A new set of ports is a
    /// new process, which ends the connections of the old one.
    pub(super) async fn apply(&self, wanted: &Wanted) -> Result<Vec<(u16, Step)>, LabError> {
        let mut running = self.running.lock().await;
        // Taken out, so that after an error the next sync begins from nothing instead of from a guess.
        let same_ports = |running: &Running| running.listeners.keys().eq(wanted.keys());
        let mut balancer = match running.take().filter(same_ports) {
            Some(balancer) => balancer,
            None => self.start(wanted).await?,
        };
        let mut done = Vec::new();
        for (port, members) in wanted {
            let Some(slots) = balancer.listeners.get_mut(port) else { continue };
            let steps = slots.take(members);
            let listener = format!("p{port}");
            let commands: Vec<_> = steps.iter().flat_map(|step| step.commands(&listener)).collect();
            balancer.haproxy.change(&commands).await.at(&self.directory)?;
            done.extend(steps.into_iter().map(|step| (*port, step)));
        }
        *running = Some(balancer);
        Ok(done)
    }

    async fn start(&self, wanted: &Wanted) -> Result<Running, LabError> {
        let ports: Vec<_> = wanted.keys().copied().collect();
        let haproxy = Haproxy::start(&self.directory, self.address, &ports).await?;
        let listeners = ports.into_iter().map(|port| (port, Slots::default())).collect();
        Ok(Running { haproxy, listeners })
    }

    /// What it has at this moment; nothing when it does not run or does not answer.
    pub(super) async fn backends(&self) -> Vec<Backend> {
        let running = self.running.lock().await;
        let Some(running) = running.as_ref() else { return Vec::new() };
        let states = running.haproxy.slots().await.unwrap_or_default();
        let mut backends = Vec::new();
        for (port, slots) in &running.listeners {
            for (slot, occupant) in slots.occupants() {
                let of_slot = |state: &&super::haproxy::SlotState| state.port == *port && state.slot == slot;
                let Some(state) = states.iter().find(of_slot) else { continue };
                backends.push(Backend {
                    service: self.name.clone(),
                    port: *port,
                    pod: occupant.pod.clone(),
                    uid: occupant.uid.clone(),
                    address: occupant.address,
                    weight: state.weight,
                    sessions: state.sessions,
                });
            }
        }
        backends
    }
}
