//! What is shown: the status for people, conditions as kstatus reads them, events. Metrics: `measure.rs`.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::runtime::events::{Event, EventType};
use kube::{Resource, ResourceExt};

use super::Controller;
use super::observe::Look;
use crate::api::LosslessUpgrade;
use crate::api::record;
use crate::api::status::{LosslessUpgradeStatus, TargetStatus, condition};
use crate::workflow::decision::{Decision, Effect, Note};
use crate::workflow::observed::{DrainView, Observed};
use crate::workflow::reasons::Reason;
use crate::workflow::state::{Phase, Run, State, Step};

/// An event's text may have this many bytes.
const NOTE: usize = 1024;
/// Writing an event may take this long; nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The status that a decision leads to.
pub fn status(
    object: &LosslessUpgrade,
    look: &Look,
    decision: &Decision,
    now: Timestamp,
) -> LosslessUpgradeStatus {
    let before = object.status.clone().unwrap_or_default();
    let mut status = before.clone();
    record::record(decision.state.clone(), &mut status);
    let seen = &look.seen;
    status.observed_generation = object.metadata.generation.unwrap_or_default();
    status.message.clone_from(&decision.message);
    if status.message.is_empty() {
        status.message = before.message;
    }
    count(&mut status, seen);
    if let Some(run) = &mut status.run {
        run.deadline = decision.deadline;
    }
    for pod in &mut status.pods {
        pod.connections = match seen.drains.get(&pod.uid) {
            Some(DrainView::Busy { connections, .. }) => i64::try_from(*connections).ok(),
            Some(DrainView::Quiet(_)) => Some(0),
            Some(DrainView::Unknown(_)) | None => None,
        };
    }
    let raw = look.set.as_ref().and_then(|set| set.status.as_ref());
    if let (Some(revision), Some(raw)) = (seen.set.as_ref().and_then(|set| set.update_revision.clone()), raw)
    {
        status.target = Some(TargetStatus {
            observed_generation: raw.observed_generation.unwrap_or_default(),
            update_revision: revision,
        });
    }
    let run = decision.state.run.as_ref();
    status.conditions = conditions(object, behind(object, seen), run, decision.stalled, &status, now);
    status
}

fn count(status: &mut LosslessUpgradeStatus, seen: &Observed) {
    let Some(set) = &seen.set else { return };
    let replicas = status.saved.as_ref().map_or(set.replicas, |saved| saved.replicas);
    let wanted = status.run.as_ref().map(|run| run.to.as_str()).or(set.update_revision.as_deref());
    let base = Observed::ordinals(set, 0, replicas);
    let updated = base.iter().filter(|ordinal| {
        seen.pods.get(ordinal).is_some_and(|pod| pod.ready && Some(pod.revision.as_str()) == wanted)
    });
    let updated = i32::try_from(updated.count()).unwrap_or(i32::MAX);
    status.replicas = i32::try_from(replicas).unwrap_or(i32::MAX);
    status.updated_replicas = updated;
    status.progress = format!("{updated}/{replicas}");
}

/// Whether the pods are not what is wanted, or it is not known what is wanted.
#[must_use]
pub fn behind(object: &LosslessUpgrade, seen: &Observed) -> bool {
    let Some(set) = &seen.set else { return true };
    let Some(revision) = &set.update_revision else { return true };
    !set.runs(&object.spec.images) || !seen.behind(set, revision).is_empty()
}

