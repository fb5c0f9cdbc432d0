//! A steady load on the service under test: the same number of requests a second from begin to end, whatever
//! the service does, so that runs can be compared.

mod client;
mod connection;
mod mqtt;
mod redis;
mod session;

use std::{net::SocketAddr, ops::RangeInclusive, sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::oracle::{LossReport, Tally};
pub use session::Protocol;

/// One listener that the load asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name in reports.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
}

/// How much is asked, all targets together.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Connections that are kept.
    pub keep_alive_connections: u32,
    /// Requests a second on all of them together.
    pub keep_alive_per_second: f64,
    /// Requests a second with a connection each.
    pub one_shot_per_second: f64,
    /// Requests a second for [`Profile::long_path`].
    pub long_per_second: f64,
    /// A path whose answer takes longer than the grace period of the pods.
    pub long_path: String,
    /// How many clients keep a connection to a broker, by what they speak.
    pub sessions: Vec<(Protocol, u32)>,
    /// How old a kept connection or a session becomes before its client closes it and opens another: the clients
    /// are spread over this, so that they do not all come back at the same moment.
    pub life: RangeInclusive<Duration>,
}

impl Default for Profile {
    /// About 850 requests a second, which leaves most of a two-core machine to the cluster.
    fn default() -> Self {
        Self {
            keep_alive_connections: 32,
            keep_alive_per_second: 700.0,
            one_shot_per_second: 150.0,
            long_per_second: 2.0,
            long_path: "/slower".to_owned(),
            sessions: Vec::new(),
            life: Duration::from_secs(3)..=Duration::from_millis(4750),
        }
    }
}

impl Profile {
    /// No load at all, to add to.
    #[must_use]
    pub fn none() -> Self {
        Self {
            keep_alive_connections: 0,
            keep_alive_per_second: 0.0,
            one_shot_per_second: 0.0,
            long_per_second: 0.0,
            ..Self::default()
        }
    }

    /// The life of connection `number`.
    fn life_of(&self, number: u32) -> Duration {
        const STEPS: u32 = 8;
        let (shortest, longest) = (*self.life.start(), *self.life.end());
        shortest + longest.saturating_sub(shortest) * (number % STEPS) / (STEPS - 1)
    }
}

/// What a load is to do.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadPlan {
    /// Asked in turn.
    pub targets: Vec<Target>,
    /// How much.
    pub profile: Profile,
}

/// A running load. Dropping it ends it at once, without waiting for what is under way.
#[derive(Debug)]
pub struct Load {
    clients: Clients,
}

/// What all clients of a load share.
#[derive(Clone, Debug)]
struct Clients {
    tally: Arc<Tally>,
    /// No new requests.
    stop: CancellationToken,
    /// Nothing more at all.
    abandon: CancellationToken,
    running: TaskTracker,
}

impl Clients {
    fn spawn(&self, client: impl Future<Output = ()> + Send + 'static) {
        let abandon = self.abandon.clone();
        self.running.spawn(async move { abandon.run_until_cancelled(client).await });
    }
}

impl Load {
    /// Longest that [`Load::stop`] waits; longer than any answer of the lab's servers takes.
    const LAST_ANSWER: Duration = Duration::from_secs(40);

    /// Starts to ask. Must be called within a tokio runtime.
    #[must_use]
    pub fn start(plan: &LoadPlan) -> Self {
        let clients = Clients {
            tally: Arc::new(Tally::new()),
            stop: CancellationToken::new(),
            abandon: CancellationToken::new(),
            running: TaskTracker::new(),
        };
        client::spawn_all(&clients, plan);
        session::spawn_all(&clients, plan);
        Self { clients }
    }

    /// What became of the requests so far.
    #[must_use]
    pub fn snapshot(&self) -> LossReport {
        self.clients.tally.report()
    }

    /// Looks at this load from elsewhere, also after it has stopped.
    #[must_use]
    pub fn gauge(&self) -> Gauge {
        Gauge(Arc::clone(&self.clients.tally))
    }

    /// Asks nothing new, waits for the answers under way (at most 40 s, then they are time-outs) and reports.
    pub async fn stop(self) -> LossReport {
        let clients = &self.clients;
        clients.stop.cancel();
        let elapsed = clients.tally.report().elapsed;
        clients.running.close();
        // Every request has a time-out of its own below this, so all of them have ended then.
        let _all_ended = tokio::time::timeout(Self::LAST_ANSWER, clients.running.wait()).await;
        LossReport { elapsed, ..clients.tally.report() }
    }
}

/// What became of a load so far, for one who only looks.
#[derive(Clone, Debug)]
pub struct Gauge(Arc<Tally>);

impl Gauge {
    /// As [`Load::snapshot`].
    #[must_use]
    pub fn snapshot(&self) -> LossReport {
        self.0.report()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.clients.stop.cancel();
        self.clients.abandon.cancel();
    }
}

#[cfg(test)]
mod tests;
