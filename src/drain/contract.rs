//! What every reader must do, whatever it reads: a fresh count is that count, anything else is unknown, in time and
//! without taking in too much ([`holds`]); many are read at once ([`many_at_once`]), and one that is given up leaves
//! nothing behind ([`given_up`]). And the API server that the tests put behind them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::http::{Request, Response};
use futures::future::join_all;
use kube::Client;
use kube::client::Body;
use tokio::sync::Notify;

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
    /// Sends the one who asks to somebody else, who has none.
    Elsewhere,
    /// Answers that it has none, with more around it than anybody should take.
    Endless,
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
    for world in [
        World::Empty,
        World::Garbage,
        World::CutOff,
        World::Refuses,
        World::Elsewhere,
        World::Endless,
        World::Silent,
    ] {
        let mut reader = reader(world).await;
        for turn in ["first", "second"] {
            match reader.read().await {
                Reading::Unknown { why } => {
                    assert!(!why.is_empty(), "{name}, {world:?}: no reason");
                    // By this it was not taken: whole, it might have been a bad answer for another reason.
                    assert!(
                        world != World::Endless || why.contains(" bytes"),
                        "{name}, {turn} reading: {why}"
                    );
                }
                count @ Reading::Count { .. } => panic!("{name}, {world:?}, {turn} reading: {count:?}"),
            }
        }
    }
}

/// So many pods are read at once.
const MANY: u8 = 40;
/// This one of them gets no answer, and may take its time to find out.
const DEAF: u8 = 1;

/// How many connections [`numbered`] pods have; none: their question is not answered.
pub(super) fn of_many(number: u8) -> Option<u64> {
    (number != DEAF).then(|| number.into())
}

/// Reads many pods at once: each has its own count, and none waits for the one that gets no answer. Makes readers with
/// patience, of one probe.
pub(super) async fn many_at_once(name: &str, make: impl Fn(PodTarget) -> Box<dyn Reader>) {
    let mut deaf = make(numbered(DEAF));
    let others = (1..=MANY).filter(|number| of_many(*number).is_some());
    let others = join_all(others.map(async |number| (number, make(numbered(number)).read().await)));
    tokio::select! {
        biased;
        reading = deaf.read() => panic!("{name}: the others have waited for it: {reading:?}"),
        readings = others => for (number, reading) in readings {
            assert_eq!(counted(&reading), of_many(number), "{name}, pod {number}: {reading:?}");
        },
    }
}

/// What a pod has whose reading was given up.
pub(super) const LATER: u64 = 5;

/// Gives a reading up at each question that it asks: the next one is as if nobody had asked before. The other side
/// asks [`Hush::falls`] at each question, and says [`LATER`] where it does not.
pub(super) async fn given_up(name: &str, questions: usize, make: impl AsyncFn(Hush) -> Box<dyn Reader>) {
    for at in 0..questions {
        let hush = Hush { at, asked: Arc::default(), fallen: Arc::default() };
        let mut reader = make(hush.clone()).await;
        tokio::select! {
            biased;
            () = hush.fallen.notified() => {}
            reading = reader.read() => panic!("{name}: question {at} was not asked: {reading:?}"),
        }
        let reading = reader.read().await;
        assert_eq!(counted(&reading), Some(LATER), "{name}, after question {at}: {reading:?}");
    }
}

/// One question that is not answered.
#[derive(Clone)]
pub(super) struct Hush {
    at: usize,
    asked: Arc<AtomicUsize>,
    fallen: Arc<Notify>,
}

impl Hush {
    /// Whether it is the one that is asked now.
    pub(super) fn falls(&self) -> bool {
        let falls = self.asked.fetch_add(1, Ordering::Relaxed) == self.at;
        if falls {
            self.fallen.notify_one();
        }
        falls
    }
}

fn counted(reading: &Reading) -> Option<u64> {
    match reading {
        Reading::Count { connections, .. } => Some(*connections),
        Reading::Unknown { .. } => None,
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

/// Pod `nginx-7` at 127.0.0.7, which is this machine as well.
pub(super) fn numbered(number: u8) -> PodTarget {
    let (name, ip) = (format!("nginx-{number}"), Some([127, 0, 0, number].into()));
    PodTarget { name, ip, ordinal: number.into(), ..pod() }
}

/// The number that stands in a text after these words.
pub(super) fn number_in(text: &str, before: &str) -> Option<u8> {
    let rest = &text[text.find(before)? + before.len()..];
    rest[..rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}
