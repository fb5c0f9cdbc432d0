//! The nudge `http`: one request to the pod's address.

use std::fmt;
use std::net::SocketAddr;

use ::http::header::CONNECTION;
use reqwest::{Client, Method};

use crate::drain::http::{safe, straight};
use crate::drain::spec::nudge::{HttpNudgeSpec, NudgeMethod};
use crate::drain::{PodTarget, Refusal};
use crate::web::reason;

/// The request.
pub(super) struct HttpNudge {
    client: Client,
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
        Ok(Self { client: straight()?, method, port: spec.port, path: path.to_owned() })
    }

    /// Sends it once. What the body of the answer says is not read.
    pub(super) async fn send(&self, pod: &PodTarget) -> Result<(), String> {
        let address = SocketAddr::new(pod.ip.ok_or("the pod has no address")?, self.port);
        let request = self.client.request(self.method.clone(), format!("http://{address}{}", self.path));
        let answer = request.header(CONNECTION, "close").send().await;
        let answer = answer
            .map_err(|problem| format!("{address} does not answer: {}", reason(&problem.without_url())))?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(format!("the answer is {status}")) }
    }
}

impl fmt::Display for HttpNudge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} :{}{}", self.method, self.port, self.path)
    }
}
