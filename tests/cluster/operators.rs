//! Two operators in the cluster, by the chart, and what happens to the one that leads.

use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture};
use jiff::Timestamp;
use lab::scenario::{App, Blow, Operators, ScenarioError, Stage};
use libtest_mimic::Failed;

use crate::chart;
use crate::crash::as_undisturbed;
use crate::harness::{as_before, begin, drains, is_in, light};

/// How long nobody may lead.
const TAKE_OVER: Duration = Duration::from_secs(20);

const RELEASE: &str = "pair";
/// Named by the chart; the release is in a namespace of the same name.
const THEY: Operators = Operators { namespace: RELEASE, lease: "pair-lossless-upgrade" };

/// In one run: the leader's pod deleted, the leader's process killed, the leader frozen until the
/// other one leads, so that both are alive for a moment.
pub fn struck(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        // Those of everybody are let be: others are tested with them at the same time.
        let (cluster, chart) = (stage.cluster(), chart::folder());
        let install =
            ["install", RELEASE, &chart, "-n", RELEASE, "--create-namespace", "--set", "image.tag=lab"];
        let ours_alone = [
            "--set",
            "watchNamespace=struck",
            "--set",
            "crds.install=false",
            "--set",
            "policy.enabled=false",
        ];
        cluster.kubectl(&["create", "namespace", "struck"])?;
        cluster.helm(&[&install[..], &ours_alone[..]].concat())?;
        let app = begin(stage, App { replicas: 3, ..App::nginx("struck") }, |_| {}).await?;
        let mut gaps = Vec::new();
        let run = app
            .run_under(
                &light(),
                Box::pin(async {
                    app.set_image("lab/nginx:v2").await?;
                    for (pod, blow) in [Blow::Delete, Blow::Kill, Blow::Freeze].into_iter().enumerate() {
                        drains(stage, "struck", pod).await?;
                        gaps.push((blow, strike(stage, blow).await?));
                    }
                    is_in(stage, "struck", "Succeeded").await.map(drop)
                }),
            )
            .await?;
        println!("    nobody led for {gaps:.1?}");
        if let Some((blow, gap)) = gaps.iter().find(|(_, gap)| *gap > TAKE_OVER) {
            return Err(format!("nobody led for {gap:?} after {blow:?}").into());
        }
        as_undisturbed(&run, 3)?;
        as_before(&app, "lab/nginx:v2", &[None]).await?;
        cluster.kubectl(&["delete", "lu", "--all", "-n", "struck", "--timeout=60s"])?;
        cluster.helm(&["uninstall", RELEASE, "-n", RELEASE, "--wait", "--timeout", "60s"])?;
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// Strikes the leader and says how long it took until one led again.
async fn strike(stage: &Stage, blow: Blow) -> Result<Duration, ScenarioError> {
    let leader = stage.leader(THEY, Timestamp::MIN, |_| true).await?;
    let at = stage.strike_leader(&leader, blow).await?;
    let other = |pod: &str| match blow {
        Blow::Delete | Blow::Freeze => pod != leader.pod,
        // The kubelet starts it again in the same pod, which may lead again.
        Blow::Kill => true,
    };
    let next = stage.leader(THEY, at, other).await;
    // Whatever came of it: no frozen process may be left.
    stage.thaw(&leader);
    Ok(next?.renewed.duration_since(at).try_into().unwrap_or_default())
}
