//! What Prometheus sees: few series an object, and none of an object that is gone.
//!
//! Label values come from closed enums of the caller; nothing here makes one out of a message.

mod family;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus::{
    CounterVec, GaugeVec, Histogram, HistogramOpts, IntCounterVec, IntGauge, Registry, TextEncoder,
};

use family::{Family, opts};

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

/// What is true of one object now. It replaces all that was observed of it before.
#[derive(Clone, Debug)]
pub struct ObjectMetrics<'a> {
    /// The phase; an object has one `info` series, with this label.
    pub phase: &'a str,
    /// How many pods are in each state; a state that is left out has no series.
    pub pods: &'a [(&'a str, u32)],
    /// Connections that the drain still waits for; none when nothing is counted.
    pub connections_left: Option<u64>,
    /// When the run last moved.
    pub last_progress: Option<Timestamp>,
    /// When the present wait is over by itself.
    pub deadline: Option<Timestamp>,
}

/// All metrics of the process. Clones share them; there is no global registry.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Series>);

#[derive(Debug)]
struct Series {
    registry: Registry,
    info: Family<GaugeVec>,
    pods: Family<GaugeVec>,
    connections_left: Family<GaugeVec>,
    last_progress: Family<GaugeVec>,
    deadline: Family<GaugeVec>,
    backoff: Family<GaugeVec>,
    phase_seconds: Family<CounterVec>,
    late_seconds: Family<CounterVec>,
    runs: Family<CounterVec>,
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
        let registry = Registry::new();
        let reconcile_seconds =
            HistogramOpts::from(opts("reconcile_seconds", "Time that one reconcile took."))
                .buckets(RECONCILE_BUCKETS.to_vec());
        let series = Series {
            info: Family::register(&registry, "info", "The phase each object is in.", &["phase"])?,
            pods: Family::register(&registry, "pods", "Pods of the target by state.", &["state"])?,
            connections_left: Family::register(
                &registry,
                "connections_left",
                "Connections that the drain still waits for.",
                &[],
            )?,
            last_progress: Family::register(
                &registry,
                "last_progress_timestamp_seconds",
                "When the run last moved.",
                &[],
            )?,
            deadline: Family::register(
                &registry,
                "deadline_timestamp_seconds",
                "When the present wait is over by itself.",
                &[],
            )?,
            backoff: Family::register(
                &registry,
                "backoff_seconds",
                "How long the object waits after failures until it is looked at again.",
                &[],
            )?,
            phase_seconds: Family::register(
                &registry,
                "phase_seconds_total",
                "Time spent in each phase.",
                &["phase"],
            )?,
            late_seconds: Family::register(
                &registry,
                "late_seconds_total",
                "Sum over all acts of the time between when one was due and when it was made.",
                &[],
            )?,
            runs: Family::register(&registry, "runs_total", "Finished runs by outcome.", &["outcome"])?,
            api_writes: IntCounterVec::new(
                opts("api_writes_total", "Writes to the API server by what was written."),
                &["kind"],
            )?,
            reconcile_seconds: Histogram::with_opts(reconcile_seconds)?,
            reconcile_errors: IntCounterVec::new(
                opts("reconcile_errors_total", "Reconciles that failed, by what kind of failure."),
                &["class"],
            )?,
            leader: IntGauge::with_opts(opts("leader", "1 while this process is the one that acts."))?,
            registry,
        };
        series.registry.register(Box::new(series.api_writes.clone()))?;
        series.registry.register(Box::new(series.reconcile_seconds.clone()))?;
        series.registry.register(Box::new(series.reconcile_errors.clone()))?;
        series.registry.register(Box::new(series.leader.clone()))?;
        Ok(Self(Arc::new(series)))
    }

    /// Shows what is true of an object now.
    pub fn observe_object(&self, key: &Key, now: &ObjectMetrics<'_>) {
        let ObjectMetrics { phase, pods, connections_left, last_progress, deadline } = now;
        let series = &self.0;
        series.info.set_all(key, &[(Some(phase), 1.0)]);
        let pods: Vec<_> = pods.iter().map(|(state, count)| (Some(*state), f64::from(*count))).collect();
        series.pods.set_all(key, &pods);
        #[expect(clippy::cast_precision_loss, reason = "no pod has 2^53 connections")]
        let connections = connections_left.map(|count| count as f64);
        series.connections_left.set_only(key, connections);
        series.last_progress.set_only(key, last_progress.map(seconds));
        series.deadline.set_only(key, deadline.map(seconds));
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

    /// Counts a run that ended.
    pub fn run_ended(&self, key: &Key, outcome: &str) {
        self.0.runs.add(key, Some(outcome), 1.0);
    }

    /// Removes every series of an object that is gone.
    pub fn forget(&self, key: &Key) {
        self.0.info.forget(key);
        self.0.pods.forget(key);
        self.0.connections_left.forget(key);
        self.0.last_progress.forget(key);
        self.0.deadline.forget(key);
        self.0.backoff.forget(key);
        self.0.phase_seconds.forget(key);
        self.0.late_seconds.forget(key);
        self.0.runs.forget(key);
    }

    /// Removes what was observed of all objects: another process acts on them now and shows them.
    /// Counters stay, so that no rate goes backwards should this process act again.
    pub fn stop_observing(&self) {
        for gauges in [
            &self.0.info,
            &self.0.pods,
            &self.0.connections_left,
            &self.0.last_progress,
            &self.0.deadline,
            &self.0.backoff,
        ] {
            gauges.clear();
        }
    }

    /// Counts a write to the API server.
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
        TextEncoder::new().encode_to_string(&self.0.registry.gather())
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key { namespace: "web".into(), name: name.into() }
    }

    fn everything(metrics: &Metrics, key: &Key, phase: &str) {
        let now = ObjectMetrics {
            phase,
            pods: &[("Serving", 3), ("Draining", 1)],
            connections_left: Some(12),
            last_progress: Some(Timestamp::from_second(1_700_000_000).unwrap()),
            deadline: Some(Timestamp::from_second(1_700_000_600).unwrap()),
        };
        metrics.observe_object(key, &now);
        metrics.phase_took(key, phase, Duration::from_millis(1500));
        metrics.acted_late(key, Duration::from_millis(20));
        metrics.run_ended(key, "Succeeded");
        metrics.backs_off(key, Some(Duration::from_secs(2)));
    }

    #[test]
    fn an_object_is_in_one_phase_only() {
        let metrics = Metrics::new().unwrap();
        everything(&metrics, &key("nginx"), "Detach");
        everything(&metrics, &key("nginx"), "Drain");
        let text = metrics.encode().unwrap();
        assert!(
            text.contains("lossless_upgrade_info{name=\"nginx\",namespace=\"web\",phase=\"Drain\"} 1"),
            "{text}"
        );
        assert!(
            !text.contains("lossless_upgrade_info{name=\"nginx\",namespace=\"web\",phase=\"Detach\"}"),
            "{text}"
        );
        assert!(text.contains("phase=\"Detach\"} 1.5"), "the time spent in it stays\n{text}");
    }

    #[test]
    fn what_is_no_longer_true_of_an_object_has_no_series() {
        let metrics = Metrics::new().unwrap();
        everything(&metrics, &key("nginx"), "Drain");
        let idle = ObjectMetrics {
            phase: "Idle",
            pods: &[("Serving", 4)],
            connections_left: None,
            last_progress: None,
            deadline: None,
        };
        metrics.observe_object(&key("nginx"), &idle);
        let text = metrics.encode().unwrap();
        assert!(
            !text.contains("Draining") && !text.contains("connections_left{") && !text.contains("deadline"),
            "{text}"
        );
        assert!(text.contains("state=\"Serving\"} 4"), "{text}");
    }

    #[test]
    fn an_object_that_backs_off_shows_for_how_long_until_it_was_looked_at_to_the_end() {
        let metrics = Metrics::new().unwrap();
        metrics.backs_off(&key("nginx"), Some(Duration::from_millis(1500)));
        let line = "lossless_upgrade_backoff_seconds{name=\"nginx\",namespace=\"web\"} 1.5";
        assert!(metrics.encode().unwrap().contains(line), "{}", metrics.encode().unwrap());
        metrics.backs_off(&key("nginx"), None);
        assert!(!metrics.encode().unwrap().contains("backoff_seconds{"));
    }

    #[test]
    fn a_deleted_object_leaves_no_series_and_the_others_keep_theirs() {
        let metrics = Metrics::new().unwrap();
        everything(&metrics, &key("gone"), "Drain");
        everything(&metrics, &key("gone"), "Replace");
        let without_it = {
            let only = Metrics::new().unwrap();
            everything(&only, &key("stays"), "Drain");
            only.encode().unwrap()
        };
        everything(&metrics, &key("stays"), "Drain");
        metrics.forget(&key("gone"));
        assert_eq!(metrics.encode().unwrap(), without_it);
    }

    #[test]
    fn a_process_that_no_longer_acts_shows_no_object_and_keeps_its_counters() {
        let metrics = Metrics::new().unwrap();
        everything(&metrics, &key("nginx"), "Drain");
        metrics.stop_observing();
        let text = metrics.encode().unwrap();
        assert!(!text.contains("lossless_upgrade_info") && !text.contains("lossless_upgrade_pods"), "{text}");
        assert!(text.contains("lossless_upgrade_runs_total{name=\"nginx\""), "{text}");
    }

    #[test]
    fn the_process_counts_its_writes_errors_and_reconciles() {
        let metrics = Metrics::new().unwrap();
        metrics.api_write("pod");
        metrics.api_write("pod");
        metrics.reconcile_took(Duration::from_millis(7));
        metrics.reconcile_failed("Conflict");
        let text = metrics.encode().unwrap();
        for line in [
            "lossless_upgrade_api_writes_total{kind=\"pod\"} 2",
            "lossless_upgrade_reconcile_seconds_bucket{le=\"0.01\"} 1",
            "lossless_upgrade_reconcile_errors_total{class=\"Conflict\"} 1",
            "lossless_upgrade_leader 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
