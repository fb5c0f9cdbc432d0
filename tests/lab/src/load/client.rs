//! The clients of a load: each asks at its own steady times.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::{
    Clients, LoadPlan, Target,
    connection::{After, Connection, Outcome},
};
use crate::oracle::{Cause, Kind, Tally};

/// Longest that a quick request may take.
const QUICK: Duration = Duration::from_secs(8);
/// Longest that a long request may take: more than twice what the lab's slowest answer takes.
const SLOW: Duration = Duration::from_secs(35);

pub(super) fn spawn_all(clients: &Clients, plan: &LoadPlan) {
    let profile = &plan.profile;
    let connections = profile.keep_alive_connections;
    for (number, target) in (0..connections).zip(plan.targets.iter().cycle()) {
        let Some(times) = times(profile.keep_alive_per_second, number, connections) else { break };
        clients.spawn(keep_alive(clients.clone(), target.clone(), times, profile.life_of(number)));
    }
    let single = [
        Single { kind: Kind::OneShot, path: "/".into(), limit: QUICK },
        Single { kind: Kind::Long, path: profile.long_path.as_str().into(), limit: SLOW },
    ];
    for (single, per_second) in single.into_iter().zip([profile.one_shot_per_second, profile.long_per_second])
    {
        if let Some(times) = times(per_second, 0, 1) {
            clients.spawn(one_each(clients.clone(), plan.targets.clone(), single, times));
        }
    }
}

/// The times of client `number` of `clients` that together ask `per_second` times; none when that is nothing.
/// A time that was missed is made up for at once, so that the rate holds.
fn times(per_second: f64, number: u32, clients: u32) -> Option<Interval> {
    if per_second <= 0.0 {
        return None;
    }
    let all = Duration::from_secs_f64(1.0 / per_second);
    let mut times = interval_at(Instant::now() + all * number, all * clients);
    times.set_missed_tick_behavior(MissedTickBehavior::Burst);
    Some(times)
}

/// Many requests on one connection, which the client closes between two requests once it is `life` old.
async fn keep_alive(clients: Clients, target: Target, mut times: Interval, life: Duration) {
    let mut kept: Option<Kept> = None;
    while clients.stop.run_until_cancelled(times.tick()).await.is_some() {
        let began = Instant::now();
        kept = kept.filter(|kept| began < kept.until);
        clients.tally.begun(Kind::KeepAlive);
        let mut outcome = Outcome::NotWritten;
        if let Some(Kept { connection, .. }) = &mut kept {
            outcome = connection.ask("/", &target.name, After::Keep, began + QUICK).await;
        }
        // There was none, or the server had closed it since the last answer, as servers may.
        if outcome == Outcome::NotWritten {
            kept = None;
            outcome = match Connection::open(target.address, &clients.tally).await {
                Err(cause) => Outcome::Lost(cause),
                Ok(connection) => {
                    let fresh = kept.insert(Kept { connection, until: began + life });
                    fresh.connection.ask("/", &target.name, After::Keep, began + QUICK).await
                }
            };
        }
        if !matches!(outcome, Outcome::Answered(_)) {
            kept = None;
        }
        record(&clients.tally, Kind::KeepAlive, &target, began, outcome);
    }
}

struct Kept {
    connection: Connection,
    until: Instant,
}

/// A client that asks once on each connection.
#[derive(Clone)]
struct Single {
    kind: Kind,
    path: Arc<str>,
    limit: Duration,
}

/// A connection for each request, the targets in turn. The requests run beside each other, so that a slow
/// answer does not hold up the next request.
async fn one_each(clients: Clients, targets: Vec<Target>, single: Single, mut times: Interval) {
    for target in targets.iter().cycle() {
        if clients.stop.run_until_cancelled(times.tick()).await.is_none() {
            return;
        }
        let (tally, target) = (Arc::clone(&clients.tally), target.clone());
        let Single { kind, path, limit } = single.clone();
        clients.spawn(async move {
            tally.begun(kind);
            let began = Instant::now();
            let outcome = match Connection::open(target.address, &tally).await {
                Err(cause) => Outcome::Lost(cause),
                Ok(mut connection) => connection.ask(&path, &target.name, After::Close, began + limit).await,
            };
            record(&tally, kind, &target, began, outcome);
        });
    }
}

fn record(tally: &Tally, kind: Kind, target: &Target, began: Instant, outcome: Outcome) {
    match outcome {
        Outcome::Answered(server) => tally.completed(kind, server, began.elapsed()),
        Outcome::Lost(cause) => tally.lost(kind, &target.name, cause),
        // Only a fresh connection comes here with nothing written: it was cut under the client's hands.
        Outcome::NotWritten => tally.lost(kind, &target.name, Cause::Closed),
    }
}
