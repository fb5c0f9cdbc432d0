//! What users write to count by a command that runs in the pod.

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{ports, threshold};

/// The probe `exec`. The operator must run with `--allow-exec`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.ports) || self.format == 'ProcNetTcp'").message("ports belongs to the format ProcNetTcp; with SsLines the filter of ss names the ports")
)]
pub struct ExecSpec {
    /// Container of the pod that the command runs in.
    #[schemars(schema_with = "container")]
    pub container: String,
    /// The command and its arguments, without a shell around them. It must end by itself within
    /// seconds: what is given up runs on in the container.
    #[schemars(schema_with = "command")]
    pub command: Vec<String>,
    /// What the command prints.
    pub format: ExecFormat,
    /// Connections that may be left. Default 0.
    #[serde(default)]
    #[schemars(schema_with = "threshold")]
    pub threshold: u32,
    /// Ports to count on, for the format `ProcNetTcp`. Left out: the target ports of the Services that
    /// the levers move.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "ports")]
    pub ports: Vec<u16>,
}

/// What the command of an `exec` probe prints. Output that does not look so is unknown, never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExecFormat {
    /// A number.
    Number,
    /// What `cat /proc/net/tcp /proc/net/tcp6` prints: the connections to `ports` that may owe bytes.
    ProcNetTcp,
    /// One connection a line, as `ss -Htn` prints them. Nothing at all is 0 connections.
    SsLines,
}

pub(super) fn container(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"})
}

pub(super) fn command(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "minItems": 1, "maxItems": 32, "items": {"type": "string", "maxLength": 1024}})
}
