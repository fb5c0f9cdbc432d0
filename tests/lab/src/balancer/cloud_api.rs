//! Tencent's API 3.0 as far as it tells of load balancers, answered from what the lab's have: `DescribeTargets` from the
//! weights in force, `GetMonitorData` from the connections, minute by minute. It checks signatures, and can be told to
//! refuse. Whatever it was asked and has answered is on record.
//!
//! It keeps to Tencent's documents (<https://cloud.tencent.com/document/api/214>, `/248`), which is all that it knows of
//! the cloud. It listens without TLS on loopback, in the sandbox's own network.

mod minutes;
mod signature;
mod targets;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};
use tokio_util::task::AbortOnDropHandle;

use super::{Backend, Balancer, Listener, Transport};
use crate::{
    clock,
    error::{AtPath as _, LabError},
};
use minutes::{MINUTE, Minutes, Place};
pub use signature::Account;
use targets::{UNWEIGHED, listeners};

/// The only region in which there is anything.
pub const REGION: &str = "ap-guangzhou";

/// How often connections are counted.
const LOOK: Duration = Duration::from_millis(500);

/// So many backends at most are in one question.
const MOST_BACKENDS: usize = 10;

/// An answer, and when it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// When.
    pub at: Timestamp,
    /// What.
    pub said: Said,
}

/// What is in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing but this code.
    Refused(&'static str),
    /// All backends of the listeners that were asked about.
    Targets(Vec<Backend>),
    /// The backends that were asked about.
    Minutes(Vec<Counted>),
}

/// What the monitoring told of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Port of the listener.
    pub listener: u16,
    /// Where its connections go.
    pub address: SocketAddr,
    /// The most connections of each minute, by the second at which the minute ended.
    pub minutes: BTreeMap<i64, u64>,
}

/// What is asked and answered, or the code of the refusal.
type Answer = Result<(Said, Value), &'static str>;

/// The server. It ends when this is dropped.
pub struct CloudApi {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: AbortOnDropHandle<()>,
    _counts: AbortOnDropHandle<()>,
}

struct Shared {
    balancer: Arc<Balancer>,
    account: Account,
    refuses: Mutex<Option<&'static str>>,
    keeps: Mutex<Option<Listener>>,
    minutes: Mutex<Minutes>,
    told: Mutex<Vec<Told>>,
}

