//! What users write under `tencentMonitor` of an item of `spec.drain.probes`.

use std::net::Ipv4Addr;

use kube::KubeSchema;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{OnNoData, threshold};
use crate::tencent::monitor::Network;
use crate::tencent::spec::CredentialsSpec;
use crate::workflow::span::Span;

/// The probe `tencentMonitor`: the connections from a CLB to the pod, by the metric `ConNum` of Tencent's monitoring, for
/// Services with TCP listeners and direct access to the pods. Its numbers are of whole minutes, and 1 to 3 minutes late:
/// a drain takes some minutes longer than with other probes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("duration(self.maxAge) >= duration('5m') && duration(self.maxAge) <= duration('10m')").message("maxAge must be from 5m to 10m")
)]
pub struct TencentMonitorSpec {
    /// Region of the load balancer, for example `ap-guangzhou`.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[a-z]+(-[a-z0-9]+)+$"))]
    pub region: String,
    /// Who asks. It takes the right `monitor:GetMonitorData`.
    pub credentials: CredentialsSpec,
    /// Which load balancers the metric is of. Default Public.
    #[serde(default)]
    pub network: Network,
    /// IPv4 address of the load balancer, for all Services that the levers move. Left out: `status.loadBalancer.ingress` of
    /// each of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "address")]
    pub vip: Option<Ipv4Addr>,
    /// Id of the VPC of the pods, where the metric is told apart by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[a-z0-9-]+$"))]
    pub vpc_id: Option<String>,
    /// So many minutes in a row must be at or below the threshold, all of them after the detach. Default 3.
    #[serde(default = "three")]
    #[schemars(schema_with = "minutes")]
    pub minutes: u8,
    /// A newest minute older than this says nothing any more. Default 6m.
    #[serde(default = "six_minutes")]
    pub max_age: Span,
    /// What it means that a minute is missing. Default Unknown. Zero is for load balancers that show nothing where there
    /// are no connections; such a minute counts when it is 3 minutes over.
    #[serde(default)]
    pub on_no_data: OnNoData,
    /// Connections that may be left. Default 0.
    #[serde(default)]
    #[schemars(schema_with = "threshold")]
    pub threshold: u32,
}

fn three() -> u8 {
    3
}

fn six_minutes() -> Span {
    Span::seconds(360)
}

fn minutes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "minimum": 2, "maximum": 5, "default": 3})
}

fn address(_: &mut SchemaGenerator) -> Schema {
    const BYTE: &str = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    let pattern = format!("^{BYTE}([.]{BYTE}){{3}}$");
    json_schema!({"type": "string", "pattern": pattern, "minLength": 7, "maxLength": 15})
}
