//! The loss oracle: it is told about every request of the load and counts those that got no complete, correct
//! answer, by kind and by cause. A request counts once something of it may have been written; a connection
//! that the server closed while nothing was asked on it costs nobody anything, and is counted apart.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hdrhistogram::Histogram;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::clock;

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Many requests on one connection, which the client itself closes and opens anew after a few seconds.
    KeepAlive,
    /// A connection for each request.
    OneShot,
    /// One request a connection, whose answer takes longer than the grace period of the pods.
    Long,
    /// A Redis client that waits for elements of a list: for one that it put there itself, and for one that never comes.
    Blocking,
    /// A Redis client that gets on a channel what it publishes there, on one connection.
    PubSub,
    /// An MQTT client that gets on a topic what it publishes there, on one connection, acknowledged both ways (`QoS` 1).
    Mqtt,
}

impl Kind {
    /// All kinds, in the order in which reports show them.
    pub const ALL: [Self; 6] =
        [Self::KeepAlive, Self::OneShot, Self::Long, Self::Blocking, Self::PubSub, Self::Mqtt];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::KeepAlive => "keep-alive",
            Self::OneShot => "one-shot",
            Self::Long => "long",
            Self::Blocking => "blocking",
            Self::PubSub => "pub/sub",
            Self::Mqtt => "mqtt",
        })
    }
}

/// Why a request is lost, as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Nobody listened.
    Refused,
    /// No connection within the time for one.
    ConnectTimeout,
    /// The connection was reset, before or within the answer.
    Reset,
    /// The connection was closed in good order before the answer began.
    Closed,
    /// The connection was closed in good order within the answer.
    Truncated,
    /// The answer was not complete in time.
    TimedOut,
    /// A complete answer, but not 200.
    Status(u16),
    /// The answer was not HTTP, or did not say how long it is, so that nobody could tell whether it is complete.
    Garbled,
    /// This machine had no port, file or memory left: the load, not the service, is at fault. Counted all the
    /// same, because such a run proves nothing.
    Local,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.pad("refused"),
            Self::ConnectTimeout => f.pad("connect time-out"),
            Self::Reset => f.pad("reset"),
            Self::Closed => f.pad("closed"),
            Self::Truncated => f.pad("truncated"),
            Self::TimedOut => f.pad("time-out"),
            Self::Status(code) => write!(f, "status {code}"),
            Self::Garbled => f.pad("garbled"),
            Self::Local => f.pad("local"),
        }
    }
}

/// Who answered, as the answer itself says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    /// Host name of the pod; empty when the answer does not say.
    pub pod: String,
    /// Version of its content; empty when the answer does not say.
    pub version: String,
}

/// One lost request, for the one who wants to know why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// When it was given up.
    pub at: Timestamp,
    /// Its kind.
    pub kind: Kind,
    /// The name of its target, as in the plan of the load.
    pub target: String,
    /// What happened.
    pub cause: Cause,
}

/// What became of the requests of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KindReport {
    /// Requests begun, including those still under way.
    pub requests: u64,
    /// Requests with a complete and correct answer.
    pub completed: u64,
    /// All others that have ended.
    pub lost: BTreeMap<Cause, u64>,
    /// Median time to the complete answer.
    pub p50: Duration,
    /// 99th percentile of the time to the complete answer.
    pub p99: Duration,
}

impl KindReport {
    /// How many were lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.values().sum()
    }
}

/// What became of the load, so far or in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LossReport {
    /// By kind. A kind that the plan does not have is not in it.
    pub kinds: BTreeMap<Kind, KindReport>,
    /// Connections that the other side cut: by a reset, or in good order within an answer. Also those on which
    /// nothing was asked at that moment, which cost no request.
    pub severed: u64,
    /// Kept HTTP connections that the other side closed in good order between two requests, before the client did.
    /// They cost no request.
    pub closed: u64,
    /// Complete answers, by who gave them.
    pub servers: BTreeMap<Server, u64>,
    /// The first losses, at most [`LossReport::KEPT`].
    pub losses: Vec<Loss>,
    /// How long the load has been asking.
    pub elapsed: Duration,
}

impl LossReport {
    /// How many single losses are kept.
    pub const KEPT: usize = 200;

    /// Requests of all kinds.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.kinds.values().map(|kind| kind.requests).sum()
    }

    /// Lost requests of all kinds.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.kinds.values().map(KindReport::lost).sum()
    }

    /// Lost requests of one kind.
    #[must_use]
    pub fn lost_of(&self, kind: Kind) -> u64 {
        self.kinds.get(&kind).map_or(0, KindReport::lost)
    }

    /// Requests begun a second, over the whole time.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
    pub fn per_second(&self) -> f64 {
        self.requests() as f64 / self.elapsed.as_secs_f64().max(0.001)
    }

    /// Complete answers by version, whichever pod gave them.
    #[must_use]
    pub fn versions(&self) -> BTreeMap<&str, u64> {
        self.servers.iter().fold(BTreeMap::new(), |mut versions, (server, count)| {
            *versions.entry(server.version.as_str()).or_default() += count;
            versions
        })
    }
}