/// The conditions as kstatus reads them. An object whose pods are behind is not Ready, also while
/// `spec.paused` keeps a run from beginning.
pub fn conditions(
    object: &LosslessUpgrade,
    behind: bool,
    run: Option<&Run>,
    stalled: Option<Reason>,
    status: &LosslessUpgradeStatus,
    now: Timestamp,
) -> Vec<Condition> {
    let paused = object.spec.paused || run.is_some_and(|run| run.halted.is_some());
    let given_up = match status.phase {
        Phase::RolledBack => Some(Reason::RolledBack),
        Phase::Aborted => Some(Reason::Aborted),
        Phase::Idle
        | Phase::Preflight
        | Phase::Blocked
        | Phase::Surge
        | Phase::Detach
        | Phase::Drain
        | Phase::Replace
        | Phase::Verify
        | Phase::Attach
        | Phase::Soak
        | Phase::Reclaim
        | Phase::Succeeded
        | Phase::RollingBack
        | Phase::Aborting => None,
    };
    let stalled = stalled.or(given_up);
    let behind = run.is_some() || stalled.is_some() || behind;
    let reason = stalled.unwrap_or(match (behind, object.spec.paused) {
        (true, true) => Reason::PausedByUser,
        (true, false) => Reason::Progressing,
        (false, _) => Reason::UpToDate,
    });
    let make = |kind: &str, is: bool, reason: Reason| {
        let old = status.conditions.iter().find(|old| old.type_ == kind);
        let is = if is { "True" } else { "False" };
        Condition {
            type_: kind.to_owned(),
            status: is.to_owned(),
            reason: reason.as_str().to_owned(),
            message: status.message.clone(),
            observed_generation: object.metadata.generation,
            last_transition_time: old
                .filter(|old| old.status == is)
                .map_or_else(|| Time(now), |old| old.last_transition_time.clone()),
        }
    };
    vec![
        make("Ready", !behind, reason),
        make("Reconciling", behind && stalled.is_none(), reason),
        make("Stalled", stalled.is_some(), reason),
        make("Paused", paused, if object.spec.paused { Reason::PausedByUser } else { reason }),
    ]
}

/// What is live: worth a write of its own now and then. Of the sentence the words only, as its numbers grow
/// with the time; why nothing is known of a pod stands nowhere else.
#[must_use]
pub fn live(status: &LosslessUpgradeStatus) -> (i32, Vec<Option<i64>>, String) {
    let connections = status.pods.iter().map(|pod| pod.connections).collect();
    let words = status.message.chars().filter(|sign| !sign.is_ascii_digit()).collect();
    (status.updated_replicas, connections, words)
}

/// The status without what changes while nothing happens: numbers and sentences for the eye.
#[must_use]
pub fn without_live(status: &LosslessUpgradeStatus) -> LosslessUpgradeStatus {
    let mut status = status.clone();
    status.message.clear();
    status.progress.clear();
    status.updated_replicas = 0;
    status.observed_generation = 0;
    status.target = None;
    status.pods.iter_mut().for_each(|pod| pod.connections = None);
    if let Some(run) = &mut status.run {
        run.deadline = None;
        run.lever_writes = 0;
    }
    for condition in &mut status.conditions {
        condition.message.clear();
        condition.observed_generation = None;
        // The times that are kept have seconds.
        condition.last_transition_time = Time(Timestamp::UNIX_EPOCH);
    }
    status
}

/// Writes the events, in their order. Nobody waits for them, and a failure is only logged.
pub fn events<K>(controller: &Controller, object: &K, seen: &Observed, run: Option<&str>, notes: &[Note])
where
    K: Resource<DynamicType = ()>,
{
    if notes.is_empty() {
        return;
    }
    let reference = object.object_ref(&());
    let events: Vec<_> = notes.iter().map(|note| event(object, seen, run, note)).collect();
    let recorder = controller.recorder.clone();
    tokio::spawn(async move {
        for event in events {
            match tokio::time::timeout(PATIENCE, recorder.publish(&event, &reference)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "an event was not written"),
                Err(_) => tracing::debug!("an event was not written in time"),
            }
        }
    });
}