impl CloudApi {
    /// Starts one for all balancers, which one account may ask. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(balancer: Arc<Balancer>, account: Account) -> Result<Self, LabError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.at("cloud API")?;
        let address = listener.local_addr().at("cloud API")?;
        let shared = Arc::new(Shared {
            balancer,
            account,
            refuses: Mutex::default(),
            keeps: Mutex::default(),
            minutes: Mutex::default(),
            told: Mutex::default(),
        });
        let server = AbortOnDropHandle::new(tokio::spawn(listen(listener, Arc::clone(&shared))));
        let counts = AbortOnDropHandle::new(tokio::spawn(count(Arc::clone(&shared))));
        Ok(Self { address, shared, _server: server, _counts: counts })
    }

    /// Where it is asked.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on every question that is signed rightly is refused with this code; none: it is answered.
    pub fn refuse(&self, code: Option<&'static str>) {
        *lock(&self.shared.refuses) = code;
    }

    /// From now on every backend of this listener is shown with the weight of one of which nobody said anything, as if
    /// somebody had set it back in the cloud's console; none: all are shown as they are.
    pub fn keep(&self, listener: Option<Listener>) {
        *lock(&self.shared.keeps) = listener;
    }

    /// All answers so far, in their order.
    #[must_use]
    pub fn told(&self) -> Vec<Told> {
        lock(&self.shared.told).clone()
    }

    /// What the monitoring would tell of a backend now, as in [`Counted::minutes`].
    #[must_use]
    pub fn minutes(&self, backend: &Backend) -> BTreeMap<i64, u64> {
        let Some(place) = self.shared.place(backend) else { return BTreeMap::new() };
        lock(&self.shared.minutes).of(&place, &(i64::MIN..=newest()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// No minute that ends later is known: a look may still be under way in the second in which one ends.
fn newest() -> i64 {
    clock::now().as_second() - 1
}

/// Counts as long as it is let.
async fn count(shared: Arc<Shared>) {
    loop {
        let backends = shared.balancer.backends().await;
        shared.count(&backends, clock::now());
        sleep(LOOK).await;
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    // They end with the server.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(|request| handle(Arc::clone(&shared), request));
    // One that ends badly is for the other side to tell.
    let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn handle(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let is_question = parts.method == Method::POST && parts.uri == "/";
    let answer = if is_question { shared.answer(&parts.headers, &body).await } else { Err("InvalidRequest") };
    let (said, mut response) = answer.unwrap_or_else(|code| {
        (Said::Refused(code), json!({"Error": {"Code": code, "Message": "the lab says so"}}))
    });
    response["RequestId"] = json!("lab");
    lock(&shared.told).push(Told { at: clock::now(), said });
    let mut answer = Response::new(Full::new(Bytes::from(json!({"Response": response}).to_string())));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(answer)
}

/// The value of a header, empty where there is none.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The questions, in the versions that are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Targets,
    Minutes,
}

impl Action {
    fn of(headers: &HeaderMap) -> Option<Self> {
        match (text(headers, "x-tc-action"), text(headers, "x-tc-version")) {
            ("DescribeTargets", "2018-03-17") => Some(Self::Targets),
            ("GetMonitorData", "2018-07-24") => Some(Self::Minutes),
            _ => None,
        }
    }

    /// Which of the cloud's services answers it.
    const fn service(self) -> &'static str {
        match self {
            Self::Targets => "clb",
            Self::Minutes => "monitor",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AboutTargets {
    load_balancer_id: String,
    port: Option<u16>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AboutMinutes {
    namespace: String,
    metric_name: String,
    period: i64,
    /// Bit 2: the largest value of each minute.
    specify_statistics: u32,
    start_time: Timestamp,
    end_time: Timestamp,
    instances: Vec<Instance>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Instance {
    dimensions: Vec<Dimension>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Dimension {
    name: String,
    value: String,
}

impl Instance {
    /// None: there are no numbers by these dimensions.
    fn place(&self) -> Option<Place> {
        let of = |name: &str| {
            let found = self.dimensions.iter().find(|dimension| dimension.name == name);
            found.map(|dimension| dimension.value.as_str())
        };
        if self.dimensions.len() != 5 || of("protocol") != Some("TCP") {
            return None;
        }
        Some(Place {
            vip: of("vip")?.parse().ok()?,
            listener: of("loadBalancerPort")?.parse().ok()?,
            address: SocketAddr::new(of("lanIp")?.parse().ok()?, of("port")?.parse().ok()?),
        })
    }
}

impl Shared {
    /// None: nothing is counted there.
    fn place(&self, backend: &Backend) -> Option<Place> {
        let vip = self.balancer.address(&backend.owner)?;
        let Listener { port, transport } = backend.listener;
        (transport == Transport::Tcp).then_some(Place { vip, listener: port, address: backend.address })
    }

    fn count(&self, backends: &[Backend], at: Timestamp) {
        let mut minutes = lock(&self.minutes);
        for backend in backends {
            let Some(place) = self.place(backend) else { continue };
            minutes.saw(place, backend.sessions, at);
        }
    }

    async fn answer(&self, headers: &HeaderMap, body: &[u8]) -> Answer {
        let action = Action::of(headers).ok_or("InvalidAction")?;
        signature::check(&self.account, action.service(), headers, body, clock::now())?;
        let refuses = *lock(&self.refuses);
        if let Some(code) = refuses {
            return Err(code);
        }
        if text(headers, "x-tc-region") != REGION {
            return Err("UnsupportedRegion");
        }
        match action {
            Action::Targets => self.targets(body).await,
            Action::Minutes => self.monitored(body),
        }
    }

    async fn targets(&self, body: &[u8]) -> Answer {
        let asked: AboutTargets = serde_json::from_slice(body).map_err(|_| "InvalidParameter")?;
        let fronts: Vec<_> = self.balancer.shared.fronts().values().cloned().collect();
        let of_balancer: Vec<_> = fronts.iter().filter(|front| front.id == asked.load_balancer_id).collect();
        if of_balancer.is_empty() {
            return Err("InvalidParameter.LBIdNotFound");
        }
        let backends = of_balancer.into_iter().map(|front| front.backends());
        let mut backends = futures::future::join_all(backends).await.concat();
        backends.retain(|backend| asked.port.is_none_or(|port| port == backend.listener.port));
        let keeps = *lock(&self.keeps);
        let kept = backends.iter_mut().filter(|backend| Some(backend.listener) == keeps);
        kept.for_each(|backend| backend.weight = UNWEIGHED);
        let listeners = listeners(&backends);
        Ok((Said::Targets(backends), json!({"Listeners": listeners})))
    }

    fn monitored(&self, body: &[u8]) -> Answer {
        let asked: AboutMinutes = serde_json::from_slice(body).map_err(|_| "InvalidParameter")?;
        let AboutMinutes { namespace, metric_name, period, specify_statistics, .. } = &asked;
        let what = (namespace.as_str(), metric_name.as_str(), *period, *specify_statistics);
        if what != ("QCE/LB_PUBLIC", "ConNum", MINUTE, 2) || asked.instances.len() > MOST_BACKENDS {
            return Err("InvalidParameterValue");
        }
        let stamps = asked.start_time.as_second()..=asked.end_time.as_second().min(newest());
        let known = lock(&self.minutes);
        let (mut counted, mut points) = (Vec::new(), Vec::new());
        for instance in &asked.instances {
            let place = instance.place().ok_or("InvalidParameter.DimensionGroupError")?;
            let minutes = known.of(&place, &stamps);
            points.push(json!({
                "Dimensions": instance.dimensions,
                "Timestamps": minutes.keys().collect::<Vec<_>>(),
                "Values": [],
                "MaxValues": minutes.values().collect::<Vec<_>>(),
                "MinValues": [],
                "AvgValues": [],
            }));
            counted.push(Counted { listener: place.listener, address: place.address, minutes });
        }
        let response = json!({"Period": period, "MetricName": metric_name, "DataPoints": points, "Msg": ""});
        Ok((Said::Minutes(counted), response))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_known_by_all_five_dimensions_and_by_no_others() {
        let instance = |dimensions: &[(&str, &str)]| -> Instance {
            let dimensions: Vec<_> =
                dimensions.iter().map(|(name, value)| json!({"Name": name, "Value": value})).collect();
            serde_json::from_value(json!({"Dimensions": dimensions})).unwrap()
        };
        let all = [
            ("vip", "127.77.0.1"),
            ("loadBalancerPort", "80"),
            ("protocol", "TCP"),
            ("lanIp", "10.0.0.7"),
            ("port", "8080"),
        ];
        let place = Place {
            vip: [127, 77, 0, 1].into(),
            listener: 80,
            address: SocketAddr::from(([10, 0, 0, 7], 8080)),
        };
        assert_eq!(instance(&all).place(), Some(place));
        assert_eq!(instance(&all[..4]).place(), None);
        assert_eq!(instance(&[&all[..], &[("vpcId", "vpc-1")]].concat()).place(), None);
        let mut udp = all;
        udp[2].1 = "UDP";
        assert_eq!(instance(&udp).place(), None);
    }
}
