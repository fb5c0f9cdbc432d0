//! What is shown: the status for people, conditions as kstatus reads them, events, metrics.

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
use crate::api::status::{LosslessUpgradeStatus, TargetStatus};
use crate::runtime::metrics::{Key, ObjectMetrics};
use crate::workflow::decision::{Decision, Note};
use crate::workflow::observed::{DrainView, Observed};
use crate::workflow::reasons::Reason;
use crate::workflow::state::{Phase, Run, State};

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
    let unnoticed = seen.set.as_ref().is_none_or(|set| set.update_revision.is_none());
    let run = decision.state.run.as_ref();
    status.conditions = conditions(object, unnoticed, run, decision.stalled, &status, now);
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

/// The conditions as kstatus reads them. `unnoticed`: whether the pods are what is wanted is not known.
pub fn conditions(
    object: &LosslessUpgrade,
    unnoticed: bool,
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
    let behind = run.is_some() || stalled.is_some() || unnoticed;
    let reason = stalled.unwrap_or(if behind { Reason::Progressing } else { Reason::UpToDate });
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
        make("Reconciling", run.is_some() && stalled.is_none(), reason),
        make("Stalled", stalled.is_some(), reason),
        make("Paused", paused, if object.spec.paused { Reason::PausedByUser } else { reason }),
    ]
}

/// The live numbers: worth a write of their own now and then.
#[must_use]
pub fn numbers(status: &LosslessUpgradeStatus) -> (i32, Vec<Option<i64>>) {
    (status.updated_replicas, status.pods.iter().map(|pod| pod.connections).collect())
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

/// Writes the events. Nobody waits for them, and a failure is only logged.
pub fn events<K>(controller: &Controller, object: &K, seen: &Observed, notes: Vec<Note>)
where
    K: Resource<DynamicType = ()>,
{
    let reference = object.object_ref(&());
    let object_name = object.name_any();
    for note in notes {
        tracing::info!(object = %object_name, reason = %note.reason, "{}", note.text);
        // Events of one reason are merged, and the first text stays: those of different pods must differ.
        let pod = first_pod(seen, &note.text).map(|name| ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: object.namespace(),
            name: Some(name.to_owned()),
            ..ObjectReference::default()
        });
        let recorder = controller.recorder.clone();
        let reference = reference.clone();
        tokio::spawn(async move {
            let event = Event {
                type_: if note.warning { EventType::Warning } else { EventType::Normal },
                reason: note.reason.as_str().to_owned(),
                note: Some(cut(&note.text)),
                action: "Upgrade".to_owned(),
                secondary: pod,
            };
            match tokio::time::timeout(PATIENCE, recorder.publish(&event, &reference)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "an event was not written"),
                Err(_) => tracing::debug!("an event was not written in time"),
            }
        });
    }
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

/// Shows the object to Prometheus.
pub fn metrics(
    controller: &Controller,
    key: &Key,
    before: &State,
    seen: &Observed,
    decision: &Decision,
    now: Timestamp,
) {
    let metrics = &controller.context.metrics;
    let phase = format!("{:?}", decision.state.phase());
    let detached = &decision.state.detached;
    let number = |is: &dyn Fn(u32, bool) -> bool| {
        let pods = seen.pods.iter().filter(|(ordinal, pod)| is(**ordinal, pod.ready));
        u32::try_from(pods.count()).unwrap_or(u32::MAX)
    };
    let pods = [
        ("serving", number(&|ordinal, ready| ready && !detached.contains(ordinal))),
        ("detached", number(&|ordinal, ready| ready && detached.contains(ordinal))),
        ("notReady", number(&|_, ready| !ready)),
    ];
    let left = seen.drains.values().filter_map(|view| match view {
        DrainView::Busy { connections, .. } => Some(*connections),
        DrainView::Quiet(_) => Some(0),
        DrainView::Unknown(_) => None,
    });
    let run = decision.state.run.as_ref();
    let observed = ObjectMetrics {
        phase: &phase,
        pods: &pods,
        connections_left: left.reduce(|a, b| a + b),
        last_progress: run
            .map(|run| run.entered)
            .or_else(|| decision.state.history.first().map(|past| past.finished_at)),
        deadline: decision.deadline,
    };
    metrics.observe_object(key, &observed);
    if let Some(run) = &before.run {
        let same = decision
            .state
            .run
            .as_ref()
            .is_some_and(|after| after.step == run.step && after.entered == run.entered);
        if !same {
            let took = now.duration_since(run.entered).try_into().unwrap_or_default();
            metrics.phase_took(key, &format!("{:?}", before.phase()), took);
        }
        if decision.state.run.as_ref().is_none_or(|after| after.id != run.id)
            && let Some(past) = decision.state.history.first()
        {
            metrics.run_ended(key, &format!("{:?}", past.outcome));
        }
    }
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
}
