//! Runs that are held, ended, or left without an answer.

use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture};
use kube::api::{DeleteParams, Patch, PatchParams};
use lab::balancer::{Behaviour, Fault};
use lab::scenario::{App, Stage, until};
use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::harness::{
    as_before, begin, drains, is_in, light, lossless, object_is, objects, phase, serve, stalled,
};

/// What is detached stays detached, and no pod is deleted while it holds.
pub fn paused(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let app = begin(stage, App { replicas: 2, ..App::nginx("paused") }, |_| {}).await?;
        let run = app
            .run_under(&light(), async {
                app.set_image("lab/nginx:v2").await?;
                is_in(stage, "paused", "Drain").await?;
                let api = objects(stage, "paused");
                let set = |paused: bool| Patch::Merge(json!({"spec": {"paused": paused}}));
                api.patch("nginx", &PatchParams::default(), &set(true)).await?;
                let held = |o: &lossless_upgrade::api::LosslessUpgrade| {
                    let conditions = o.status.iter().flat_map(|status| &status.conditions);
                    conditions.into_iter().any(|c| c.type_ == "Paused" && c.status == "True")
                };
                object_is(stage, "paused", "it is paused", Duration::from_secs(10), held).await?;
                let before: Vec<_> = app.pods().await?.into_iter().map(|pod| pod.metadata.uid).collect();
                // Longer than the drain would have taken.
                tokio::time::sleep(Duration::from_secs(12)).await;
                let after: Vec<_> = app.pods().await?.into_iter().map(|pod| pod.metadata.uid).collect();
                assert_eq!(before, after, "a pod went while the run was paused");
                assert!(
                    app.backends().await.iter().any(|backend| backend.weight == 0),
                    "nothing is detached any more"
                );
                api.patch("nginx", &PatchParams::default(), &set(false)).await?;
                is_in(stage, "paused", "Succeeded").await.map(drop)
            })
            .await?;
        lossless(&run)?;
        as_before(&app, "lab/nginx:v2", &[None]).await?;
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// The finalizer attaches, reclaims and restores; it never promotes.
pub fn deleted(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let app = begin(stage, App { replicas: 3, ..App::nginx("deleted") }, |_| {}).await?;
        let run = app
            .run_under(&light(), async {
                app.set_image("lab/nginx:v2").await?;
                drains(stage, "deleted", 1).await?;
                let api = objects(stage, "deleted");
                api.delete("nginx", &DeleteParams::default()).await?;
                until("the object is gone", Duration::from_mins(2), async || {
                    let left = api.get_opt("nginx").await?;
                    Ok(left.map_or(Ok(()), |object| Err(crate::harness::shown(&object))))
                })
                .await
            })
            .await?;
        lossless(&run)?;
        let images: Vec<_> = app
            .pods()
            .await?
            .into_iter()
            .filter_map(|pod| pod.spec?.containers.first()?.image.clone())
            .collect();
        if images != ["lab/nginx:v2", "lab/nginx:v1", "lab/nginx:v1"] {
            return Err(format!("pods were promoted or put back: {images:?}").into());
        }
        let annotations = app.service("nginx").await?.metadata.annotations.unwrap_or_default();
        if let Some(left) = annotations.get("service.cloud.tencent.com/lb-rs-weight") {
            return Err(format!("left on the Service: {left}").into());
        }
        app.in_rotation().await?;
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// A lever that does not answer is neither a failure of the version nor a reason to go on.
pub fn frozen(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let soon = |spec: &mut Value| spec["traffic"]["confirmTimeout"] = json!("5s");
        let app = begin(stage, App { replicas: 2, ..App::nginx("frozen") }, soon).await?;
        let run = Box::pin(app.run_under(&light(), async {
            app.set_image("lab/nginx:v2").await?;
            object_is(stage, "frozen", "it soaks its surge", Duration::from_mins(1), |o| {
                let run = o.status.as_ref().and_then(|status| status.run.as_ref());
                run.is_some_and(|run| format!("{:?}", run.step) == "Soak")
            })
            .await?;
            serve(stage, "frozen", 3).await?;
            stage
                .balancer()
                .set_in("frozen", Behaviour { fault: Some(Fault::NeverSync), ..Behaviour::default() });
            let held = |o: &_| phase(o) == "Detach" && stalled(o).is_some();
            let stalled = object_is(stage, "frozen", "it is stalled", Duration::from_mins(1), held).await;
            let before: Vec<_> = app.pods().await?.into_iter().map(|pod| pod.metadata.uid).collect();
            tokio::time::sleep(Duration::from_secs(10)).await;
            let after: Vec<_> = app.pods().await?.into_iter().map(|pod| pod.metadata.uid).collect();
            stage.balancer().set_in("frozen", Behaviour::default());
            stalled?;
            assert_eq!(before, after, "a pod went although no detach was confirmed");
            is_in(stage, "frozen", "Succeeded").await.map(drop)
        }))
        .await;
        stage.balancer().set_in("frozen", Behaviour::default());
        lossless(&run?)?;
        as_before(&app, "lab/nginx:v2", &[None]).await?;
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}
