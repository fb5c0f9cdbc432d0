//! Clients of brokers: each keeps one connection for long, gets back on it what it sent, and closes it itself.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use super::{Clients, LoadPlan, Target, mqtt::Mqtt, redis::Redis};
use crate::oracle::{Cause, Kind, Server};

/// From the end of an exchange to the begin of the next one.
const PAUSE: Duration = Duration::from_millis(250);

/// Longest wait for a connection, and for anything that is asked on it.
pub(super) const ANSWER: Duration = Duration::from_secs(8);

/// What a session speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Redis lists, waited for.
    Blocking,
    /// A Redis channel.
    PubSub,
    /// An MQTT topic.
    Mqtt,
}

impl Protocol {
    const fn kind(self) -> Kind {
        match self {
            Self::Blocking => Kind::Blocking,
            Self::PubSub => Kind::PubSub,
            Self::Mqtt => Kind::Mqtt,
        }
    }
}

/// An open connection. Dropping it closes it.
enum Session {
    Redis(Redis),
    Mqtt(Box<Mqtt>),
}

impl Session {
    /// `name` is this session's alone, on whichever server it comes to.
    async fn open(protocol: Protocol, target: &Target, name: &str) -> Result<Self, Cause> {
        Ok(match protocol {
            Protocol::Blocking => Self::Redis(Redis::open(target.address, name).await?),
            Protocol::PubSub => Self::Redis(Redis::subscribed(target.address, name).await?),
            Protocol::Mqtt => Self::Mqtt(Box::new(Mqtt::open(target.address, name).await?)),
        })
    }

    /// Sends something and gets it back.
    async fn exchange(&mut self, number: u64) -> Result<(), Cause> {
        match self {
            Self::Redis(redis) => redis.exchange(number).await,
            Self::Mqtt(mqtt) => mqtt.exchange(number).await,
        }
    }

    /// Asks nothing until then, but sees when the other side cuts the connection.
    async fn rest(&mut self, until: Instant) -> Result<(), Cause> {
        tokio::select! {
            () = sleep_until(until) => Ok(()),
            cause = async {
                match self {
                    Self::Redis(redis) => redis.is_cut().await,
                    Self::Mqtt(mqtt) => mqtt.is_cut().await,
                }
            } => Err(cause),
        }
    }

    /// Takes leave as the protocol wants it.
    async fn close(self) {
        match self {
            // A Redis client just closes.
            Self::Redis(redis) => drop(redis),
            Self::Mqtt(mqtt) => mqtt.close().await,
        }
    }
}

pub(super) fn spawn_all(clients: &Clients, plan: &LoadPlan) {
    let protocols =
        plan.profile.sessions.iter().flat_map(|(protocol, count)| (0..*count).map(move |_| *protocol));
    for ((number, protocol), target) in (0..).zip(protocols).zip(plan.targets.iter().cycle()) {
        let life = plan.profile.life_of(number);
        clients.spawn(talk(clients.clone(), protocol, target.clone(), number, life));
    }
}

/// One session after the other.
async fn talk(clients: Clients, protocol: Protocol, target: Target, client: u32, life: Duration) {
    for nth in 0_u32.. {
        if clients.stop.is_cancelled() {
            return;
        }
        let name = format!("client-{client}-{nth}");
        let opened = counted(&clients, protocol, &target, Session::open(protocol, &target, &name)).await;
        let Ok(mut session) = opened else {
            sleep(PAUSE).await;
            continue;
        };
        let until = Instant::now() + life;
        let mut whole = Ok(());
        for number in 0.. {
            if Instant::now() >= until || clients.stop.is_cancelled() {
                break;
            }
            whole = counted(&clients, protocol, &target, session.exchange(number)).await;
            if whole.is_ok() {
                whole = session.rest(Instant::now() + PAUSE).await;
            }
            if whole.is_err() {
                break;
            }
        }
        match whole {
            Ok(()) => session.close().await,
            Err(Cause::Reset | Cause::Closed | Cause::Truncated) => clients.tally.severed(),
            Err(
                Cause::Refused
                | Cause::ConnectTimeout
                | Cause::TimedOut
                | Cause::Status(_)
                | Cause::Garbled
                | Cause::Local,
            ) => {}
        }
    }
}

/// Counts something asked as a request.
async fn counted<T>(
    clients: &Clients,
    protocol: Protocol,
    target: &Target,
    asked: impl Future<Output = Result<T, Cause>>,
) -> Result<T, Cause> {
    let tally = Arc::clone(&clients.tally);
    let (kind, began) = (protocol.kind(), Instant::now());
    tally.begun(kind);
    let outcome = asked.await;
    match &outcome {
        Ok(_) => {
            // No broker says which pod it is.
            let server = Server { pod: String::new(), version: String::new() };
            tally.completed(kind, server, began.elapsed());
        }
        Err(cause) => tally.lost(kind, &target.name, *cause),
    }
    outcome
}
