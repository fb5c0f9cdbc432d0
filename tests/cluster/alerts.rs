//! What the people on call see, on a real Prometheus that scrapes the operator: alerts, the queries of
//! the dashboards, events, conditions.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture};
use kube::api::DeleteParams;
use lab::balancer::{Behaviour, Fault};
use lab::load::Profile;
use lab::prometheus::{self, Alert, Prometheus, Scraped};
use lab::scenario::{App, ScenarioError, Stage, until};
use libtest_mimic::Failed;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{as_before, begin, is_in, light, lossless, object_is, objects, phase, serve, stalled};
use crate::{dashboard, in_ci};

const NAMESPACE: &str = "alerts";
const STALLED: &str = "LosslessUpgradeStalled";

/// A load balancer that does not answer stalls a run. The alert fires, and goes when the run goes on.
/// Meanwhile every query of the dashboards has an answer.
pub fn fired(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        if !has_prometheus()? {
            return Ok(());
        }
        // No request that takes long: what is waited for here is the alert.
        let (began, load) = (lab::clock::now(), Profile { long_per_second: 0.0, ..light() });
        let seen = start(stage).await?;
        let soon = |spec: &mut Value| spec["traffic"]["confirmTimeout"] = json!("5s");
        let app = begin(stage, App { replicas: 1, ..App::nginx(NAMESPACE) }, soon).await?;
        app.set_image("lab/nginx:v2").await?;
        is_in(stage, NAMESPACE, "Succeeded").await?;
        let fired = seen.since("ALERTS{namespace=\"alerts\"}", began).await?;
        if !fired.is_empty() {
            return Err(format!("a run that goes well fires: {fired:#?}").into());
        }

        let run = app.run_under(&load, async {
            app.set_image("lab/nginx:v1").await?;
            object_is(stage, NAMESPACE, "it soaks its surge", Duration::from_mins(1), |o| {
                let run = o.status.as_ref().and_then(|status| status.run.as_ref());
                run.is_some_and(|run| format!("{:?}", run.step) == "Soak")
            })
            .await?;
            serve(stage, NAMESPACE, 2).await?;
            stage
                .balancer()
                .set_in(NAMESPACE, Behaviour { fault: Some(Fault::NeverSync), ..Behaviour::default() });
            let held = |o: &_| phase(o) == "Detach" && stalled(o).is_some();
            object_is(stage, NAMESPACE, "it is stalled", Duration::from_mins(1), held).await?;
            let since = Instant::now();
            let alert = firing(&seen, true).await?;
            println!(
                "    {STALLED} fires {:.1?} after the condition Stalled: {}",
                since.elapsed(),
                summary(alert.as_ref())
            );
            assert!(summary(alert.as_ref()).contains("LeverNotConfirmed"), "{alert:#?}");
            is_shown(&seen, began).await;
            stage.balancer().set_in(NAMESPACE, Behaviour::default());
            is_in(stage, NAMESPACE, "Succeeded").await?;
            firing(&seen, false).await.map(drop)
        });
        let run = run.await;
        stage.balancer().set_in(NAMESPACE, Behaviour::default());
        lossless(&run?)?;
        as_before(&app, "lab/nginx:v1", &[None]).await?;
        is_told(stage)?;

        objects(stage, NAMESPACE).delete("nginx", &DeleteParams::default()).await?;
        until("no series is left of an object that is gone", Duration::from_secs(30), async || {
            let left = seen.now("{__name__=~\"lossless_upgrade_.*\",namespace=\"alerts\"}").await;
            Ok(match left {
                Ok(left) if left.is_empty() => Ok(()),
                left => Err(format!("{left:?}")),
            })
        })
        .await?;
        app.remove().await?;
        seen.stop().await;
        Ok(())
    }
    .boxed_local()
}

