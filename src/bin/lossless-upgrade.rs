//! The operator's program: `run`, and two helpers, `crd` and `drain-counter`.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use kube::Api;
use tokio_util::sync::CancellationToken;

use lossless_upgrade::api::{self, LosslessUpgrade};
use lossless_upgrade::controller::{self, Context};
use lossless_upgrade::drain::counter::{self, CounterArgs};
use lossless_upgrade::drain::prometheus::allow::Allowed;
use lossless_upgrade::runtime::clock::Clock;
use lossless_upgrade::runtime::config::RunArgs;
use lossless_upgrade::runtime::metrics::Metrics;
use lossless_upgrade::runtime::ready::{Gate, ReadyGate};
use lossless_upgrade::runtime::{client, health, leader, served, shutdown, telemetry};
use lossless_upgrade::tencent::Endpoint;

/// Carries a new version to a StatefulSet without losing one request.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator, in a pod or with a kubeconfig
    Run(Box<RunArgs>),
    /// Print the CRD as YAML
    Crd,
    /// Count the connections of the pod it runs in; the operator starts it as an ephemeral container
    DrainCounter(CounterArgs),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run(*args),
        Command::Crd => crd(),
        Command::DrainCounter(args) => drain_counter(args),
    };
    outcome.unwrap_or_else(|error| {
        // Not by println: a closed pipe must not become a panic.
        let _ = writeln!(std::io::stderr(), "lossless-upgrade: {}", telemetry::with_causes(error.as_ref()));
        ExitCode::FAILURE
    })
}

fn crd() -> anyhow::Result<ExitCode> {
    let yaml = api::crd_yaml()?;
    std::io::stdout().write_all(yaml.as_bytes()).context("the CRD cannot be written")?;
    Ok(ExitCode::SUCCESS)
}

/// One thread: a hundred of these may run beside the pods of one node.
fn drain_counter(args: CounterArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(counter::main(args)))
}

fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    telemetry::init(args.telemetry.log_format, args.telemetry.log_filter.clone().into())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let stop = shutdown::on_signal().context("signals cannot be handled")?;
        shutdown::within_limit(&stop, Box::pin(operate(args, &stop))).await?
    });
    // What still blocks a thread must not keep the process alive.
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn operate(args: RunArgs, stop: &CancellationToken) -> anyhow::Result<()> {
    let metrics = Metrics::new()?;
    let ready = ReadyGate::default();
    ready.close(Gate::Crd, "the API server was not asked yet");
    let listener = health::bind(args.telemetry.metrics_address).await?;
    tokio::select! {
        served = health::serve(listener, ready.clone(), metrics.clone()) => {
            served.context("/healthz, /readyz and /metrics are not served any more")
        }
        outcome = act(args, stop, metrics, ready.clone()) => outcome,
        () = say_goodbye(stop, &ready) => Ok(()),
    }
}

async fn say_goodbye(stop: &CancellationToken, ready: &ReadyGate) {
    stop.cancelled().await;
    ready.close(Gate::Shutdown, "the process was asked to stop");
    std::future::pending::<()>().await;
}

async fn act(
    args: RunArgs,
    stop: &CancellationToken,
    metrics: Metrics,
    ready: ReadyGate,
) -> anyhow::Result<()> {
    let clock = Clock::system();
    let client = client::connect(&metrics).await?;
    let lease = args.election.lease(client.default_namespace())?;
    let upgrades = match &args.scope.namespace {
        Some(namespace) => Api::<LosslessUpgrade>::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        () = served::wait(upgrades, &ready) => {}
    }

    let context = Context {
        client: client.clone(),
        namespace: args.scope.namespace.clone(),
        process: lease
            .as_ref()
            .map_or_else(|| format!("process-{}", std::process::id()), |lease| lease.identity.clone()),
        counter_image: args.scope.counter_image.clone(),
        prometheus_allow: Allowed::parse(&args.scope.prometheus_allow).context("--prometheus-allow")?,
        tencent: Endpoint::parse(args.scope.tencent_endpoint.as_deref().unwrap_or(Endpoint::DEFAULT))
            .context("--tencent-endpoint")?,
        allow_exec: args.scope.allow_exec,
        clock,
        metrics: metrics.clone(),
        ready: ready.clone(),
    };
    let work = |end: CancellationToken| Box::pin(controller::run(context.clone(), end));
    let changed = |leading| {
        metrics.leading(leading);
        if !leading {
            metrics.stop_observing();
            // A standby has no caches to wait for.
            ready.open(Gate::Caches);
        }
    };
    if let Some(lease) = lease {
        leader::while_leading(client.clone(), &lease, clock, stop, changed, work).await?;
    } else {
        changed(true);
        work(stop.clone()).await?;
    }
    if !stop.is_cancelled() {
        bail!("the controller ended without being asked to");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
