//! Which of the operator's pods acts, and what can be done to it.

use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{Api, api::DeleteParams};
use nix::sys::signal::Signal;

use super::{Deployed, ScenarioError, Stage, until};
use crate::{clock, process::signal, watcher::process_of};

/// Operators of which one acts.
#[derive(Clone, Copy, Debug)]
pub struct Operators {
    /// Where their pods are, and their Lease.
    pub namespace: &'static str,
    /// Name of the Lease.
    pub lease: &'static str,
}

/// The pod that holds the operators' Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    namespace: &'static str,
    /// Name of the pod, which is the holder's name in the Lease.
    pub pod: String,
    /// When it last said that it is still there.
    pub renewed: Timestamp,
    process: u32,
}

/// What is done to a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// Its pod is deleted: it is asked to end.
    Delete,
    /// Its process gets SIGKILL. The kubelet starts another one in the same pod.
    Kill,
    /// Its process stops where it is, until [`Stage::thaw`].
    Freeze,
}

impl Stage {
    /// Waits until a leader of `them` has renewed the Lease after `since`.
    ///
    /// # Errors
    /// When that takes longer than [`Deployed::LIMIT`].
    pub async fn leader(
        &self,
        them: Operators,
        since: Timestamp,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Leader, ScenarioError> {
        let Operators { namespace, lease } = them;
        let leases: Api<Lease> = Api::namespaced(self.cluster().client(), namespace);
        let pods: Api<Pod> = Api::namespaced(self.cluster().client(), namespace);
        until("the wanted one leads", Deployed::LIMIT, async || {
            let found = leases.get(lease).await?.spec.unwrap_or_default();
            let (Some(pod), Some(renewed)) = (found.holder_identity, found.renew_time) else {
                return Ok(Err("nobody holds the Lease".to_owned()));
            };
            if renewed.0 < since || !is_wanted(&pod) {
                return Ok(Err(format!("{pod}, since {}", renewed.0)));
            }
            let found = pods.get_opt(&pod).await?.as_ref().and_then(process_of);
            let renewed = renewed.0;
            let leader = found.map(|process| Leader { namespace, pod: pod.clone(), renewed, process });
            Ok(leader.ok_or_else(|| format!("{pod} does not run")))
        })
        .await
    }

    /// Strikes a leader and says when.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn strike_leader(&self, leader: &Leader, blow: Blow) -> Result<Timestamp, ScenarioError> {
        let at = clock::now();
        match blow {
            Blow::Delete => {
                let pods: Api<Pod> = Api::namespaced(self.cluster().client(), leader.namespace);
                pods.delete(&leader.pod, &DeleteParams::default()).await?;
            }
            Blow::Kill => signal(leader.process, Signal::SIGKILL),
            Blow::Freeze => signal(leader.process, Signal::SIGSTOP),
        }
        Ok(at)
    }

    /// Lets a leader that was stopped go on.
    pub fn thaw(&self, leader: &Leader) {
        signal(leader.process, Signal::SIGCONT);
    }
}
