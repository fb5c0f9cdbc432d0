//! What every reader must do, whatever it reads: a fresh count is that count, anything else is unknown.
//! And the API server that the tests put behind them.

use std::collections::BTreeSet;
use std::sync::Arc;

use ::http::{Request, Response};
use kube::Client;
use kube::client::Body;

use super::ports::Front;
use super::prometheus::allow::Allowed;
use super::socket::CounterSettings;
use super::{Means, PodTarget, Reader, Reading};
use crate::tencent::Endpoint;
use crate::workflow::span::Span;

/// What the other side does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum World {
    /// Has so many connections.
    Has(u64),
    /// Answers with nothing.
    Empty,
    /// Answers with something else.
    Garbage,
    /// Answers with half of it.
    CutOff,
    /// Answers that something is wrong.
    Refuses,
    /// Gives no new answer.
    Silent,
}

/// What probes work with: nothing is allowed, and it is always the same moment.
pub(crate) fn means(client: Client) -> Means {
    Means {
        client,
        counter: CounterSettings { image: None, manager: "m".to_owned(), life: Span::seconds(1) },
        idle_after: None,
        now: Arc::new(|| jiff::Timestamp::UNIX_EPOCH),
        prometheus_allow: Allowed::default(),
        tencent: Endpoint::parse(Endpoint::DEFAULT).unwrap(),
        allow_exec: false,
    }
}

/// Checks a reader, made anew for each world.
pub(super) async fn holds(name: &str, reader: impl AsyncFn(World) -> Box<dyn Reader>) {
    for count in [0, 1, 7] {
        let mut reader = reader(World::Has(count)).await;
        for turn in ["first", "second"] {
            match reader.read().await {
                Reading::Count { connections, .. } => {
                    assert_eq!(connections, count, "{name}, {turn} reading");
                }
                Reading::Unknown { why } => {
                    panic!("{name} has {count}, {turn} reading is unknown: {why}");
                }
            }
        }
    }
    for world in [World::Empty, World::Garbage, World::CutOff, World::Refuses, World::Silent] {
        let mut reader = reader(world).await;
        for turn in ["first", "second"] {
            match reader.read().await {
                Reading::Unknown { why } => assert!(!why.is_empty(), "{name}, {world:?}: no reason"),
                count @ Reading::Count { .. } => panic!("{name}, {world:?}, {turn} reading: {count:?}"),
            }
        }
    }
}

/// A client of an API server that answers so.
pub(super) fn api(
    mut answer: impl FnMut(Request<Body>) -> Option<Response<Body>> + Send + 'static,
) -> Client {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    tokio::spawn(async move {
        // Who gets no answer waits: its place is kept.
        let mut waiting = Vec::new();
        while let Some((request, send)) = handle.next_request().await {
            match answer(request) {
                Some(response) => send.send_response(response),
                None => waiting.push(send),
            }
        }
    });
    Client::new(service, "default")
}

/// An answer of the API server.
#[expect(clippy::unnecessary_wraps, reason = "stands beside the None of a server that does not answer")]
pub(super) fn answer(status: u16, body: impl Into<Vec<u8>>) -> Option<Response<Body>> {
    Some(Response::builder().status(status).body(Body::from(body.into())).unwrap())
}

/// A pod in run `r7`.
pub(super) fn pod() -> PodTarget {
    PodTarget {
        namespace: "shop".to_owned(),
        name: "nginx-0".to_owned(),
        uid: "u-1".to_owned(),
        ip: Some([127, 0, 0, 1].into()),
        ordinal: 0,
        run: "r7".to_owned(),
        ports: BTreeSet::from([80, 8443]),
        fronts: BTreeSet::from([Front { vip: Some([10, 0, 0, 1].into()), port: 80, target: 8080 }]),
        host_network: false,
        node: Some("node-a".to_owned()),
    }
}
