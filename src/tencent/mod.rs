//! Tencent Cloud's API 3.0: the two questions that tell more of a CLB than the cluster knows. It is only asked, never
//! told to do anything.
//!
//! | file | what is in it |
//! |---|---|
//! | this file | one question and its answer, and who asks |
//! | `endpoint.rs` | where it is asked |
//! | `sign.rs` | the signature `TC3-HMAC-SHA256` |
//! | `problem.rs` | what may be wrong, in the user's words |
//! | `clb.rs` | `DescribeTargets`: the weight of each backend |
//! | `monitor.rs` | `GetMonitorData`: the connections of each backend, minute by minute |
//! | `spec.rs` | what users write to have it asked |
//!
//! Facts: Tencent's API documentation (<https://cloud.tencent.com/document/api/214>, `/248`) and its SDK, whose
//! comments are that documentation. Nobody has run this against the cloud itself yet.

pub mod clb;
mod endpoint;
pub mod monitor;
mod problem;
mod sign;
pub mod spec;
#[cfg(test)]
pub(crate) mod testing;

use std::time::Duration;

use ::http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST};
use ::http::{HeaderMap, Response};
use jiff::Timestamp;
use kube::Client;
use rustls::RootCertStore;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::endpoint::{Endpoint, NotAnEndpoint};
pub use self::problem::{Code, Problem};
use self::spec::CredentialsSpec;
use crate::web::secret::Secret;
use crate::web::{self, TOTAL, reason, whole};

/// The questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `clb:DescribeTargets`.
    DescribeTargets,
    /// `monitor:GetMonitorData`.
    GetMonitorData,
}

/// Who answers them. The text form stands in host and signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Clb,
    Monitor,
}

impl Service {
    const fn name(self) -> &'static str {
        match self {
            Self::Clb => "clb",
            Self::Monitor => "monitor",
        }
    }
}

impl Action {
    const fn name(self) -> &'static str {
        match self {
            Self::DescribeTargets => "DescribeTargets",
            Self::GetMonitorData => "GetMonitorData",
        }
    }

    const fn version(self) -> &'static str {
        match self {
            Self::DescribeTargets => "2018-03-17",
            Self::GetMonitorData => "2018-07-24",
        }
    }

    const fn service(self) -> Service {
        match self {
            Self::DescribeTargets => Service::Clb,
            Self::GetMonitorData => Service::Monitor,
        }
    }

    /// The right to ask it, as a CAM policy names it.
    const fn right(self) -> &'static str {
        match self {
            Self::DescribeTargets => "clb:DescribeTargets",
            Self::GetMonitorData => "monitor:GetMonitorData",
        }
    }
}

/// Who asks. Has no `Debug`, so that it gets into no log.
struct Credentials {
    id: String,
    key: String,
    /// Of credentials that pass.
    token: Option<String>,
}

/// Ready to ask in one region.
pub struct Api {
    endpoint: Endpoint,
    region: String,
    credentials: Credentials,
    client: reqwest::Client,
    patience: Duration,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Api {
    /// Reads the credentials in the namespace of the object.
    ///
    /// # Errors
    /// The Secret cannot be read or lacks something, or TLS cannot be set up.
    pub async fn of(
        endpoint: &Endpoint,
        region: &str,
        credentials: &CredentialsSpec,
        client: Client,
        namespace: &str,
    ) -> Result<Self, Problem> {
        let secret = Secret::read(client, namespace, &credentials.secret).await?;
        let credentials = Credentials {
            id: secret.text("secretId")?,
            key: secret.text("secretKey")?,
            token: secret.text_if_any("token")?,
        };
        Ok(Self {
            endpoint: endpoint.clone(),
            region: region.to_owned(),
            credentials,
            client: web::client(roots()).map_err(Problem::Tls)?,
            patience: TOTAL,
        })
    }

    /// One question. Ends by itself in seconds. Nothing is repeated.
    ///
    /// # Errors
    /// No whole answer. What the answer says is for [`read`] to find out.
    pub(crate) async fn ask(&self, action: Action, body: &Value, now: Timestamp) -> Result<Answer, Problem> {
        let seconds = self.patience.as_secs();
        tokio::time::timeout(self.patience, self.post(action, body, now))
            .await
            .unwrap_or(Err(Problem::Late { seconds }))
    }

    async fn post(&self, action: Action, body: &Value, now: Timestamp) -> Result<Answer, Problem> {
        let Credentials { id, key, token } = &self.credentials;
        let (url, host) = self.endpoint.of(action.service());
        let body = body.to_string();
        let seconds = now.as_second();
        let signed = sign::Request { service: action.service().name(), host, body: &body, at: now };
        let mut request = self
            .client
            .post(url.clone())
            .header(HOST, host)
            .header(CONNECTION, "close")
            .header(CONTENT_TYPE, sign::CONTENT_TYPE)
            .header("X-TC-Action", action.name())
            .header("X-TC-Version", action.version())
            .header("X-TC-Region", &self.region)
            .header("X-TC-Timestamp", seconds.to_string())
            .header(AUTHORIZATION, sign::authorization(id, key, &signed));
        if let Some(token) = token {
            request = request.header("X-TC-Token", token);
        }
        let no_answer = |why: String| Problem::NoAnswer { host: host.to_owned(), why };
        let answer = request.body(body).send().await;
        let answer = answer.map_err(|problem| no_answer(reason(&problem.without_url())))?;
        let answer = Response::<reqwest::Body>::from(answer);
        let headers = answer.headers().clone();
        Ok(Answer { headers, body: whole(answer).await.map_err(no_answer)? })
    }
}

/// Where the operator runs there may be roots, which whoever runs it has chosen; its image as it is shipped has none, and
/// Tencent's hosts are vouched for in public.
fn roots() -> RootCertStore {
    let system = web::system_roots();
    if system.is_empty() { RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() } } else { system }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope<T> {
    response: T,
}

/// What an answer has in the place of all else when the question was not answered.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failed {
    error: Option<Failure>,
}

/// Its `Message` is not read: it may repeat anything.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    code: String,
}

/// What is in an answer to this question.
///
/// # Errors
/// Tencent says that something is wrong, or it is no whole answer of this form.
fn read<T: DeserializeOwned>(action: Action, body: &[u8]) -> Result<T, Problem> {
    // JSON is UTF-8 in all its parts, also in those that are not read here.
    let text = str::from_utf8(body).map_err(|_| Problem::NotThis(action))?;
    let not_this = |problem: serde_json::Error| {
        if problem.is_eof() { Problem::CutOff(action) } else { Problem::NotThis(action) }
    };
    let Envelope { response: Failed { error } } = serde_json::from_str(text).map_err(not_this)?;
    if let Some(Failure { code }) = error {
        return Err(Problem::Refused { action, code: Code::of(&code) });
    }
    let Envelope { response } = serde_json::from_str(text).map_err(not_this)?;
    Ok(response)
}

#[cfg(test)]
mod tests;
