//! The nudge `exec`: one command in a container of the pod.

use std::fmt;

use kube::Client;

use crate::drain::exec::{allowed, command};
use crate::drain::spec::nudge::ExecNudgeSpec;
use crate::drain::{PodTarget, Refusal};

/// Nobody reads more than that it ended well; more than this is no nudge.
const MOST_BYTES: usize = 1024 * 1024;

/// The command.
pub(super) struct ExecNudge {
    client: Client,
    allowed: bool,
    container: String,
    command: Vec<String>,
}

impl ExecNudge {
    pub(super) fn new(spec: &ExecNudgeSpec, client: Client, allowed: bool) -> Self {
        Self { client, allowed, container: spec.container.clone(), command: spec.command.clone() }
    }

    pub(super) fn admit(&self) -> Result<(), Refusal> {
        allowed(self.allowed, "an exec nudge of spec.drain.onStart")
    }

    /// Runs it once. What it prints is let go; its exit status counts.
    pub(super) async fn run(&self, pod: &PodTarget) -> Result<(), String> {
        self.admit().map_err(|refusal| refusal.to_string())?;
        command::run(&self.client, pod, &self.container, &self.command, MOST_BYTES).await.map(drop)
    }
}

impl fmt::Display for ExecNudge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = self.command.first().map_or("", String::as_str);
        write!(f, "{program} in {}", self.container)
    }
}
