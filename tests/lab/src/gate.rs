//! Stands between one program and the API server: passes on what it is asked, and can hold a request on its way, lose
//! an answer, or answer itself as an API server in trouble does.
//!
//! It listens without TLS on loopback, in the sandbox's own network, and speaks with all rights: whoever reaches it is
//! the lab's administrator.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kube::{Client, client::Body};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    cluster::Cluster,
    error::{AtPath as _, LabError},
    paths::RUN,
};

/// A request as it came to the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its method.
    pub method: Method,
    /// Its path, without the query.
    pub path: String,
    /// Its query, empty when it has none.
    pub query: String,
}

impl Call {
    /// Whether it is to change something; a dry run is not.
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.method != Method::GET && !self.query.contains("dryRun=All")
    }

    /// Whether it is the deletion of one pod.
    #[must_use]
    pub fn deletes_a_pod(&self) -> bool {
        self.method == Method::DELETE && self.path.contains("/pods/")
    }
}

/// What becomes of a request instead of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 429 with `Retry-After: 1`; nothing happens.
    TooManyRequests,
    /// 500; nothing happens.
    ServerError,
    /// 503; nothing happens.
    Unavailable,
    /// It is carried out, and the connection is cut before the answer.
    ReplyLost,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::TooManyRequests, Self::ServerError, Self::Unavailable, Self::ReplyLost];
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// The request.
    pub call: Call,
    /// What was done to it, if anything.
    pub fault: Option<Fault>,
    /// What the API server answered; none when it was not asked.
    pub status: Option<StatusCode>,
}

/// A request that is held, or will be once it comes. Dropping this loses the request.
#[derive(Debug)]
#[must_use = "the request is lost when this is dropped"]
pub struct Held {
    arrived: oneshot::Receiver<Call>,
    release: oneshot::Sender<()>,
    answered: oneshot::Receiver<StatusCode>,
}

impl Held {
    /// Waits until such a request has come; none when the gate was closed before.
    pub async fn arrived(&mut self) -> Option<Call> {
        (&mut self.arrived).await.ok()
    }

    /// Lets it go on to the API server, whether or not the one who sent it still waits, and says what the answer was.
    pub async fn release(self) -> Option<StatusCode> {
        self.release.send(()).ok()?;
        self.answered.await.ok()
    }
}

/// The gate. Dropping it closes it; what was passed on before goes on.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: AbortOnDropHandle<()>,
}