/// Whether there is a Prometheus on this machine; in CI there must be one.
pub fn has_prometheus() -> Result<bool, Failed> {
    let found = lab::paths::find_program(prometheus::PROGRAM).is_some();
    if !found {
        println!("SKIPPED: no Prometheus here: apt-get install -y --no-install-recommends prometheus");
        if in_ci() {
            return Err("there must be one in CI".into());
        }
    }
    Ok(found)
}

/// With the shipped rules, which hold for a second only.
async fn start(stage: &Stage) -> Result<Prometheus, Failed> {
    let rules = fs::read_to_string(lab::paths::workspace().join("deploy/alerts/rules.yaml"))?;
    let seen =
        Prometheus::start(stage.cluster(), Scraped::operator(), &rules, Duration::from_secs(1)).await?;
    until("Prometheus has found both operators", Duration::from_secs(30), async || {
        Ok(match seen.now("sum(lossless_upgrade_leader) and count(lossless_upgrade_leader) == 2").await {
            Ok(found) if found.iter().any(|one| (one.value - 1.0).abs() < f64::EPSILON) => Ok(()),
            found => Err(format!("{found:?}")),
        })
    })
    .await?;
    Ok(seen)
}

/// Waits until the alert fires for the object, or does not any more.
async fn firing(seen: &Prometheus, wanted: bool) -> Result<Option<Alert>, ScenarioError> {
    let what = format!("{STALLED} {}", if wanted { "fires" } else { "fires no more" });
    until(&what, Duration::from_secs(20), async || {
        Ok(match seen.alerts().await {
            Ok(alerts) => {
                let ours = |one: &&Alert| {
                    one.fires(STALLED) && one.labels.get("namespace").is_some_and(|n| n == NAMESPACE)
                };
                let found = alerts.iter().find(ours).cloned();
                if found.is_some() == wanted { Ok(found) } else { Err(format!("{alerts:#?}")) }
            }
            Err(error) => Err(error.to_string()),
        })
    })
    .await
}

fn summary(alert: Option<&Alert>) -> &str {
    alert.and_then(|alert| alert.annotations.get("summary")).map_or("", String::as_str)
}

/// Every query of the dashboards has had an answer since then.
async fn is_shown(seen: &Prometheus, began: jiff::Timestamp) {
    let queries = dashboard::queries(NAMESPACE, "nginx");
    let mut empty = Vec::new();
    for query in &queries {
        match seen.since(&query.expr, began).await {
            Ok(series) if !series.is_empty() => {}
            Ok(_) => empty.push(format!("{}: {}", query.of, query.expr)),
            Err(error) => empty.push(format!("{}: {error}", query.of)),
        }
    }
    assert!(empty.is_empty(), "no data for\n{}", empty.join("\n"));
    println!("    {} queries of the dashboards answered", queries.len());
}

/// `kubectl` waits for the condition, and its `describe` tells the story by its events.
fn is_told(stage: &Stage) -> Result<(), Failed> {
    let lu = |rest: &[&str]| stage.cluster().kubectl(&[&["-n", NAMESPACE], rest].concat());
    lu(&["wait", "--for=condition=Ready", "lu/nginx", "--timeout=30s"])?;
    lu(&["wait", "--for=condition=Stalled=False", "lu/nginx", "--timeout=30s"])?;
    let told = lu(&["describe", "lu", "nginx"])?;
    let (_, events) = told.split_once("Events:").ok_or("no events")?;
    let reasons: BTreeSet<_> = events.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    let story = [
        "RunStarted",
        "SurgeAdded",
        "Verified",
        "Soaked",
        "Detaching",
        "LeverNotConfirmed",
        "Progressing",
        "Detached",
        "Drained",
        "PodReplaced",
        "Attached",
        "SurgeRemoved",
        "LeversRestored",
        "Succeeded",
    ];
    let missing: Vec<_> = story.iter().filter(|reason| !reasons.contains(*reason)).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} are not told in\n{events}").into()) }
}
