//! Clients that no cloud weight reaches: through kube-proxy, and through a balancer that follows `EndpointSlices`.

use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture};
use kube::ResourceExt;
use lab::load::Profile;
use lab::scenario::{App, AppService, Deployed, Reached, Stage, UpdateStrategy};
use libtest_mimic::Failed;
use serde_json::json;

use crate::harness::{as_before, begin, is_in, lossless};

/// The three ways in, each by the label.
fn ways_in() -> Vec<AppService> {
    vec![
        AppService::by_label("nginx", Reached::LoadBalancer),
        AppService::by_label("inside", Reached::ClusterIp),
        AppService::by_label("node", Reached::NodePort),
    ]
}

/// Requests that are longer than the grace.
fn long_requests() -> Profile {
    Profile { long_path: "/slow".into(), ..Profile::default() }
}

fn app(namespace: &str) -> App {
    App { grace: Duration::from_secs(5), services: ways_in(), ..App::nginx(namespace) }
}

/// A detached pod has no label, and in the end every pod has it.
pub async fn all_serve(app: &Deployed<'_>) -> Result<(), Failed> {
    for pod in app.pods().await? {
        if pod.labels().get("serving").map(String::as_str) != Some("true") {
            return Err(format!("{} is left without its label", pod.name_any()).into());
        }
    }
    Ok(())
}

/// The proof that this load can see a loss by each of these ways.
pub fn control(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let app = App { strategy: UpdateStrategy::RollingUpdate, ..app("label-control") };
        let app = stage.deploy(app).await?;
        let run = app
            .run_under(&long_requests(), async {
                app.set_image("lab/nginx:v2").await?;
                app.rolled_out().await
            })
            .await?;
        println!("    {} requests, {} lost", run.report.requests(), run.report.lost());
        for way in ways_in() {
            // The first losses only, which are of all ways: the load asks them in turn.
            let of_way = |target: &str| target.split(':').next() == Some(way.name.as_str());
            let lost = run.report.losses.iter().filter(|loss| of_way(&loss.target)).count();
            println!("    {}: {lost} losses", way.name);
            if lost == 0 {
                let way = format!("{} ({:?})", way.name, way.reached);
                return Err(
                    format!("a RollingUpdate lost nothing by {way}: this load proves nothing there").into()
                );
            }
        }
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// The label alone, for all three.
pub fn by_label(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let app = begin(stage, app("by-label"), |spec| {
            spec["traffic"]["levers"] = json!([{"podLabel": {"key": "serving"}}]);
            // The lab's balancer is two seconds behind the slices.
            spec["traffic"]["settle"] = json!("4s");
        })
        .await?;
        let run = app
            .run_under(&long_requests(), async {
                app.set_image("lab/nginx:v2").await?;
                app.upgraded("nginx").await.map(drop)
            })
            .await?;
        is_in(stage, "by-label", "Succeeded").await?;
        lossless(&run)?;
        as_before(&app, "lab/nginx:v2", &[None, None, None]).await?;
        all_serve(&app).await?;
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// A cloud's weight for the clients outside, the label for those inside, in batches of two.
pub fn beside_a_cloud(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let services =
            vec![AppService::new("nginx", &[80]), AppService::by_label("inside", Reached::ClusterIp)];
        let app = begin(stage, App { services, ..app("two-levers") }, |spec| {
            spec["traffic"]["levers"] = json!([{"tkeService": {}}, {"podLabel": {"key": "serving"}}]);
            spec["batches"] = json!({"size": 2});
        })
        .await?;
        let run = app
            .run_under(&long_requests(), async {
                app.set_image("lab/nginx:v2").await?;
                app.upgraded("nginx").await.map(drop)
            })
            .await?;
        lossless(&run)?;
        as_before(&app, "lab/nginx:v2", &[None, None]).await?;
        all_serve(&app).await?;
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}
