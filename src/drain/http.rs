//! The probe `http`: one request a reading, to the pod or through the API server.

use std::net::SocketAddr;
use std::time::Duration;

use ::http::{Request, Response, header::CONNECTION};
use async_trait::async_trait;
use kube::Client;
use kube::client::Body;
use reqwest::Method;
use rustls::RootCertStore;

use super::formats::Format;
use super::spec::{HttpSpec, Via};
use super::{Means, Now, PodTarget, Probe, ProbeKind, Reader, Reading, Refusal};
use crate::web::{self, TOTAL, reason, whole};

/// The probe.
#[derive(Clone)]
pub struct HttpProbe {
    client: Client,
    straight: reqwest::Client,
    now: Now,
    port: u16,
    path: String,
    format: Format,
    via: Via,
    threshold: u64,
    patience: Duration,
}

impl HttpProbe {
    /// A probe by these settings.
    ///
    /// # Errors
    /// The settings lack a part, or have a path that would lead elsewhere.
    pub fn new(spec: &HttpSpec, means: &Means) -> Result<Self, Refusal> {
        Ok(Self {
            client: means.client.clone(),
            straight: straight().map_err(|problem| Refusal::lasting(problem, "use the socket probe"))?,
            now: means.now.clone(),
            port: spec.port,
            path: safe(&spec.path)?.to_owned(),
            format: Format::of(spec)?,
            via: spec.via,
            threshold: spec.threshold.into(),
            patience: TOTAL,
        })
    }

    async fn body(&self, pod: &PodTarget) -> Result<Vec<u8>, String> {
        match self.via {
            Via::Pod => {
                let answer = send(&self.straight, Method::GET, pod, self.port, &self.path).await?;
                whole(Response::<reqwest::Body>::from(answer)).await
            }
            Via::ApiServer => {
                let PodTarget { namespace, name, .. } = pod;
                let Self { port, path, .. } = self;
                let target = format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy{path}");
                let request = Request::get(target)
                    .header(CONNECTION, "close")
                    .body(Body::empty())
                    .map_err(|problem| problem.to_string())?;
                let answer = self.client.send(request).await;
                whole(answer.map_err(|problem| format!("the API server does not answer: {problem}"))?).await
            }
        }
    }
}

/// A client for requests to pods: plain http only, so that there is nobody to trust.
pub(in crate::drain) fn straight() -> Result<reqwest::Client, String> {
    web::client(RootCertStore::empty())
}

/// Sends one request to the pod's own address.
pub(in crate::drain) async fn send(
    client: &reqwest::Client,
    method: Method,
    pod: &PodTarget,
    port: u16,
    path: &str,
) -> Result<reqwest::Response, String> {
    let address = SocketAddr::new(pod.ip.ok_or("the pod has no address")?, port);
    let request = client.request(method, format!("http://{address}{path}")).header(CONNECTION, "close");
    let answer = request.send().await;
    answer.map_err(|problem| format!("{address} does not answer: {}", reason(&problem.without_url())))
}

/// A path that stays below the pod: the API server must not be led to another object with the
/// operator's rights.
pub(in crate::drain) fn safe(path: &str) -> Result<&str, Refusal> {
    let lower = path.to_ascii_lowercase();
    let leads_away = ["..", "%2e", "%2f", "%5c", "\\", "#"].iter().any(|part| lower.contains(part));
    if path.starts_with('/') && !leads_away && path.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(path)
    } else {
        Err(Refusal::lasting(
            "the http probe's path is not a plain path",
            "start it with `/` and leave out `..`, `\\`, `#`, blanks and encoded dots and slashes",
        ))
    }
}

#[async_trait]
impl Probe for HttpProbe {
    fn kind(&self) -> ProbeKind {
        ProbeKind::Http
    }

    fn threshold(&self) -> u64 {
        self.threshold
    }

    /// One reading: a pod that serves and gives no count now would give none later.
    async fn admit(&self, pod: &PodTarget) -> Result<(), Refusal> {
        match self.reader(pod).read().await {
            Reading::Count { .. } => Ok(()),
            Reading::Unknown { why } => Err(Refusal::lasting(
                format!("the http probe gets no count from pod {}: {why}", pod.name),
                "correct its port, path and format, or use the socket probe",
            )),
        }
    }

    fn reader(&self, pod: &PodTarget) -> Box<dyn Reader> {
        Box::new(HttpReader { probe: self.clone(), pod: pod.clone() })
    }
}

struct HttpReader {
    probe: HttpProbe,
    pod: PodTarget,
}

#[async_trait]
impl Reader for HttpReader {
    async fn read(&mut self) -> Reading {
        let Self { probe, pod } = self;
        let body = match tokio::time::timeout(probe.patience, probe.body(pod)).await {
            Ok(Ok(body)) => body,
            Ok(Err(why)) => return Reading::unknown(why),
            Err(_) => {
                return Reading::unknown(format!(
                    "no whole answer within {} s",
                    probe.patience.as_secs_f32()
                ));
            }
        };
        match probe.format.parse(&body, (probe.now)()) {
            Ok(connections) => Reading::Count { connections, new_per_second: None },
            Err(why) => Reading::unknown(why.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
