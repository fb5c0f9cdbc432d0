//! The nudge `http`: one request to the pod's address.

use std::fmt;

use reqwest::Method;

use crate::drain::http::{safe, send, straight};
use crate::drain::spec::nudge::{HttpNudgeSpec, NudgeMethod};
use crate::drain::{PodTarget, Refusal};

/// The request.
pub(super) struct HttpNudge {
    method: Method,
    port: u16,
    path: String,
}

impl HttpNudge {
    pub(super) fn new(spec: &HttpNudgeSpec) -> Result<Self, Refusal> {
        let path = safe(&spec.path).map_err(|refusal| Refusal {
            what: "the path of an http nudge is not a plain path".to_owned(),
            ..refusal
        })?;
        let method = match spec.method {
            NudgeMethod::Get => Method::GET,
            NudgeMethod::Post => Method::POST,
            NudgeMethod::Put => Method::PUT,
            NudgeMethod::Delete => Method::DELETE,
        };
        Ok(Self { method, port: spec.port, path: path.to_owned() })
    }

    /// Sends it once. What the body of the answer says is not read.
    pub(super) async fn send(&self, pod: &PodTarget) -> Result<(), String> {
        // Made here: every look at the object makes its nudges, and hardly any is the one that sends.
        let client = straight()?;
        let status = send(&client, self.method.clone(), pod, self.port, &self.path).await?.status();
        if status.is_success() { Ok(()) } else { Err(format!("the answer is {status}")) }
    }
}

impl fmt::Display for HttpNudge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} :{}{}", self.method, self.port, self.path)
    }
}
