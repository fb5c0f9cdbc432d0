//! One stage for all tests, and what they share.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::LocalBoxFuture;
use kube::Api;
use lab::balancer::Behaviour;
use lab::progress::Progress;
use lab::sandbox::Inside;
use lab::scenario::{App, Deployed, Run, ScenarioError, Stage, until};
use libtest_mimic::Failed;
use lossless_upgrade::api::LosslessUpgrade;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::RwLock;

pub type Test = fn(&'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>>;

/// A test by its name.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    alone: bool,
    test: Test,
}

/// A test that can run beside others.
pub const fn beside(name: &'static str, test: Test) -> Case {
    Case { name, alone: false, test }
}

/// A test that changes something for everybody.
pub const fn alone(name: &'static str, test: Test) -> Case {
    Case { name, alone: true, test }
}

struct Theatre {
    runtime: Runtime,
    stage: Stage,
}

static THEATRE: OnceLock<Theatre> = OnceLock::new();
static ALONE: RwLock<()> = RwLock::const_new(());

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

/// Plays one test.
pub fn play(case: Case) -> Result<(), Failed> {
    let theatre = THEATRE.get().ok_or("the lab is not up")?;
    theatre.runtime.block_on(async {
        if case.alone {
            let _everybody = ALONE.write().await;
            (case.test)(&theatre.stage).await
        } else {
            let _one = ALONE.read().await;
            (case.test)(&theatre.stage).await
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

/// Waits until the object is as wanted.
pub async fn object_is(
    stage: &Stage,
    namespace: &str,
    what: &str,
    limit: Duration,
    is: impl Fn(&LosslessUpgrade) -> bool,
) -> Result<LosslessUpgrade, ScenarioError> {
    let api = objects(stage, namespace);
    until(what, limit, async || {
        let object = api.get("nginx").await?;
        Ok(if is(&object) { Ok(object) } else { Err(shown(&object)) })
    })
    .await
}

/// Waits until the object shows this phase.
pub async fn is_in(stage: &Stage, namespace: &str, wanted: &str) -> Result<LosslessUpgrade, ScenarioError> {
    let what = format!("{namespace}/nginx is in {wanted}");
    object_is(stage, namespace, &what, Duration::from_mins(5), |object| phase(object) == wanted).await
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

/// Nothing was lost, nothing was severed that the clients did not close themselves, no pod went
/// with connections, and none was deleted twice.
pub fn lossless(run: &Run) -> Result<(), Failed> {
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
    for deletion in &run.deletions {
        if !deletion.was_drained() {
            return Err(format!("deleted with something open: {deletion:#?}").into());
        }
        if run.deletions.iter().filter(|other| other.uid == deletion.uid).count() > 1 {
            return Err(format!("deleted twice: {deletion:#?}").into());
        }
    }
    REQUESTS.fetch_add(report.requests(), Ordering::Relaxed);
    println!(
        "    {} requests, 0 lost, {} pods deleted, {:.0?}",
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

/// An app under `OnDelete`, deployed.
pub async fn deploy(stage: &'static Stage, app: App) -> Result<Deployed<'static>, ScenarioError> {
    stage.deploy(App { strategy: lab::scenario::UpdateStrategy::OnDelete, ..app }).await
}
