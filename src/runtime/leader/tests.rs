//! The election as a whole, over an API server that is as strict about versions as the real one.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use axum::http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};
use tower_test::mock;

use super::*;

/// Short, and in the same proportion as the real ones; a Lease cannot say less than a second.
const SHORT: Times = Times {
    renew: Duration::from_millis(100),
    deadline: Duration::from_millis(500),
    lease: Duration::from_secs(1),
};

/// One process's way to an API server with one Lease.
#[derive(Clone, Default)]
struct Server {
    lease: Arc<Mutex<Option<Value>>>,
    silent: Arc<Mutex<bool>>,
}

impl Server {
    fn holder(&self) -> Option<String> {
        let lease = self.lease.lock().unwrap();
        lease.as_ref()?["spec"]["holderIdentity"].as_str().map(str::to_owned)
    }

    /// Another way to the same server.
    fn another_way(&self) -> Self {
        Self { lease: self.lease.clone(), silent: Arc::default() }
    }

    /// From now on no request that comes this way is answered, or each is again.
    fn set_silent(&self, silent: bool) {
        *self.silent.lock().unwrap() = silent;
    }

    fn client(&self) -> kube::Client {
        let (service, mut requests) = mock::pair::<Request<Body>, Response<Body>>();
        let server = self.clone();
        tokio::spawn(async move {
            let mut unanswered = Vec::new();
            while let Some((request, respond)) = requests.next_request().await {
                if *server.silent.lock().unwrap() {
                    unanswered.push(respond);
                    continue;
                }
                let method = request.method().clone();
                let body = request.into_body().collect_bytes().await.unwrap();
                let (status, answer) = server.answer(&method, serde_json::from_slice(&body).ok());
                let body = Body::from(serde_json::to_vec(&answer).unwrap());
                respond.send_response(Response::builder().status(status).body(body).unwrap());
            }
        });
        kube::Client::new(service, "default")
    }

    fn answer(&self, method: &Method, sent: Option<Value>) -> (StatusCode, Value) {
        let refused = |status: StatusCode, reason: &str| {
            let code = status.as_u16();
            (
                status,
                json!({"kind": "Status", "status": "Failure", "reason": reason, "message": reason, "code": code}),
            )
        };
        let mut live = self.lease.lock().unwrap();
        let version = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
        match (method, live.as_ref(), sent) {
            (&Method::GET, None, _) => return refused(StatusCode::NOT_FOUND, "NotFound"),
            (&Method::GET, Some(lease), _) => return (StatusCode::OK, lease.clone()),
            (&Method::POST, None, Some(mut lease)) => {
                lease["metadata"]["resourceVersion"] = "1".into();
                *live = Some(lease);
            }
            (&Method::PUT, Some(lease), Some(mut next)) if version(lease) == version(&next) => {
                let number: u64 = version(lease).as_str().unwrap().parse().unwrap();
                next["metadata"]["resourceVersion"] = (number + 1).to_string().into();
                *live = Some(next);
            }
            _ => return refused(StatusCode::CONFLICT, "Conflict"),
        }
        (StatusCode::OK, live.clone().unwrap())
    }

    fn elector(&self, identity: &str) -> Elector {
        let lease = LeaseRef { namespace: "default".into(), name: "lease".into(), identity: identity.into() };
        Elector::new(self.client(), &lease, Clock::system(), SHORT)
    }
}

/// Who is at work, in the order of events.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn note(&self, who: &str, what: &str) {
        self.0.lock().unwrap().push(format!("{who} {what}"));
    }

    fn entries(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    async fn has(&self, entry: &str) {
        let seen = async {
            while !self.entries().iter().any(|known| known == entry) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let limit = Duration::from_secs(10);
        tokio::time::timeout(limit, seen)
            .await
            .unwrap_or_else(|_| panic!("no `{entry}` in {:?}", self.entries()));
    }
}

/// Notes its end also when it is only dropped.
struct AtWork<'a>(&'a Diary, &'a str);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.note(self.1, "ends");
    }
}

