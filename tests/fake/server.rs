//! The API server itself: a service for `kube::Client` over the store, with faults where they are planned.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body as AnswerBody;
use futures::FutureExt;
use http::{Request, Response};
use jiff::Timestamp;
use kube::client::Body;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;
use tower::{BoxError, service_fn, timeout::Timeout};

use super::answer::Refused;
use super::call::{Call, Part, Resource, Verb};
use super::fault::{CallId, EventId, Fault, Made, Plan, Trouble};
use super::store::{Author, Key, Store, before};
use super::stream;

/// On the way there, and as much on the way back.
const LATENCY: Duration = Duration::from_millis(2);
/// As long as the product waits for an answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// One API server. Clones are the same one.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

struct Shared {
    start: tokio::time::Instant,
    wall: Timestamp,
    state: Mutex<State>,
    version: watch::Sender<u64>,
    died: watch::Sender<Option<u32>>,
}

struct State {
    store: Store,
    /// When the story began.
    story: Option<tokio::time::Instant>,
    plan: Plan,
    happened: bool,
    calls: Vec<Made>,
    counts: BTreeMap<CallId, usize>,
    events: BTreeMap<Resource, usize>,
    dead: BTreeSet<u32>,
    /// Processes whose writes arrive late.
    slow: BTreeMap<u32, Duration>,
    unknown: Vec<String>,
}

impl Server {
    pub fn new(wall: Timestamp, plan: Plan) -> Self {
        let store = Store::new();
        let version = watch::Sender::new(store.version());
        let state = State {
            store,
            story: None,
            plan,
            happened: false,
            calls: Vec::new(),
            counts: BTreeMap::new(),
            events: BTreeMap::new(),
            dead: BTreeSet::new(),
            slow: BTreeMap::new(),
            unknown: Vec::new(),
        };
        let start = tokio::time::Instant::now();
        Self(Arc::new(Shared {
            start,
            wall,
            state: Mutex::new(state),
            version,
            died: watch::Sender::new(None),
        }))
    }

    /// A client of one process. It gives up waiting as the product's own does.
    pub fn client(&self, process: u32) -> kube::Client {
        let server = self.clone();
        let service = service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { server.serve(process, request).await }.boxed()
        });
        kube::Client::new(Timeout::new(service, REQUEST_TIMEOUT), "shop")
    }

    /// Time of the server.
    pub fn now(&self) -> Timestamp {
        self.0.wall.checked_add(self.0.start.elapsed()).unwrap_or(self.0.wall)
    }

    /// Does something with the objects, unseen by the plan: the rest of the cluster does.
    pub fn with<T>(&self, act: impl FnOnce(&mut Store, Timestamp) -> T) -> T {
        let now = self.now();
        let done = act(&mut self.state().store, now);
        self.tell();
        done
    }

    /// The story begins.
    pub fn begin(&self) {
        self.state().story = Some(tokio::time::Instant::now());
    }

    /// From now on the writes of the process arrive this much later.
    pub fn slow_down(&self, process: u32, by: Duration) {
        self.state().slow.insert(process, by);
    }

    /// Whatever the process has under way is never heard of again.
    pub fn bury(&self, process: u32) {
        self.state().dead.insert(process);
    }

    /// The process that the plan let die, once it did.
    pub fn died(&self) -> watch::Receiver<Option<u32>> {
        self.0.died.subscribe()
    }

    /// Whether what was planned has happened.
    pub fn happened(&self) -> bool {
        self.state().happened
    }

    /// All calls, in order.
    pub fn calls(&self) -> Vec<Made> {
        self.state().calls.clone()
    }

    /// How many watch events were delivered of each kind.
    pub fn events(&self) -> BTreeMap<Resource, usize> {
        self.state().events.clone()
    }

    /// Requests that the fake does not know.
    pub fn unknown(&self) -> Vec<String> {
        self.state().unknown.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        let version = self.state().store.version();
        self.0.version.send_if_modified(|before| std::mem::replace(before, version) != version);
    }

    /// Told of every change of the objects.
    pub(super) fn versions(&self) -> watch::Receiver<u64> {
        self.0.version.subscribe()
    }

    /// The trouble that is planned for the next event of the kind.
    pub(super) fn next_event(&self, resource: Resource) -> Option<Trouble> {
        let mut state = self.state();
        let count = state.events.entry(resource).or_default();
        let id = EventId { resource, nth: *count };
        *count += 1;
        let trouble = state.plan.trouble(id);
        state.happened |= trouble.is_some();
        trouble
    }

    async fn serve(self, process: u32, request: Request<Body>) -> Result<Response<AnswerBody>, BoxError> {
        let call = match Call::read(request).await {
            Ok(call) => call,
            Err(unknown) => {
                self.state().unknown.push(unknown);
                return Ok(refused(&Refused::bad("unknown to the fake")));
            }
        };
        let fault = self.note(&call);
        sleep(LATENCY).await;
        self.alive(process).await;
        let answer = match fault {
            None => self.in_time(process, &call).await,
            Some(Fault::Refused(code)) => refused(&Refused::by_fault(code)),
            Some(Fault::LostRequest) => std::future::pending().await,
            Some(Fault::LostAnswer) => {
                self.answer(&call);
                std::future::pending().await
            }
            Some(Fault::DiesBefore) => self.die(process).await,
            Some(Fault::DiesAfter) => {
                self.answer(&call);
                self.die(process).await
            }
            Some(Fault::Stale(age)) => {
                let past = self.state().store.as_of(before(self.now(), age));
                answered(read(&past, &call))
            }
        };
        sleep(LATENCY).await;
        self.alive(process).await;
        Ok(answer)
    }

    /// Notes the call, and says what is to go wrong with it.
    fn note(&self, call: &Call) -> Option<Fault> {
        let mut state = self.state();
        let mut id =
            CallId { verb: call.verb, resource: call.resource, part: call.part, dry: call.is_dry(), nth: 0 };
        let count = state.counts.entry(id).or_default();
        let nth = *count;
        *count += 1;
        id.nth = nth;
        let phase = state.store.list(Resource::Upgrades, "").next();
        let phase = phase.and_then(|object| object["status"]["phase"].as_str()).unwrap_or("None").to_owned();
        let at = state.story.map_or(Duration::ZERO, |story| story.elapsed());
        state.calls.push(Made { id, phase, at });
        let fault = state.plan.fault(id, &call.name, at);
        state.happened |= fault.is_some();
        fault
    }

    /// Never returns once the process is dead.
    async fn alive(&self, process: u32) {
        let dead = self.state().dead.contains(&process);
        if dead {
            std::future::pending::<()>().await;
        }
    }

    async fn die<T>(&self, process: u32) -> T {
        self.bury(process);
        self.0.died.send_replace(Some(process));
        std::future::pending().await
    }

    async fn in_time(&self, process: u32, call: &Call) -> Response<AnswerBody> {
        let late = self.state().slow.get(&process).copied().filter(|_| call.verb.is_write());
        let Some(late) = late else { return self.answer(call) };
        // On its way it goes on, whether or not anybody still waits for it.
        let (server, call) = (self.clone(), call.clone());
        let on_its_way = tokio::spawn(async move {
            sleep(late).await;
            server.answer(&call)
        });
        on_its_way.await.expect("an answer does not panic")
    }

    fn answer(&self, call: &Call) -> Response<AnswerBody> {
        if call.verb == Verb::Watch {
            return stream::watch(self, call);
        }
        let now = self.now();
        let answer = {
            let mut state = self.state();
            if call.verb.is_write() { write(&mut state.store, call, now) } else { read(&state.store, call) }
        };
        self.tell();
        answered(answer)
    }
}

