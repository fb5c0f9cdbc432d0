//! What users write to have Tencent's API asked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who asks Tencent's API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsSpec {
    /// Name of a Secret in the namespace of this object, with the keys `secretId` and `secretKey`, and `token` where the
    /// credentials are temporary. The operator has no right to read Secrets unless it is given.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub secret: String,
}

/// Has Tencent's API say what the balancer does, beside what its controller says in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfirmByApiSpec {
    /// Region of the load balancer, for example `ap-guangzhou`.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[a-z]+(-[a-z0-9]+)+$"))]
    pub region: String,
    /// Id of the load balancer, for all Services of this lever. Left out: what TKE wrote on each Service, the annotation
    /// `service.kubernetes.io/loadbalance-id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^lb-[a-z0-9]+$"))]
    pub load_balancer_id: Option<String>,
    /// Who asks. It takes the right `clb:DescribeTargets`.
    pub credentials: CredentialsSpec,
}
