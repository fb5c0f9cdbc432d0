//! A whole upgrade by the real controller, with one thing that goes wrong, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::FutureExt;
use jiff::SignedDuration;
use lossless_upgrade::controller::names::{ABORT, ROLLBACK};
use serde_json::{Value, json};
use tokio::task::LocalSet;
use tokio::time::sleep;

use super::OPERATOR;
use super::call::{Part, PatchKind, Resource};
use super::cluster::{self, Cluster, FLAKY, NAME, NAMESPACE, SERVING, WEIGHTS};
use super::fault::{BESIDE, Made, Plan};
use super::process::Process;
use super::server::Server;
use super::store::{Author, Key};

/// When every story begins.
const WALL: &str = "2026-01-05T08:00:00.3Z";
/// Between two looks of the cluster's own controllers.
const TICK: Duration = Duration::from_millis(250);
/// Until all is at rest before the story, and after it.
const REST: usize = 60;
/// A dead process is started again after this long.
const RESTART: Duration = Duration::from_secs(2);
/// A story that is not over by then hangs.
const LIMIT: Duration = Duration::from_hours(1);
/// How long the first process lives on beside the second.
const BOTH: Duration = Duration::from_secs(20);
/// The replicas before and after.
pub const REPLICAS: u32 = 3;
/// The back-off is asked for once in so many looks of the cluster's own controllers.
const ASKED: usize = 8;

/// What is upgraded, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// `spec.images` names a good image.
    Good,
    /// The same with a StatefulSet whose first pod has this ordinal.
    BeginsAt(u32),
    /// `spec.images` names an image that restarts in its first soak: back to the old one.
    Flaky,
    /// While the second pod drains, the user says this word.
    Told(Word),
    /// There is also a Service that selects by a label, and a lever for it.
    TwoLevers,
    /// At this time a second process begins, with another clock. The first one goes on beside it for
    /// a while, and its writes come late.
    TakenOver { after: Duration, skew: SignedDuration, late: Duration },
    /// At this time the node of this pod is lost, if it has one.
    NodeLost { after: Duration, ordinal: u32 },
}

/// What the user says by an annotation of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    Abort,
    Rollback,
}

impl Word {
    const fn annotation(self) -> &'static str {
        match self {
            Self::Abort => ABORT,
            Self::Rollback => ROLLBACK,
        }
    }
}

/// How it ended: the same whatever went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub phase: String,
    pub outcomes: Vec<String>,
    /// Name, image and revision.
    pub pods: Vec<[String; 3]>,
    pub replicas: u64,
    pub weights: Option<String>,
    /// The pods that the operator made go, in order: name and revision.
    pub gone: Vec<(String, String)>,
    /// Who was detached in the load balancer, one after the other.
    pub levers: Vec<BTreeSet<u32>>,
    /// Who was without the label, one after the other.
    pub labels: Vec<BTreeSet<u32>>,
}

/// All that is known of a story.
#[derive(Debug)]
pub struct Played {
    pub end: End,
    pub took: Duration,
    /// What the object says.
    pub status: Value,
    pub violations: Vec<String>,
    /// Whether what was planned happened.
    pub happened: bool,
    pub calls: Vec<Made>,
    pub events: BTreeMap<Resource, usize>,
    /// Whether a node was lost.
    pub lost: bool,
    /// When the user said a word.
    pub told: Option<Duration>,
    /// Who was let be for how many seconds, now and then.
    pub backed_off: Vec<(Duration, BTreeMap<String, f64>)>,
}

/// Plays a story.
pub fn play(story: Story, plan: Plan) -> Played {
    in_virtual_time(|| perform(story, plan))
}

/// Does something with an API server and nothing else.
pub fn alone<F: Future<Output = ()>>(act: impl FnOnce(kube::Client) -> F) {
    in_virtual_time(|| {
        let server = Server::new(WALL.parse().expect("a time"), Plan::Nothing);
        act(server.client(1)).map(move |()| assert_eq!(server.unknown(), Vec::<String>::new()))
    });
}

/// On a runtime of its own.
fn in_virtual_time<F: Future>(act: impl FnOnce() -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async { act().await })
}

