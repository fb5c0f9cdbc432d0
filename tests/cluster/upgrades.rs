//! Upgrades that succeed, each under load.

use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture};
use kube::ResourceExt;
use lab::balancer::{Behaviour, Cloud, Fault};
use lab::load::Profile;
use lab::scenario::{App, AppService, Stage, UpdateStrategy};
use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::harness::{apply, as_before, begin, deploy, is_in, lossless, upgrade};
use crate::writes::Journal;

/// Requests of 8 s for pods with 5 s of grace.
fn long_requests() -> Profile {
    Profile {
        long_path: "/slow".into(),
        keep_alive_per_second: 300.0,
        one_shot_per_second: 80.0,
        ..Profile::default()
    }
}

/// The proof that the load can see a loss at all.
pub fn control(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let app = App {
            grace: Duration::from_secs(5),
            strategy: UpdateStrategy::RollingUpdate,
            ..App::nginx("control")
        };
        let app = stage.deploy(app).await?;
        let run = app
            .run_under(&long_requests(), async {
                app.set_image("lab/nginx:v2").await?;
                app.rolled_out().await
            })
            .await?;
        println!("    {} requests, {} lost", run.report.requests(), run.report.lost());
        if run.report.lost() == 0 {
            return Err("a RollingUpdate lost nothing: this load proves nothing".into());
        }
        if run.missing() == 0 || run.deletions.iter().all(lab::watcher::Deletion::was_drained) {
            return Err("the witness saw nothing wrong with a RollingUpdate: it proves nothing".into());
        }
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// Follow mode, the default probe, and what the run costs in writes and time.
pub fn one_by_one(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let app = begin(stage, App::nginx("one-by-one"), |_| {}).await?;
        let journal = Journal::open(stage, "one-by-one");
        let run = app
            .run_under(&Profile::default(), async {
                app.set_image("lab/nginx:v2").await?;
                app.upgraded("nginx").await.map(drop)
            })
            .await?;
        is_in(stage, "one-by-one", "Succeeded").await?;
        lossless(&run)?;
        as_before(&app, "lab/nginx:v2", &[None]).await?;
        journal.close(stage, 4, 1, 1).await?;
        let late = stage.operator_time("one-by-one", "nginx").await?.late;
        let share = late / run.took.as_secs_f64();
        println!("    acted {late:.1} s after it was due, {:.1} % of {:.0?}", share * 100.0, run.took);
        if share > 0.2 {
            return Err(format!("the operator itself took {:.0} % of the time", share * 100.0).into());
        }
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// Batches in percent, `spec.images`, two Services, two ports, an annotation that others share, the
/// http probe, ordinals that do not begin at 0: everything that names pods by their ordinals.
pub fn batches(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let weights = r#"{ "defaultWeight":10, "owner" : "team a",
            "groups":[{"key":{"proto":"TCP","port":8080},"statefulSets":[{"name":"other","weights":[{"weight":5,"podIndexes":[1]}]},{"name":"nginx","weights":[{"weight":20,"podIndexes":[8]}]}]}]}"#;
        let shared = AppService { weights: Some(weights.into()), ..AppService::new("nginx", &[80, 8080]) };
        let services = vec![shared, AppService::new("second", &[80])];
        let app = deploy(stage, App { services, first: 5, ..App::nginx("batches") }).await?;
        let object = upgrade(|spec| {
            spec["batches"] = json!({"size": "50%", "order": "Descending"});
            spec["images"] = json!({"nginx": "lab/nginx:v2"});
            spec["drain"]["probes"] =
                json!([{"http": {"port": 8081, "path": "/stub_status", "format": "NginxStubStatus"}}]);
        });
        let run = app
            .run_under(&Profile::default(), async {
                apply(stage, "batches", &object)?;
                is_in(stage, "batches", "Succeeded").await.map(drop)
            })
            .await?;
        lossless(&run)?;
        as_before(&app, "lab/nginx:v2", &[Some(weights.to_owned()), None]).await?;
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// The grace period helps neither: the pod must be empty when it goes.
pub fn deaf(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let app = App { image: "lab/app:deaf-v1".into(), grace: Duration::from_secs(5), ..App::nginx("deaf") };
        let probes = |spec: &mut Value| {
            spec["drain"]["probes"] = json!([
                {"socket": {}},
                {"http": {"port": 8081, "path": "/stub_status", "format": "NginxStubStatus", "via": "ApiServer", "threshold": 2}},
            ]);
        };
        let app = begin(stage, app, probes).await?;
        let run = app
            .run_under(&long_requests(), async {
                app.set_image("lab/app:deaf-v2").await?;
                app.upgraded("nginx").await.map(drop)
            })
            .await?;
        lossless(&run)?;
        as_before(&app, "lab/app:deaf-v2", &[None]).await?;
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// Another cloud's annotation, in force by the clock.
pub fn huawei(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let services = vec![AppService { cloud: Cloud::Huawei, ..AppService::new("nginx", &[80]) }];
        let app = begin(stage, App { services, ..App::nginx("huawei") }, |spec| {
            spec["traffic"]["levers"] = json!([{"cceService": {"confirmAfter": "5s"}}]);
            spec["batches"] = json!({"size": 2});
        })
        .await?;
        let run = app
            .run_under(&Profile::default(), async {
                app.set_image("lab/nginx:v2").await?;
                app.upgraded("nginx").await.map(drop)
            })
            .await?;
        lossless(&run)?;
        as_before(&app, "lab/nginx:v2", &[None]).await?;
        let service = app.service("nginx").await?;
        if service.annotations().contains_key("kubernetes.io/elb.custom-backend-weights") {
            return Err("the weights are left on the Service".into());
        }
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// Nothing but the confirmation tells that the load balancer is so far behind.
pub fn far_behind(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let app = begin(stage, App::nginx("far-behind"), |spec| spec["batches"] = json!({"size": 2})).await?;
        stage.balancer().set_in("far-behind", Behaviour::lagging(Duration::from_secs(10)));
        let run = app
            .run_under(&Profile::default(), async {
                app.set_image("lab/nginx:v2").await?;
                app.upgraded("nginx").await.map(drop)
            })
            .await;
        stage.balancer().set_in("far-behind", Behaviour::default());
        lossless(&run?)?;
        as_before(&app, "lab/nginx:v2", &[None]).await?;
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// Only the user can say when a change is in force, and only then it goes on.
pub fn without_stamps(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        stage
            .balancer()
            .set_in("no-stamps", Behaviour { fault: Some(Fault::NoStamps), ..Behaviour::default() });
        let outcome = upgraded_without_stamps(stage).await;
        stage.balancer().set_in("no-stamps", Behaviour::default());
        outcome
    }
    .boxed_local()
}

async fn upgraded_without_stamps(stage: &'static Stage) -> Result<(), Failed> {
    let app = deploy(stage, App { replicas: 2, ..App::nginx("no-stamps") }).await?;
    // Twice the lag that the user knows of.
    let levers = json!([{"tkeService": {"confirmAfter": "4s"}}]);
    apply(stage, "no-stamps", &upgrade(|spec| spec["traffic"]["levers"] = levers))?;
    is_in(stage, "no-stamps", "Idle").await?;
    let run = app
        .run_under(&Profile::default(), async {
            app.set_image("lab/nginx:v2").await?;
            app.upgraded("nginx").await.map(drop)
        })
        .await?;
    lossless(&run)?;
    as_before(&app, "lab/nginx:v2", &[None]).await?;
    app.remove().await?;
    Ok(())
}
