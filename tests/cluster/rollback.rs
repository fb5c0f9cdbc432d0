//! New versions that are not good.

use futures::future::{FutureExt, LocalBoxFuture};
use kube::ResourceExt;
use lab::load::Profile;
use lab::scenario::{App, Stage};
use libtest_mimic::Failed;
use serde_json::json;

use crate::harness::{as_before, begin, is_in, lossless, uids};

/// The surge shows it, and it owes nothing.
pub fn never_ready(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let app = App { image: "lab/app:v1".into(), ..App::nginx("never-ready") };
        let app = begin(stage, app, |spec| spec["verify"]["timeout"] = json!("15s")).await?;
        let before = uids(&app).await?;
        let run = app
            .run_under(&Profile { keep_alive_per_second: 200.0, ..Profile::default() }, async {
                app.set_image("lab/app:never-ready").await?;
                is_in(stage, "never-ready", "RolledBack").await.map(drop)
            })
            .await?;
        lossless(&run)?;
        as_before(&app, "lab/app:v1", &[None]).await?;
        let after = uids(&app).await?;
        if before != after {
            return Err(format!("serving pods were touched: {before:?}, then {after:?}").into());
        }
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// It passes its probes and the canary, and restarts where it serves first. What restarts is a
/// container beside the server: a server that dies cuts its own connections, whoever watches it.
pub fn flaky(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let app = App { sidecar: Some("lab/app:v1".into()), ..App::nginx("flaky") };
        let app = begin(stage, app, |spec| spec["verify"]["soak"] = json!("15s")).await?;
        let before = uids(&app).await?;
        let run = app
            .run_under(&Profile { keep_alive_per_second: 200.0, ..Profile::default() }, async {
                app.set_image_of("sidecar", "lab/app:flaky").await?;
                is_in(stage, "flaky", "RolledBack").await.map(drop)
            })
            .await?;
        lossless(&run)?;
        as_before(&app, "lab/nginx:v1", &[None]).await?;
        for pod in app.pods().await? {
            let sidecar =
                pod.spec.as_ref().and_then(|spec| spec.containers.iter().find(|c| c.name == "sidecar"));
            if sidecar.and_then(|sidecar| sidecar.image.as_deref()) != Some("lab/app:v1") {
                return Err(format!("{} is not back at the old version", pod.name_any()).into());
            }
        }
        let after = uids(&app).await?;
        let replaced: Vec<_> = before.iter().filter(|(name, uid)| after.get(*name) != Some(*uid)).collect();
        if replaced.len() != 1 {
            return Err(format!("more than the first batch was touched: {replaced:?}").into());
        }
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}
