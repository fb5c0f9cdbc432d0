//! One stage for all tests, and what they share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::LocalBoxFuture;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use lab::balancer::Behaviour;
use lab::load::Profile;
use lab::progress::Progress;
use lab::sandbox::Inside;
use lab::scenario::{App, Deployed, Run, ScenarioError, Stage, until};
use libtest_mimic::{Completion, Failed};
use lossless_upgrade::api::LosslessUpgrade;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::{RwLock, Semaphore};
use tokio::time::Instant;

use crate::{own_operator, rights};

pub type Test = fn(&'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>>;

/// A test by its name.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    place: Place,
    test: Test,
    /// How much of [`ROOM`] it takes.
    pub size: u32,
}

impl Case {
    /// Plays it where it stands, and says how long it took: what it waited for others is not in that.
    pub async fn run(self, stage: &'static Stage) -> Result<(), Failed> {
        let began = Instant::now();
        (self.test)(stage).await?;
        println!("    {} s for: {}", began.elapsed().as_secs(), self.name);
        Ok(())
    }
}

/// What two processors carry at once, with a fifth of them to spare: four whole loads or six light ones.
pub static ROOM: Semaphore = Semaphore::const_new(12);
const LIGHT: u32 = 2;

/// As many threads as there may be cases at once.
pub const THREADS: usize = 12;

/// What a test shares with others.
#[derive(Clone, Copy)]
enum Place {
    Beside,
    Outside,
    Alone,
}

/// A test that can run beside others.
pub const fn beside(name: &'static str, test: Test) -> Case {
    Case { name, place: Place::Beside, test, size: LIGHT }
}

/// A test that brings its own operator, which runs out of the cluster: beside others of its kind,
/// while nobody uses the installed one.
pub const fn outside(name: &'static str, test: Test) -> Case {
    Case { name, place: Place::Outside, test, size: LIGHT }
}

/// A test that changes something for everybody.
pub const fn alone(name: &'static str, test: Test) -> Case {
    Case { name, place: Place::Alone, test, size: LIGHT }
}

/// The same under a whole load, [`Profile::default`].
pub const fn loaded(case: Case) -> Case {
    Case { size: 3, ..case }
}

/// The same with few requests a second, or none.
pub const fn small(case: Case) -> Case {
    Case { size: 1, ..case }
}

struct Theatre {
    runtime: Runtime,
    stage: Stage,
}

static THEATRE: OnceLock<Theatre> = OnceLock::new();
/// Shared by the tests that use the installed operator as it is.
pub static INSTALLED: RwLock<()> = RwLock::const_new(());

/// Brings the lab up, with the operator installed from the shipped manifests.
pub fn set_stage(inside: &Inside) {
    let runtime = Runtime::new().expect("a runtime");
    let stage = runtime.block_on(async {
        let stage = Stage::set(inside, &Progress::new(), Behaviour::default()).await.expect("the lab starts");
        stage.install_operator().await.expect("the operator is installed");
        stage
    });
    assert!(THEATRE.set(Theatre { runtime, stage }).is_ok(), "one stage");
}

/// Requests of all upgrades that lost none.
static REQUESTS: AtomicU64 = AtomicU64::new(0);
/// Fewer prove too little.
const ENOUGH: u64 = 100_000;

/// Keeps what the operator said beside the logs of the lab's own parts.
pub fn keep_operator_log() {
    let Some(theatre) = THEATRE.get() else { return };
    let of_operator = [
        "-n",
        "lossless-upgrade-system",
        "logs",
        "-l",
        "app.kubernetes.io/component=operator",
        "--tail=-1",
        "--prefix",
    ];
    let log = lab::paths::logs().join("operator.log");
    match theatre.stage.cluster().kubectl(&of_operator) {
        Ok(text) if std::fs::write(&log, &text).is_ok() => println!("the operator's log: {}", log.display()),
        Ok(_) | Err(_) => println!("the operator's log could not be kept"),
    }
}

/// What all upgrades together prove. The kernel ends what is left when the sandbox is left.
pub fn sum_up(all_ran: bool) -> Result<(), String> {
    let requests = REQUESTS.load(Ordering::Relaxed);
    println!("{requests} requests over all upgrades, 0 lost in those that passed");
    if all_ran && requests < ENOUGH { Err(format!("at least {ENOUGH} were promised")) } else { Ok(()) }
}

/// Judges the rights of the installed operator when all else is over.
pub fn judge_rights(whole: bool) -> Result<Completion, Failed> {
    let theatre = THEATRE.get().ok_or("the lab is not up")?;
    theatre.runtime.block_on(rights::judge(&theatre.stage, whole))
}