impl fmt::Display for LossReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} of {} requests lost in {:.1} s ({:.0} a second); {} connections severed, {} closed",
            self.lost(),
            self.requests(),
            self.elapsed.as_secs_f64(),
            self.per_second(),
            self.severed,
            self.closed
        )?;
        for (kind, report) in &self.kinds {
            write!(f, "  {kind:<10} {:>7} requests, {:>4} lost", report.requests, report.lost())?;
            write!(f, ", p50 {:.1?}, p99 {:.1?}", report.p50, report.p99)?;
            for (cause, count) in &report.lost {
                write!(f, "; {count} {cause}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// The running count, shared by all clients of one load.
#[derive(Debug)]
pub(crate) struct Tally {
    began: Instant,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    kinds: BTreeMap<Kind, KindCounts>,
    severed: u64,
    closed: u64,
    servers: BTreeMap<Server, u64>,
    losses: Vec<Loss>,
}

#[derive(Debug)]
struct KindCounts {
    requests: u64,
    completed: u64,
    lost: BTreeMap<Cause, u64>,
    /// In microseconds, to two digits. None only if the crate refused two digits.
    times: Option<Histogram<u64>>,
}

impl Default for KindCounts {
    fn default() -> Self {
        Self { requests: 0, completed: 0, lost: BTreeMap::new(), times: Histogram::new(2).ok() }
    }
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), counts: Mutex::default() }
    }

    /// A request is about to be written.
    pub(crate) fn begun(&self, kind: Kind) {
        self.counts().kinds.entry(kind).or_default().requests += 1;
    }

    /// Its answer came, whole and right.
    pub(crate) fn completed(&self, kind: Kind, server: Server, took: Duration) {
        let mut counts = self.counts();
        let of_kind = counts.kinds.entry(kind).or_default();
        of_kind.completed += 1;
        if let Some(times) = &mut of_kind.times {
            // It grows as it needs to; only a time of hours would be refused.
            let _recorded = times.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        }
        *counts.servers.entry(server).or_default() += 1;
    }

    /// It did not.
    pub(crate) fn lost(&self, kind: Kind, target: &str, cause: Cause) {
        let mut counts = self.counts();
        *counts.kinds.entry(kind).or_default().lost.entry(cause).or_default() += 1;
        if counts.losses.len() < LossReport::KEPT {
            counts.losses.push(Loss { at: clock::now(), kind, target: target.to_owned(), cause });
        }
    }

    /// A connection was cut by the other side.
    pub(crate) fn severed(&self) {
        self.counts().severed += 1;
    }

    /// A kept connection was closed by the other side while nothing was asked on it.
    pub(crate) fn closed(&self) {
        self.counts().closed += 1;
    }

    pub(crate) fn report(&self) -> LossReport {
        let counts = self.counts();
        let kinds = counts.kinds.iter().map(|(kind, counts)| (*kind, counts.report())).collect();
        LossReport {
            kinds,
            severed: counts.severed,
            closed: counts.closed,
            servers: counts.servers.clone(),
            losses: counts.losses.clone(),
            elapsed: self.began.elapsed(),
        }
    }

    /// Counts are whole after every statement that changes them, so a panic elsewhere does not spoil them.
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KindCounts {
    fn report(&self) -> KindReport {
        let at = |percent| {
            let micros = self.times.as_ref().map_or(0, |times| times.value_at_percentile(percent));
            Duration::from_micros(micros)
        };
        KindReport {
            requests: self.requests,
            completed: self.completed,
            lost: self.lost.clone(),
            p50: at(50.0),
            p99: at(99.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loss_is_counted_by_kind_and_cause() {
        let tally = Tally::new();
        for _ in 0..3 {
            tally.begun(Kind::OneShot);
            tally.lost(Kind::OneShot, "web", Cause::Refused);
        }
        tally.begun(Kind::Long);
        tally.lost(Kind::Long, "web", Cause::Truncated);
        let report = tally.report();
        assert_eq!((report.requests(), report.lost()), (4, 4));
        assert_eq!(report.lost_of(Kind::OneShot), 3);
        assert_eq!(report.kinds[&Kind::Long].lost, BTreeMap::from([(Cause::Truncated, 1)]));
    }

    #[test]
    fn answers_are_counted_by_version_over_all_pods() {
        let tally = Tally::new();
        for (pod, version) in [("nginx-0", "v1"), ("nginx-1", "v1"), ("nginx-0", "v2")] {
            tally.begun(Kind::KeepAlive);
            let server = Server { pod: pod.to_owned(), version: version.to_owned() };
            tally.completed(Kind::KeepAlive, server, Duration::from_millis(2));
        }
        assert_eq!(tally.report().versions(), BTreeMap::from([("v1", 2), ("v2", 1)]));
    }

    #[test]
    fn times_are_told_as_they_were() {
        let tally = Tally::new();
        for millis in [3, 3, 8000] {
            let server = Server { pod: String::new(), version: String::new() };
            tally.completed(Kind::Long, server, Duration::from_millis(millis));
        }
        let report = tally.report();
        let about =
            |time: Duration, millis: u128| (time.as_millis() * 100).abs_diff(millis * 100) <= millis * 2;
        assert!(about(report.kinds[&Kind::Long].p50, 3), "{report}");
        assert!(about(report.kinds[&Kind::Long].p99, 8000), "{report}");
    }

    #[test]
    fn no_more_losses_are_kept_than_anyone_would_read() {
        let tally = Tally::new();
        for _ in 0..=LossReport::KEPT {
            tally.lost(Kind::Long, "web", Cause::Reset);
        }
        let report = tally.report();
        assert_eq!(report.losses.len(), LossReport::KEPT);
        assert_eq!(report.lost(), 201);
    }
}
