//! `kubectl lu`, as its user types it, through a real run.

use std::process::Output;
use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture};
use lab::scenario::{App, Stage};
use libtest_mimic::Failed;
use tokio::process::Command;
use tokio::time::Instant;

use crate::harness::{as_before, deploy, is_in, light, lossless};

const NAMESPACE: &str = "cli";
/// `kubectl lu get` takes no longer, from the start of the process to its end.
const QUICK: Duration = Duration::from_millis(150);

struct User(&'static Stage);

impl User {
    async fn runs(&self, args: &[&str]) -> Result<Output, Failed> {
        let output = Command::new(env!("CARGO_BIN_EXE_kubectl-lu"))
            .args(["--namespace", NAMESPACE])
            .args(args)
            .env("KUBECONFIG", self.0.cluster().kubeconfig())
            .output()
            .await?;
        Ok(output)
    }

    /// Runs a command that must end with this code and say this.
    async fn asks(&self, args: &[&str], code: i32, says: &str) -> Result<String, Failed> {
        let Output { status, stdout, stderr } = self.runs(args).await?;
        let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
        println!("    $ kubectl lu {}  # {:?}\n{text}", args.join(" "), status.code());
        if status.code() != Some(code) || !text.contains(says) {
            let want = format!("kubectl lu {}: must end with {code} and say {says:?}", args.join(" "));
            return Err(format!("{want}; it ended with {:?}:\n{text}", status.code()).into());
        }
        Ok(text)
    }
}

/// From a StatefulSet without an object to a finished run that was paused on its way.
pub fn through_a_run(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let user = User(stage);
        let app = deploy(stage, App { replicas: 2, ..App::nginx(NAMESPACE) }).await?;
        let yaml = user.asks(&["create", "nginx"], 0, "tkeService: {services: [nginx]}").await?;
        // As it is printed, but for the times that a test has not.
        let yaml = yaml.replace("soak: 30s", "soak: 4s").replace("settle: 5s", "settle: 1s");
        let yaml = yaml.replace("timeout: 30m", "stableFor: 3s\n    timeout: 5m");
        let file = std::env::temp_dir().join(format!("lu-cli-{}.yaml", std::process::id()));
        std::fs::write(&file, &yaml)?;
        let unapplied = user.asks(&["plan", "-f", &file.to_string_lossy()], 0, "batch 2 of 2").await;
        std::fs::remove_file(&file)?;
        unapplied?;
        stage.apply(NAMESPACE, &yaml)?;
        is_in(stage, NAMESPACE, "Idle").await?;
        user.asks(&["get"], 0, "Idle").await?;
        user.asks(&["wait", "nginx", "--timeout", "10s"], 0, "All 2 pods run").await?;
        user.asks(&["lint", "nginx"], 0, "NoPreStop").await?;
        user.asks(&["plan", "nginx"], 0, "No run is wanted").await?;
        user.asks(&["abort", "nginx"], 2, "no run is under way").await?;

        let run = app
            .run_under(&light(), async {
                app.set_image("lab/nginx:v2").await?;
                steered(&user, stage).await.map_err(|failed| lab::scenario::ScenarioError::TooLate {
                    what: "the run is steered".into(),
                    limit: Duration::ZERO,
                    seen: format!("{failed:?}"),
                })
            })
            .await?;
        lossless(&run)?;
        as_before(&app, "lab/nginx:v2", &[None]).await?;
        user.asks(&["history", "nginx"], 0, "Succeeded").await?;
        user.asks(&["status", "nginx"], 0, "Succeeded").await?;
        quick(&user).await?;
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// The template has just been set, and nobody needs to have noticed.
async fn steered(user: &User, stage: &'static Stage) -> Result<(), Failed> {
    user.asks(&["wait", "nginx", "--timeout", "1s"], 3, "not over after 1s").await?;
    is_in(stage, NAMESPACE, "Drain").await?;
    user.asks(&["pause", "nginx"], 0, "paused").await?;
    user.asks(&["status", "nginx"], 0, "nginx-0").await?;
    user.asks(&["explain", "nginx"], 0, "kubectl lu resume nginx").await?;
    user.asks(&["plan", "nginx"], 0, "held by spec.paused").await?;
    user.asks(&["history", "nginx"], 0, "under way").await?;
    user.asks(&["retry", "nginx"], 2, "nothing to retry").await?;
    user.asks(&["resume", "nginx"], 0, "resumed").await?;
    let followed = user.asks(&["status", "nginx", "-w", "--timeout", "5m"], 0, "Succeeded 2/2").await?;
    if followed.contains('\u{1b}') {
        return Err(format!("colours although it is no terminal: {followed:?}").into());
    }
    user.asks(&["wait", "nginx", "--timeout", "10s"], 0, "2 pods run").await.map(drop)
}

/// The list is there before one looks away. The middle of several: the machine has other things to do.
async fn quick(user: &User) -> Result<(), Failed> {
    let mut times = Vec::new();
    for _ in 0..11 {
        let began = Instant::now();
        user.runs(&["get"]).await?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let middle = times[times.len() / 2];
    println!("    kubectl lu get: {middle:.0?} in the middle of 11, {:.0?} the quickest", times[0]);
    if times[0] > QUICK { Err(format!("kubectl lu get takes {:.0?}", times[0]).into()) } else { Ok(()) }
}