async fn process(elector: Elector, who: &str, diary: &Diary, stop: &CancellationToken) {
    let work = async |end: CancellationToken| {
        diary.note(who, "starts");
        let _at_work = AtWork(diary, who);
        end.cancelled().await;
        Ok::<(), Infallible>(())
    };
    terms(elector, stop, |_| {}, work).await.unwrap();
}

#[tokio::test]
async fn the_second_starts_when_the_first_has_ended_and_need_not_wait_the_lease_out() {
    let (server, diary) = (Server::default(), Diary::default());
    let (stop_a, stop_b) = (CancellationToken::new(), CancellationToken::new());
    let script = async {
        diary.has("a starts").await;
        // Time enough for b to have taken it, were it free.
        tokio::time::sleep(SHORT.lease + SHORT.renew * 3).await;
        assert_eq!(diary.entries(), ["a starts"]);
        stop_a.cancel();
        let asked = tokio::time::Instant::now();
        diary.has("b starts").await;
        assert!(asked.elapsed() < SHORT.lease, "took {:?}", asked.elapsed());
        stop_b.cancel();
    };
    let b = async {
        diary.has("a starts").await;
        process(server.elector("b"), "b", &diary, &stop_b).await;
    };
    tokio::join!(process(server.elector("a"), "a", &diary, &stop_a), b, script);
    assert_eq!(diary.entries(), ["a starts", "a ends", "b starts", "b ends"]);
    assert_eq!(server.holder(), None, "released");
}

#[tokio::test]
async fn a_leader_that_cannot_renew_stops_before_another_may_start_and_comes_back_after() {
    let (server, diary) = (Server::default(), Diary::default());
    let stop = CancellationToken::new();
    let script = async {
        diary.has("a starts").await;
        server.set_silent(true);
        let since = tokio::time::Instant::now();
        diary.has("a ends").await;
        assert!(since.elapsed() < SHORT.lease, "stopped only after {:?}", since.elapsed());
        server.set_silent(false);
        let leads_again = async {
            while diary.entries().len() < 3 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), leads_again).await.unwrap();
        stop.cancel();
    };
    tokio::join!(process(server.elector("a"), "a", &diary, &stop), script);
    assert_eq!(diary.entries(), ["a starts", "a ends", "a starts", "a ends"]);
}

#[tokio::test]
async fn a_leader_that_died_without_a_word_is_waited_out() {
    let (server, diary) = (Server::default(), Diary::default());
    {
        let never = CancellationToken::new();
        let mut a = pin!(process(server.elector("a"), "a", &diary, &never));
        tokio::select! {
            () = &mut a => {}
            () = diary.has("a starts") => server.set_silent(true),
        }
    }
    let stop = CancellationToken::new();
    let began = tokio::time::Instant::now();
    let script = async {
        diary.has("b starts").await;
        assert!(began.elapsed() >= SHORT.lease, "took it after {:?}", began.elapsed());
        stop.cancel();
    };
    let elector = server.another_way().elector("b");
    tokio::join!(process(elector, "b", &diary, &stop), script);
}

#[tokio::test]
async fn work_that_finishes_after_the_request_to_stop_still_holds_the_lease() {
    let server = Server::default();
    let stop = CancellationToken::new();
    let holder_at_the_end = Mutex::new(None);
    let work = async |end: CancellationToken| {
        stop.cancel();
        end.cancelled().await;
        tokio::time::sleep(SHORT.renew * 3).await;
        *holder_at_the_end.lock().unwrap() = server.holder();
        Ok::<(), Infallible>(())
    };
    terms(server.elector("a"), &stop, |_| {}, work).await.unwrap();
    assert_eq!(holder_at_the_end.into_inner().unwrap().as_deref(), Some("a"));
    assert_eq!(server.holder(), None, "released");
}

#[tokio::test]
async fn work_that_fails_ends_the_term_and_frees_the_lease() {
    let server = Server::default();
    let stop = CancellationToken::new();
    let work = async |_: CancellationToken| Err("the watch cannot be opened");
    let outcome = terms(server.elector("a"), &stop, |_| {}, work).await;
    assert_eq!(outcome, Err("the watch cannot be opened"));
    assert_eq!(server.holder(), None, "released");
}
