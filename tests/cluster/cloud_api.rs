//! Tencent's API asked in a whole upgrade under load: by the lever `tkeService` whether the load balancer itself has
//! weight 0, and by the probe `tencentMonitor` for the connections. What answers is the lab's, from its own balancer. Two
//! Services share that balancer, each with a listener for TCP and one for UDP.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture};
use lab::balancer::cloud_api::{Account, CloudApi, REGION, Said, Told};
use lab::balancer::{Change, Listener, Transport};
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
/// Of the Service `nginx` and of the Service `second`, each asked about by itself.
const LISTENERS: [Listener; 4] =
    [Listener::tcp(80), Listener::udp(80), Listener::tcp(8080), Listener::udp(53)];
/// What the Service `nginx` comes with: of others, of another port, and of the second pod. It stays in between too.
const OTHERS: &str = r#"{"name":"other","weights":[ {"weight":5,"podIndexes":[1]} ]}"#;
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

/// Both ask for the balancer of one id, each with listeners of its own.
fn on_one_balancer(namespace: &str) -> Vec<AppService> {
    let weights = format!(
        r#"{{ "owner" : "team a", "defaultWeight":10,"groups":[
            {{"key":{{"proto":"TCP","port":443}},"statefulSets":[{OTHERS}]}},
            {{"key":{{"proto":"UDP","port":80}},"statefulSets":[{OTHERS},{{"name":"nginx","weights":[{{"weight":20,"podIndexes":[1]}}]}}]}}]}}"#
    );
    let part = |name: &str, tcp: u16, udp: u16, weights: Option<String>| AppService {
        udp: vec![udp],
        existing: Some(format!("lb-{namespace}")),
        weights,
        ..AppService::new(name, &[tcp])
    };
    vec![part("nginx", 80, 80, Some(weights)), part("second", 8080, 53, None)]
}

async fn upgraded(stage: &'static Stage, by: By) -> Result<(), Failed> {
    let namespace = by.namespace();
    let api = stage.cloud_api(Account { id: ID.into(), key: KEY.into() }).await?;
    let _operator = Operator::start_with(stage, namespace, &["--tencent-endpoint", &api.endpoint()])?;
    let services = on_one_balancer(namespace);
    let weights: Vec<_> = services.iter().map(|service| service.weights.clone()).collect();
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
    as_before(&app, "lab/nginx:v2", &weights).await?;
    app.in_rotation().await?;
    // Each of the batch, and then of the surge.
    assert_eq!(run.deletions.len(), usize::from(2 * BATCH));
    let told = api.told();
    println!("    {} questions to the cloud's API", told.len());
    were_detached(&run, &told)?;
    left_together(&run)?;
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
        unknown.retain(|backend| backend.listener.transport == Transport::Tcp);
        unknown.retain(|backend| api.minutes(backend).values().next_back().is_none_or(|most| *most == 0));
        Ok(if unknown.is_empty() { Ok(()) } else { Err(format!("{unknown:?}")) })
    })
    .await
}

/// The control: by all else the batch may go, and the API says nothing of use. First it has too many questions, then the
/// key is wrong, then one of the listeners still has a weight.
async fn held_while_refused(stage: &Stage, app: &Deployed<'_>, api: &CloudApi) -> Result<(), ScenarioError> {
    const THROTTLED: &str = "RequestLimitExceeded";
    const UNSIGNED: &str = "AuthFailure.SignatureFailure";
    let namespace = &app.app().namespace;
    api.refuse(Some(THROTTLED));
    waits_for(stage, namespace, THROTTLED).await?;
    until("the batch is out and empty", Duration::from_secs(30), async || {
        let mut out = app.backends().await;
        out.retain(|backend| backend.weight == 0);
        let all = out.len() == usize::from(BATCH) * LISTENERS.len();
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
    // No client comes by it, so nothing but the API tells.
    let [.., last] = LISTENERS;
    api.keep(Some(last));
    set_key(stage, namespace, KEY)?;
    let still = format!("listener lbl-UDP{} of load balancer lb-{namespace} has weight 10", last.port);
    waits_for(stage, namespace, &still).await?;
    for name in ["nginx", "second"] {
        let annotations = app.service(name).await?.metadata.annotations.unwrap_or_default();
        let weights = annotations.get("service.cloud.tencent.com/lb-rs-weight").cloned().unwrap_or_default();
        assert_eq!(weights.matches(OTHERS).count(), if name == "nginx" { 2 } else { 0 }, "{weights}");
    }
    assert_eq!(stage.watcher().deletions(namespace), [], "a pod went although the API confirmed nothing");
    api.keep(None);
    Ok(())
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
        for listener in LISTENERS {
            let weight = |told: &Told| match &told.said {
                Said::Targets(backends) => {
                    let its = backends.iter().find(|one| one.uid == deletion.uid && one.listener == listener);
                    its.map(|one| one.weight)
                }
                Said::Refused(_) | Said::Minutes(_) => None,
            };
            let last = told.iter().rev().filter(|told| told.at < deletion.at).find_map(weight);
            if last != Some(0) {
                let pod = &deletion.pod;
                return Err(format!("{pod} went when the API had told {last:?} of {listener}").into());
            }
        }
    }
    Ok(())
}

/// By the lab's own record: each pod had weight 0 at all listeners of both Services when it was deleted, and those of one
/// Service in one synchronisation.
fn left_together(run: &Run) -> Result<(), Failed> {
    for deletion in &run.deletions {
        let out = deletion.backends.iter().filter(|backend| backend.weight == 0);
        let out: BTreeSet<_> = out.map(|backend| backend.listener).collect();
        if out != BTreeSet::from(LISTENERS) {
            return Err(format!("not out everywhere: {deletion:?}").into());
        }
        let its = run.applied.iter().filter(|one| one.uid == deletion.uid && one.at < deletion.at);
        let left = its.filter(|one| matches!(one.change, Change::Weight { to: 0, .. }));
        let mut moments: BTreeMap<&str, BTreeSet<_>> = BTreeMap::new();
        for one in left {
            moments.entry(&one.owner.name).or_default().insert(one.at);
        }
        if moments.len() != 2 || moments.values().any(|at| at.len() != 1) {
            return Err(format!("{} did not leave together: {moments:?}", deletion.pod).into());
        }
    }
    Ok(())
}

/// By the lab's own record: the last answer about each listener before a pod was deleted had two minutes without a
/// connection, which began after the balancer had stopped sending new ones.
fn were_quiet(run: &Run, told: &[Told]) -> Result<(), Failed> {
    for deletion in &run.deletions {
        for listener in LISTENERS.into_iter().filter(|listener| listener.transport == Transport::Tcp) {
            let left = |change: &Change| matches!(change, Change::Weight { to: 0, .. });
            let mut applied = run.applied.iter().rev();
            let out =
                applied.find(|one| one.uid == deletion.uid && one.listener == listener && left(&one.change));
            let backend = deletion.backends.iter().find(|backend| backend.listener == listener);
            let (Some(out), Some(backend)) = (out, backend) else {
                return Err(format!("{listener} never had {deletion:?}").into());
            };
            let minutes = |told: &Told| match &told.said {
                Said::Minutes(all) => {
                    let its = all
                        .iter()
                        .find(|one| one.listener == listener.port && one.address == backend.address);
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
                return Err(format!("{pod}, out since {}, went by {last:?} of {listener}", out.at).into());
            }
        }
    }
    Ok(())
}