/// Plays one test.
pub fn play(case: Case) -> Result<(), Failed> {
    let theatre = THEATRE.get().ok_or("the lab is not up")?;
    theatre.runtime.block_on(async {
        match case.place {
            Place::Beside => {
                let _one = INSTALLED.read().await;
                // Last, so that nobody who waits for the operator keeps others from their room.
                let _room = ROOM.acquire_many(case.size).await?;
                case.run(&theatre.stage).await
            }
            Place::Outside => own_operator::play(&theatre.stage, case).await,
            Place::Alone => {
                let _everybody = INSTALLED.write().await;
                case.run(&theatre.stage).await
            }
        }
    })
}

/// An object with times fit for a test; `change` makes it what the test needs.
pub fn upgrade(change: impl FnOnce(&mut Value)) -> Value {
    let mut spec = json!({
        "targetRef": {"name": "nginx"},
        "traffic": {"levers": [{"tkeService": {}}], "settle": "1s", "confirmTimeout": "1m"},
        "drain": {"stableFor": "3s", "minimum": "1s", "interval": "1s"},
        "verify": {"soak": "4s", "timeout": "1m"},
    });
    change(&mut spec);
    json!({
        "apiVersion": "lossless-upgrade.io/v1alpha1",
        "kind": "LosslessUpgrade",
        "metadata": {"name": "nginx"},
        "spec": spec,
    })
}

/// Creates or replaces an object, as `kubectl apply` does.
pub fn apply(stage: &Stage, namespace: &str, object: &Value) -> Result<(), ScenarioError> {
    stage.apply(namespace, &object.to_string())
}

/// The objects of a namespace.
pub fn objects(stage: &Stage, namespace: &str) -> Api<LosslessUpgrade> {
    Api::namespaced(stage.cluster().client(), namespace)
}

/// Waits until the object is as wanted; also for an API server that does not answer.
pub async fn object_is(
    stage: &Stage,
    namespace: &str,
    what: &str,
    limit: Duration,
    is: impl Fn(&LosslessUpgrade) -> bool,
) -> Result<LosslessUpgrade, ScenarioError> {
    let api = objects(stage, namespace);
    until(what, limit, async || {
        Ok(match api.get("nginx").await {
            Ok(object) if is(&object) => Ok(object),
            Ok(object) => Err(shown(&object)),
            Err(error) => Err(error.to_string()),
        })
    })
    .await
}

/// Waits until the object shows this phase.
pub async fn is_in(stage: &Stage, namespace: &str, wanted: &str) -> Result<LosslessUpgrade, ScenarioError> {
    let what = format!("{namespace}/nginx is in {wanted}");
    object_is(stage, namespace, &what, Duration::from_mins(5), |object| phase(object) == wanted).await
}

/// Waits until the pod after so many upgraded ones drains.
pub async fn drains(stage: &Stage, namespace: &str, after: usize) -> Result<(), ScenarioError> {
    let what = format!("{namespace}/nginx drains after {after} pods");
    let is = |object: &LosslessUpgrade| {
        let run = object.status.as_ref().and_then(|status| status.run.as_ref());
        phase(object) == "Drain" && run.is_some_and(|run| run.updated.len() == after)
    };
    object_is(stage, namespace, &what, Duration::from_mins(3), is).await.map(drop)
}

/// The user's word on the object.
pub async fn act(stage: &Stage, namespace: &str, action: &str) -> Result<(), ScenarioError> {
    let annotation = format!("lossless-upgrade.io/{action}");
    let patch = Patch::Merge(json!({"metadata": {"annotations": {annotation: "now"}}}));
    objects(stage, namespace).patch("nginx", &PatchParams::default(), &patch).await?;
    Ok(())
}

/// The reason why the object is stalled, if it is.
pub fn stalled(object: &LosslessUpgrade) -> Option<&str> {
    let mut conditions = object.status.iter().flat_map(|status| &status.conditions);
    let stalled = conditions.find(|condition| condition.type_ == "Stalled" && condition.status == "True");
    stalled.map(|condition| condition.reason.as_str())
}

/// An object as a failed wait shows it.
pub fn shown(object: &LosslessUpgrade) -> String {
    object
        .status
        .as_ref()
        .map_or_else(|| "no status".to_owned(), |status| format!("{:?}: {}", status.phase, status.message))
}

/// The phase that an object shows.
pub fn phase(object: &LosslessUpgrade) -> String {
    object.status.as_ref().map(|status| format!("{:?}", status.phase)).unwrap_or_default()
}

/// Nothing was lost, no pod went with connections, none was deleted twice, and at no moment fewer
/// pods served than at the begin: all by the records of the lab, whatever the operator says.
pub fn lossless(run: &Run) -> Result<(), Failed> {
    lossless_but(run, &[])
}

/// No request of the load was lost, and there was one.
pub fn unharmed(run: &Run) -> Result<(), Failed> {
    let report = &run.report;
    if report.lost() > 0 {
        return Err(format!(
            "{} of {} requests lost: {:#?}",
            report.lost(),
            report.requests(),
            report.losses
        )
        .into());
    }
    if report.requests() < 1000 {
        return Err(format!("only {} requests: the load proves nothing", report.requests()).into());
    }
    Ok(())
}

