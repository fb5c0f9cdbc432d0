//! What Prometheus is shown of an object: what is true of it now follows from its status, what is
//! counted from what a look has changed.

use jiff::Timestamp;

use crate::api::LosslessUpgrade;
use crate::api::status::{DrainTimeoutStatus, LosslessUpgradeStatus};
use crate::runtime::metrics::{Key, Metrics, ObjectMetrics};
use crate::workflow::decision::Note;
use crate::workflow::observed::{DrainView, Observed};
use crate::workflow::reasons::Reason;
use crate::workflow::state::{AfterTimeout, Outcome, State};

/// Shows what is true of the object now.
pub fn show(
    metrics: &Metrics,
    key: &Key,
    object: &LosslessUpgrade,
    status: &LosslessUpgradeStatus,
    seen: &Observed,
) {
    let phase = format!("{:?}", status.phase);
    let run = status.run.as_ref();
    let step = run.map(|run| format!("{:?}", run.step));
    let pods = seen.set.as_ref().map(|_| pods(status, seen));
    let left = seen.drains.values().filter_map(|view| match view {
        DrainView::Busy { connections, .. } => Some(*connections),
        DrainView::Quiet(_) => Some(0),
        DrainView::Unknown(_) => None,
    });
    let last = status.history.first();
    let count = |number: i32| u32::try_from(number).unwrap_or_default();
    let stalled = status.conditions.iter().find(|one| one.type_ == "Stalled" && one.status == "True");
    let timeouts = match run {
        Some(run) => run.drain_timeouts.as_slice(),
        None => last.map_or(&[][..], |past| past.drain_timeouts.as_slice()),
    };
    let now = ObjectMetrics {
        phase: Some(&phase),
        step: step.as_deref(),
        replicas: Some((count(status.replicas), count(status.updated_replicas))),
        pods: pods.as_ref().map_or(&[], |pods| pods.as_slice()),
        connections_left: left.reduce(|a, b| a + b),
        last_progress: run.map(|run| run.entered).or_else(|| last.map(|past| past.finished_at)),
        deadline: run.and_then(|run| run.deadline),
        stalled: stalled.map(|one| (one.reason.as_str(), one.last_transition_time.0)),
        paused: object.spec.paused,
        drain_timeouts: &drain_timeouts(timeouts),
    };
    metrics.observe_object(key, &now);
}

fn pods(status: &LosslessUpgradeStatus, seen: &Observed) -> [(&'static str, u32); 3] {
    let number = |is: &dyn Fn(u32, bool) -> bool| {
        let pods = seen.pods.iter().filter(|(ordinal, pod)| is(**ordinal, pod.ready));
        u32::try_from(pods.count()).unwrap_or(u32::MAX)
    };
    let detached = &status.detached;
    [
        ("serving", number(&|ordinal, ready| ready && !detached.contains(ordinal))),
        ("detached", number(&|ordinal, ready| ready && detached.contains(ordinal))),
        ("notReady", number(&|_, ready| !ready)),
    ]
}

fn drain_timeouts(timeouts: &[DrainTimeoutStatus]) -> Vec<(&'static str, u32)> {
    let name = |then| match then {
        AfterTimeout::Paused => "Paused",
        AfterTimeout::Proceeded => "Proceeded",
        AfterTimeout::RolledBack => "RolledBack",
    };
    let all = [AfterTimeout::Paused, AfterTimeout::Proceeded, AfterTimeout::RolledBack];
    let counts = all.into_iter().map(|then| {
        let count = timeouts.iter().filter(|timeout| timeout.then == then).count();
        (name(then), u32::try_from(count).unwrap_or(u32::MAX))
    });
    counts.filter(|(_, count)| *count > 0).collect()
}

/// An object of which nothing can be read but that it is there.
pub fn show_unreadable(metrics: &Metrics, key: &Key, since: Timestamp) {
    let stalled = Some((Reason::InvalidObject.as_str(), since));
    metrics.observe_object(key, &ObjectMetrics { stalled, ..ObjectMetrics::default() });
}

/// Counts what a look has brought to an end.
pub fn count(metrics: &Metrics, key: &Key, before: &State, after: &State, notes: &[Note], now: Timestamp) {
    for _ in notes.iter().filter(|note| note.reason == Reason::LeverNotRestored) {
        metrics.lever_abandoned();
    }
    for outcome in [Outcome::Succeeded, Outcome::RolledBack, Outcome::Aborted, Outcome::Blocked] {
        metrics.run_may_end(key, &format!("{outcome:?}"));
    }
    let Some(run) = &before.run else { return };
    let next = after.run.as_ref();
    if !next.is_some_and(|next| next.step == run.step && next.entered == run.entered) {
        let took = now.duration_since(run.entered).try_into().unwrap_or_default();
        metrics.phase_took(key, &format!("{:?}", before.phase()), took);
    }
    if next.is_none_or(|next| next.id != run.id)
        && let Some(past) = after.history.first()
    {
        metrics.run_ended(key, &format!("{:?}", past.outcome));
    }
}
