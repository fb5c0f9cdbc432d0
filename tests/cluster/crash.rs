//! The operator killed with SIGKILL in five phases of one run, out of the cluster, so that nothing
//! delays its restart.

use std::process::Stdio;
use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use lab::load::Profile;
use lab::scenario::{App, ScenarioError, Stage, until};
use libtest_mimic::Failed;
use serde_json::json;
use tokio::process::{Child, Command};

use crate::harness::{apply, as_before, deploy, is_in, lossless, upgrade};

const NAMESPACE: &str = "killed";
/// Each is met once in this order while one run goes by.
const PHASES: [&str; 5] = ["Surge", "Detach", "Drain", "Verify", "Reclaim"];

fn operator(stage: &Stage) -> std::io::Result<Child> {
    let log = lab::paths::logs().join("killed-operator.log");
    let log = std::fs::File::options().create(true).append(true).open(log)?;
    Command::new(env!("CARGO_BIN_EXE_lossless-upgrade"))
        .args(["run", "--namespace", NAMESPACE, "--metrics-address", "127.0.0.1:18080"])
        .args(["--counter-image", "lossless-upgrade:lab"])
        .env("KUBECONFIG", stage.cluster().kubeconfig())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
}

async fn scale_installed(stage: &Stage, replicas: i32) -> Result<(), ScenarioError> {
    let api: Api<Deployment> = Api::namespaced(stage.cluster().client(), "lossless-upgrade-system");
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    api.patch("lossless-upgrade", &PatchParams::default(), &patch).await?;
    until("the installed operator has the wanted pods", Duration::from_mins(1), async || {
        let status = api.get("lossless-upgrade").await?.status.unwrap_or_default();
        let have = (status.replicas.unwrap_or(0), status.ready_replicas.unwrap_or(0));
        Ok(if have == (replicas, replicas) { Ok(()) } else { Err(format!("{have:?}")) })
    })
    .await
}

/// Ends as the undisturbed run does.
pub fn killed(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        scale_installed(stage, 0).await?;
        let outcome = killed_alone(stage).await;
        scale_installed(stage, 2).await?;
        outcome
    }
    .boxed_local()
}

async fn killed_alone(stage: &'static Stage) -> Result<(), Failed> {
    let app = deploy(stage, App { replicas: 3, ..App::nginx(NAMESPACE) }).await?;
    let mut child = operator(stage)?;
    apply(stage, NAMESPACE, &upgrade(|_| {}))?;
    is_in(stage, NAMESPACE, "Idle").await?;
    let run = app
        .run_under(&Profile::default(), async {
            app.set_image("lab/nginx:v2").await?;
            for wanted in PHASES {
                is_in(stage, NAMESPACE, wanted).await?;
                child.start_kill().expect("the operator is killed");
                child.wait().await.expect("it ends");
                child = operator(stage).expect("it starts again");
            }
            is_in(stage, NAMESPACE, "Succeeded").await.map(drop)
        })
        .await?;
    lossless(&run)?;
    as_before(&app, "lab/nginx:v2", &[None]).await?;
    // Three replaced, one surge pod removed.
    if run.deletions.len() != 4 {
        return Err(
            format!("{} pods were deleted instead of 4: {:#?}", run.deletions.len(), run.deletions).into()
        );
    }
    // Its finalizer needs an operator until the namespace is gone.
    app.remove().await?;
    child.start_kill()?;
    child.wait().await?;
    Ok(())
}