/// The same, apart from pods that somebody else has deleted: each of these leaves the rotation undrained.
pub fn lossless_but(run: &Run, deleted: &[&str]) -> Result<(), Failed> {
    unharmed(run)?;
    let report = &run.report;
    for deletion in &run.deletions {
        if !deletion.was_drained() && !deleted.contains(&deletion.uid.as_str()) {
            return Err(format!("deleted with something open: {deletion:?}").into());
        }
        if deletion.was_overlooked() && !deleted.contains(&deletion.uid.as_str()) {
            return Err(format!("deleted, and nobody could look what it had open: {deletion:?}").into());
        }
        if run.deletions.iter().filter(|other| other.uid == deletion.uid).count() > 1 {
            return Err(format!("deleted twice: {deletion:?}").into());
        }
    }
    if run.missing() > deleted.len() {
        return Err(
            format!("{} pods fewer than at the begin served: {:#?}", run.missing(), run.serving).into()
        );
    }
    if let Some(swap) = run.swap().filter(|_| deleted.is_empty()) {
        return Err(format!("taken out before the balancer had the new one: {swap:#?}").into());
    }
    REQUESTS.fetch_add(report.requests(), Ordering::Relaxed);
    let ended = run.deletions.iter().filter(|deletion| deletion.had_ended).count();
    println!(
        "    {} requests, 0 lost, {} pods deleted ({ended} had ended before one could look), {:.0?}",
        report.requests(),
        run.deletions.len(),
        run.took
    );
    Ok(())
}

/// Every pod runs this version and nothing of the run is left: levers, replicas, finished object.
pub async fn as_before(app: &Deployed<'_>, version: &str, weights: &[Option<String>]) -> Result<(), Failed> {
    let set = app.stateful_set().await?;
    let replicas = set.spec.as_ref().and_then(|spec| spec.replicas);
    if replicas != Some(i32::from(app.app().replicas)) {
        return Err(format!("{replicas:?} replicas instead of {}", app.app().replicas).into());
    }
    for pod in app.pods().await? {
        let image = pod.spec.as_ref().and_then(|spec| spec.containers.first()?.image.clone());
        if image.as_deref() != Some(version) {
            return Err(format!("{:?} runs {image:?} instead of {version}", pod.metadata.name).into());
        }
    }
    for (service, before) in app.app().services.iter().zip(weights) {
        let now = app.service(&service.name).await?.metadata.annotations.unwrap_or_default();
        let now = now.get("service.cloud.tencent.com/lb-rs-weight");
        if now != before.as_ref() {
            return Err(
                format!("Service {}: lb-rs-weight is {now:?}, it was {before:?}", service.name).into()
            );
        }
    }
    Ok(())
}

/// The pods by name, with their uids.
pub async fn uids(app: &Deployed<'_>) -> Result<BTreeMap<String, String>, ScenarioError> {
    Ok(app.pods().await?.into_iter().map(|pod| (pod.name_any(), pod.uid().unwrap_or_default())).collect())
}

/// Waits until the balancer sends connections to so many pods: until it has the surge, no batch is taken out.
pub async fn serve(stage: &Stage, namespace: &str, pods: usize) -> Result<(), ScenarioError> {
    until("the balancer has the surge", Duration::from_mins(1), async || {
        let backends = stage.balancer().backends().await;
        let serving = backends.iter().filter(|one| one.owner.namespace == namespace && one.weight > 0);
        let serving: BTreeSet<_> = serving.map(|one| &one.pod).collect();
        Ok(if serving.len() == pods { Ok(()) } else { Err(format!("{serving:?}")) })
    })
    .await
}

/// An app under `OnDelete` with an object that has seen it; `change` is as for [`upgrade`].
pub async fn begin(
    stage: &'static Stage,
    app: App,
    change: impl FnOnce(&mut Value),
) -> Result<Deployed<'static>, ScenarioError> {
    let app = deploy(stage, app).await?;
    let namespace = &app.app().namespace;
    apply(stage, namespace, &upgrade(change))?;
    is_in(stage, namespace, "Idle").await?;
    Ok(app)
}

/// A light load, for tests whose machine has other things to do. Its long requests are the shorter ones, as each drain
/// waits for the last of them.
pub fn light() -> Profile {
    Profile {
        keep_alive_per_second: 150.0,
        one_shot_per_second: 60.0,
        long_path: "/slow".into(),
        ..Profile::default()
    }
}

/// An app under `OnDelete`, deployed.
pub async fn deploy(stage: &'static Stage, app: App) -> Result<Deployed<'static>, ScenarioError> {
    stage.deploy(App { strategy: lab::scenario::UpdateStrategy::OnDelete, ..app }).await
}