/// What the judge says of somebody who deletes a pod that serves: a judge that sees nothing proves nothing.
pub fn careless() -> Vec<String> {
    in_virtual_time(|| async {
        let (server, mut cluster) = at_rest(Story::TwoLevers, Plan::Nothing).await;
        server.with(|store, now| {
            let pod = Key::new(Resource::Pods, NAMESPACE, "web-0");
            store
                .delete(&pod, &Value::Null, Author { manager: OPERATOR, at: now })
                .expect("the pod is there");
        });
        for _ in 0..REST {
            tick(&server, &mut cluster).await;
        }
        cluster.judge.violations
    })
}

/// What the judge says where the operator believes that the first pod is detached by all levers, and only the
/// load balancer's is.
pub fn credulous() -> Vec<String> {
    in_virtual_time(|| async {
        let (server, mut cluster) = at_rest(Story::TwoLevers, Plan::Nothing).await;
        server.with(|store, now| {
            let author = Author { manager: OPERATOR, at: now };
            let weights = json!({"groups": [{"statefulSets": [{"name": NAME, "weights": [{"weight": 0, "podIndexes": [0]}]}]}]});
            let change = json!({"metadata": {"annotations": {WEIGHTS: weights.to_string()}}});
            let patched = store.patch(&key(Resource::Services), Part::Whole, PatchKind::Merge, &change, false, author);
            patched.expect("the Service is there");
        });
        for _ in 0..REST {
            tick(&server, &mut cluster).await;
        }
        server.with(|store, now| {
            let mut object = upgrade(Story::TwoLevers, "app:2");
            let pod = store.get(&Key::new(Resource::Pods, NAMESPACE, "web-0")).expect("the pod is there");
            let uid = cluster::uid(pod);
            let pod =
                json!({"ordinal": 0, "uid": uid, "state": "Detached", "restarts": 0, "seenReady": true});
            object["status"] = json!({"run": {"step": "Drain"}, "detached": "0", "pods": [pod]});
            let author = Author { manager: OPERATOR, at: now };
            store.create(&key(Resource::Upgrades), object, author).expect("a new object");
        });
        for _ in 0..REST {
            tick(&server, &mut cluster).await;
        }
        cluster.judge.violations
    })
}

/// A cluster in which all pods run the old version and serve.
async fn at_rest(story: Story, plan: Plan) -> (Server, Cluster) {
    let server = Server::new(WALL.parse().expect("a time"), plan);
    let mut cluster = Cluster::default();
    let first = if let Story::BeginsAt(first) = story { first } else { 0 };
    server.with(|store, now| {
        cluster::apply(store, first, REPLICAS, "app:1", now);
        if story == Story::TwoLevers {
            cluster::apply_inside(store, now);
        }
    });
    for _ in 0..REST {
        tick(&server, &mut cluster).await;
    }
    cluster.judge.floor = 3;
    (server, cluster)
}

async fn perform(story: Story, plan: Plan) -> Played {
    let (server, mut cluster) = at_rest(story, plan).await;
    server.with(|store, now| {
        let image = if story == Story::Flaky { FLAKY } else { "app:2" };
        let author = Author { manager: "kubectl", at: now };
        store.create(&key(Resource::Upgrades), upgrade(story, image), author).expect("a new object");
        if matches!(plan, Plan::Beside { .. }) {
            let beside = Key { name: BESIDE.to_owned(), ..key(Resource::Upgrades) };
            store.create(&beside, of_nobody(), author).expect("a new object");
        }
    });

    server.begin();
    let began = tokio::time::Instant::now();
    let mut died = server.died();
    let mut processes = vec![Process::start(&server, 1, SignedDuration::ZERO)];
    let (mut restart, mut quiet, mut ended, mut taken_over, mut lost) = (None, 0, None, false, None);
    let mut told = None;
    let (mut ticks, mut backed_off) = (0_usize, Vec::new());
    while quiet < REST && began.elapsed() < LIMIT && ended.is_none() {
        tick(&server, &mut cluster).await;
        ticks += 1;
        if ticks.is_multiple_of(ASKED) {
            backed_off.extend(processes.last().map(|process| (began.elapsed(), process.backs_off())));
        }
        for process in &mut processes {
            if process.task.is_finished() {
                ended = (&mut process.task).await.ok();
            }
        }
        if died.has_changed().unwrap_or(false) {
            died.mark_unchanged();
            processes.drain(..).for_each(Process::kill);
            restart = Some(tokio::time::Instant::now() + RESTART);
        }
        if restart.is_some_and(|at| tokio::time::Instant::now() >= at) {
            restart = None;
            processes = vec![Process::start(&server, 3, SignedDuration::ZERO)];
        }
        if let Story::TakenOver { after, skew, late } = story {
            if !taken_over && began.elapsed() >= after {
                taken_over = true;
                server.slow_down(1, late);
                processes.push(Process::start(&server, 2, skew));
            }
            if processes.len() > 1 && began.elapsed() >= after + BOTH {
                processes.remove(0).kill();
            }
        }
        if let Story::NodeLost { after, ordinal } = story
            && lost.is_none()
            && began.elapsed() >= after
        {
            lost = Some(server.with(|store, now| cluster.lose_node(store, ordinal, now)));
        }
        if let Story::Told(word) = story
            && told.is_none()
            && drains(&server, "1")
        {
            told = Some(began.elapsed());
            say(&server, word);
        }
        quiet = if is_over(&server) { quiet + 1 } else { 0 };
    }
    let took = began.elapsed();
    processes.into_iter().for_each(Process::kill);
    let mut violations = cluster.judge.violations.clone();
    violations.extend(ended);
    violations.extend(server.unknown());
    Played {
        end: end(&server, &cluster),
        took,
        status: status(&server),
        violations,
        happened: server.happened(),
        calls: server.calls(),
        events: server.events(),
        lost: lost == Some(true),
        told,
        backed_off,
    }
}

