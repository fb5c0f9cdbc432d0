//! Tencent's API asked in a whole upgrade under load: by the lever `tkeService` whether the load balancer itself has
//! weight 0, and by the probe `tencentMonitor` for the connections. What answers is the lab's, from its own balancer.

use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture};
use lab::balancer::Change;
use lab::balancer::cloud_api::{Account, CloudApi, REGION, Said, Told};
use lab::load::Profile;
use lab::scenario::{App, AppService, Deployed, Run, ScenarioError, Stage, until};
use libtest_mimic::Failed;
use lossless_upgrade::api::LosslessUpgrade;
use serde_json::{Value, json};

use crate::harness::{apply, as_before, begin, is_in, light, lossless, object_is, phase};
use crate::own_operator::Operator;

const SECRET: &str = "tencent";
const ID: &str = "AKIDLAB";
const KEY: &str = "the lab's";
/// Listeners of the one Service, each asked about by itself.
const PORTS: [u16; 2] = [80, 8080];
/// Pods of the StatefulSet, which are one batch, and of the surge.
const BATCH: u16 = 2;

/// What counts the connections.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// A counter in the pods.
    Sockets,
    /// The cloud's monitoring.
    Minutes,
}

impl By {
    const fn namespace(self) -> &'static str {
        match self {
            Self::Sockets => "by-api",
            Self::Minutes => "by-monitoring",
        }
    }

    fn probe(self) -> Value {
        match self {
            Self::Sockets => json!({"socket": {}}),
            // The fewest minutes that may be asked for.
            Self::Minutes => json!({"tencentMonitor": {
                "region": REGION, "credentials": {"secret": SECRET}, "minutes": 2,
            }}),
        }
    }

    /// Far more than it takes: the second one has two drains of three or four minutes.
    const fn limit(self) -> Duration {
        match self {
            Self::Sockets => Duration::from_mins(5),
            Self::Minutes => Duration::from_mins(20),
        }
    }
}

/// Only what the load balancer itself has counts as a detach; while nobody says it nothing goes on.
pub fn confirmed(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    upgraded(stage, By::Sockets).boxed_local()
}

/// The same, and the connections are counted by the cloud too.
pub fn monitored(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    upgraded(stage, By::Minutes).boxed_local()
}

async fn upgraded(stage: &'static Stage, by: By) -> Result<(), Failed> {
    let namespace = by.namespace();
    let api = stage.cloud_api(Account { id: ID.into(), key: KEY.into() }).await?;
    let _operator = Operator::start_with(stage, namespace, &["--tencent-endpoint", &api.endpoint()])?;
    let services = vec![AppService::new("nginx", &PORTS)];
    let app = begin(stage, App { replicas: BATCH, services, ..App::nginx(namespace) }, |spec| {
        let asked = json!({"region": REGION, "credentials": {"secret": SECRET}});
        spec["traffic"]["levers"] = json!([{"tkeService": {"confirmByApi": asked}}]);
        spec["batches"] = json!({"size": BATCH});
        spec["drain"]["probes"] = json!([by.probe()]);
    })
    .await?;
    set_key(stage, namespace, KEY)?;
    // No request that takes long: when the batch is out, soon nothing but the API holds it.
    let profile = Profile { long_per_second: 0.0, ..light() };
    let run = app
        .run_under(
            &profile,
            Box::pin(async {
                if by == By::Minutes {
                    is_monitored(&app, &api).await?;
                }
                app.set_image("lab/nginx:v2").await?;
                is_in(stage, namespace, "Surge").await?;
                held_while_refused(stage, &app, &api).await?;
                object_is(stage, namespace, "the upgrade has succeeded", by.limit(), |object| {
                    phase(object) == "Succeeded"
                })
                .await
                .map(drop)
            }),
        )
        .await?;
    lossless(&run)?;
    as_before(&app, "lab/nginx:v2", &[None]).await?;
    // Each of the batch, and then of the surge.
    assert_eq!(run.deletions.len(), usize::from(2 * BATCH));
    let told = api.told();
    println!("    {} questions to the cloud's API", told.len());
    were_detached(&run, &told)?;
    if by == By::Minutes {
        were_quiet(&run, &told)?;
    }
    app.remove().await?;
    Ok(())
}

/// The Secret that the object names, with this key.
fn set_key(stage: &Stage, namespace: &str, key: &str) -> Result<(), ScenarioError> {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET},
        "stringData": {"secretId": ID, "secretKey": key},
    });
    apply(stage, namespace, &secret)
}

