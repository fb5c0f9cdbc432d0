//! What users write under `spec.drain.onStart`.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::exec::{command, container};
use super::port;

/// What is done to a pod once when its drain begins. Exactly one member is set. It is not taken back
/// where the pod serves again without having been replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.http) != has(self.exec)").message("name exactly one nudge in an item of spec.drain.onStart: http or exec")
)]
pub struct NudgeSpec {
    /// A request to the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpNudgeSpec>,
    /// A command in a container of the pod. The operator must run with `--allow-exec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecNudgeSpec>,
}

/// A request to the pod's address. Any answer from 200 to 299 is success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!self.path.contains('..')").message("path must not contain `..`")
)]
pub struct HttpNudgeSpec {
    /// Method. Default POST.
    #[serde(default)]
    pub method: NudgeMethod,
    /// Port of the pod.
    #[schemars(schema_with = "port")]
    pub port: u16,
    /// Path with its query. No `..`, no fragment.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/[^\s#\\]*$"))]
    pub path: String,
}

/// Method of a nudge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum NudgeMethod {
    /// GET.
    Get,
    /// POST.
    #[default]
    Post,
    /// PUT.
    Put,
    /// DELETE.
    Delete,
}

/// A command in a container of the pod. Exit status 0 is success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecNudgeSpec {
    /// Container of the pod that the command runs in.
    #[schemars(schema_with = "container")]
    pub container: String,
    /// The command and its arguments, without a shell around them.
    #[schemars(schema_with = "command")]
    pub command: Vec<String>,
}
