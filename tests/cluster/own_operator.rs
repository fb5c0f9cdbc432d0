//! Tests that bring their own operators, which run out of the cluster, where nothing delays a restart.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};

use futures::FutureExt;
use lab::error::LabError;
use lab::gate::Gate;
use lab::process::{Memory, Process};
use lab::scenario::{ScenarioError, Stage};
use libtest_mimic::Failed;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
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

/// Where the next one serves its metrics: below the ports that the kernel gives away, and nobody else listens there.
static PORT: AtomicU16 = AtomicU16::new(18_081);

/// An operator of one namespace, in a process of its own.
pub struct Operator {
    command: Box<dyn Fn() -> Command>,
    process: Process,
    metrics: String,
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

    /// Starts one that is whom a kubeconfig says.
    pub fn start_as(kubeconfig: PathBuf, namespace: &'static str) -> Result<Self, LabError> {
        Self::spawn(&format!("operator-{namespace}"), namespace, kubeconfig, &[])
    }

    fn spawn(
        name: &str,
        namespace: &'static str,
        kubeconfig: PathBuf,
        more: &[&str],
    ) -> Result<Self, LabError> {
        let more: Vec<String> = more.iter().map(|argument| (*argument).to_owned()).collect();
        let metrics = format!("127.0.0.1:{}", PORT.fetch_add(1, Ordering::Relaxed));
        let address = metrics.clone();
        let command = move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_lossless-upgrade"));
            command
                .args(["run", "--namespace", namespace, "--metrics-address", &address])
                .args(["--counter-image", "lossless-upgrade:lab"])
                .args(&more)
                .env("KUBECONFIG", &kubeconfig);
            command
        };
        let process = Process::spawn(name, &mut command())?;
        Ok(Self { command: Box::new(command), process, metrics })
    }

    /// Kills it by SIGKILL and starts it again at once.
    pub async fn restart(&mut self) -> Result<(), LabError> {
        self.process.kill().await;
        let name = self.process.name().to_owned();
        self.process = Process::spawn(&name, &mut (self.command)())?;
        Ok(())
    }

    /// What it has counted: the sum of the series of a metric whose labels have this in them.
    pub async fn counted(&self, metric: &str, label: &str) -> std::io::Result<u64> {
        let mut stream = TcpStream::connect(&self.metrics).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let of_metric = answer.lines().filter_map(|line| line.strip_prefix(metric));
        let series = of_metric.filter(|rest| rest.starts_with([' ', '{']) && rest.contains(label));
        Ok(series.filter_map(|series| series.rsplit_once(' ')?.1.parse::<u64>().ok()).sum())
    }

    /// The memory of its process.
    pub fn memory(&self) -> Memory {
        self.process.memory().expect("it runs")
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
