//! What users write under `prometheus` of an item of `spec.drain.probes`.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::threshold;
use crate::workflow::span::Span;

/// The probe `prometheus`. In `query` and `sampledAt` the pod is written in quotes as `{{pod}}` (its name), `{{podIP}}`
/// or `{{ordinal}}`; `{{namespace}}` and `{{node}}` may stand beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("['{{pod}}', '{{podIP}}', '{{ordinal}}'].exists(name, self.query.contains(name))").message("query must say which pod it is about: write {{pod}}, {{podIP}} or {{ordinal}} into it, in quotes"),
    validation = Rule::new("['{{pod}}', '{{podIP}}', '{{ordinal}}'].exists(name, self.sampledAt.contains(name))").message("sampledAt must say which pod it is about: write {{pod}}, {{podIP}} or {{ordinal}} into it, in quotes"),
    validation = Rule::new("duration(self.maxAge) >= duration('1s') && duration(self.maxAge) <= duration('10m')").message("maxAge must be from 1s to 10m"),
    validation = Rule::new("!has(self.ca) || self.address.startsWith('https://')").message("ca is for an address that begins with https://"),
    validation = Rule::new("!self.address.contains('..')").message("address must not contain `..`"),
)]
pub struct PrometheusSpec {
    /// Where it is, for example `https://prometheus.monitoring:9090`, with the path before `/api/v1` if there is one.
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^https?://[^\s/?#@%\\]+(/[^\s?#@%\\]*)?$"))]
    pub address: String,
    /// PromQL with one number as its result: the connections of the pod.
    #[schemars(length(min = 1, max = 2048))]
    pub query: String,
    /// PromQL with one number as its result: when the oldest sample was taken that `query` is made of, as Unix time. For
    /// example `min(timestamp(nginx_connections_active{pod="{{pod}}"}))`, with the same series as in `query`.
    #[schemars(length(min = 1, max = 2048))]
    pub sampled_at: String,
    /// A sample older than this is no answer; nor is one from before the pod was out of the load balancer, so that every
    /// drain waits for the next scrape. Default 2m.
    #[serde(default = "two_minutes")]
    pub max_age: Span,
    /// What it means that `query` has no result while `sampledAt` has one. Default Unknown.
    #[serde(default)]
    pub on_no_data: OnNoData,
    /// How the operator shows who it is. Left out: it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthSpec>,
    /// PEM certificates of who may vouch for an `https` address. Left out: the roots of the operator's image, which as it
    /// is shipped has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<SecretKey>,
    /// Connections that may be left. Default 0.
    #[serde(default)]
    #[schemars(schema_with = "threshold")]
    pub threshold: u32,
}

/// What an empty result means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnNoData {
    /// Nothing is known.
    #[default]
    Unknown,
    /// No connections, for an exporter that shows a series only while there are some.
    Zero,
}

/// How the operator shows who it is. Exactly one member is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.bearer) != has(self.basic)").message("name exactly one way in auth: bearer or basic")
)]
pub struct AuthSpec {
    /// By a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer: Option<SecretKey>,
    /// By a name and a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicSpec>,
}

/// One value of a Secret in the namespace of this object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// Name of the Secret. The operator has no right to read Secrets unless it is given.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub secret: String,
    /// Key in the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// A name and a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasicSpec {
    /// Name of a Secret in the namespace of this object, with the keys `username` and `password`, as in one of the type
    /// `kubernetes.io/basic-auth`.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub secret: String,
}

fn two_minutes() -> Span {
    Span::seconds(120)
}