async fn tick(server: &Server, cluster: &mut Cluster) {
    sleep(TICK).await;
    server.with(|store, now| cluster.tick(store, now));
}

fn key(resource: Resource) -> Key {
    Key::new(resource, NAMESPACE, NAME)
}

fn upgrade(story: Story, image: &str) -> Value {
    let (key, value) = SERVING;
    let mut levers = vec![json!({"tkeService": {}})];
    levers.extend((story == Story::TwoLevers).then(|| json!({"podLabel": {"key": key, "value": value}})));
    json!({"spec": {
        "targetRef": {"name": NAME},
        "images": {"app": image},
        "traffic": {"levers": levers, "settle": "1s", "confirmTimeout": "1m"},
        "drain": {"stableFor": "2s", "minimum": "1s", "interval": "1s", "timeout": "5m"},
        "verify": {"soak": "4s", "timeout": "1m"},
    }})
}

/// An upgrade of what is not there.
fn of_nobody() -> Value {
    json!({"spec": {"targetRef": {"name": BESIDE}, "traffic": {"levers": [{"none": {}}]}}})
}

fn status(server: &Server) -> Value {
    server.with(|store, _| {
        store.get(&key(Resource::Upgrades)).map_or(Value::Null, |object| object["status"].clone())
    })
}

/// Whether these ordinals drain.
fn drains(server: &Server, ordinals: &str) -> bool {
    let status = status(server);
    status["phase"] == "Drain" && status["run"]["batch"] == ordinals
}

/// The user sets an annotation of the object.
fn say(server: &Server, word: Word) {
    server.with(|store, now| {
        let change = json!({"metadata": {"annotations": {word.annotation(): "please"}}});
        let author = Author { manager: "kubectl", at: now };
        store
            .patch(&key(Resource::Upgrades), Part::Whole, PatchKind::Merge, &change, false, author)
            .expect("the object is there");
    });
}

/// A run was made, and none is under way.
fn is_over(server: &Server) -> bool {
    let status = status(server);
    status["run"].is_null() && status["history"].as_array().is_some_and(|history| !history.is_empty())
}

fn end(server: &Server, cluster: &Cluster) -> End {
    let status = status(server);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let history = status["history"].as_array().into_iter().flatten();
    server.with(|store, _| {
        let pods = store.list(Resource::Pods, NAMESPACE).map(|pod| {
            let image = &pod["spec"]["containers"][0]["image"];
            let revision = &pod["metadata"]["labels"]["controller-revision-hash"];
            [&pod["metadata"]["name"], image, revision].map(text)
        });
        let set = store.get(&key(Resource::StatefulSets)).cloned().unwrap_or_default();
        let service = store.get(&key(Resource::Services)).cloned().unwrap_or_default();
        End {
            phase: text(&status["phase"]),
            outcomes: history.map(|past| text(&past["outcome"])).collect(),
            pods: pods.collect(),
            replicas: set["spec"]["replicas"].as_u64().unwrap_or_default(),
            weights: service["metadata"]["annotations"][WEIGHTS].as_str().map(str::to_owned),
            gone: cluster.judge.gone.clone(),
            levers: cluster.balancer.history.clone(),
            labels: cluster.inside.history.clone(),
        }
    })
}
