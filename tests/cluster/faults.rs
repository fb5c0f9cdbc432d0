//! What goes wrong around the operator: pods, levers and the cluster itself.

use std::convert::Infallible;
use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{EvictParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use lab::cluster::Part;
use lab::scenario::{App, Deployed, ScenarioError, Stage, until};
use libtest_mimic::Failed;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::crash::as_undisturbed;
use crate::harness::{
    act, as_before, begin, drains, is_in, light, lossless, lossless_but, object_is, phase, stalled, uids,
};
use crate::writes::deletions;

const WEIGHTS: &str = "service.cloud.tencent.com/lb-rs-weight";

/// An eviction takes a pod that serves, while another one is detached. It ends gently, as the usual
/// advice has it, so that the fault itself costs nobody anything.
pub fn evicted(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let app = App {
            replicas: 3,
            pre_stop: Some(Duration::from_secs(6)),
            grace: Duration::from_secs(20),
            ..App::nginx("evicted")
        };
        let app = begin(stage, app, |_| {}).await?;
        let pods: Api<Pod> = Api::namespaced(stage.cluster().client(), "evicted");
        let victim = pods.get("nginx-2").await?.uid().unwrap_or_default();
        let run = app
            .run_under(&light(), async {
                app.set_image("lab/nginx:v2").await?;
                drains(stage, "evicted", 0).await?;
                pods.evict("nginx-2", &EvictParams::default()).await?;
                is_in(stage, "evicted", "Succeeded").await.map(drop)
            })
            .await?;
        lossless_but(&run, &[&victim])?;
        as_before(&app, "lab/nginx:v2", &[None]).await?;
        let by_others = run.deletions.iter().find(|deletion| deletion.uid == victim);
        if by_others.is_none_or(lab::watcher::Deletion::was_drained) {
            return Err("the evicted pod did not serve: this proves nothing".into());
        }
        // Two replaced, one evicted and not replaced once more, one surge pod removed.
        if run.deletions.len() != 4 {
            return Err(
                format!("{} deletions instead of 4: {:#?}", run.deletions.len(), run.deletions).into()
            );
        }
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// What the other writer wants.
const THEIRS: &str = r#"{"defaultWeight":10,"owner":"somebody else"}"#;

/// Somebody writes over the lever again and again: it is set again a few times, then the run waits.
pub fn contested(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let app = begin(stage, App { replicas: 2, ..App::nginx("contested") }, |_| {}).await?;
        let run = app
            .run_under(
                &light(),
                Box::pin(async {
                    app.set_image("lab/nginx:v2").await?;
                    drains(stage, "contested", 0).await?;
                    let before = uids(&app).await?;
                    let halted = async {
                        let is = |object: &_| stalled(object) == Some("LeverContested");
                        object_is(stage, "contested", "it is halted", Duration::from_mins(2), is).await?;
                        // Some more rounds of theirs, of which none is answered.
                        sleep(Duration::from_secs(12)).await;
                        Ok::<_, ScenarioError>(())
                    };
                    tokio::select! {
                        failed = overwrite(stage, "contested") => failed.map(drop)?,
                        halted = halted => halted?,
                    }
                    assert_eq!(uids(&app).await?, before, "a pod went on a lever that is not ours");
                    let now = app.service("nginx").await?.annotations().get(WEIGHTS).cloned();
                    assert_eq!(now.as_deref(), Some(THEIRS), "it is written against without end");
                    act(stage, "contested", "retry").await?;
                    is_in(stage, "contested", "Succeeded").await.map(drop)
                }),
            )
            .await?;
        as_undisturbed(&run, 2)?;
        theirs_is_left(&app).await?;
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// Writes the same over and over, until it is dropped.
async fn overwrite(stage: &Stage, namespace: &str) -> Result<Infallible, ScenarioError> {
    loop {
        write_over(stage, namespace).await?;
        sleep(Duration::from_secs(5)).await;
    }
}

/// Somebody else writes over the lever, who knows nothing of us.
async fn write_over(stage: &Stage, namespace: &str) -> Result<(), ScenarioError> {
    let services: Api<Service> = Api::namespaced(stage.cluster().client(), namespace);
    let patch = Patch::Merge(json!({"metadata": {"annotations": {WEIGHTS: THEIRS}}}));
    services.patch("nginx", &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Of the lever nothing is left but what they have written over it.
async fn theirs_is_left(app: &Deployed<'_>) -> Result<(), Failed> {
    let left = app.service("nginx").await?.annotations().get(WEIGHTS).cloned().unwrap_or_default();
    let (left, theirs): (Value, Value) = (serde_json::from_str(&left)?, serde_json::from_str(THEIRS)?);
    // A list of nobody says nothing.
    let mut with_nobody = theirs.clone();
    with_nobody["groups"] = json!([]);
    if left != theirs && left != with_nobody {
        return Err(format!("theirs has become {left}").into());
    }
    Ok(())
}

/// The surge of a set whose pods go one after the other is drained and goes, the last pod first. While that one ends,
/// somebody writes over the lever, so that the other one serves again: it must not go with what it got.
pub fn reprieved(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let app = App {
            replicas: 1,
            in_order: true,
            pre_stop: Some(Duration::from_secs(6)),
            grace: Duration::from_secs(20),
            ..App::nginx("ordered")
        };
        let app = begin(stage, app, |spec| spec["surge"] = json!({"replicas": 2})).await?;
        let pods: Api<Pod> = Api::namespaced(stage.cluster().client(), "ordered");
        let run = app
            .run_under(&light(), async {
                app.set_image("lab/nginx:v2").await?;
                until("the last pod of the surge goes", Duration::from_mins(3), async || {
                    let last = pods.get_opt("nginx-2").await?;
                    let goes = last.is_some_and(|pod| pod.metadata.deletion_timestamp.is_some());
                    Ok(if goes { Ok(()) } else { Err("it is there, or not yet".to_owned()) })
                })
                .await?;
                write_over(stage, "ordered").await?;
                is_in(stage, "ordered", "Succeeded").await.map(drop)
            })
            .await?;
        lossless(&run)?;
        as_before(&app, "lab/nginx:v2", &[]).await?;
        theirs_is_left(&app).await?;
        // The one that was replaced, the surge, and once more the pod that was ending.
        let mut names: Vec<&str> = run.deletions.iter().map(|deletion| deletion.pod.as_str()).collect();
        names.sort_unstable();
        if names != ["nginx-0", "nginx-1", "nginx-2", "nginx-2"] {
            return Err(format!("not as one that waited and was drained again: {names:?}").into());
        }
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// Each part of the cluster and of the cloud fails for a while, at another moment of the run. None of these cuts a
/// connection.
pub fn parts(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let soon = |spec: &mut Value| spec["traffic"]["confirmTimeout"] = json!("5s");
        let app = begin(stage, App { replicas: 2, ..App::nginx("parts") }, soon).await?;
        let run = app
            .run_under(
                &light(),
                Box::pin(async {
                    app.set_image("lab/nginx:v2").await?;

                    // A count that is not newer than the last says nothing, so the pod stays.
                    drains(stage, "parts", 0).await?;
                    let kubelet = stage.cluster().pause(Part::Kubelet);
                    stays(&app, Duration::from_secs(30)).await?;
                    kubelet.resume();

                    let first = |object: &_| phase(object) == "Attach";
                    object_is(stage, "parts", "the first is attached", Duration::from_mins(3), first).await?;
                    let controller = stage.balancer().stop_controller();
                    let waits = |object: &_| stalled(object) == Some("LeverNotConfirmed");
                    object_is(stage, "parts", "it is stalled", Duration::from_mins(1), waits).await?;
                    stays(&app, Duration::from_secs(10)).await?;
                    controller.start();

                    drains(stage, "parts", 1).await?;
                    stage.cluster().restart(Part::ApiServer).await?;

                    // Its surge drains too.
                    is_in(stage, "parts", "Reclaim").await?;
                    let etcd = stage.cluster().pause(Part::Etcd);
                    sleep(Duration::from_secs(10)).await;
                    etcd.resume();
                    is_in(stage, "parts", "Succeeded").await.map(drop)
                }),
            )
            .await?;
        as_undisturbed(&run, 2)?;
        as_before(&app, "lab/nginx:v2", &[None]).await?;
        // The witness could not see while the API server was away; that one's own log has them all.
        let accepted = deletions(stage, "parts").await?.into_iter().filter(|code| *code < 300).count();
        if accepted != run.deletions.len() {
            return Err(format!("the API server's log has {accepted} deletions: {:#?}", run.deletions).into());
        }
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// No pod comes or goes for that long.
async fn stays(app: &Deployed<'_>, length: Duration) -> Result<(), ScenarioError> {
    let before = uids(app).await?;
    sleep(length).await;
    assert_eq!(uids(app).await?, before, "a pod went although nothing could be known of it");
    Ok(())
}
