//! An operator that looks and looks: what a controller keeps of each look shows only after many of them.

use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture};
use kube::Api;
use kube::api::{Patch, PatchParams};
use lab::process::Memory;
use lab::scenario::{App, ScenarioError, Stage, until};
use libtest_mimic::Failed;
use lossless_upgrade::api::LosslessUpgrade;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::dice::times;
use crate::harness::{begin, drains, is_in, object_is, objects};
use crate::own_operator::Operator;

const NAMESPACE: &str = "memory";
/// By so many KiB what it has made itself may grow from a fifth of the looks to the last one, as the allocator's pages come
/// and go: over 8,000 looks that is less than three hundred bytes a look.
const SLACK: u64 = 2 << 10;
/// What `deploy/deployment.yaml` lets it have at most, in KiB.
const LIMIT: u64 = 256 << 10;

/// In the midst of a run its memory after all looks is what it was after the first of them.
pub fn flat(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let looks = u64::from(times(500, 10_000));
        let operator = Operator::start(stage, NAMESPACE)?;
        let long = |spec: &mut Value| spec["drain"]["stableFor"] = json!("15s");
        let app = begin(stage, App { replicas: 2, ..App::nginx(NAMESPACE) }, long).await?;
        let api = objects(stage, NAMESPACE);
        let set = |paused: bool| Patch::Merge(json!({"spec": {"paused": paused}}));
        app.set_image("lab/nginx:v2").await?;
        // In the midst of a run, with all its watches, and with a counter that is asked every second.
        drains(stage, NAMESPACE, 0).await?;
        api.patch("nginx", &PatchParams::default(), &set(true)).await?;
        object_is(stage, NAMESPACE, "it is paused", Duration::from_secs(10), |object| {
            object
                .status
                .iter()
                .flat_map(|status| &status.conditions)
                .any(|one| one.type_ == "Paused" && one.status == "True")
        })
        .await?;
        let began = Instant::now();
        let early = after(&operator, &api, looks / 5).await?;
        let late = after(&operator, &api, looks).await?;
        println!("    {looks} looks in {:.0?}: {early:?}, then {late:?}", began.elapsed());
        if late.anonymous > early.anonymous + SLACK || late.resident > LIMIT {
            return Err(
                format!("it grows: {early:?} after {} looks, {late:?} after {looks}", looks / 5).into()
            );
        }
        api.patch("nginx", &PatchParams::default(), &set(false)).await?;
        is_in(stage, NAMESPACE, "Succeeded").await?;
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// Has the operator look until it has done so often, and says what memory it has then.
async fn after(operator: &Operator, api: &Api<LosslessUpgrade>, looks: u64) -> Result<Memory, ScenarioError> {
    until(&format!("{looks} looks"), Duration::from_mins(40), async || {
        for look in 0..20 {
            let patch = Patch::Merge(json!({"metadata": {"annotations": {"lab/look": look.to_string()}}}));
            api.patch("nginx", &PatchParams::default(), &patch).await?;
        }
        let counted = operator.counted("lossless_upgrade_reconcile_seconds_count", "").await;
        let counted = counted.expect("it serves its metrics");
        Ok(if counted >= looks { Ok(operator.memory()) } else { Err(format!("{counted} until now")) })
    })
    .await
}
