//! Weights on the pods themselves, and a cloud that says why it does not follow.

use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture};
use kube::ResourceExt;
use lab::balancer::{Backend, Behaviour, Fault, Kind};
use lab::load::Profile;
use lab::scenario::{App, AppService, Deployed, Run, ScenarioError, Stage};
use libtest_mimic::Failed;
use lossless_upgrade::api::LosslessUpgrade;
use serde_json::{Value, json};

use crate::harness::{
    act, as_before, begin, drains, is_in, light, lossless, object_is, phase, serve, stalled,
};
use crate::writes::OPERATOR;

/// No pod keeps a weight, nor what was kept of one.
async fn none_is_weighed(app: &Deployed<'_>) -> Result<(), Failed> {
    for pod in app.pods().await? {
        if let Some(left) = pod.annotations().keys().find(|key| key.ends_with("custom-weight")) {
            return Err(format!("{} is left with {left}", pod.name_any()).into());
        }
    }
    Ok(())
}

/// The operator was let read of what version each of the cloud's controllers is.
async fn versions_were_read(stage: &Stage) -> Result<(), Failed> {
    let log = tokio::fs::read_to_string(stage.cluster().audit_log()).await?;
    for config in ["tke-service-controller-config", "tke-ingress-controller-config"] {
        if !was_read(&log, config) {
            return Err(format!("{config} was not read").into());
        }
    }
    Ok(())
}

fn was_read(log: &str, config: &str) -> bool {
    let read = [
        ("/user/username", json!(OPERATOR)),
        ("/verb", json!("get")),
        ("/objectRef/namespace", json!("kube-system")),
        ("/objectRef/name", json!(config)),
        ("/responseStatus/code", json!(200)),
    ];
    let mut events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.any(|event| read.iter().all(|(at, is)| event.pointer(at) == Some(is)))
}

/// By the lab's own record: the balancer of the Ingress had each pod that went, and sent nothing new to it. That of the
/// Services is asked of every run.
fn left_the_ingress(run: &Run) -> Result<(), Failed> {
    for deletion in &run.deletions {
        let by_ingress = |backend: &&Backend| backend.owner.kind == Kind::Ingress;
        let weights: Vec<_> = deletion.backends.iter().filter(by_ingress).map(|one| one.weight).collect();
        if weights != [0] {
            return Err(format!("{} went with {weights:?} behind the Ingress", deletion.pod).into());
        }
    }
    Ok(())
}

/// The load balancers of two Services and that of an Ingress read the weight of each pod, and nothing is written on the
/// Services.
pub fn by_pod(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let services = vec![
            AppService::new("nginx", &[80, 8080]),
            AppService::new("second", &[80]),
            AppService::behind_ingress("behind"),
        ];
        let app = begin(stage, App { services, ..App::nginx("by-pod") }, |spec| {
            // More than twice what the Ingress's balancer is behind: nothing else tells when it has followed.
            let behind = json!({"ingressServices": ["behind"], "confirmAfter": "5s"});
            spec["traffic"]["levers"] = json!([{"tkePod": behind}]);
            spec["batches"] = json!({"size": 2});
        })
        .await?;
        let run = app
            .run_under(&Profile::default(), async {
                app.set_image("lab/nginx:v2").await?;
                app.upgraded("nginx").await?;
                is_in(stage, "by-pod", "Succeeded").await.map(drop)
            })
            .await?;
        lossless(&run)?;
        left_the_ingress(&run)?;
        as_before(&app, "lab/nginx:v2", &[None, None, None]).await?;
        none_is_weighed(&app).await?;
        versions_were_read(stage).await?;
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// Two pods with weights of their own. A drain is long enough to act before the first of them is replaced.
async fn with_time(
    stage: &'static Stage,
    namespace: &'static str,
) -> Result<Deployed<'static>, ScenarioError> {
    begin(stage, App { replicas: 2, ..App::nginx(namespace) }, |spec| {
        spec["traffic"]["levers"] = json!([{"tkePod": {}}]);
        spec["drain"]["stableFor"] = json!("15s");
    })
    .await
}

/// Pods that are taken out and were not replaced get their weight back.
pub fn put_back(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let app = with_time(stage, "pod-abort").await?;
        let run = app
            .run_under(&light(), async {
                app.set_image("lab/nginx:v2").await?;
                drains(stage, "pod-abort", 0).await?;
                act(stage, "pod-abort", "abort").await?;
                is_in(stage, "pod-abort", "Aborted").await.map(drop)
            })
            .await?;
        lossless(&run)?;
        as_before(&app, "lab/nginx:v1", &[None]).await?;
        none_is_weighed(&app).await?;
        app.in_rotation().await?;
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// What is written on the pods outlives their StatefulSet, so it is taken off all the same.
pub fn orphaned(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let app = with_time(stage, "orphans").await?;
        let run = app
            .run_under(&light(), async {
                app.set_image("lab/nginx:v2").await?;
                drains(stage, "orphans", 0).await?;
                let set = ["delete", "statefulset", "nginx", "-n", "orphans", "--cascade=orphan"];
                stage.cluster().kubectl(&set)?;
                let is_over = |object: &LosslessUpgrade| {
                    object.status.as_ref().is_some_and(|status| status.run.is_none())
                };
                object_is(stage, "orphans", "its run is over", Duration::from_mins(1), is_over)
                    .await
                    .map(drop)
            })
            .await?;
        lossless(&run)?;
        if app.pods().await?.len() < 3 {
            return Err("a pod went with its StatefulSet".into());
        }
        none_is_weighed(&app).await?;
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// The cloud's controller begins to fail in this way, and the object says so.
async fn fails(stage: &'static Stage, fault: Fault, besides: &str) -> Result<(), ScenarioError> {
    stage.balancer().set_in("told-why", Behaviour { fault: Some(fault), ..Behaviour::default() });
    let is_told = |object: &LosslessUpgrade| {
        let message = object.status.as_ref().map_or("", |status| status.message.as_str());
        phase(object) == "Detach"
            && stalled(object) == Some("LeverNotConfirmed")
            && message.contains("CloudApiFailed of Service nginx")
            && message.contains(besides)
    };
    object_is(stage, "told-why", "it says why", Duration::from_mins(1), is_told).await.map(drop)
}

/// What the cloud's controller has to say stands in the object while the run waits for it, and nothing else is believed.
pub fn told_why(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let app = begin(stage, App { replicas: 2, ..App::nginx("told-why") }, |spec| {
            spec["batches"] = json!({"size": 2});
        })
        .await?;
        let run = Box::pin(app.run_under(&light(), async {
            app.set_image("lab/nginx:v2").await?;
            object_is(stage, "told-why", "it soaks its surge", Duration::from_mins(1), |object| {
                let run = object.status.as_ref().and_then(|status| status.run.as_ref());
                run.is_some_and(|run| format!("{:?}", run.step) == "Soak")
            })
            .await?;
            serve(stage, "told-why", 4).await?;
            fails(stage, Fault::Fail, "").await?;
            fails(stage, Fault::FailStamped, "no synchronisation has begun since").await?;
            stage.balancer().set_in("told-why", Behaviour::default());
            is_in(stage, "told-why", "Succeeded").await.map(drop)
        }))
        .await;
        stage.balancer().set_in("told-why", Behaviour::default());
        lossless(&run?)?;
        as_before(&app, "lab/nginx:v2", &[None]).await?;
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}