struct Shared {
    client: Client,
    rules: Mutex<Vec<Rule>>,
    passed: Mutex<Vec<Passed>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// What a request must be for something to happen to it.
pub type Matches = fn(&Call) -> bool;

struct Rule {
    matches: Matches,
    /// So many that match are let through first.
    after: usize,
    act: Act,
}

enum Act {
    Fault(Fault),
    Hold {
        arrived: oneshot::Sender<Call>,
        release: oneshot::Receiver<()>,
        answered: oneshot::Sender<StatusCode>,
    },
}

#[derive(Debug, thiserror::Error)]
enum GateError {
    #[error(transparent)]
    Client(#[from] hyper::Error),
    #[error(transparent)]
    Server(#[from] kube::Error),
    #[error("the answer is lost")]
    Lost,
}

impl Gate {
    /// Opens a gate to the cluster's API server. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn open(cluster: &Cluster) -> Result<Self, LabError> {
        let client = cluster.plain_client().await?;
        let shared = Arc::new(Shared { client, rules: Mutex::default(), passed: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.at("gate")?;
        let address = listener.local_addr().at("gate")?;
        let server = AbortOnDropHandle::new(tokio::spawn(listen(listener, Arc::clone(&shared))));
        Ok(Self { address, shared, _server: server })
    }

    /// Writes a kubeconfig that leads through the gate.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn kubeconfig(&self) -> Result<PathBuf, LabError> {
        let path = Path::new(RUN).join(format!("gate-{}.kubeconfig", self.address.port()));
        let text = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "gate", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "gate", "user": {}}],
            "contexts": [{"name": "gate", "context": {"cluster": "gate", "user": "gate"}}],
            "current-context": "gate",
        });
        fs::write(&path, text.to_string()).at(&path)?;
        Ok(path)
    }

    /// Holds the next request that matches.
    pub fn hold(&self, matches: Matches) -> Held {
        let (arrived, has_arrived) = oneshot::channel();
        let (release, is_released) = oneshot::channel();
        let (answered, has_answer) = oneshot::channel();
        let act = Act::Hold { arrived, release: is_released, answered };
        lock(&self.shared.rules).push(Rule { matches, after: 0, act });
        Held { arrived: has_arrived, release, answered: has_answer }
    }

    /// Does this to one request that matches, after so many that match and are let through.
    pub fn disturb(&self, matches: Matches, after: usize, fault: Fault) {
        lock(&self.shared.rules).push(Rule { matches, after, act: Act::Fault(fault) });
    }

    /// All requests so far, in the order of their answers.
    #[must_use]
    pub fn passed(&self) -> Vec<Passed> {
        lock(&self.shared.passed).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = Vec::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.retain(|connection: &AbortOnDropHandle<()>| !connection.is_finished());
        connections.push(AbortOnDropHandle::new(tokio::spawn(serve(stream, Arc::clone(&shared)))));
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(|request| handle(Arc::clone(&shared), request));
    // A connection that ends badly is what the other side wanted, or what a fault was to do.
    let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, GateError> {
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    // The client of the API server sets its own.
    parts.headers.remove(header::HOST);
    let call = Call {
        method: parts.method.clone(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
    };
    let request = Request::from_parts(parts, Body::from(body));
    match shared.rule(&call) {
        None => shared.forward(call, request, None).await,
        Some(Act::Fault(Fault::ReplyLost)) => {
            shared.forward(call, request, Some(Fault::ReplyLost)).await?;
            Err(GateError::Lost)
        }
        Some(Act::Fault(fault)) => {
            lock(&shared.passed).push(Passed { call, fault: Some(fault), status: None });
            Ok(refusal(fault))
        }
        Some(Act::Hold { arrived, release, answered }) => {
            // A task of its own: the one who asked may have gone when it is released.
            let held = tokio::spawn(async move {
                // Nobody needs to wait for it.
                let _told = arrived.send(call.clone());
                release.await.map_err(|_| GateError::Lost)?;
                let answer = shared.forward(call, request, None).await?;
                let _told = answered.send(answer.status());
                Ok(answer)
            });
            held.await.unwrap_or(Err(GateError::Lost))
        }
    }
}

impl Shared {
    /// What is to be done to this request. Each rule counts what matches it, also where another one acts.
    fn rule(&self, call: &Call) -> Option<Act> {
        let mut rules = lock(&self.rules);
        let mut due = None;
        for (place, rule) in rules.iter_mut().enumerate().filter(|(_, rule)| (rule.matches)(call)) {
            match rule.after.checked_sub(1) {
                Some(left) => rule.after = left,
                None => due = due.or(Some(place)),
            }
        }
        due.map(|place| rules.remove(place).act)
    }

    async fn forward(
        &self,
        call: Call,
        request: Request<Body>,
        fault: Option<Fault>,
    ) -> Result<Response<Body>, GateError> {
        let mut answer = self.client.send(request).await?;
        lock(&self.passed).push(Passed { call, fault, status: Some(answer.status()) });
        *answer.version_mut() = Version::HTTP_11;
        Ok(answer)
    }
}

/// As the API server says it.
fn refusal(fault: Fault) -> Response<Body> {
    let (code, reason) = match fault {
        Fault::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
        Fault::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
        Fault::ServerError | Fault::ReplyLost => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "the gate says so", "reason": reason, "code": code.as_u16(),
    });
    let mut answer = Response::new(Body::from(status.to_string().into_bytes()));
    *answer.status_mut() = code;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if fault == Fault::TooManyRequests {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A gate to an API server that answers 200 to everything and counts what reaches it.
    async fn gate() -> (Gate, Client, Arc<Mutex<usize>>) {
        let reached = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&reached);
        let server = tower::service_fn(move |_: Request<Body>| {
            *lock(&counted) += 1;
            async { Ok::<_, std::convert::Infallible>(Response::new(Body::from(b"{}".to_vec()))) }
        });
        let server = Client::new(server, "default");
        let shared = Arc::new(Shared { client: server, rules: Mutex::default(), passed: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = AbortOnDropHandle::new(tokio::spawn(listen(listener, Arc::clone(&shared))));
        let mut config = kube::Config::new(format!("http://{address}").parse().unwrap());
        config.default_retry = false;
        let client = Client::try_from(config).unwrap();
        (Gate { address, shared, _server: server }, client, reached)
    }

    async fn ask(client: &Client, method: Method, path: &str) -> Result<StatusCode, kube::Error> {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        client.send(request).await.map(|answer| answer.status())
    }

    #[tokio::test]
    async fn a_held_request_reaches_the_server_only_when_released_and_outlives_who_sent_it() {
        let (gate, client, reached) = gate().await;
        let mut held = gate.hold(Call::deletes_a_pod);
        assert_eq!(ask(&client, Method::GET, "/api/v1/namespaces/a/pods/b").await.unwrap(), StatusCode::OK);
        let asked = client.clone();
        let sender =
            tokio::spawn(async move { ask(&asked, Method::DELETE, "/api/v1/namespaces/a/pods/b").await });
        assert_eq!(held.arrived().await.unwrap().path, "/api/v1/namespaces/a/pods/b");
        sender.abort();
        assert!(sender.await.is_err());
        assert_eq!(*lock(&reached), 1, "the held request went on");
        let answer = tokio::time::timeout(Duration::from_secs(5), held.release()).await.unwrap();
        assert_eq!(answer, Some(StatusCode::OK));
        assert_eq!(*lock(&reached), 2);
    }

    #[tokio::test]
    async fn each_fault_meets_one_request_and_only_a_lost_reply_reaches_the_server() {
        for fault in Fault::ALL {
            let (gate, client, reached) = gate().await;
            gate.disturb(Call::is_write, 1, fault);
            let mut answers = Vec::new();
            for _ in 0..3 {
                answers.push(ask(&client, Method::PUT, "/x").await.map_err(drop));
            }
            let (middle, asked) = match fault {
                Fault::TooManyRequests => (Ok(StatusCode::TOO_MANY_REQUESTS), 2),
                Fault::ServerError => (Ok(StatusCode::INTERNAL_SERVER_ERROR), 2),
                Fault::Unavailable => (Ok(StatusCode::SERVICE_UNAVAILABLE), 2),
                Fault::ReplyLost => (Err(()), 3),
            };
            assert_eq!(answers, [Ok(StatusCode::OK), middle, Ok(StatusCode::OK)], "{fault:?}");
            assert_eq!(*lock(&reached), asked, "{fault:?}");
        }
    }
}
