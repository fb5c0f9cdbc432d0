//! An operator behind a gate: a delete that comes late, and an API server in trouble.

use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use lab::gate::{Call, Fault, Gate};
use lab::scenario::{App, ScenarioError, Stage, until};
use libtest_mimic::Failed;
use lossless_upgrade::controller::names::FENCE;
use serde_json::json;

use crate::crash::as_undisturbed;
use crate::dice::Dice;
use crate::harness::{as_before, begin, is_in, light, objects};
use crate::own_operator::Operator;
use crate::writes::deletions;

const LATE: &str = "late-delete";

/// The process stops between its last look and its delete; another one goes on, and the delete
/// arrives when the pod may not be deleted any more.
pub fn late_delete(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let gate = Gate::open(stage.cluster()).await?;
        let first = Operator::start_behind(&gate, LATE)?;
        let app = begin(stage, App { replicas: 2, ..App::nginx(LATE) }, |_| {}).await?;
        let pods: Api<Pod> = Api::namespaced(stage.cluster().client(), LATE);
        let mut second = None;
        let run = app
            .run_under(
                &light(),
                Box::pin(async {
                    // The control: nobody takes this pod back, so however late its delete comes, it is accepted.
                    let mut held = gate.hold(Call::deletes_a_pod);
                    app.set_image("lab/nginx:v2").await?;
                    held.arrived().await.expect("the gate is open");
                    first.freeze();
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    let answer = held.release().await.expect("the API server answers");
                    assert_eq!(answer, 200, "a late delete that nothing speaks against");
                    first.thaw();

                    let mut held = gate.hold(Call::deletes_a_pod);
                    let call = held.arrived().await.expect("the gate is open");
                    first.freeze();
                    let pod = pods.get(call.path.rsplit('/').next().expect("a name")).await?;
                    pause(stage, true).await?;
                    second = Some(Operator::start(stage, LATE)?);
                    fenced(&pods, &pod).await?;
                    let answer = held.release().await.expect("the API server answers");
                    assert_eq!(answer, 409, "the delete of {} came late and was accepted", pod.name_any());
                    let now = pods.get(&pod.name_any()).await?;
                    assert_eq!((now.uid(), now.metadata.deletion_timestamp), (pod.uid(), None));

                    // Both alive from here on: whatever the first one still believes, it may do no harm.
                    first.thaw();
                    pause(stage, false).await?;
                    is_in(stage, LATE, "Succeeded").await.map(drop)
                }),
            )
            .await?;
        as_undisturbed(&run, 2)?;
        as_before(&app, "lab/nginx:v2", &[None]).await?;
        if !deletions(stage, LATE).await?.contains(&409) {
            return Err("the API server's own log has no delete that was refused".into());
        }
        app.remove().await?;
        drop((first, second));
        Ok(())
    }
    .boxed_local()
}

async fn pause(stage: &Stage, paused: bool) -> Result<(), ScenarioError> {
    let patch = Patch::Merge(json!({"spec": {"paused": paused}}));
    objects(stage, LATE).patch("nginx", &PatchParams::default(), &patch).await?;
    Ok(())
}

async fn fenced(pods: &Api<Pod>, pod: &Pod) -> Result<(), ScenarioError> {
    until("the pod is marked", Duration::from_secs(30), async || {
        let now = pods.get(&pod.name_any()).await?;
        let is = now.annotations().get(FENCE) != pod.annotations().get(FENCE);
        Ok(if is { Ok(()) } else { Err(format!("{:?}", now.annotations())) })
    })
    .await
}

/// One of each fault at random reads and writes, and the worst ones at deletes.
pub fn in_trouble(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let mut dice = Dice::cast("an API server in trouble");
        let gate = Gate::open(stage.cluster()).await?;
        let _operator = Operator::start_behind(&gate, "in-trouble")?;
        let app = begin(stage, App { replicas: 2, ..App::nginx("in-trouble") }, |_| {}).await?;
        let mut planned = vec![(Call::deletes_a_pod as fn(&Call) -> bool, 0, Fault::ReplyLost)];
        planned.push((Call::deletes_a_pod, 1, Fault::TooManyRequests));
        for fault in Fault::ALL {
            planned.push((Call::is_write, dice.below(40), fault));
            planned.push((Call::is_write, dice.below(40), fault));
            planned.push((is_read, dice.below(150), fault));
        }
        let run = app
            .run_under(
                &light(),
                Box::pin(async {
                    for (matches, after, fault) in &planned {
                        gate.disturb(*matches, *after, *fault);
                    }
                    app.set_image("lab/nginx:v2").await?;
                    app.upgraded("nginx").await.map(drop)
                }),
            )
            .await?;
        as_undisturbed(&run, 2)?;
        as_before(&app, "lab/nginx:v2", &[None]).await?;
        let met: Vec<_> = gate.passed().into_iter().filter(|passed| passed.fault.is_some()).collect();
        for passed in &met {
            let (fault, call) = (passed.fault, &passed.call);
            println!("    {fault:?} at {} {}", call.method, call.path);
        }
        if met.len() != planned.len() {
            return Err(format!("only {} of {} faults were met", met.len(), planned.len()).into());
        }
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

fn is_read(call: &Call) -> bool {
    !call.is_write()
}