/// Before a run the monitoring must know the pods: it has a minute of each, with connections in it.
async fn is_monitored(app: &Deployed<'_>, api: &CloudApi) -> Result<(), ScenarioError> {
    until("the monitoring has a minute of every pod under load", Duration::from_mins(3), async || {
        let mut unknown = app.backends().await;
        unknown.retain(|backend| api.minutes(backend).values().next_back().is_none_or(|most| *most == 0));
        Ok(if unknown.is_empty() { Ok(()) } else { Err(format!("{unknown:?}")) })
    })
    .await
}

/// The control: by all else the batch may go, and the API says nothing of use. First it has too many questions, then the
/// key is wrong.
async fn held_while_refused(stage: &Stage, app: &Deployed<'_>, api: &CloudApi) -> Result<(), ScenarioError> {
    const THROTTLED: &str = "RequestLimitExceeded";
    const UNSIGNED: &str = "AuthFailure.SignatureFailure";
    let namespace = &app.app().namespace;
    api.refuse(Some(THROTTLED));
    waits_for(stage, namespace, THROTTLED).await?;
    until("the batch is out and empty", Duration::from_secs(30), async || {
        let mut out = app.backends().await;
        out.retain(|backend| backend.weight == 0);
        let all = out.len() == usize::from(BATCH) * PORTS.len();
        let empty = out.iter().all(|backend| backend.sessions == 0);
        Ok(if all && empty { Ok(()) } else { Err(format!("{out:?}")) })
    })
    .await?;
    set_key(stage, namespace, "another")?;
    api.refuse(None);
    // It is asked again after ten seconds. The other way round it would long have been drained and gone.
    waits_for(stage, namespace, UNSIGNED).await?;
    let refused = |code| api.told().iter().filter(|told| told.said == Said::Refused(code)).count();
    assert!(refused(THROTTLED) > 0 && refused(UNSIGNED) > 0, "nobody asked");
    assert_eq!(stage.watcher().deletions(namespace), [], "a pod went although the API confirmed nothing");
    set_key(stage, namespace, KEY)
}

/// The detach waits, and says for what.
async fn waits_for(stage: &Stage, namespace: &str, code: &str) -> Result<(), ScenarioError> {
    let says = |object: &LosslessUpgrade| {
        let message = object.status.as_ref().map(|status| status.message.as_str());
        phase(object) == "Detach" && message.is_some_and(|message| message.contains(code))
    };
    let what = format!("the detach waits because of {code}");
    object_is(stage, namespace, &what, Duration::from_mins(2), says).await.map(drop)
}

/// By the lab's own record: the last answer about each listener before a pod was deleted had the pod at weight 0.
fn were_detached(run: &Run, told: &[Told]) -> Result<(), Failed> {
    for deletion in &run.deletions {
        for port in PORTS {
            let weight = |told: &Told| match &told.said {
                Said::Targets(backends) => {
                    let its = backends.iter().find(|one| one.uid == deletion.uid && one.port == port);
                    its.map(|one| one.weight)
                }
                Said::Refused(_) | Said::Minutes(_) => None,
            };
            let last = told.iter().rev().filter(|told| told.at < deletion.at).find_map(weight);
            if last != Some(0) {
                let pod = &deletion.pod;
                return Err(format!("{pod} went when the API had told {last:?} of port {port}").into());
            }
        }
    }
    Ok(())
}

/// By the lab's own record: the last answer about each listener before a pod was deleted had two minutes without a
/// connection, which began after the balancer had stopped sending new ones.
fn were_quiet(run: &Run, told: &[Told]) -> Result<(), Failed> {
    for deletion in &run.deletions {
        for port in PORTS {
            let left = |change: &Change| matches!(change, Change::Weight { to: 0, .. });
            let mut applied = run.applied.iter().rev();
            let out = applied.find(|one| one.uid == deletion.uid && one.port == port && left(&one.change));
            let backend = deletion.backends.iter().find(|backend| backend.port == port);
            let (Some(out), Some(backend)) = (out, backend) else {
                return Err(format!("port {port} never had {deletion:?}").into());
            };
            let minutes = |told: &Told| match &told.said {
                Said::Minutes(all) => {
                    let its = all.iter().find(|one| one.listener == port && one.address == backend.address);
                    its.map(|one| one.minutes.clone())
                }
                Said::Refused(_) | Said::Targets(_) => None,
            };
            let last = told.iter().rev().filter(|told| told.at < deletion.at).find_map(minutes);
            let last = last.unwrap_or_default();
            let quiet = |(end, most): (&i64, &u64)| *most == 0 && *end - 60 >= out.at.as_second();
            let row = last.iter().rev().take_while(|minute| quiet(*minute)).count();
            if row < 2 {
                let pod = &deletion.pod;
                return Err(format!("{pod}, out since {}, went by {last:?} of port {port}", out.at).into());
            }
        }
    }
    Ok(())
}
