//! The operator's token is refused by the API server in mid-run, as one that has expired, until another one is in its file.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture};
use lab::paths;
use lab::scenario::{App, ScenarioError, Stage, until};
use libtest_mimic::Failed;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::crash::as_undisturbed;
use crate::harness::{apply, as_before, begin, drains, is_in, light, objects, phase};
use crate::own_operator::Operator;
use crate::rights;

const NAMESPACE: &str = "token";
/// Its account is needed for longer than the application's namespace is there.
const HOME: &str = "default";
const ACCOUNT: &str = "token-operator";

/// What the operator has for a token that is not valid.
const REFUSED: (&str, &str) = ("lossless_upgrade_api_requests_total", r#"code="401""#);

/// Once refused it only waits, and with the next token it goes on.
pub fn refused(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        apply(
            stage,
            HOME,
            &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}}),
        )?;
        let account = json!({"kind": "ServiceAccount", "name": ACCOUNT, "namespace": HOME});
        rights::bind(stage, ACCOUNT, &account, &rights::SHIPPED)?;
        renew(stage, "token-of-yesterday")?;
        let operator = Operator::start_as(kubeconfig(stage)?, NAMESPACE)?;
        let app = begin(stage, App { replicas: 2, ..App::nginx(NAMESPACE) }, |_| {}).await?;
        let run = app
            .run_under(
                &light(),
                Box::pin(async {
                    app.set_image("lab/nginx:v2").await?;
                    drains(stage, NAMESPACE, 0).await?;
                    assert_eq!(refusals(&operator).await, Ok(0), "it was let in until here");
                    stage.cluster().kubectl(&["delete", "secret", "token-of-yesterday", "-n", HOME])?;
                    // The API server believes for some seconds what it has looked up.
                    until("the operator is refused", Duration::from_mins(1), async || {
                        Ok(match refusals(&operator).await {
                            Ok(0) => Err("not yet".to_owned()),
                            other => other.map(drop),
                        })
                    })
                    .await?;
                    let object = objects(stage, NAMESPACE).get("nginx").await?;
                    assert_ne!(phase(&object), "Succeeded", "the run was over before it was refused");
                    renew(stage, "token-of-today")?;
                    let renewed = Instant::now();
                    is_in(stage, NAMESPACE, "Succeeded").await?;
                    let refused = refusals(&operator).await.unwrap_or_default();
                    println!(
                        "    refused {refused} times, and done {:.0?} after the next token",
                        renewed.elapsed()
                    );
                    Ok(())
                }),
            )
            .await?;
        as_undisturbed(&run, 2)?;
        as_before(&app, "lab/nginx:v2", &[None]).await?;
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

async fn refusals(operator: &Operator) -> Result<u64, String> {
    operator.counted(REFUSED.0, REFUSED.1).await.map_err(|error| error.to_string())
}

fn file() -> PathBuf {
    Path::new(paths::RUN).join("operator.token")
}

/// Puts a token into the file that is valid for as long as there is a Secret of this name.
fn renew(stage: &Stage, secret: &str) -> Result<(), ScenarioError> {
    apply(stage, HOME, &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}}))?;
    let bound = ["--bound-object-kind", "Secret", "--bound-object-name", secret];
    let token = stage.cluster().kubectl(&[&["create", "token", ACCOUNT, "-n", HOME], &bound[..]].concat())?;
    // All of it at once, as the kubelet does.
    let next = file().with_extension("next");
    fs::write(&next, token.trim()).and_then(|()| fs::rename(&next, file())).expect("the sandbox has room");
    Ok(())
}

/// The lab's kubeconfig, but by the token in the file.
fn kubeconfig(stage: &Stage) -> Result<PathBuf, Failed> {
    let mut config: Value = serde_json::from_str(&fs::read_to_string(stage.cluster().kubeconfig())?)?;
    config["users"][0]["user"] = json!({"tokenFile": file()});
    let path = file().with_extension("kubeconfig");
    fs::write(&path, config.to_string())?;
    Ok(path)
}