/// What an answer has in it.
enum Content {
    Object(Arc<Value>),
    Created(Arc<Value>),
    List(Vec<u8>),
    Text(String),
}

/// Written as it is: a list is asked for with each look, and a copy of all that is in it would cost as much as the look.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    api_version: &'static str,
    kind: String,
    metadata: Value,
    items: Vec<&'a Value>,
}

fn read(store: &Store, call: &Call) -> Result<Content, Refused> {
    let key = Key::new(call.resource, &call.namespace, &call.name);
    match (call.verb, call.part) {
        (Verb::Get, Part::Log) => {
            let uid = store.get(&key)?["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            if store.unreachable.contains(&uid) {
                return Err(Refused::unreachable());
            }
            let container = call.query.get("container").cloned().unwrap_or_default();
            let log = store.logs.get(&(uid, container.clone()));
            let log = log.ok_or_else(|| Refused::bad(format!("container {container} is not available")))?;
            let tail =
                call.number("tailLines").and_then(|lines| usize::try_from(lines).ok()).unwrap_or(log.len());
            let lines = &log[log.len().saturating_sub(tail)..];
            Ok(Content::Text(lines.iter().map(|(_, line)| line.as_str()).collect()))
        }
        (Verb::Get, _) => store.get(&key).cloned().map(Content::Object),
        (_, _) => {
            let selector = stream::Selector::of(call)?;
            let items = store.list(call.resource, &call.namespace).filter(|one| selector.takes(one));
            Ok(Content::List(json(&List {
                api_version: call.resource.api_version(),
                kind: format!("{}List", call.resource.kind()),
                metadata: json!({"resourceVersion": store.version().to_string()}),
                items: items.map(Arc::as_ref).collect(),
            })))
        }
    }
}

fn write(store: &mut Store, call: &Call, now: Timestamp) -> Result<Content, Refused> {
    let author = Author { manager: call.manager(), at: now };
    let key = Key::new(call.resource, &call.namespace, &call.name);
    match call.verb {
        Verb::Create => {
            let name = call.body["metadata"]["name"].as_str().unwrap_or_default();
            let key = Key { name: name.to_owned(), ..key };
            store.create(&key, call.body.clone(), author).map(Content::Created)
        }
        Verb::Replace => store.replace(&key, call.part, call.body.clone(), author).map(Content::Object),
        Verb::Patch(kind) => {
            let dry = call.is_dry();
            store.patch(&key, call.part, kind, &call.body, dry, author).map(Content::Object)
        }
        Verb::Delete => {
            // A delete names no manager; who asks through the API is the operator.
            let author = Author { manager: super::OPERATOR, ..author };
            store.delete(&key, &call.body, author).map(Content::Object)
        }
        Verb::Get | Verb::List | Verb::Watch => Err(Refused::bad("not a write")),
    }
}

fn answered(answer: Result<Content, Refused>) -> Response<AnswerBody> {
    match answer {
        Ok(Content::Object(object)) => respond(200, json(&object)),
        Ok(Content::Created(object)) => respond(201, json(&object)),
        Ok(Content::List(json)) => respond(200, json),
        Ok(Content::Text(text)) => respond(200, text.into_bytes()),
        Err(refusal) => refused(&refusal),
    }
}

pub(super) fn refused(refusal: &Refused) -> Response<AnswerBody> {
    respond(refusal.code, json(&refusal.status()))
}

fn json(object: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(object).expect("JSON")
}

fn respond(code: u16, body: Vec<u8>) -> Response<AnswerBody> {
    Response::builder().status(code).body(AnswerBody::from(body)).expect("an answer")
}
