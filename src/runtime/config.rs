//! The settings of `lossless-upgrade run`: flags, each with an environment variable where a manifest
//! needs one. The rest of the program never reads the environment.

use std::net::SocketAddr;

use clap::{ArgAction, Args};
use tracing_subscriber::EnvFilter;

use super::telemetry::LogFormat;

/// Everything `lossless-upgrade run` can be told.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// What is watched.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Which of several processes acts.
    #[command(flatten)]
    pub election: ElectionArgs,
    /// What others see of the process.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

/// What is watched, and with what it is counted.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Scope")]
pub struct ScopeArgs {
    /// Watch this namespace only [default: all namespaces]
    #[arg(long, env = "WATCH_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,

    /// Image of the drain counter, which the `socket` probe puts into pods: the operator's own image.
    /// Without it the probe is refused before anything is moved
    #[arg(long, env = "COUNTER_IMAGE", value_name = "IMAGE")]
    pub counter_image: Option<String>,

    /// Which Prometheus the `prometheus` probe may ask, as prefixes of addresses: scheme, host and port must be the
    /// same, and the path the same or below. Several by commas or by repeating it [default: none]
    #[arg(long, env = "PROMETHEUS_ALLOW", value_name = "URL", value_delimiter = ',')]
    pub prometheus_allow: Vec<String>,
    /// Where Tencent's API is asked, for the `tencentMonitor` probe and `confirmByApi`, with `{service}` where `clb` and
    /// `monitor` stand: `https://{service}.intl.tencentcloudapi.com` on the international site
    /// [default: `https://{service}.tencentcloudapi.com`]
    #[arg(long, env = "TENCENT_ENDPOINT", value_name = "URL")]
    pub tencent_endpoint: Option<String>,
    /// Run commands in pods, for the `exec` probe and `exec` nudges: a strong right, which the role in
    /// deploy/exec gives. Without it both are refused before anything is moved
    #[arg(long, env = "ALLOW_EXEC", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL")]
    pub allow_exec: bool,
}

/// Which of several processes acts.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Leader election")]
pub struct ElectionArgs {
    /// Act only while holding the Lease [default: true in a pod, false outside]
    #[arg(long, env = "LEADER_ELECT", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub leader_elect: Option<bool>,

    /// Name of the Lease
    #[arg(long, default_value = "lossless-upgrade", value_name = "NAME")]
    pub lease_name: String,

    /// Namespace of the Lease [default: the one the process runs in]
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    pub lease_namespace: Option<String>,

    /// Who holds the Lease: a name that no other process has at the same time, in a pod the pod's
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub lease_identity: Option<String>,

    /// Set by the kubelet in every pod.
    #[arg(long, env = "KUBERNETES_SERVICE_HOST", hide = true)]
    kubernetes_service_host: Option<String>,
}

/// What others see of the process.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Telemetry")]
pub struct TelemetryArgs {
    /// Where /healthz, /readyz and /metrics are served
    #[arg(long, env = "METRICS_ADDRESS", default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    pub metrics_address: SocketAddr,

    /// What a log line looks like
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// What is logged: a level, or a list such as `info,lossless_upgrade=debug`
    #[arg(long, env = "LOG_FILTER", default_value = "info", value_name = "FILTER")]
    pub log_filter: EnvFilterText,
}

/// A log filter that was found to be well formed.
#[derive(Clone, Debug)]
pub struct EnvFilterText(String);

impl std::str::FromStr for EnvFilterText {
    type Err = tracing_subscriber::filter::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        EnvFilter::try_new(text).map(|_| Self(text.to_owned()))
    }
}

impl From<EnvFilterText> for EnvFilter {
    fn from(text: EnvFilterText) -> Self {
        Self::new(text.0)
    }
}

/// The Lease and the name to hold it under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRef {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Who we are; no other process may use the same at the same time.
    pub identity: String,
}

/// Leader election is on and has no name to hold the Lease under.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "leader election needs a name of this process's own: set POD_NAME from the pod's metadata.name \
     (downward API), or --lease-identity, or turn it off with --leader-elect=false"
)]
pub struct NoIdentity;

impl ElectionArgs {
    /// The Lease to hold, or none where the process acts alone. `own_namespace` is the one that the
    /// client found itself in.
    ///
    /// # Errors
    /// When election is on and nobody gave the process a name.
    pub fn lease(&self, own_namespace: &str) -> Result<Option<LeaseRef>, NoIdentity> {
        let in_a_pod = self.kubernetes_service_host.is_some();
        if !self.leader_elect.unwrap_or(in_a_pod) {
            return Ok(None);
        }
        let identity = self.lease_identity.clone().filter(|name| !name.is_empty()).ok_or(NoIdentity)?;
        let namespace = self.lease_namespace.as_deref().unwrap_or(own_namespace).to_owned();
        Ok(Some(LeaseRef { namespace, name: self.lease_name.clone(), identity }))
    }
}

/// Whether the user wants no colours in any program (<https://no-color.org>).
#[expect(
    clippy::disallowed_methods,
    reason = "this module is the one that may read settings, and clap has no such flag"
)]
pub fn no_colour() -> bool {
    std::env::var("NO_COLOR").is_ok_and(|value| !value.is_empty())
        || std::env::var("TERM").is_ok_and(|value| value == "dumb")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArgs,
    }

    fn lease(flags: &[&str]) -> Result<Option<LeaseRef>, NoIdentity> {
        let line = Line::try_parse_from([&["run"], flags].concat()).unwrap();
        line.run.election.lease("home")
    }

    const POD: [&str; 2] = ["--kubernetes-service-host=10.96.0.1", "--lease-identity=operator-0"];

    #[test]
    fn in_a_pod_the_lease_is_held_under_the_pods_name() {
        let expected = LeaseRef {
            namespace: "home".into(),
            name: "lossless-upgrade".into(),
            identity: "operator-0".into(),
        };
        assert_eq!(lease(&POD), Ok(Some(expected)));
    }

    #[test]
    fn outside_a_pod_there_is_no_election_unless_asked_for() {
        assert_eq!(lease(&[]), Ok(None));
        assert!(lease(&["--leader-elect", "--lease-identity=me"]).unwrap().is_some());
    }

    #[test]
    fn election_can_be_turned_off_in_a_pod() {
        assert_eq!(lease(&[&POD[..], &["--leader-elect=false"]].concat()), Ok(None));
    }

    #[test]
    fn an_election_without_a_name_is_refused_with_what_to_set() {
        assert_eq!(lease(&["--leader-elect"]), Err(NoIdentity));
        assert!(NoIdentity.to_string().contains("POD_NAME"));
    }

    #[test]
    fn commands_are_run_in_pods_only_where_it_was_said() {
        let allowed =
            |flags: &[&str]| Line::try_parse_from([&["run"], flags].concat()).unwrap().run.scope.allow_exec;
        assert!(!allowed(&[]) && !allowed(&["--allow-exec=false"]));
        assert!(allowed(&["--allow-exec"]) && allowed(&["--allow-exec=true"]));
    }

    #[test]
    fn a_log_filter_that_cannot_be_read_is_refused_at_the_start() {
        assert!(Line::try_parse_from(["run", "--log-filter=info,=x=y"]).is_err());
    }
}
