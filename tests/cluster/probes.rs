//! Ways to count that need an operator with more leave than the shipped one has.

use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use lab::load::{Profile, Protocol};
use lab::prometheus::{Prometheus, Scraped};
use lab::scenario::{App, ScenarioError, Stage, until};
use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::alerts::has_prometheus;
use crate::applications::{SHORTEST, long_kept, longest, talking, unsevered};
use crate::harness::{as_before, begin, drains, is_in, lossless, object_is, objects, phase};
use crate::own_operator::Operator;
use crate::rights;

const BY_PROMETHEUS: &str = "by-prometheus";
const BY_COMMAND: &str = "by-command";

/// A Prometheus counts an HAProxy's sessions. While it answers nobody nothing goes on, whatever is open.
pub fn prometheus(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        if !has_prometheus()? {
            return Ok(());
        }
        let _operator =
            Operator::start_with(stage, BY_PROMETHEUS, &["--prometheus-allow", "http://127.0.0.1:9090"])?;
        let pods = Scraped { namespace: BY_PROMETHEUS.into(), selector: "app=haproxy".into(), port: 8404 };
        let seen = Prometheus::start(stage.cluster(), pods, "groups: []\n", Duration::ZERO).await?;
        let app = begin(stage, App::haproxy(BY_PROMETHEUS), |spec| {
            let series = r#"haproxy_frontend_current_sessions{proxy="web",pod="{{pod}}"}"#;
            spec["targetRef"]["name"] = json!("haproxy");
            spec["batches"] = json!({"size": 2});
            spec["drain"]["probes"] = json!([{"prometheus": {
                "address": "http://127.0.0.1:9090",
                "query": format!("sum({series})"),
                "sampledAt": format!("min(timestamp({series}))"),
            }}]);
        })
        .await?;
        let run = app
            .run_under(&Profile { one_shot_per_second: 20.0, ..long_kept() }, async {
                app.set_image("lab/haproxy:v2").await?;
                drains(stage, BY_PROMETHEUS, 0).await?;
                seen.freeze();
                let held = held_while_all_leave(stage).await;
                seen.thaw();
                held?;
                app.upgraded("nginx").await.map(drop)
            })
            .await;
        seen.stop().await;
        let run = run?;
        lossless(&run)?;
        unsevered(&run)?;
        as_before(&app, "lab/haproxy:v2", &[None]).await?;
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// The drain says that it does not know, and no pod goes, for longer than any client stays.
async fn held_while_all_leave(stage: &Stage) -> Result<(), ScenarioError> {
    let unknown = |object: &lossless_upgrade::api::LosslessUpgrade| {
        let message = object.status.as_ref().map(|status| status.message.as_str()).unwrap_or_default();
        phase(object) == "Drain" && message.contains("127.0.0.1:9090")
    };
    object_is(stage, BY_PROMETHEUS, "the drain says who does not answer", Duration::from_mins(1), unknown)
        .await?;
    let uids = async || Ok::<_, ScenarioError>(stage.watcher().deletions(BY_PROMETHEUS).len());
    let before = uids().await?;
    tokio::time::sleep(longest()).await;
    let after = uids().await?;
    assert_eq!(before, after, "a pod went although nobody counted its connections");
    assert_eq!(phase(&objects(stage, BY_PROMETHEUS).get("nginx").await?), "Drain");
    Ok(())
}

/// Nobody listens on this port of a pod.
const CLOSED: u16 = 9;

/// Commands in the pods: one counts, one is a nudge at the start of the drain and is run once. Another nudge fails.
pub fn exec(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        rights::confine(stage).await?;
        let _operator = Operator::start_confined(stage, BY_COMMAND, &["--allow-exec"])?;
        let app = begin(stage, App::redis(BY_COMMAND), |spec: &mut Value| {
            spec["targetRef"]["name"] = json!("redis");
            spec["batches"] = json!({"size": 2});
            let count = json!({"container": "redis", "command": ["cat", "/proc/net/tcp", "/proc/net/tcp6"],
                "format": "ProcNetTcp"});
            let nudge = json!({"container": "redis", "command": ["redis-cli", "RPUSH", "nudges", "leave"]});
            spec["drain"]["probes"] = json!([{"exec": count}]);
            let to_nobody = json!({"port": CLOSED, "path": "/leave"});
            spec["drain"]["onStart"] = json!([{"exec": nudge}, {"http": to_nobody}]);
        })
        .await?;
        let run = app
            .run_under(&talking(&[Protocol::Blocking, Protocol::PubSub]), async {
                app.set_image("lab/redis:v2").await?;
                drains(stage, BY_COMMAND, 0).await?;
                for pod in ["redis-0", "redis-1"] {
                    until("the pod is nudged", Duration::from_secs(10), async || Ok(nudges(stage, pod)))
                        .await?;
                }
                // The clients stay for this long at least, and so does the drain.
                tokio::time::sleep(SHORTEST / 4).await;
                for pod in ["redis-0", "redis-1"] {
                    assert_eq!(nudges(stage, pod), Ok(()), "once and for all");
                }
                is_in(stage, BY_COMMAND, "Succeeded").await.map(drop)
            })
            .await?;
        lossless(&run)?;
        unsevered(&run)?;
        failed_nudge_is_told(stage).await?;
        rights::sufficed(stage).await?;
        as_before(&app, "lab/redis:v2", &[None]).await?;
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// What a nudge could not do is told, and held up nobody.
async fn failed_nudge_is_told(stage: &Stage) -> Result<(), Failed> {
    let events: Api<Event> = Api::namespaced(stage.cluster().client(), BY_COMMAND);
    let told = events.list(&ListParams::default()).await?.into_iter();
    let told = told.filter(|event| event.reason.as_deref() == Some("NudgeFailed"));
    let told: Vec<_> = told.filter_map(|event| event.note).collect();
    for pod in ["redis-0", "redis-1"] {
        let failure = format!("{pod}: POST :{CLOSED}/leave: ");
        if !told.iter().any(|note| note.starts_with(&failure)) {
            return Err(format!("no event NudgeFailed with `{failure}`: {told:#?}").into());
        }
    }
    Ok(())
}

/// Whether a pod was nudged once, by what the pod itself has.
fn nudges(stage: &Stage, pod: &str) -> Result<(), String> {
    let command = ["-n", BY_COMMAND, "exec", pod, "--", "redis-cli", "LLEN", "nudges"];
    match stage.cluster().kubectl(&command) {
        Ok(text) if text.trim() == "1" => Ok(()),
        Ok(text) => Err(format!("{} nudges", text.trim())),
        Err(error) => Err(error.to_string()),
    }
}
