//! The probe `socket`: a counter in the pod's network namespace, put there as an ephemeral container and
//! read through the pod's log. No port, no network path and no policy is in the way, and nothing of the
//! application's image is needed. An ephemeral container adds no restart to the pod and leaves its
//! readiness alone; once ended it can be neither started again nor removed, so its name carries a number.
//!
//! | here | what |
//! |---|---|
//! | this file | the probe: may it enter (dry run), enter |
//! | `container` | the container as it is asked for |
//! | `refusal` | the API server's "no" as what is wrong and what to do |
//! | `state` | what of it the pod shows |
//! | `reader`, `cursor` | from its log to readings |

mod container;
mod cursor;
mod reader;
mod refusal;
mod state;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};

pub use self::state::{CounterState, MAX_COUNTERS, counted_ports, counter_state, counters};

use self::reader::SocketReader;
use super::spec::SocketSpec;
use super::{Means, PodTarget, Probe, ProbeKind, Reader, Refusal};
use crate::workflow::span::Span;

/// Time between two reports of a counter.
const PERIOD: Duration = Duration::from_secs(1);
/// An answer of the API server takes no longer.
const ANSWER: Duration = Duration::from_secs(5);

/// How to start drain counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterSettings {
    /// The operator's own image. None out of the cluster, unless it was named.
    pub image: Option<String>,
    /// Field manager of the write.
    pub manager: String,
    /// How long a counter lives that nobody ends: longer than the drain may last.
    pub life: Span,
}

/// Why a counter was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It may not run in this pod.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The write failed in another way; a stale version and a replaced pod are among them. Look again.
    #[error("the drain counter was not started: {0}")]
    Api(#[source] kube::Error),
}

/// The probe.
#[derive(Clone)]
pub struct SocketProbe {
    client: Client,
    settings: CounterSettings,
    ports: BTreeSet<u16>,
    threshold: u64,
    idle_after: Option<Span>,
    period: Duration,
    patience: Duration,
}

impl SocketProbe {
    /// A probe by these settings.
    #[must_use]
    pub fn new(spec: &SocketSpec, means: &Means) -> Self {
        Self {
            client: means.client.clone(),
            settings: means.counter.clone(),
            ports: spec.ports.iter().copied().collect(),
            threshold: spec.threshold.into(),
            idle_after: means.idle_after,
            period: PERIOD,
            patience: ANSWER,
        }
    }

    /// Starts counter number `n` (see [`CounterState::next`]) in the pod of exactly this uid and version.
    ///
    /// # Errors
    /// It may not run there, or the write failed. A write with unknown outcome is seen in the pod.
    pub async fn start(&self, pod: &PodTarget, resource_version: &str, n: u32) -> Result<(), StartError> {
        let body = self.patch(pod, Some(resource_version), n)?;
        self.write(pod, &body, false).await.map_err(|problem| match refusal::of(&pod.namespace, &problem) {
            refusal if refusal.passing => StartError::Api(problem),
            refusal => StartError::Refused(refusal),
        })
    }

    /// The ports to count on in this pod.
    #[must_use]
    pub fn ports<'a>(&'a self, pod: &'a PodTarget) -> &'a BTreeSet<u16> {
        if self.ports.is_empty() { &pod.ports } else { &self.ports }
    }

    /// The patch, or why there can be none.
    fn patch(
        &self,
        pod: &PodTarget,
        resource_version: Option<&str>,
        n: u32,
    ) -> Result<serde_json::Value, Refusal> {
        let image = self.settings.image.as_deref().ok_or_else(|| {
            Refusal::lasting(
                "the socket probe has no image for its drain counter",
                "start the operator with --counter-image, or use the http probe",
            )
        })?;
        if pod.host_network {
            return Err(Refusal::lasting(
                format!(
                    "pod {} uses the network of its node, where a drain counter would count the node's connections",
                    pod.name
                ),
                "use the http probe",
            ));
        }
        let ports = self.ports(pod);
        if ports.is_empty() {
            return Err(Refusal::lasting(
                "the socket probe has no port to count on",
                "list the pod's ports in the probe's `ports`",
            ));
        }
        Ok(container::patch(pod, resource_version, n, image, ports, self.period, self.settings.life))
    }

    async fn write(&self, pod: &PodTarget, body: &serde_json::Value, dry_run: bool) -> kube::Result<()> {
        let params = PatchParams {
            dry_run,
            field_manager: Some(self.settings.manager.clone()),
            ..PatchParams::default()
        };
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        pods.patch_ephemeral_containers(&pod.name, &params, &Patch::Strategic(body)).await.map(drop)
    }
}

#[async_trait]
impl Probe for SocketProbe {
    fn kind(&self) -> ProbeKind {
        ProbeKind::Socket
    }

    fn threshold(&self) -> u64 {
        self.threshold
    }

    fn idle_after(&self) -> Option<Span> {
        self.idle_after
    }

    /// The start of a counter as a dry run: rights, pod security, quota and admission answer as they
    /// would. Whether the image can be pulled only a real one shows.
    async fn admit(&self, pod: &PodTarget) -> Result<(), Refusal> {
        // Real counters start at 1, so that this name is free in every pod.
        let body = self.patch(pod, None, 0)?;
        self.write(pod, &body, true).await.map_err(|problem| refusal::of(&pod.namespace, &problem))
    }

    fn reader(&self, pod: &PodTarget) -> Box<dyn Reader> {
        let idle_after = self.idle_after.map(Span::duration);
        Box::new(SocketReader::new(self.client.clone(), pod.clone(), idle_after, self.period, self.patience))
    }

    fn counter(&self) -> Option<&SocketProbe> {
        Some(self)
    }
}
