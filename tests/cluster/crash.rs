//! The operator killed with SIGKILL, out of the cluster, so that nothing delays its restart.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture};
use lab::scenario::{App, AppService, Reached, Run, Stage};
use libtest_mimic::Failed;
use serde_json::json;
use tokio::time::sleep;

use crate::dice::{Dice, times};
use crate::harness::{as_before, begin, is_in, light, lossless, objects, phase};
use crate::labels::all_serve;
use crate::own_operator::Operator;

/// Each is met once in this order while one run goes by.
const PHASES: [&str; 5] = ["Surge", "Detach", "Drain", "Verify", "Reclaim"];

/// Every pod replaced once and the surge removed once, as in a run that nobody disturbs.
pub fn as_undisturbed(run: &Run, pods: usize) -> Result<(), Failed> {
    lossless(run)?;
    if run.deletions.len() != pods + 1 {
        let (have, wanted) = (run.deletions.len(), pods + 1);
        return Err(format!("{have} pods were deleted instead of {wanted}: {:#?}", run.deletions).into());
    }
    Ok(())
}

/// Ends as the undisturbed run does.
pub fn killed(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let mut operator = Operator::start(stage, "killed")?;
        let services =
            vec![AppService::new("nginx", &[80]), AppService::by_label("inside", Reached::ClusterIp)];
        let app = begin(stage, App { replicas: 2, services, ..App::nginx("killed") }, |spec| {
            spec["traffic"]["levers"] = json!([{"tkeService": {}}, {"podLabel": {"key": "serving"}}]);
        })
        .await?;
        let run = app
            .run_under(&light(), async {
                app.set_image("lab/nginx:v2").await?;
                for wanted in PHASES {
                    is_in(stage, "killed", wanted).await?;
                    operator.restart().await?;
                }
                is_in(stage, "killed", "Succeeded").await.map(drop)
            })
            .await?;
        as_undisturbed(&run, 2)?;
        as_before(&app, "lab/nginx:v2", &[None, None]).await?;
        all_serve(&app).await?;
        // Its finalizer needs an operator until the namespace is gone.
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// Wherever it is met, one upgrade after the other ends as an undisturbed one does.
pub fn at_random(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let mut dice = Dice::cast("killed at random moments");
        let mut operator = Operator::start(stage, "random")?;
        let app = begin(stage, App { replicas: 2, ..App::nginx("random") }, |_| {}).await?;
        let mut left = times(5, 30);
        let mut met: BTreeMap<String, u32> = BTreeMap::new();
        for image in ["lab/nginx:v2", "lab/nginx:v1"].into_iter().cycle() {
            let run = app
                .run_under(
                    &light(),
                    Box::pin(async {
                        app.set_image(image).await?;
                        let mut ended = Box::pin(app.upgraded("nginx"));
                        while left > 0 {
                            let moment = dice.time(Duration::from_millis(200)..Duration::from_secs(14));
                            tokio::select! {
                                ended = &mut ended => return ended.map(drop),
                                () = sleep(moment) => {}
                            }
                            *met.entry(phase(&objects(stage, "random").get("nginx").await?)).or_default() +=
                                1;
                            operator.restart().await?;
                            left -= 1;
                        }
                        ended.await.map(drop)
                    }),
                )
                .await?;
            as_undisturbed(&run, 2)?;
            as_before(&app, image, &[None]).await?;
            if left == 0 {
                break;
            }
        }
        println!("    killed in these phases: {met:?}");
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}
