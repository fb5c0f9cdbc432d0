//! How many connections a pod still has. One file a probe, one contract for all.
//!
//! | here | what |
//! |---|---|
//! | this file | the contract, its words, and the table of all probes: one line each |
//! | `spec` | what users write under `spec.drain.probes` |
//! | `ports` | which ports of a pod a Service sends connections to |
//! | `socket` | the probe that counts sockets inside the pod, by a counter it puts there |
//! | `counter`, `proc_net`, `sock_diag`, `line`, `silence` | that counter: the program `drain-counter`, what it reads, what it prints |
//! | `http` | the probe that asks the pod over HTTP |
//! | `formats` | what an HTTP answer may look like, one file a format |
//! | `prometheus` | the probe that asks a Prometheus |
//! | `tencent_monitor` | the probe that asks Tencent's monitoring |
//! | `exec` | the probe that runs a command in the pod, and what it may print |
//! | `nudge` | what is done to a pod once when its drain begins |
//!
//! No probe takes silence for zero: whatever is not a fresh, whole, plain number is [`Reading::Unknown`].

pub mod counter;
pub mod exec;
pub mod formats;
pub mod http;
pub mod line;
pub mod nudge;
pub mod ports;
pub mod proc_net;
pub mod prometheus;
pub mod silence;
pub mod sock_diag;
pub mod socket;
pub mod spec;
pub mod tencent_monitor;

#[cfg(test)]
pub(crate) mod contract;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;

use self::spec::ProbeSpec;
use crate::tencent::Endpoint;
use crate::web::secret::SecretProblem;
use crate::workflow::span::Span;

/// What a probe saw.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// A fresh and whole count.
    Count {
        /// The most connections seen at one moment since the reading before.
        connections: u64,
        /// Connections that clients opened, a second; left out by probes that cannot tell.
        new_per_second: Option<f64>,
    },
    /// No answer, an error, or a stale, partial or nonsensical one. Never to be taken for zero.
    Unknown {
        /// What is wrong, for the status message.
        why: String,
    },
}

impl Reading {
    /// An unknown reading.
    pub(crate) fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown { why: why.into() }
    }
}

/// Why a probe cannot work, and what the user can do. A finding, not a fault of the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {fix}")]
pub struct Refusal {
    /// What is refused, and by whom.
    pub what: String,
    /// What to do about it.
    pub fix: String,
    /// Nobody has decided anything (no answer, a conflict, too many requests): ask again later.
    pub passing: bool,
}

impl Refusal {
    /// A refusal that stands until somebody changes something.
    pub(crate) fn lasting(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), fix: fix.into(), passing: false }
    }
}

impl From<SecretProblem> for Refusal {
    fn from(problem: SecretProblem) -> Self {
        Self { what: problem.to_string(), fix: problem.fix().to_owned(), passing: problem.passing() }
    }
}

/// A pod as a probe needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodTarget {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// Uid of the pod: an answer about another pod of this name is no answer.
    pub uid: String,
    /// Address of the pod, once it has one.
    pub ip: Option<IpAddr>,
    /// Ordinal of the pod in its StatefulSet.
    pub ordinal: u32,
    /// Id of the run, of characters that a container's name may have.
    pub run: String,
    /// Ports that the levered Services send connections to (see [`ports::resolve_target_ports`]).
    pub ports: BTreeSet<u16>,
    /// From where the levered Services send them.
    pub fronts: BTreeSet<ports::Front>,
    /// The pod shares the network of its node.
    pub host_network: bool,
    /// Name of its node, once it has one.
    pub node: Option<String>,
}

/// Makes the closed list of the probes out of the table below it: their kinds, their names, and how each is made of its
/// spec.
macro_rules! probes {
    ($($(#[$what:meta])* $kind:ident $name:literal $member:ident::$probe:ident;)*) => {
        /// Every kind of probe. The text form is the name of its member in the spec.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ProbeKind {
            $($(#[$what])* $kind,)*
        }

        impl ProbeKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];
        }

        impl fmt::Display for ProbeKind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$kind => $name,)*
                })
            }
        }

        impl ProbeSpec {
            /// An item that names none.
            const NONE: Self = Self { $($member: None),* };
        }

        /// One item of `spec.drain.probes` to its probe.
        ///
        /// # Errors
        /// The item does not name exactly one probe, or one that lacks a part.
        pub fn probe(spec: &ProbeSpec, means: &Means) -> Result<Box<dyn Probe>, Refusal> {
            let ProbeSpec { $($member),* } = spec;
            let members = [$($member.as_ref().map(|spec| $member::$probe::new(spec, means).made())),*];
            let mut named = members.into_iter().flatten();
            match (named.next(), named.next()) {
                (Some(probe), None) => probe,
                (None | Some(_), _) => Err(not_one()),
            }
        }
    };
}

