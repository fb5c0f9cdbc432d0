//! What an HTTP answer may look like. One file a format, each a pure function from the body to a count.
//! Fractions are rounded up; what is not plainly a count is a [`Why`], never a zero.

mod envoy_stats;
mod haproxy_csv;
mod json;
mod nginx_stub_status;
pub(in crate::drain) mod number;
mod prometheus_text;

#[cfg(test)]
mod properties;

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Refusal;
use super::spec::{HttpFormat, HttpSpec, PrometheusTextSpec};

/// Why an answer is not a count. Says nothing of what was in the body: it may be anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Nothing came.
    #[error("the body is empty")]
    Empty,
    /// Not UTF-8.
    #[error("the body is not text")]
    NotText,
    /// Not the format at all.
    #[error("the body is not {0}")]
    NotThis(&'static str),
    /// The end of the body is missing.
    #[error("the body is cut off")]
    CutOff,
    /// The format is right but what was asked for is not in it.
    #[error("the body has no {0}")]
    Missing(String),
    /// One thing is in it more than once, so that nobody can say which counts.
    #[error("the body has {0} more than once")]
    Twice(String),
    /// A value that is no number.
    #[error("the value is not a number")]
    NotANumber,
    /// NaN or an infinity.
    #[error("the value is not finite")]
    NotFinite,
    /// Below zero.
    #[error("the value is negative")]
    Negative,
    /// Beyond what a count of connections can be.
    #[error("the value is too large for a count of connections")]
    TooLarge,
    /// The value's own timestamp is not of now.
    #[error("the value's timestamp is {seconds} s away from now")]
    Old {
        /// How far, either way.
        seconds: u64,
    },
    /// A count that includes the request that asks cannot be 0.
    #[error("the page does not even count the request that asks for it")]
    ZeroWithAsker,
}

/// A format with all that it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// The body is the number.
    Number,
    /// The number is at this JSON pointer.
    Json {
        /// RFC 6901.
        pointer: String,
    },
    /// The series to add up.
    Prometheus(PrometheusTextSpec),
    /// nginx's status page.
    NginxStubStatus,
    /// HAProxy's CSV page.
    HaproxyCsv {
        /// The frontends to add up.
        frontends: BTreeSet<String>,
    },
    /// The statistics of Envoy's admin page.
    EnvoyStats,
}

impl Format {
    /// The format that these settings name.
    ///
    /// # Errors
    /// It lacks the member that says where the number is.
    pub fn of(spec: &HttpSpec) -> Result<Self, Refusal> {
        let lacks = |member: &str| {
            Refusal::lasting(
                format!("the http probe's format {:?} has no `{member}`", spec.format),
                format!("write `{member}` beside `format`"),
            )
        };
        match spec.format {
            HttpFormat::Number => Ok(Self::Number),
            HttpFormat::Json => spec
                .json
                .as_ref()
                .map(|json| Self::Json { pointer: json.pointer.clone() })
                .ok_or_else(|| lacks("json")),
            HttpFormat::Prometheus => {
                spec.prometheus.clone().map(Self::Prometheus).ok_or_else(|| lacks("prometheus"))
            }
            HttpFormat::NginxStubStatus => Ok(Self::NginxStubStatus),
            HttpFormat::HaproxyCsv => spec
                .haproxy
                .as_ref()
                .map(|haproxy| Self::HaproxyCsv { frontends: haproxy.frontends.iter().cloned().collect() })
                .ok_or_else(|| lacks("haproxy")),
            HttpFormat::EnvoyStats => Ok(Self::EnvoyStats),
        }
    }

    /// The count in a body.
    ///
    /// # Errors
    /// Why it is unknown.
    pub fn parse(&self, body: &[u8], now: Timestamp) -> Result<u64, Why> {
        let text = str::from_utf8(body).map_err(|_| Why::NotText)?;
        if text.trim().is_empty() {
            return Err(Why::Empty);
        }
        match self {
            Self::Number => number::parse(text),
            Self::Json { pointer } => json::parse(text, pointer),
            Self::Prometheus(wanted) => prometheus_text::parse(text, wanted, now),
            Self::NginxStubStatus => nginx_stub_status::parse(text),
            Self::HaproxyCsv { frontends } => haproxy_csv::parse(text, frontends),
            Self::EnvoyStats => envoy_stats::parse(text),
        }
    }
}
