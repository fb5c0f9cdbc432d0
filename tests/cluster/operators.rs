//! Two operators in the cluster, and what happens to the one that leads.

use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture};
use jiff::Timestamp;
use lab::scenario::{App, Blow, ScenarioError, Stage};
use libtest_mimic::Failed;

use crate::crash::as_undisturbed;
use crate::harness::{as_before, begin, drains, is_in, light};

/// How long nobody may lead.
const TAKE_OVER: Duration = Duration::from_secs(20);

/// In one run: the leader's pod deleted, the leader's process killed, the leader frozen until the
/// other one leads, so that both are alive for a moment.
pub fn struck(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
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
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// Strikes the leader and says how long it took until one led again.
async fn strike(stage: &Stage, blow: Blow) -> Result<Duration, ScenarioError> {
    let leader = stage.leader(Timestamp::MIN, |_| true).await?;
    let at = stage.strike_leader(&leader, blow).await?;
    let other = |pod: &str| match blow {
        Blow::Delete | Blow::Freeze => pod != leader.pod,
        // The kubelet starts it again in the same pod, which may lead again.
        Blow::Kill => true,
    };
    let next = stage.leader(at, other).await;
    // Whatever came of it: no frozen process may be left.
    stage.thaw(&leader);
    Ok(next?.renewed.duration_since(at).try_into().unwrap_or_default())
}