// One line a probe: kind, name in the spec, file and type.
probes! {
    /// Counts sockets inside the pod.
    Socket "socket" socket::SocketProbe;
    /// Asks the pod over HTTP.
    Http "http" http::HttpProbe;
    /// Asks a Prometheus.
    Prometheus "prometheus" prometheus::PrometheusProbe;
    /// Runs a command in the pod.
    Exec "exec" exec::ExecProbe;
    /// Asks Tencent's monitoring.
    TencentMonitor "tencentMonitor" tencent_monitor::TencentMonitorProbe;
}

fn not_one() -> Refusal {
    let names: Vec<_> = ProbeKind::ALL.iter().map(|kind| format!("`{kind}`")).collect();
    Refusal::lasting(
        "an item of spec.drain.probes does not name exactly one probe",
        format!("write one of {}, and an item for each", names.join(", ")),
    )
}

/// What comes of a probe's spec: a probe, or for some of them why there can be none.
trait Made {
    fn made(self) -> Result<Box<dyn Probe>, Refusal>;
}

impl<P: Probe + 'static> Made for P {
    fn made(self) -> Result<Box<dyn Probe>, Refusal> {
        Ok(self.boxed())
    }
}

impl<P: Probe + 'static> Made for Result<P, Refusal> {
    fn made(self) -> Result<Box<dyn Probe>, Refusal> {
        self.map(Probe::boxed)
    }
}

/// What counts a pod's connections.
#[async_trait]
pub trait Probe: Send + Sync {
    /// Which probe this is.
    fn kind(&self) -> ProbeKind;

    /// At or below this count the pod is quiet.
    fn threshold(&self) -> u64;

    /// Would it work on this pod? Changes nothing.
    ///
    /// # Errors
    /// Why not, and what to do.
    async fn admit(&self, pod: &PodTarget) -> Result<(), Refusal>;

    /// A reader for this pod (this uid). Its first reading is already a fresh one.
    fn reader(&self, pod: &PodTarget) -> Box<dyn Reader>;

    /// A reader for a pod that serves: that it gets any number shows that the probe works, so it need not be fresh.
    fn first_reader(&self, pod: &PodTarget) -> Box<dyn Reader> {
        self.reader(pod)
    }

    /// Connections that have been silent for so long are left out of the count, where the probe can tell them.
    fn idle_after(&self) -> Option<Span> {
        None
    }

    /// As one of several.
    fn boxed(self) -> Box<dyn Probe>
    where
        Self: Sized + 'static,
    {
        Box::new(self)
    }

    /// The counter that must run in the pod before this probe can read, for the probe that has one.
    fn counter(&self) -> Option<&socket::SocketProbe> {
        None
    }
}

/// Reads one pod again and again. Keeps its place, so that nothing is counted as news twice.
#[async_trait]
pub trait Reader: Send {
    /// What happened since the reading before. Ends by itself in seconds, whatever the other side does.
    async fn read(&mut self) -> Reading;
}

/// Wall-clock time, handed in.
pub type Now = Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>;

/// What probes work with.
#[derive(Clone)]
pub struct Means {
    /// Speaks with the API server. Must not retry by itself: a refusal is an observation.
    pub client: kube::Client,
    /// How to start drain counters.
    pub counter: socket::CounterSettings,
    /// After how long a silence a connection does not count; None: it always does.
    pub idle_after: Option<Span>,
    /// Wall-clock time.
    pub now: Now,
    /// Which addresses the probe `prometheus` may ask.
    pub prometheus_allow: prometheus::allow::Allowed,
    /// Where Tencent's API is.
    pub tencent: Endpoint,
    /// Commands may be run in pods.
    pub allow_exec: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_item_with_no_probe_or_with_two_is_refused_with_the_names_of_all() {
        let means = contract::means(contract::api(|_| None));
        let socket = ProbeSpec::default();
        assert_eq!(probe(&socket, &means).map(|probe| probe.kind()).ok(), Some(ProbeKind::Socket));
        let two = serde_json::json!({
            "socket": {}, "exec": {"container": "web", "command": ["x"], "format": "Number"},
        });
        for spec in [ProbeSpec::NONE, serde_json::from_value(two).unwrap()] {
            let fix = probe(&spec, &means).err().unwrap().fix;
            assert_eq!(
                fix,
                "write one of `socket`, `http`, `prometheus`, `exec`, `tencentMonitor`, and an item for each"
            );
        }
    }
}
