//! When a pod counts as drained: every probe quiet, seen without a gap for long enough.

use std::time::Duration;

use super::observed::DrainView;
use super::span::Span;

/// One answer of one probe.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    /// It counted.
    Count {
        /// Connections that may still owe bytes.
        connections: u64,
        /// New connections a second, where the probe knows.
        new_per_second: Option<f64>,
    },
    /// It did not.
    Unknown(String),
}

/// What a probe must show to be quiet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Connections at most.
    pub threshold: u64,
    /// New connections a second at most; those of the kubelet's own probes are counted in.
    pub new_per_second: f64,
    /// Connections silent for so long were left out of the count.
    pub idle_after: Option<Span>,
}

/// The samples of one probe on one pod, on a monotonic clock of this process. It starts empty
/// after a take-over, so that quiet is never taken on trust.
#[derive(Clone, Debug)]
pub struct Window {
    limits: Limits,
    /// A sample older than this says nothing about now.
    stale_after: Duration,
    last: Option<(Duration, Sample)>,
    quiet_since: Option<Duration>,
}

impl Window {
    /// An empty window.
    #[must_use]
    pub const fn new(limits: Limits, stale_after: Duration) -> Self {
        Self { limits, stale_after, last: None, quiet_since: None }
    }

    /// Takes a sample seen at `at`.
    pub fn push(&mut self, at: Duration, sample: Sample) {
        if self.last.as_ref().is_some_and(|(before, _)| at.saturating_sub(*before) > self.stale_after) {
            self.quiet_since = None;
        }
        self.quiet_since = if self.quiet(&sample) { self.quiet_since.or(Some(at)) } else { None };
        self.last = Some((at, sample));
    }

    fn quiet(&self, sample: &Sample) -> bool {
        match sample {
            Sample::Unknown(_) => false,
            Sample::Count { connections, new_per_second } => {
                *connections <= self.limits.threshold
                    && new_per_second.is_none_or(|rate| rate <= self.limits.new_per_second)
            }
        }
    }

    /// What the window says at `now`. Quiet lasts from the first quiet sample to the last one: what
    /// came after the last sample was not seen.
    #[must_use]
    pub fn view(&self, now: Duration) -> DrainView {
        match &self.last {
            None => DrainView::Unknown("no answer yet".into()),
            Some((at, _)) if now.saturating_sub(*at) > self.stale_after => {
                DrainView::Unknown(format!("no answer for {}s", now.saturating_sub(*at).as_secs()))
            }
            Some((_, Sample::Unknown(why))) => DrainView::Unknown(why.clone()),
            Some((at, Sample::Count { connections, new_per_second })) => match self.quiet_since {
                Some(since) => DrainView::Quiet(at.saturating_sub(since)),
                None => DrainView::Busy {
                    connections: *connections,
                    why: self.why(*connections, *new_per_second),
                },
            },
        }
    }

    fn why(&self, connections: u64, new_per_second: Option<f64>) -> String {
        if connections > self.limits.threshold {
            let silent = self.limits.idle_after.map(|time| format!(" that were not silent for {time}"));
            let silent = silent.unwrap_or_default();
            return format!("{connections} connections left{silent} (at most {})", self.limits.threshold);
        }
        format!(
            "{:.1} new connections a second although it is detached (at most {:.1}): the levers do not cover these clients",
            new_per_second.unwrap_or_default(),
            self.limits.new_per_second
        )
    }
}

