//! What users write under `spec.drain.probes`, and beside it: one file for what a command in the pod
//! counts, one for what is done to a pod when its drain begins.

pub mod exec;
pub mod nudge;

mod prometheus;
mod tencent_monitor;

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use self::exec::ExecSpec;
pub use self::prometheus::{AuthSpec, BasicSpec, OnNoData, PrometheusSpec, SecretKey};
pub use self::tencent_monitor::TencentMonitorSpec;

/// One probe. Exactly one member is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.socket), has(self.http), has(self.prometheus), has(self.exec), has(self.tencentMonitor)].filter(named, named).size() == 1").message("name exactly one probe in an item: socket, http, prometheus, exec or tencentMonitor")
)]
pub struct ProbeSpec {
    /// Counts the sockets inside the pod, by an ephemeral container of the operator's own image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<SocketSpec>,
    /// Asks the pod over HTTP how many connections it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSpec>,
    /// Asks a Prometheus what it has scraped of the pod. The operator's flag `--prometheus-allow` says which ones may be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusSpec>,
    /// Runs a command in a container of the pod. The operator must run with `--allow-exec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecSpec>,
    /// Asks Tencent's monitoring for the connections from a CLB to the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tencent_monitor: Option<TencentMonitorSpec>,
}

impl Default for ProbeSpec {
    /// What an object without probes gets: sockets, down to none.
    fn default() -> Self {
        Self { socket: Some(SocketSpec::default()), ..Self::NONE }
    }
}

/// The probe `socket`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SocketSpec {
    /// Connections that may be left. Default 0.
    #[schemars(schema_with = "threshold")]
    pub threshold: u32,
    /// Ports to count on. Left out: the target ports of the Services that the levers move.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "ports")]
    pub ports: Vec<u16>,
}

/// The probe `http`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.format == 'Json') == has(self.json)").message("format Json needs `json: {pointer}`, and only it has one"),
    validation = Rule::new("(self.format == 'Prometheus') == has(self.prometheus)").message("format Prometheus needs `prometheus: {metric}`, and only it has one"),
    validation = Rule::new("(self.format == 'HaproxyCsv') == has(self.haproxy)").message("format HaproxyCsv needs `haproxy: {frontends}`, and only it has one"),
    validation = Rule::new("!self.path.contains('..')").message("path must not contain `..`"),
)]
pub struct HttpSpec {
    /// Port of the pod to ask.
    #[schemars(schema_with = "port")]
    pub port: u16,
    /// Path to ask for, with its query. No `..`, no fragment.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/[^\s#\\]*$"))]
    pub path: String,
    /// What the answer looks like.
    pub format: HttpFormat,
    /// Where the number is, for the format `Json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<JsonSpec>,
    /// Which series to count, for the format `Prometheus`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusTextSpec>,
    /// Which frontends to count, for the format `HaproxyCsv`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub haproxy: Option<HaproxySpec>,
    /// Which way to ask. Default Pod.
    #[serde(default)]
    pub via: Via,
    /// Connections that may be left. Default 0.
    #[serde(default)]
    #[schemars(schema_with = "threshold")]
    pub threshold: u32,
}

/// What the answer of an `http` probe looks like. An answer that does not look so is unknown, never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HttpFormat {
    /// The body is a number.
    Number,
    /// The body is JSON, `json.pointer` says where the number is.
    Json,
    /// The body is the Prometheus text format; the series that `prometheus` names are added up.
    Prometheus,
    /// nginx's `stub_status` page: its active connections less the one that asks.
    NginxStubStatus,
    /// HAProxy's status page with `;csv`: the current sessions of the frontends that `haproxy` names.
    HaproxyCsv,
    /// Envoy's admin page `/stats?format=json`: the active connections of every listener in the answer but the admin page's own.
    EnvoyStats,
}

/// Where the number is in a JSON answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JsonSpec {
    /// JSON pointer (RFC 6901), for example `/connections/active`. Empty: the whole document.
    #[schemars(length(max = 512), regex(pattern = r"^(/([^~]|~[01])*)?$"))]
    pub pointer: String,
}

/// Which series of a Prometheus text answer to add up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusTextSpec {
    /// Name of the metric.
    #[schemars(length(max = 256), regex(pattern = r"^[a-zA-Z_:][a-zA-Z0-9_:]*$"))]
    pub metric: String,
    /// Labels that a series must have to count. Left out: every series of the metric counts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels")]
    pub labels: BTreeMap<String, String>,
}

/// Which frontends of a HAProxy to add up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HaproxySpec {
    /// The frontends (and `listen` sections) that serve the clients. One that is missing in the page makes the count
    /// unknown. Leave out the one that serves the page itself: each question is a session of it.
    #[schemars(
        length(min = 1, max = 32),
        inner(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9_.:-]+$"))
    )]
    pub frontends: Vec<String>,
}

