//! What Prometheus is shown of an object: what is true of it now follows from its status, what is
//! counted from what a look has changed.

use jiff::Timestamp;

use crate::api::LosslessUpgrade;
use crate::api::status::{DrainTimeoutStatus, LosslessUpgradeStatus, condition};
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
    let stalled = condition(&status.conditions, "Stalled");
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What is served of an object with this status.
    fn served(paused: bool, status: Value) -> String {
        let object = json!({
            "apiVersion": "lossless-upgrade.io/v1alpha1", "kind": "LosslessUpgrade",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"targetRef": {"name": "web"}, "traffic": {"levers": [{"none": {}}]}, "paused": paused},
        });
        let metrics = Metrics::new().unwrap();
        let key = Key { namespace: "shop".into(), name: "web".into() };
        let object = serde_json::from_value(object).unwrap();
        let status = serde_json::from_value(status).unwrap();
        show(&metrics, &key, &object, &status, &Observed::default());
        metrics.encode().unwrap()
    }

    fn has(text: &str, metric: &str, label: &str, value: &str) -> bool {
        let label = if label.is_empty() { String::new() } else { format!(",{label}") };
        let line = format!("\nlossless_upgrade_{metric}{{name=\"web\",namespace=\"shop\"{label}}} {value}\n");
        text.contains(&line)
    }

    #[test]
    fn a_run_that_stands_still_shows_its_step_its_reason_and_since_when() {
        let text = served(
            false,
            json!({
                "phase": "Reclaim", "replicas": 4,
                "run": {
                    "id": "r", "from": "web-1", "to": "web-2", "setUid": "u", "goal": "Upgrade", "surge": 1,
                    "startedAt": "1970-01-01T00:01:00Z", "entered": "1970-01-01T00:02:00Z", "step": "Restore",
                    "deadline": "1970-01-01T00:03:00Z", "batch": "", "batchKind": "None", "updated": "",
                    "drainTimeouts": [{"ordinals": "0", "then": "Proceeded"}, {"ordinals": "1", "then": "Proceeded"}],
                },
                "conditions": [{
                    "type": "Stalled", "status": "True", "reason": "LeverNotRestored", "message": "",
                    "lastTransitionTime": "1970-01-01T00:03:00Z",
                }],
            }),
        );
        for (metric, label, value) in [
            ("info", "phase=\"Reclaim\"", "1"),
            ("step", "step=\"Restore\"", "1"),
            ("stalled_timestamp_seconds", "reason=\"LeverNotRestored\"", "180"),
            ("last_progress_timestamp_seconds", "", "120"),
            ("deadline_timestamp_seconds", "", "180"),
            ("drain_timeouts", "then=\"Proceeded\"", "2"),
            ("replicas", "", "4"),
        ] {
            assert!(has(&text, metric, label, value), "{metric} {label} {value}\n{text}");
        }
        assert!(!text.contains("lossless_upgrade_paused{"), "{text}");
    }

    #[test]
    fn between_runs_it_shows_when_the_last_one_ended_and_that_its_owner_has_paused_it() {
        let text = served(
            true,
            json!({
                "phase": "Succeeded",
                "history": [{
                    "from": "web-1", "to": "web-2", "startedAt": "1970-01-01T00:01:00Z", "pods": 4,
                    "finishedAt": "1970-01-01T00:05:00Z", "outcome": "Succeeded",
                    "drainTimeouts": [{"ordinals": "0", "then": "Paused"}],
                }],
                "conditions": [{
                    "type": "Stalled", "status": "False", "reason": "UpToDate", "message": "",
                    "lastTransitionTime": "1970-01-01T00:03:00Z",
                }],
            }),
        );
        assert!(has(&text, "last_progress_timestamp_seconds", "", "300"), "{text}");
        assert!(
            has(&text, "drain_timeouts", "then=\"Paused\"", "1") && has(&text, "paused", "", "1"),
            "{text}"
        );
        for gone in ["lossless_upgrade_step{", "stalled_timestamp_seconds{", "lossless_upgrade_pods{"] {
            assert!(!text.contains(gone), "{gone}\n{text}");
        }
    }

    #[test]
    fn an_end_is_counted_once_and_a_lever_that_was_left_behind_without_its_object() {
        let key = Key { namespace: "shop".into(), name: "web".into() };
        let metrics = Metrics::new().unwrap();
        let note = Note { reason: Reason::LeverNotRestored, text: String::new(), warning: true };
        count(&metrics, &key, &State::default(), &State::default(), &[note], Timestamp::UNIX_EPOCH);
        let text = metrics.encode().unwrap();
        assert!(text.contains("\nlossless_upgrade_levers_abandoned_total 1\n"), "{text}");
        for outcome in ["Succeeded", "RolledBack", "Aborted", "Blocked"] {
            assert!(has(&text, "runs_total", &format!("outcome=\"{outcome}\""), "0"), "{text}");
        }
    }
}