/// Events of one reason, action and pod are merged, and the first text stays: those of different pods
/// and of different runs must differ.
fn event<K>(object: &K, seen: &Observed, run: Option<&str>, note: &Note) -> Event
where
    K: Resource<DynamicType = ()>,
{
    tracing::info!(object = %object.name_any(), reason = %note.reason, "{}", note.text);
    let pod = first_pod(seen, &note.text).map(|name| ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: object.namespace(),
        name: Some(name.to_owned()),
        ..ObjectReference::default()
    });
    Event {
        type_: if note.warning { EventType::Warning } else { EventType::Normal },
        reason: note.reason.as_str().to_owned(),
        note: Some(cut(&note.text)),
        action: run.map_or_else(|| "Upgrade".to_owned(), |run| format!("Upgrade-{run}")),
        secondary: pod,
    }
}

/// What the procedure does not note itself, because it only decides: that a write to the levers is on
/// its way, that they are as before, that the run has come to a stand and that it goes on.
#[must_use]
pub fn further_notes(
    before: &State,
    conditions: &[Condition],
    seen: &Observed,
    decision: &Decision,
    status: &LosslessUpgradeStatus,
) -> Vec<Note> {
    let note = |reason, text: &str, warning| Note { reason, text: text.to_owned(), warning };
    let is_noted = |reason| decision.notes.iter().any(|note| note.reason == reason);
    let (was, is) = (before.run.as_ref(), decision.state.run.as_ref());
    let mut notes = Vec::new();
    if is.is_some_and(|run| run.step == Step::Detach)
        && matches!(decision.effect, Some(Effect::SetLevers { again: false, .. }))
    {
        notes.push(note(Reason::Detaching, &decision.message, false));
    }
    let restored = was.is_some_and(|run| run.step == Step::Restore) && is.is_none();
    if restored && !seen.namespace_terminating && !is_noted(Reason::LeverNotRestored) {
        notes.push(note(Reason::LeversRestored, "The levers hold what they held before the run", false));
    }
    let stalled = condition(conditions, "Stalled").map(|stalled| stalled.reason.as_str());
    if let Some(reason) = decision.stalled.filter(|reason| stalled != Some(reason.as_str()))
        && !is_noted(reason)
    {
        notes.push(note(reason, &status.message, true));
    }
    let held = |conditions: &[Condition]| {
        ["Stalled", "Paused"].iter().any(|kind| condition(conditions, kind).is_some())
    };
    if was.is_some() && is.is_some() && held(conditions) && !held(&status.conditions) {
        notes.push(note(Reason::Progressing, &format!("The run goes on: {}", status.message), false));
    }
    notes
}

/// The pod that a sentence names first.
fn first_pod<'a>(seen: &'a Observed, text: &str) -> Option<&'a str> {
    let named = seen.pods.values().filter_map(|pod| Some((text.find(&pod.name)?, pod.name.as_str())));
    named.min().map(|(_, name)| name)
}