/// Which way an `http` probe asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Via {
    /// Straight to the pod's address. The operator must be able to reach it.
    #[default]
    Pod,
    /// Through the API server, where network policies or the operator's place keep it from the pod.
    /// Needs the right `get` on `pods/proxy`.
    ApiServer,
}

// Written by hand because the derived ones carry number formats that the API server warns about.

fn port(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "minimum": 1, "maximum": 65535})
}

fn ports(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 32, "items": {"type": "integer", "minimum": 1, "maximum": 65535}})
}

fn threshold(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "minimum": 0, "maximum": 1_000_000, "default": 0})
}

fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "maxProperties": 16, "additionalProperties": {"type": "string", "maxLength": 256}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::span::Span;

    #[derive(Serialize, Deserialize, KubeSchema)]
    #[x_kube(cel)]
    struct Drain {
        probes: Vec<ProbeSpec>,
    }

    fn refused(probes: &serde_json::Value) -> bool {
        Drain::validate_cel(&serde_json::json!({"probes": [probes]}), None).is_err()
    }

    #[test]
    fn an_item_names_exactly_one_probe_and_a_format_has_what_it_needs() {
        let http = |format: &str| serde_json::json!({"port": 8081, "path": "/", "format": format});
        let with = |mut probe: serde_json::Value, member: &str, value: serde_json::Value| {
            probe[member] = value;
            serde_json::json!({"http": probe})
        };
        let json = serde_json::json!({"pointer": "/n"});
        let metric = serde_json::json!({"metric": "n"});
        assert!(!refused(&serde_json::json!({"socket": {}})));
        assert!(!refused(&serde_json::json!({"http": http("NginxStubStatus")})));
        assert!(!refused(&with(http("Json"), "json", json.clone())));
        assert!(!refused(&with(http("Prometheus"), "prometheus", metric.clone())));

        assert!(refused(&serde_json::json!({})));
        assert!(refused(&serde_json::json!({"socket": {}, "http": http("Number")})));
        assert!(refused(&serde_json::json!({"http": http("Json")})));
        assert!(refused(&serde_json::json!({"http": http("Prometheus")})));
        assert!(refused(&with(http("Number"), "json", json)));
        assert!(refused(&with(http("Number"), "path", serde_json::json!("/../x"))));
        assert!(refused(&with(http("Json"), "prometheus", metric)));
    }

    #[test]
    fn haproxy_needs_the_names_of_its_frontends_and_envoy_nothing() {
        let http = |format: &str| serde_json::json!({"port": 8404, "path": "/stats;csv", "format": format});
        let with = |format: &str| {
            let mut probe = http(format);
            probe["haproxy"] = serde_json::json!({"frontends": ["web"]});
            serde_json::json!({"http": probe})
        };
        assert!(!refused(&with("HaproxyCsv")));
        assert!(!refused(&serde_json::json!({"http": http("EnvoyStats")})));
        assert!(refused(&serde_json::json!({"http": http("HaproxyCsv")})));
        assert!(refused(&with("EnvoyStats")));
    }

    /// A probe `prometheus` with this change.
    fn prometheus(change: impl FnOnce(&mut serde_json::Value)) -> serde_json::Value {
        let mut probe = serde_json::json!({
            "address": "https://prometheus.monitoring:9090",
            "query": "sum(conns{pod=\"{{pod}}\"})",
            "sampledAt": "min(timestamp(conns{pod=\"{{pod}}\"}))",
            "maxAge": "2m",
        });
        change(&mut probe);
        serde_json::json!({"prometheus": probe})
    }

    #[test]
    fn a_prometheus_probe_is_about_one_pod() {
        assert!(!refused(&prometheus(|_| {})));
        for member in ["query", "sampledAt"] {
            for name in ["pod", "podIP", "ordinal"] {
                let text = format!("a{{b=\"{{{{{name}}}}}\"}}");
                assert!(!refused(&prometheus(|probe| probe[member] = text.into())), "{member}: {name}");
            }
            for text in ["sum(conns)", "a{b=\"{{namespace}}{{node}}\"}", "a{b=\"{pod}\"}"] {
                assert!(refused(&prometheus(|probe| probe[member] = text.into())), "{member}: {text}");
            }
        }
        let mut two = prometheus(|_| {});
        two["socket"] = serde_json::json!({});
        assert!(refused(&two));
    }

    #[test]
    fn the_age_of_a_sample_is_bounded() {
        for (age, fine) in [("1s", true), ("10m", true), ("999ms", false), ("0s", false), ("10m1s", false)] {
            assert_eq!(!refused(&prometheus(|probe| probe["maxAge"] = age.into())), fine, "{age}");
        }
    }

    #[test]
    fn an_address_has_no_way_up_and_a_ca_is_for_https() {
        let ca = serde_json::json!({"secret": "s", "key": "ca.crt"});
        assert!(!refused(&prometheus(|probe| probe["ca"] = ca.clone())));
        assert!(refused(&prometheus(|probe| {
            probe["ca"] = ca.clone();
            probe["address"] = "http://p".into();
        })));
        assert!(refused(&prometheus(|probe| probe["address"] = "https://p/../x".into())));
    }

    #[test]
    fn auth_names_exactly_one_way() {
        let bearer = serde_json::json!({"secret": "s", "key": "token"});
        let basic = serde_json::json!({"secret": "s"});
        let auth = |auth: serde_json::Value| refused(&prometheus(|probe| probe["auth"] = auth));
        assert!(!auth(serde_json::json!({"bearer": bearer})));
        assert!(!auth(serde_json::json!({"basic": basic})));
        assert!(auth(serde_json::json!({})));
        assert!(auth(serde_json::json!({"bearer": bearer, "basic": basic})));
    }

    #[test]
    fn an_exec_probe_stands_alone_in_its_item_and_names_ports_only_where_they_are_counted() {
        let exec = |format: &str| serde_json::json!({"container": "web", "command": ["x"], "format": format});
        let with_ports = |format: &str| {
            let mut probe = exec(format);
            probe["ports"] = serde_json::json!([80]);
            serde_json::json!({"exec": probe})
        };
        assert!(!refused(&serde_json::json!({"exec": exec("SsLines")})));
        assert!(!refused(&with_ports("ProcNetTcp")));
        assert!(refused(&with_ports("SsLines")));
        assert!(refused(&with_ports("Number")));
        assert!(refused(&serde_json::json!({"exec": exec("Number"), "socket": {}})));
    }

    #[test]
    fn the_monitoring_needs_a_region_and_a_secret_and_has_defaults_for_the_rest() {
        let probe = serde_json::json!({"region": "ap-guangzhou", "credentials": {"secret": "tencent"}});
        let monitor = |member: &str, value: serde_json::Value| {
            let mut probe = probe.clone();
            probe["maxAge"] = "6m".into();
            probe[member] = value;
            refused(&serde_json::json!({"tencentMonitor": probe}))
        };
        for (age, fine) in [("5m", true), ("10m", true), ("299s", false), ("11m", false)] {
            assert_eq!(!monitor("maxAge", age.into()), fine, "{age}");
        }
        let read: TencentMonitorSpec = serde_json::from_value(probe.clone()).unwrap();
        assert_eq!((read.minutes, read.max_age, read.threshold), (3, Span::seconds(360), 0));
        assert_eq!((read.on_no_data, read.vip, read.vpc_id), (OnNoData::Unknown, None, None));
    }

    #[test]
    fn a_nudge_is_a_request_or_a_command_and_its_path_stays_below_the_pod() {
        #[derive(Serialize, Deserialize, KubeSchema)]
        #[x_kube(cel)]
        struct Start {
            nudges: Vec<nudge::NudgeSpec>,
        }
        let refused = |nudge: serde_json::Value| {
            Start::validate_cel(&serde_json::json!({"nudges": [nudge]}), None).is_err()
        };
        let http = serde_json::json!({"port": 9901, "path": "/healthcheck/fail"});
        let exec = serde_json::json!({"container": "web", "command": ["nginx", "-s", "quit"]});
        assert!(!refused(serde_json::json!({"http": http})));
        assert!(!refused(serde_json::json!({"exec": exec})));
        assert!(refused(serde_json::json!({})));
        assert!(refused(serde_json::json!({"http": http, "exec": exec})));
        assert!(refused(serde_json::json!({"http": {"port": 9901, "path": "/a/../b"}})));
    }

    #[test]
    fn what_users_write_is_read_with_its_defaults() {
        let read = |json: serde_json::Value| serde_json::from_value::<ProbeSpec>(json).unwrap();
        assert_eq!(read(serde_json::json!({"socket": {}})), ProbeSpec::default());
        let http =
            read(serde_json::json!({"http": {"port": 8081, "path": "/s", "format": "Number"}})).http.unwrap();
        assert_eq!((http.via, http.threshold), (Via::Pod, 0));
        let mut spec = prometheus(|_| {});
        spec["prometheus"].as_object_mut().unwrap().remove("maxAge");
        let prometheus = read(spec).prometheus.unwrap();
        let defaults = (prometheus.max_age.to_string(), prometheus.on_no_data, prometheus.threshold);
        assert_eq!(defaults, ("2m".to_owned(), OnNoData::Unknown, 0));
    }

    #[test]
    fn the_schema_bounds_every_list_text_and_number() {
        for schema in [schemars::schema_for!(ProbeSpec), schemars::schema_for!(nudge::NudgeSpec)] {
            let schema = serde_json::to_value(schema).unwrap().to_string();
            assert!(!schema.contains("uint"), "{schema}");
            assert_eq!(schema.matches("\"type\":\"array\"").count(), schema.matches("maxItems").count());
        }
    }
}
