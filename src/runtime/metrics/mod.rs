//! What Prometheus sees: few series an object, and none of an object that is gone.
//!
//! Label values come from closed enums of the caller; nothing here makes one out of a message.
//! `docs/metrics.md` describes every metric for users, and a test compares the two.

mod family;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus::{
    CounterVec, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, TextEncoder,
};

pub use family::Described;
use family::{Catalog, Family, opts};

/// Seconds. A reconcile is a handful of requests, and ten seconds is the time-out of one.
const RECONCILE_BUCKETS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// The object that a series is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Namespace of the `LosslessUpgrade`.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What is true of one object now. It replaces all that was observed of it before; what is left out
/// has no series.
#[derive(Clone, Debug, Default)]
pub struct ObjectMetrics<'a> {
    /// The phase; none where the object cannot be read.
    pub phase: Option<&'a str>,
    /// What the run under way does.
    pub step: Option<&'a str>,
    /// Replicas without the surge, and how many of them are at the wanted revision.
    pub replicas: Option<(u32, u32)>,
    /// How many pods are in each state.
    pub pods: &'a [(&'a str, u32)],
    /// Connections that the drain still waits for; none when nothing is counted.
    pub connections_left: Option<u64>,
    /// When the run last moved.
    pub last_progress: Option<Timestamp>,
    /// When the present wait is over by itself.
    pub deadline: Option<Timestamp>,
    /// Why it cannot go on by itself, and since when.
    pub stalled: Option<(&'a str, Timestamp)>,
    /// `spec.paused` is set.
    pub paused: bool,
    /// Drains of the present or else the last run that were not over in time, by what was done.
    pub drain_timeouts: &'a [(&'a str, u32)],
}

/// All metrics of the process. Clones share them; there is no global registry.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Series>);

#[derive(Debug)]
struct Series {
    catalog: Catalog,
    info: Family<GaugeVec>,
    step: Family<GaugeVec>,
    replicas: Family<GaugeVec>,
    updated_replicas: Family<GaugeVec>,
    pods: Family<GaugeVec>,
    connections_left: Family<GaugeVec>,
    last_progress: Family<GaugeVec>,
    deadline: Family<GaugeVec>,
    stalled: Family<GaugeVec>,
    paused: Family<GaugeVec>,
    drain_timeouts: Family<GaugeVec>,
    backoff: Family<GaugeVec>,
    phase_seconds: Family<CounterVec>,
    late_seconds: Family<CounterVec>,
    runs: Family<CounterVec>,
    levers_abandoned: IntCounter,
    api_requests: IntCounterVec,
    api_writes: IntCounterVec,
    reconcile_seconds: Histogram,
    reconcile_errors: IntCounterVec,
    leader: IntGauge,
}

impl Metrics {
    /// A registry of its own with every metric in it.
    ///
    /// # Errors
    /// When two metrics share a name; a test rules it out.
    pub fn new() -> prometheus::Result<Self> {
        let mut catalog = Catalog::default();
        let all = &mut catalog;
        let reconcile_seconds =
            HistogramOpts::from(opts("reconcile_seconds", "Time that one reconcile took."))
                .buckets(RECONCILE_BUCKETS.to_vec());
        let series = Series {
            info: Family::register(all, "info", "The phase each object is in.", &["phase"])?,
            step: Family::register(
                all,
                "step",
                "What the run does; no series while none is under way.",
                &["step"],
            )?,
            replicas: Family::register(all, "replicas", "Replicas of the target without the surge.", &[])?,
            updated_replicas: Family::register(
                all,
                "updated_replicas",
                "How many of them are Ready at the wanted revision.",
                &[],
            )?,
            pods: Family::register(all, "pods", "Pods of the target by state.", &["state"])?,
            connections_left: Family::register(
                all,
                "connections_left",
                "Connections that the drain still waits for.",
                &[],
            )?,
            last_progress: Family::register(
                all,
                "last_progress_timestamp_seconds",
                "When the run last moved; between runs, when the last one ended.",
                &[],
            )?,
            deadline: Family::register(
                all,
                "deadline_timestamp_seconds",
                "When the present wait will have taken too long.",
                &[],
            )?,
            stalled: Family::register(
                all,
                "stalled_timestamp_seconds",
                "Since when the object cannot go on by itself; no series while it can.",
                &["reason"],
            )?,
            paused: Family::register(all, "paused", "1 while spec.paused is set; no series otherwise.", &[])?,
            drain_timeouts: Family::register(
                all,
                "drain_timeouts",
                "Drains that were not over in time, by what was done; of the present run, else of the last one.",
                &["then"],
            )?,
            backoff: Family::register(
                all,
                "backoff_seconds",
                "How long the object waits after failures until it is looked at again.",
                &[],
            )?,
            phase_seconds: Family::register(
                all,
                "phase_seconds_total",
                "Time spent in each phase.",
                &["phase"],
            )?,
            late_seconds: Family::register(
                all,
                "late_seconds_total",
                "Sum over all acts of the time between when one was due and when it was made.",
                &[],
            )?,
            runs: Family::register(all, "runs_total", "Finished runs by outcome.", &["outcome"])?,
            levers_abandoned: all.add(IntCounter::with_opts(opts(
                "levers_abandoned_total",
                "Levers that could not be put back when their object was let go.",
            ))?)?,
            api_requests: all.add(IntCounterVec::new(
                opts("api_requests_total", "Requests to the API server by method and answer."),
                &["method", "code"],
            )?)?,
            api_writes: all.add(IntCounterVec::new(
                opts("api_writes_total", "Acts on the cluster by what was written."),
                &["kind"],
            )?)?,
            reconcile_seconds: all.add(Histogram::with_opts(reconcile_seconds)?)?,
            reconcile_errors: all.add(IntCounterVec::new(
                opts("reconcile_errors_total", "Reconciles that failed, by what kind of failure."),
                &["class"],
            )?)?,
            leader: all
                .add(IntGauge::with_opts(opts("leader", "1 while this process is the one that acts."))?)?,
            catalog,
        };
        Ok(Self(Arc::new(series)))
    }