fn cut(text: &str) -> String {
    let end = (0..=NOTE.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_event_is_cut_between_characters() {
        let text = "ü".repeat(NOTE);
        let cut = cut(&text);
        assert!(cut.len() <= NOTE && text.starts_with(&cut));
        assert_eq!(super::cut("short"), "short");
    }

    #[test]
    fn a_sentence_is_news_in_a_run_when_it_says_something_else_and_not_when_it_counts() {
        let live = |message: &str| {
            live(&LosslessUpgradeStatus { message: message.to_owned(), ..LosslessUpgradeStatus::default() })
        };
        assert_eq!(
            live("web-0: no connection left, for 3s of 10s"),
            live("web-0: no connection left, for 4s of 10s")
        );
        assert_ne!(live("web-0: not counted yet"), live("web-0: no whole answer within 5 s"));
    }

    fn run(step: Step) -> State {
        let run = serde_json::json!({
            "id": "r", "from": "web-1", "to": "web-2", "setUid": "u", "startedAt": "2026-01-01T00:00:00Z",
            "goal": "Upgrade", "step": step, "entered": "2026-01-01T00:00:00Z",
            "batch": "", "batchKind": "None", "surge": 1, "updated": "",
        });
        let status = LosslessUpgradeStatus {
            run: Some(serde_json::from_value(run).unwrap()),
            ..LosslessUpgradeStatus::default()
        };
        record::state(&status)
    }

    fn decision(state: State, stalled: Option<Reason>, notes: Vec<Note>) -> Decision {
        let (message, trail) = ("it waits".to_owned(), Vec::new());
        Decision { state, effect: None, wake: None, message, stalled, deadline: None, notes, trail }
    }

    fn held(kind: &str, reason: Reason) -> Vec<Condition> {
        vec![Condition {
            type_: kind.to_owned(),
            status: "True".to_owned(),
            reason: reason.as_str().to_owned(),
            message: String::new(),
            observed_generation: None,
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        }]
    }

    fn further(
        before: &State,
        was: &[Condition],
        decision: &Decision,
        is: Vec<Condition>,
    ) -> Vec<(Reason, bool)> {
        let status = LosslessUpgradeStatus {
            conditions: is,
            message: decision.message.clone(),
            ..LosslessUpgradeStatus::default()
        };
        let notes = further_notes(before, was, &Observed::default(), decision, &status);
        notes.into_iter().map(|note| (note.reason, note.warning)).collect()
    }

    #[test]
    fn a_run_that_comes_to_a_stand_says_so_once_and_says_when_it_goes_on() {
        let (draining, silent) = (run(Step::Drain), Reason::ProbeSilent);
        let stands = decision(draining.clone(), Some(silent), Vec::new());
        let condition = || held("Stalled", silent);
        assert_eq!(further(&draining, &[], &stands, condition()), [(silent, true)]);
        assert_eq!(further(&draining, &condition(), &stands, condition()), []);
        let other = held("Stalled", Reason::DrainTimedOut);
        assert_eq!(further(&draining, &other, &stands, condition()), [(silent, true)]);
        let goes = decision(draining.clone(), None, Vec::new());
        assert_eq!(further(&draining, &condition(), &goes, Vec::new()), [(Reason::Progressing, false)]);
        let paused = held("Paused", Reason::PausedByUser);
        assert_eq!(further(&draining, &condition(), &goes, paused.clone()), []);
        assert_eq!(further(&draining, &paused, &goes, Vec::new()), [(Reason::Progressing, false)]);
    }

    #[test]
    fn what_the_procedure_has_said_itself_is_not_said_twice() {
        let note = Note { reason: Reason::DrainTimedOut, text: "left".to_owned(), warning: true };
        let halted = decision(run(Step::Drain), Some(Reason::DrainTimedOut), vec![note]);
        assert_eq!(further(&run(Step::Drain), &[], &halted, held("Stalled", Reason::DrainTimedOut)), []);
    }

    #[test]
    fn a_detach_says_that_it_begins_and_a_run_that_ends_that_the_levers_are_as_before() {
        let mut detaches = decision(run(Step::Detach), None, Vec::new());
        let set = |again| Effect::SetLevers { detached: "0".parse().unwrap(), again };
        detaches.effect = Some(set(false));
        assert_eq!(further(&run(Step::Soak), &[], &detaches, Vec::new()), [(Reason::Detaching, false)]);
        detaches.effect = Some(set(true));
        assert_eq!(further(&run(Step::Detach), &[], &detaches, Vec::new()), []);

        let mut ends = decision(State::default(), None, Vec::new());
        assert_eq!(further(&run(Step::Restore), &[], &ends, Vec::new()), [(Reason::LeversRestored, false)]);
        assert_eq!(further(&run(Step::Preflight), &[], &ends, Vec::new()), []);
        let text = "Service web could not be put back".to_owned();
        ends.notes = vec![Note { reason: Reason::LeverNotRestored, text, warning: true }];
        assert_eq!(further(&run(Step::Restore), &[], &ends, Vec::new()), []);
    }
}