/// What several probes say together: any Unknown is Unknown, then the busiest, then the shortest quiet.
#[must_use]
pub fn together(views: impl IntoIterator<Item = DrainView>) -> DrainView {
    views
        .into_iter()
        .reduce(|one, other| match (one, other) {
            (unknown @ DrainView::Unknown(_), _) | (_, unknown @ DrainView::Unknown(_)) => unknown,
            (
                DrainView::Busy { connections: a, why: one },
                DrainView::Busy { connections: b, why: other },
            ) => {
                if a >= b {
                    DrainView::Busy { connections: a, why: one }
                } else {
                    DrainView::Busy { connections: b, why: other }
                }
            }
            (busy @ DrainView::Busy { .. }, DrainView::Quiet(_))
            | (DrainView::Quiet(_), busy @ DrainView::Busy { .. }) => busy,
            (DrainView::Quiet(a), DrainView::Quiet(b)) => DrainView::Quiet(a.min(b)),
        })
        .unwrap_or_else(|| DrainView::Unknown("no probe".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { threshold: 0, new_per_second: 3.0, idle_after: None };

    fn window() -> Window {
        Window::new(LIMITS, Duration::from_secs(6))
    }

    fn count(connections: u64) -> Sample {
        Sample::Count { connections, new_per_second: Some(1.0) }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn quiet_is_counted_between_samples_that_were_seen_and_not_up_to_now() {
        let mut window = window();
        assert!(matches!(window.view(at(0)), DrainView::Unknown(_)));
        window.push(at(2), count(0));
        window.push(at(4), count(0));
        assert_eq!(window.view(at(5)), DrainView::Quiet(at(2)));
    }

    #[test]
    fn one_connection_or_one_missing_answer_starts_the_count_anew() {
        for breaker in [count(1), Sample::Unknown("timeout".into())] {
            let mut window = window();
            window.push(at(0), count(0));
            window.push(at(2), breaker);
            window.push(at(4), count(0));
            window.push(at(6), count(0));
            assert_eq!(window.view(at(6)), DrainView::Quiet(at(2)));
        }
    }

    #[test]
    fn a_gap_between_samples_breaks_the_quiet_and_a_stale_window_is_unknown() {
        let mut window = window();
        window.push(at(0), count(0));
        window.push(at(10), count(0));
        assert_eq!(window.view(at(10)), DrainView::Quiet(at(0)));
        assert!(matches!(window.view(at(17)), DrainView::Unknown(_)));
    }

    #[test]
    fn a_sample_holds_for_as_long_as_it_may_and_no_longer() {
        let mut window = window();
        window.push(at(0), count(0));
        window.push(at(6), count(0));
        assert_eq!(window.view(at(12)), DrainView::Quiet(at(6)));
        assert!(matches!(window.view(at(13)), DrainView::Unknown(_)));
    }

    #[test]
    fn what_was_left_out_is_said() {
        let limits = Limits { idle_after: Some(Span::seconds(90)), ..LIMITS };
        let mut window = Window::new(limits, Duration::from_secs(6));
        window.push(at(0), count(2));
        let why = "2 connections left that were not silent for 1m30s (at most 0)".to_owned();
        assert_eq!(window.view(at(0)), DrainView::Busy { connections: 2, why });
    }

    #[test]
    fn new_connections_that_nothing_explains_hold_the_drain_at_zero_open_ones() {
        let mut window = window();
        window.push(at(0), Sample::Count { connections: 0, new_per_second: Some(9.0) });
        let DrainView::Busy { connections: 0, why } = window.view(at(0)) else { panic!("not busy") };
        assert!(why.contains("9.0 new connections"), "{why}");
    }

    #[test]
    fn of_several_probes_the_worst_counts() {
        let unknown = DrainView::Unknown("x".into());
        let busy = DrainView::Busy { connections: 2, why: "2".into() };
        assert_eq!(together([DrainView::Quiet(at(3)), busy.clone()]), busy);
        let busier = DrainView::Busy { connections: 3, why: "3".into() };
        assert_eq!(together([busy.clone(), busier.clone()]), busier);
        assert_eq!(together([busier.clone(), busy.clone()]), busier);
        assert_eq!(together([busy, unknown.clone()]), unknown);
        assert_eq!(together([DrainView::Quiet(at(3)), DrainView::Quiet(at(2))]), DrainView::Quiet(at(2)));
        assert!(matches!(together([]), DrainView::Unknown(_)));
    }
}
