//! The probe `exec`: one command a reading, run in a container of the pod through the API server. No port
//! and no network path to the pod is in the way; what the command needs must be in the container.
//!
//! | here | what |
//! |---|---|
//! | this file | the probe |
//! | `command` | a command, run and heard out |
//! | `formats` | what it may print, one file a format |

pub(in crate::drain) mod command;
pub mod formats;

#[cfg(test)]
pub(in crate::drain) mod server;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};

use super::spec::exec::{ExecFormat, ExecSpec};
use super::{Means, PodTarget, Probe, ProbeKind, Reader, Reading, Refusal};

/// A reading takes no longer, all in all.
const TOTAL: Duration = Duration::from_secs(5);
/// The kernel's tables of 25,000 sockets and more fit.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// Running commands is a strong right: without it nothing is run, and this says what to set.
///
/// # Errors
/// The operator was not allowed to.
pub(in crate::drain) fn allowed(allowed: bool, what: &str) -> Result<(), Refusal> {
    if allowed {
        return Ok(());
    }
    Err(Refusal::lasting(
        format!("{what} runs a command in the pod, which the operator is not allowed to"),
        "start the operator with --allow-exec and give it the role in deploy/exec (chart: exec.enabled=true), or do without",
    ))
}

/// The probe.
#[derive(Clone)]
pub struct ExecProbe {
    client: Client,
    allowed: bool,
    container: String,
    command: Vec<String>,
    format: ExecFormat,
    ports: BTreeSet<u16>,
    threshold: u64,
    patience: Duration,
}

impl ExecProbe {
    /// A probe by these settings. Unless commands are allowed, it runs nothing and says why.
    #[must_use]
    pub fn new(spec: &ExecSpec, means: &Means) -> Self {
        Self {
            client: means.client.clone(),
            allowed: means.allow_exec,
            container: spec.container.clone(),
            command: spec.command.clone(),
            format: spec.format,
            ports: spec.ports.iter().copied().collect(),
            threshold: spec.threshold.into(),
            patience: TOTAL,
        }
    }

    /// The ports to count on in this pod.
    fn ports<'a>(&'a self, pod: &'a PodTarget) -> &'a BTreeSet<u16> {
        if self.ports.is_empty() { &pod.ports } else { &self.ports }
    }

    /// What can be known before anything is run.
    fn check(&self, pod: &PodTarget) -> Result<(), Refusal> {
        allowed(self.allowed, "the exec probe")?;
        match self.format {
            ExecFormat::ProcNetTcp if self.ports(pod).is_empty() => Err(Refusal::lasting(
                "the exec probe has no port to count on",
                "list the pod's ports in the probe's `ports`",
            )),
            ExecFormat::Number | ExecFormat::ProcNetTcp | ExecFormat::SsLines => Ok(()),
        }
    }

    async fn count(&self, pod: &PodTarget) -> Result<u64, String> {
        self.check(pod).map_err(|refusal| refusal.to_string())?;
        let output = command::run(&self.client, pod, &self.container, &self.command, MOST_BYTES).await?;
        if let Some(complaint) = output.complaint {
            // What complains may have left something out.
            return Err(format!("the command says on its standard error: {complaint}"));
        }
        let count = formats::parse(self.format, &output.stdout, self.ports(pod));
        let count = count.map_err(|flaw| flaw.to_string())?;
        self.same(pod).await?;
        Ok(count)
    }

    /// A command goes to a pod by its name. That the pod is still the same afterwards shows that it was
    /// the one that answered: a uid never comes back.
    async fn same(&self, pod: &PodTarget) -> Result<(), String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        let live = pods.get_metadata(&pod.name).await;
        let live = live.map_err(|problem| format!("the pod cannot be read: {problem}"))?;
        if live.metadata.uid.as_deref() == Some(&pod.uid) {
            Ok(())
        } else {
            Err("another pod has taken this one's name".to_owned())
        }
    }
}

#[async_trait]
impl Probe for ExecProbe {
    fn kind(&self) -> ProbeKind {
        ProbeKind::Exec
    }

    fn threshold(&self) -> u64 {
        self.threshold
    }

    /// One reading: a command that gives no count now would give none later.
    async fn admit(&self, pod: &PodTarget) -> Result<(), Refusal> {
        self.check(pod)?;
        match self.reader(pod).read().await {
            Reading::Count { .. } => Ok(()),
            Reading::Unknown { why } => Err(Refusal::lasting(
                format!("the exec probe gets no count from pod {}: {why}", pod.name),
                "correct its container, command and format, or use another probe",
            )),
        }
    }

    fn reader(&self, pod: &PodTarget) -> Box<dyn Reader> {
        Box::new(ExecReader { probe: self.clone(), pod: pod.clone() })
    }
}

struct ExecReader {
    probe: ExecProbe,
    pod: PodTarget,
}

#[async_trait]
impl Reader for ExecReader {
    async fn read(&mut self) -> Reading {
        let Self { probe, pod } = self;
        match tokio::time::timeout(probe.patience, probe.count(pod)).await {
            Ok(Ok(connections)) => Reading::Count { connections, new_per_second: None },
            Ok(Err(why)) => Reading::unknown(why),
            Err(_) => Reading::unknown(format!(
                "the command has not ended within {} s",
                probe.patience.as_secs_f32()
            )),
        }
    }
}
