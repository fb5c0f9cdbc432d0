//! How fast and how small the release build is: `make bench`. Each number is printed, with the
//! machine it is from, and held to what is promised.

#![allow(missing_docs, reason = "a test binary has no documentation")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails says so")]

mod machine;
mod operator;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use lab::balancer::Behaviour;
use lab::progress::Progress;
use lab::sandbox::{self, Inside, Need};
use lab::scenario::{App, ScenarioError, Stage, UpdateStrategy, until};
use tokio::time::Instant;

use operator::Operator;

const NAMESPACE: &str = "bench";
/// The kind, as kubectl names it.
const CRD: &str = "crd/losslessupgrades.lossless-upgrade.io";
/// Times that each thing is done; the middle one counts, as the machine has other things to do.
const TIMES: usize = 20;

/// From the start of the operator's process until it says that it is ready.
const READY: Duration = Duration::from_millis(300);
/// Memory of the operator at rest, with one object.
const MEMORY_KIB: u64 = 20 * 1024;
/// How long it is watched at rest.
const REST: Duration = Duration::from_secs(30);
/// One `kubectl lu get`.
const GET: Duration = Duration::from_millis(150);

fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "the Makefile says where the release build is")]
    let Ok(folder) = std::env::var("BENCH") else {
        println!("SKIPPED: `make bench` measures the release build");
        return ExitCode::SUCCESS;
    };
    let folder = lab::paths::workspace().join(folder);
    let inside = match sandbox::enter(Need::Cluster) {
        Ok(inside) => inside,
        Err(error) => {
            eprintln!("the lab did not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match runtime.block_on(measure(&inside, &folder)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("nothing was measured: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(inside: &Inside, folder: &Path) -> Result<bool, ScenarioError> {
    let stage = Stage::set(inside, &Progress::new(), Behaviour::default()).await?;
    let cluster = stage.cluster();
    let crds = lab::paths::workspace().join("crds").display().to_string();
    cluster.kubectl(&["apply", "--server-side", "-k", &crds])?;
    cluster.kubectl(&["wait", "--for=condition=Established", CRD, "--timeout=30s"])?;
    let app = App { replicas: 1, strategy: UpdateStrategy::OnDelete, ..App::nginx(NAMESPACE) };
    let app = stage.deploy(app).await?;
    stage.apply(NAMESPACE, OBJECT)?;

    println!("\n{}\n", machine::description());
    let program = folder.join("lossless-upgrade");
    let mut starts = Vec::new();
    for _ in 1..TIMES {
        let operator = Operator::start(cluster, &program)?;
        starts.push(operator.ready().await);
        operator.stop().await;
    }
    let operator = Operator::start(cluster, &program)?;
    starts.push(operator.ready().await);
    let start = judge("start of the operator to ready", starts, READY);
    until("the object is known", Duration::from_secs(30), async || {
        let phase = app.upgrade("nginx").await?.phase;
        Ok(if phase == "Idle" { Ok(()) } else { Err(phase) })
    })
    .await?;
    let memory = at_rest(&operator).await;
    operator.stop().await;
    let get = answers(&stage, &folder.join("kubectl-lu"));
    stage.strike().await;
    Ok(start && memory && get)
}

const OBJECT: &str = r#"{
    "apiVersion": "lossless-upgrade.io/v1alpha1", "kind": "LosslessUpgrade", "metadata": {"name": "nginx"},
    "spec": {"targetRef": {"name": "nginx"}, "traffic": {"levers": [{"tkeService": {}}]}}
}"#;

/// The most that it takes while nothing is to be done.
async fn at_rest(operator: &Operator) -> bool {
    let begin = Instant::now();
    let mut most = 0;
    while begin.elapsed() < REST {
        most = most.max(operator.resident_kib());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let is_kept = most < MEMORY_KIB;
    let verdict = if is_kept { "kept" } else { "MISSED" };
    let (mib, limit) = (machine::mib(most), machine::mib(MEMORY_KIB));
    println!("memory at rest, one object, {REST:?}: at most {mib} RSS; promised: under {limit}: {verdict}");
    is_kept
}

fn answers(stage: &Stage, program: &Path) -> bool {
    if !program.exists() {
        println!("kubectl lu get: not measured, there is no {}", program.display());
        return true;
    }
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let mut command = stage.cluster().command(&program.display().to_string());
        let begin = Instant::now();
        let output = command.args(["get", "-n", NAMESPACE]).output().expect("kubectl-lu starts");
        times.push(begin.elapsed());
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("nginx"), "{output:?}");
    }
    judge("kubectl lu get", times, GET)
}

/// Prints the middle one and the extremes, and says whether the middle one is as promised.
fn judge(what: &str, mut times: Vec<Duration>, limit: Duration) -> bool {
    times.sort_unstable();
    let middle = times[times.len() / 2];
    let is_kept = middle < limit;
    let verdict = if is_kept { "kept" } else { "MISSED" };
    let (least, most) = (times[0], times[times.len() - 1]);
    let count = times.len();
    println!(
        "{what}, {count} times: {middle:.1?} ({least:.1?} to {most:.1?}); promised: under {limit:?}: {verdict}"
    );
    is_kept
}
