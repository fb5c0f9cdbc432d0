//! The drain counter's container, as it is asked for.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::drain::PodTarget;
use crate::workflow::span::Span;

/// Where the program is in the operator's image.
const PROGRAM: &str = "/lossless-upgrade";
/// The user of the operator's image. Said here because the pod may say otherwise.
const USER: i64 = 65532;

/// What the names of all counters start with.
pub(super) const ANY: &str = "lu-";

/// Name of counter number `n` of a run.
pub(super) fn name(run: &str, n: u32) -> String {
    format!("{}{n}", prefix(run))
}

/// What the names of all counters of a run start with.
pub(super) fn prefix(run: &str) -> String {
    format!("{ANY}{run}-")
}

/// The patch that adds the container to the pod of this uid and, where given, of this version. It
/// meets the restricted pod security standard. Resources cannot be set on an ephemeral container.
pub(super) fn patch(
    pod: &PodTarget,
    resource_version: Option<&str>,
    n: u32,
    image: &str,
    ports: &BTreeSet<u16>,
    period: Duration,
    life: Span,
) -> Value {
    let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    let mut metadata = json!({"uid": pod.uid});
    if let Some(version) = resource_version {
        metadata["resourceVersion"] = json!(version);
    }
    json!({
        "metadata": metadata,
        "spec": {"ephemeralContainers": [{
            "name": name(&pod.run, n),
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "command": [
                PROGRAM, "drain-counter",
                "--ports", ports,
                "--period", format!("{}ms", period.as_millis()),
                "--life", life.to_string(),
            ],
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": USER,
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }]},
    })
}
