//! Servers of other kinds with clients that keep their connections for long: what is upgraded must wait for each.

use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture, try_join_all};
use lab::load::{Profile, Protocol};
use lab::oracle::LossReport;
use lab::scenario::{App, Run, Stage, UpdateStrategy};
use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::dice::soaks;
use crate::harness::{as_before, begin, lossless};

/// As old as each client lets its connection become.
pub const SHORTEST: Duration = Duration::from_secs(20);

/// As old as any client lets its connection become: a minute with `SOAK=1`, and less where somebody waits for the
/// answer, as each drain lasts that long.
pub fn longest() -> Duration {
    Duration::from_secs(if soaks() { 60 } else { 40 })
}

/// Clients that speak this, and nothing else.
pub fn talking(protocols: &[Protocol]) -> Profile {
    Profile {
        sessions: protocols.iter().map(|protocol| (*protocol, 12)).collect(),
        life: SHORTEST..=longest(),
        ..Profile::none()
    }
}

/// What these servers lose when Kubernetes itself replaces their pods.
pub fn control(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let all = [
            (App::redis("redis-rolling"), talking(&[Protocol::Blocking, Protocol::PubSub])),
            (App::mosquitto("mosquitto-rolling"), talking(&[Protocol::Mqtt])),
            (App::haproxy("haproxy-rolling"), long_kept()),
            (App { replicas: 2, ..App::nginx("downloads-rolling") }, long_downloads()),
        ];
        try_join_all(all.map(|(app, profile)| severed(stage, app, profile))).await.map(drop)
    }
    .boxed_local()
}

async fn severed(stage: &'static Stage, app: App, profile: Profile) -> Result<(), Failed> {
    let image = format!("lab/{}:v2", app.name);
    let app = stage.deploy(App { strategy: UpdateStrategy::RollingUpdate, ..app }).await?;
    let run = app
        .run_under(&profile, async {
            app.set_image(&image).await?;
            app.rolled_out().await
        })
        .await?;
    let report = &run.report;
    println!(
        "    {image}: {} of {} requests lost, {} connections severed, {} closed between requests",
        report.lost(),
        report.requests(),
        report.severed,
        report.closed
    );
    if report.severed == 0 {
        return Err(format!("a RollingUpdate to {image} severed nobody: this load proves nothing").into());
    }
    app.remove().await?;
    Ok(())
}

/// Clients that wait for elements of lists, and that publish and subscribe.
pub fn redis(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let profile = talking(&[Protocol::Blocking, Protocol::PubSub]);
        upgraded(stage, App::redis("redis"), &profile, |_| {}).await
    }
    .boxed_local()
}

/// Messages of `QoS` 1 from client to client, both at one end of one connection.
pub fn mosquitto(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let profile = talking(&[Protocol::Mqtt]);
        upgraded(stage, App::mosquitto("mosquitto"), &profile, |_| {}).await
    }
    .boxed_local()
}

/// HTTP connections that are kept for long.
pub fn long_kept() -> Profile {
    Profile {
        keep_alive_connections: 16,
        keep_alive_per_second: 60.0,
        life: SHORTEST..=longest(),
        ..Profile::none()
    }
}

/// Downloads longer than the grace period, beside connections that are kept for long.
fn long_downloads() -> Profile {
    Profile { long_per_second: 1.0, long_path: "/download".into(), ..long_kept() }
}

/// Clients that take longer to read than the pod would be given to end.
pub fn downloads(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        upgraded(stage, App { replicas: 2, ..App::nginx("downloads") }, &long_downloads(), |_| {}).await
    }
    .boxed_local()
}

/// HAProxy's own count of its sessions.
pub fn haproxy(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let probe = |spec: &mut Value| {
            spec["drain"]["probes"] = json!([{"http": {
                "port": 8404, "path": "/stats;csv", "format": "HaproxyCsv", "haproxy": {"frontends": ["web"]},
            }}]);
        };
        let profile = Profile { one_shot_per_second: 20.0, ..long_kept() };
        upgraded(stage, App::haproxy("haproxy"), &profile, probe).await
    }
    .boxed_local()
}

/// Both pods at once, and one that takes their place meanwhile for each.
async fn upgraded(
    stage: &'static Stage,
    app: App,
    profile: &Profile,
    change: impl FnOnce(&mut Value),
) -> Result<(), Failed> {
    let image = format!("lab/{}:v2", app.name);
    let app = begin(stage, app, |spec| {
        spec["targetRef"]["name"] = json!(image.trim_start_matches("lab/").trim_end_matches(":v2"));
        spec["batches"] = json!({"size": 2});
        change(spec);
    })
    .await?;
    let run: Run = app
        .run_under(profile, async {
            app.set_image(&image).await?;
            app.upgraded("nginx").await.map(drop)
        })
        .await?;
    lossless(&run)?;
    unsevered(&run)?;
    as_before(&app, &image, &[None]).await?;
    app.remove().await?;
    Ok(())
}

/// Every connection was the client's to close. The lab's servers close none that is in use, so
/// one that was closed between two requests, which costs no request, went with its pod all the same.
pub fn unsevered(run: &Run) -> Result<(), Failed> {
    let LossReport { severed, closed, .. } = run.report;
    if severed + closed > 0 {
        let what = format!("{severed} connections severed, {closed} closed between requests");
        return Err(format!("{what}: {}", run.report).into());
    }
    Ok(())
}
