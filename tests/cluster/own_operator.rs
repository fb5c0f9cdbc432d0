//! Tests that bring their own operators, which run out of the cluster, where nothing delays a restart.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::PathBuf;

use futures::FutureExt;
use lab::error::LabError;
use lab::gate::Gate;
use lab::process::Process;
use lab::scenario::{ScenarioError, Stage};
use libtest_mimic::Failed;
use tokio::process::Command;
use tokio::sync::{Mutex, RwLockWriteGuard};

use crate::harness::{Case, INSTALLED, ROOM};

/// Tests of this kind that run now. While there are any, the installed operator has no pods.
static RUNNING: Mutex<Option<Running>> = Mutex::const_new(None);

struct Running {
    tests: u32,
    _without_installed: RwLockWriteGuard<'static, ()>,
}

/// Plays a test beside others of its kind.
pub async fn play(stage: &'static Stage, case: Case) -> Result<(), Failed> {
    enter(stage).await?;
    let in_its_room = async {
        let _room = ROOM.acquire_many(case.size).await?;
        case.run(stage).await
    };
    // Also after a panic: the tests to come need the installed operator.
    let outcome = AssertUnwindSafe(in_its_room).catch_unwind().await;
    leave(stage).await?;
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

async fn enter(stage: &Stage) -> Result<(), ScenarioError> {
    let mut running = RUNNING.lock().await;
    if let Some(running) = &mut *running {
        running.tests += 1;
    } else {
        let without = INSTALLED.write().await;
        stage.scale_operator(0).await?;
        *running = Some(Running { tests: 1, _without_installed: without });
    }
    Ok(())
}

async fn leave(stage: &Stage) -> Result<(), ScenarioError> {
    let mut running = RUNNING.lock().await;
    let left = running.as_mut().map_or(0, |running| {
        running.tests -= 1;
        running.tests
    });
    if left == 0 {
        let back = stage.scale_operator(2).await;
        *running = None;
        back?;
    }
    Ok(())
}

/// An operator of one namespace, in a process of its own.
pub struct Operator {
    command: Box<dyn Fn() -> Command>,
    process: Process,
}

impl Operator {
    /// Starts one that speaks with the API server directly.
    pub fn start(stage: &Stage, namespace: &'static str) -> Result<Self, LabError> {
        Self::start_with(stage, namespace, &[])
    }

    /// Starts one with more arguments.
    pub fn start_with(stage: &Stage, namespace: &'static str, more: &[&str]) -> Result<Self, LabError> {
        Self::spawn(&format!("operator-{namespace}"), namespace, stage.cluster().kubeconfig(), more)
    }

    /// Starts one that is confined to what was bound to the lab's user without rights.
    pub fn start_confined(stage: &Stage, namespace: &'static str, more: &[&str]) -> Result<Self, LabError> {
        Self::spawn(&format!("operator-{namespace}"), namespace, stage.cluster().confined_kubeconfig(), more)
    }

    /// Starts one that speaks through a gate.
    pub fn start_behind(gate: &Gate, namespace: &'static str) -> Result<Self, LabError> {
        Self::spawn(&format!("operator-{namespace}-gate"), namespace, gate.kubeconfig()?, &[])
    }

    fn spawn(
        name: &str,
        namespace: &'static str,
        kubeconfig: PathBuf,
        more: &[&str],
    ) -> Result<Self, LabError> {
        let more: Vec<String> = more.iter().map(|argument| (*argument).to_owned()).collect();
        let command = move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_lossless-upgrade"));
            command
                .args(["run", "--namespace", namespace, "--metrics-address", "127.0.0.1:0"])
                .args(["--counter-image", "lossless-upgrade:lab"])
                .args(&more)
                .env("KUBECONFIG", &kubeconfig);
            command
        };
        let process = Process::spawn(name, &mut command())?;
        Ok(Self { command: Box::new(command), process })
    }

    /// Kills it by SIGKILL and starts it again at once.
    pub async fn restart(&mut self) -> Result<(), LabError> {
        self.process.kill().await;
        let name = self.process.name().to_owned();
        self.process = Process::spawn(&name, &mut (self.command)())?;
        Ok(())
    }

    /// Stops it where it is.
    pub fn freeze(&self) {
        self.process.freeze();
    }

    /// Lets it go on as if no time had passed.
    pub fn thaw(&self) {
        self.process.thaw();
    }
}