    /// Shows what is true of an object now.
    pub fn observe_object(&self, key: &Key, now: &ObjectMetrics<'_>) {
        let series = &self.0;
        let ObjectMetrics {
            phase,
            step,
            replicas,
            pods,
            connections_left,
            last_progress,
            deadline,
            stalled,
            paused,
            drain_timeouts,
        } = now;
        series.info.set_one(key, phase.map(|phase| (phase, 1.0)));
        series.step.set_one(key, step.map(|step| (step, 1.0)));
        series.replicas.set_only(key, replicas.map(|(all, _)| f64::from(all)));
        series.updated_replicas.set_only(key, replicas.map(|(_, updated)| f64::from(updated)));
        series.pods.set_counts(key, pods);
        #[expect(clippy::cast_precision_loss, reason = "no pod has 2^53 connections")]
        let connections = connections_left.map(|count| count as f64);
        series.connections_left.set_only(key, connections);
        series.last_progress.set_only(key, last_progress.map(seconds));
        series.deadline.set_only(key, deadline.map(seconds));
        series.stalled.set_one(key, stalled.map(|(reason, since)| (reason, seconds(since))));
        series.paused.set_only(key, paused.then_some(1.0));
        series.drain_timeouts.set_counts(key, drain_timeouts);
    }

    /// Shows how long an object waits after a failure; none once it was looked at to the end.
    pub fn backs_off(&self, key: &Key, wait: Option<Duration>) {
        self.0.backoff.set_only(key, wait.map(|wait| wait.as_secs_f64()));
    }

    /// Adds time that an object spent in a phase.
    pub fn phase_took(&self, key: &Key, phase: &str, took: Duration) {
        self.0.phase_seconds.add(key, Some(phase), took.as_secs_f64());
    }

    /// Adds how long after it was due an act was made.
    pub fn acted_late(&self, key: &Key, late: Duration) {
        self.0.late_seconds.add(key, None, late.as_secs_f64());
    }

    /// Shows that no run ended so yet, where none did: a series that begins at 1 has no increase.
    pub fn run_may_end(&self, key: &Key, outcome: &str) {
        self.0.runs.add(key, Some(outcome), 0.0);
    }

    /// Counts a run that ended.
    pub fn run_ended(&self, key: &Key, outcome: &str) {
        self.0.runs.add(key, Some(outcome), 1.0);
    }

    /// Counts a lever that could not be put back before its object was let go. It is not about the
    /// object, which has no series any more when somebody looks.
    pub fn lever_abandoned(&self) {
        self.0.levers_abandoned.inc();
    }

    /// Removes every series of an object that is gone.
    pub fn forget(&self, key: &Key) {
        for gauges in self.observed() {
            gauges.forget(key);
        }
        self.0.phase_seconds.forget(key);
        self.0.late_seconds.forget(key);
        self.0.runs.forget(key);
    }

    /// Removes what was observed of all objects: another process acts on them now and shows them.
    /// Counters stay, so that no rate goes backwards should this process act again.
    pub fn stop_observing(&self) {
        for gauges in self.observed() {
            gauges.clear();
        }
    }

    /// What is true of the objects now, as against what was counted.
    fn observed(&self) -> [&Family<GaugeVec>; 12] {
        let series = &self.0;
        [
            &series.info,
            &series.step,
            &series.replicas,
            &series.updated_replicas,
            &series.pods,
            &series.connections_left,
            &series.last_progress,
            &series.deadline,
            &series.stalled,
            &series.paused,
            &series.drain_timeouts,
            &series.backoff,
        ]
    }

    /// Counts a request to the API server. `code`: the status of the answer; none: no answer came.
    pub fn api_request(&self, method: &str, code: Option<u16>) {
        let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        self.0.api_requests.with_label_values(&[method, &code]).inc();
    }

    /// Counts an act on the cluster.
    pub fn api_write(&self, kind: &str) {
        self.0.api_writes.with_label_values(&[kind]).inc();
    }

    /// Counts a reconcile and the time that it took.
    pub fn reconcile_took(&self, took: Duration) {
        self.0.reconcile_seconds.observe(took.as_secs_f64());
    }

    /// Counts a reconcile that failed.
    pub fn reconcile_failed(&self, class: &str) {
        self.0.reconcile_errors.with_label_values(&[class]).inc();
    }

    /// Shows whether this process is the one that acts.
    pub fn leading(&self, leading: bool) {
        self.0.leader.set(i64::from(leading));
    }

    /// All metrics in Prometheus' text format.
    ///
    /// # Errors
    /// When a metric has no value or its name is not allowed; none of ours.
    pub fn encode(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.0.catalog.gather())
    }

    /// Every metric that there is, with or without a series now, for documentation and tests.
    pub fn described(&self) -> &[Described] {
        self.0.catalog.described()
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}
