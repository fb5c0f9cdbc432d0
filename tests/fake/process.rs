//! A process of the operator: the real controller, and a client that dies with it.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use lossless_upgrade::controller::observe::{Allowed, Endpoint};
use lossless_upgrade::controller::{self, Context};
use lossless_upgrade::runtime::clock::Clock;
use lossless_upgrade::runtime::metrics::Metrics;
use lossless_upgrade::runtime::ready::ReadyGate;
use tokio::task::{JoinHandle, spawn_local};
use tokio_util::sync::CancellationToken;

use super::cluster::NAMESPACE;
use super::server::Server;

/// One that runs.
pub struct Process {
    id: u32,
    server: Server,
    metrics: Metrics,
    /// What it says when it ends by itself, which it never should.
    pub task: JoinHandle<String>,
}

impl Process {
    pub fn start(server: &Server, id: u32, skew: SignedDuration) -> Self {
        let wall = server.now().checked_add(skew).expect("a time");
        let metrics = Metrics::new().expect("metrics");
        let context = Context {
            client: server.client(id),
            namespace: Some(NAMESPACE.to_owned()),
            process: format!("operator-{id}"),
            counter_image: Some("lossless-upgrade:dev".to_owned()),
            prometheus_allow: Allowed::default(),
            tencent: Endpoint::parse(Endpoint::DEFAULT).expect("an endpoint"),
            allow_exec: false,
            clock: Clock::beginning_at(wall),
            metrics: metrics.clone(),
            ready: ReadyGate::default(),
        };
        let task = spawn_local(async move {
            let ended = Box::pin(controller::run(context, CancellationToken::new())).await;
            format!("the controller ended: {ended:?}")
        });
        Self { id, server: server.clone(), metrics, task }
    }

    /// As SIGKILL: at once, and whatever is under way with it.
    pub fn kill(self) {
        self.server.bury(self.id);
        self.task.abort();
    }

    /// For how many seconds each object that cannot be looked at is let be, by its name.
    pub fn backs_off(&self) -> BTreeMap<String, f64> {
        let text = self.metrics.encode().expect("metrics");
        let series = text.lines().filter_map(|line| line.strip_prefix("lossless_upgrade_backoff_seconds{"));
        let values = series.filter_map(|line| {
            let name = line.split('"').nth(1)?.to_owned();
            Some((name, line.rsplit_once(' ')?.1.parse().ok()?))
        });
        values.collect()
    }
}
