//! The design's invariants as far as one decision can break them, each a function of what was seen
//! and what was decided. They know nothing of the steps, so that a wrong step shows.

use super::decision::{Decision, Effect};
use super::observed::{Confirmation, DrainView, Held, LeverView, Observed, PodView};
use super::ordinals::{Ordinal, OrdinalSet};
use super::plan::{OnTimeout, Plan};
use super::state::{Goal, Outcome, PodState, State, Step};

/// One decision with all it rests on.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// What the user wants.
    pub plan: &'a Plan,
    /// What was recorded before.
    pub before: &'a State,
    /// What was seen.
    pub seen: &'a Observed,
    /// What was decided.
    pub decision: &'a Decision,
}

/// A name and what it checks; an error says how it is broken.
pub type Invariant = (&'static str, fn(&Moment<'_>) -> Result<(), String>);

/// All of them.
pub const ALL: &[Invariant] = &[
    ("1 no pod that may owe bytes goes undrained", nothing_owing_goes),
    ("2 the serving pods stay at or above the floor", capacity_stays),
    ("3 at most one batch of serving pods is detached", one_batch_is_out),
    ("4 deletions and scale-downs are recorded and exact", removal_is_exact),
    ("5 somebody always serves", somebody_serves),
    ("6 a finished run leaves nothing in the levers", levers_are_restored),
    ("7 a finished run leaves the replicas as they were", replicas_are_restored),
    ("8 Unknown moves nothing forward", unknown_moves_nothing),
    ("9 a wait has a reason", waits_have_reasons),
    ("nudges are recorded, once a pod, after its detach", nudges_are_exact),
];

/// What is broken, if anything.
#[must_use]
pub fn broken(moment: &Moment<'_>) -> Vec<String> {
    ALL.iter().filter_map(|(name, check)| check(moment).err().map(|why| format!("{name}: {why}"))).collect()
}

/// The pods that the effect makes go.
fn leaving(moment: &Moment<'_>) -> OrdinalSet {
    let Some(set) = &moment.seen.set else { return OrdinalSet::new() };
    match &moment.decision.effect {
        Some(Effect::Delete { ordinal, .. }) => [*ordinal].into_iter().collect(),
        Some(Effect::Scale { replicas, .. }) if *replicas < set.replicas => {
            Observed::ordinals(set, *replicas, set.replicas)
        }
        Some(
            Effect::Scale { .. }
            | Effect::RestoreTemplate
            | Effect::SetLevers { .. }
            | Effect::StartCounter { .. }
            | Effect::Nudge { .. }
            | Effect::Fence { .. }
            | Effect::FenceSet { .. }
            | Effect::FenceLever { .. }
            | Effect::RemoveFinalizer,
        )
        | None => OrdinalSet::new(),
    }
}

/// Whether a pod can have connections. A pod that was ever Ready and in which something runs can.
fn may_owe(moment: &Moment<'_>, ordinal: Ordinal, pod: &PodView) -> bool {
    let seen_ready = moment
        .before
        .pods
        .iter()
        .any(|record| record.ordinal == ordinal && record.uid == pod.uid && record.seen_ready);
    pod.ready || (pod.running && (!pod.never_ready || seen_ready))
}

fn nothing_owing_goes(moment: &Moment<'_>) -> Result<(), String> {
    for ordinal in leaving(moment).iter() {
        let Some(pod) = moment.seen.pods.get(&ordinal) else { continue };
        if !may_owe(moment, ordinal, pod) {
            continue;
        }
        for lever in &moment.seen.levers {
            let held = lever.holds(ordinal);
            if given_up(moment, lever) {
                continue;
            }
            if !held || !matches!(lever.confirmed, Confirmation::Confirmed(_)) {
                return Err(format!(
                    "{} goes although {} has not confirmed its detach",
                    pod.name, lever.name
                ));
            }
        }
        if !moment.plan.drain.counted {
            continue;
        }
        let proceed = moment.plan.drain.on_timeout == OnTimeout::Proceed
            && moment.decision.state.run.as_ref().is_some_and(|run| run.forced);
        match moment.seen.drains.get(&pod.uid) {
            Some(DrainView::Quiet(length)) if *length >= moment.plan.drain.stable_for || proceed => {}
            Some(DrainView::Busy { .. }) if proceed => {}
            other => return Err(format!("{} goes with the count {other:?}", pod.name)),
        }
    }
    Ok(())
}

/// Nobody comes through an object that is gone; a run that leaves need not wait for it.
fn given_up(moment: &Moment<'_>, lever: &LeverView) -> bool {
    let run = moment.decision.state.run.as_ref();
    lever.held == Held::Gone && run.is_some_and(|run| matches!(run.goal, Goal::Abort | Goal::Release))
}

fn stays(moment: &Moment<'_>, ordinal: Ordinal) -> bool {
    moment.seen.set.as_ref().is_none_or(|set| set.has(ordinal))
}

fn serving(moment: &Moment<'_>, without: &OrdinalSet) -> usize {
    let detached = &moment.decision.state.detached;
    // What lies beyond the replicas goes in a moment.
    let ready = moment.seen.pods.iter().filter(|(ordinal, pod)| pod.ready && stays(moment, **ordinal));
    ready.filter(|(ordinal, _)| !detached.contains(**ordinal) && !without.contains(**ordinal)).count()
}

/// The pods that serve, or could be made to serve at once, and do not after this effect.
fn taken(moment: &Moment<'_>) -> OrdinalSet {
    let held = |ordinal: Ordinal| moment.seen.levers.iter().any(|lever| lever.holds(ordinal));
    let newly: OrdinalSet = match &moment.decision.effect {
        Some(Effect::SetLevers { detached, .. }) => detached.clone(),
        _ => leaving(moment),
    };
    // What lies beyond the replicas is going already, by an act that was judged when it was made. A pod
    // that goes for good cannot be attached again, so it counts although it is detached.
    let goes = leaving(moment);
    newly
        .iter()
        .filter(|ordinal| stays(moment, *ordinal) && (!held(*ordinal) || goes.contains(*ordinal)))
        .filter(|ordinal| moment.seen.pods.get(ordinal).is_some_and(|pod| pod.ready))
        .collect()
}

fn capacity_stays(moment: &Moment<'_>) -> Result<(), String> {
    let taken = taken(moment);
    let (Some(run), Some(saved), Some(set)) =
        (&moment.decision.state.run, &moment.decision.state.saved, &moment.seen.set)
    else {
        return Ok(());
    };
    if taken.is_empty() {
        return Ok(());
    }
    // The surge itself may go once every pod that was there before serves.
    let surge: OrdinalSet = Observed::ordinals(set, saved.replicas, saved.replicas + run.surge);
    let batch = moment.plan.batch_size(saved.replicas, set.ordered_ready);
    let covered = run.surge >= batch || moment.plan.surge.is_none();
    let floor = if covered { saved.replicas } else { saved.replicas.saturating_sub(batch) };
    let leaving_for_good = run.leaving_since.is_some();
    let left = serving(moment, &taken);
    let needed = usize::try_from(floor).unwrap_or(usize::MAX);
    if left < needed && !(leaving_for_good && surge.is_superset(&taken)) {
        return Err(format!("`{taken}` are taken and {left} are left, {needed} must serve"));
    }
    Ok(())
}

fn one_batch_is_out(moment: &Moment<'_>) -> Result<(), String> {
    let (Some(saved), Some(set)) = (&moment.decision.state.saved, &moment.seen.set) else { return Ok(()) };
    let batch = moment.plan.batch_size(saved.replicas, set.ordered_ready);
    let surge = moment.decision.state.run.as_ref().map_or(0, |run| run.surge);
    let most = usize::try_from(batch.max(surge)).unwrap_or(usize::MAX);
    let detached = &moment.decision.state.detached;
    // Replicas that the user lowers make a batch smaller; what was out already did not grow by that.
    let grows = !moment.before.detached.is_superset(detached);
    let out = detached.len();
    if grows && out > most { Err(format!("{out} pods are detached, a batch has {most}")) } else { Ok(()) }
}

fn removal_is_exact(moment: &Moment<'_>) -> Result<(), String> {
    match (&moment.decision.effect, &moment.decision.state.saved, &moment.seen.set) {
        (Some(Effect::Delete { ordinal, uid }), _, _) => {
            let pod = moment.seen.pods.get(ordinal).filter(|pod| pod.uid == *uid && !pod.terminating);
            let recorded = moment
                .decision
                .state
                .pods
                .iter()
                .any(|record| record.uid == *uid && record.state == PodState::Deletable);
            if pod.is_none() || !recorded {
                return Err(format!(
                    "pod {ordinal} of uid {uid} is not there, going already, or not recorded"
                ));
            }
            Ok(())
        }
        (Some(Effect::Scale { replicas, .. }), Some(saved), Some(set)) if *replicas < set.replicas => {
            let gone = leaving(moment);
            let batch = moment.decision.state.run.as_ref().map(|run| &run.batch.ordinals);
            if *replicas != saved.replicas || batch != Some(&gone) {
                return Err(format!(
                    "replicas go to {replicas}, which takes `{gone}` and not just the surge"
                ));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn somebody_serves(moment: &Moment<'_>) -> Result<(), String> {
    let taken = taken(moment);
    let nobody_must = moment.decision.state.saved.as_ref().is_some_and(|saved| saved.replicas == 0);
    if !taken.is_empty() && serving(moment, &taken) == 0 && !nobody_must {
        return Err(format!("taking `{taken}` leaves nobody"));
    }
    Ok(())
}

/// The outcome, where this decision ended a run whose target is still there.
fn ended(moment: &Moment<'_>) -> Option<Outcome> {
    let before = moment.before.run.as_ref()?;
    let set = moment.seen.set.as_ref().filter(|set| set.uid == before.set_uid && !set.deleting)?;
    let over = moment.decision.state.run.as_ref().is_none_or(|run| run.id != before.id);
    (over && !moment.seen.namespace_terminating && !set.name.is_empty())
        .then(|| moment.decision.state.history.first().map(|past| past.outcome))
        .flatten()
}

fn levers_are_restored(moment: &Moment<'_>) -> Result<(), String> {
    if ended(moment).is_none() || moment.seen.deleting {
        return Ok(());
    }
    let left = moment.seen.levers.iter().find(|lever| !lever.restored || lever.fence().is_some());
    left.map_or(Ok(()), |lever| Err(format!("{} still holds something of ours", lever.name)))
}

fn replicas_are_restored(moment: &Moment<'_>) -> Result<(), String> {
    let (Some(_), Some(saved), Some(set)) = (ended(moment), &moment.before.saved, &moment.seen.set) else {
        return Ok(());
    };
    // In Preflight none was asked for yet.
    let asked = moment.before.run.as_ref().filter(|run| run.step != Step::Preflight);
    let surge = asked.map_or(0, |run| run.surge);
    let ours = surge > 0 && set.replicas == saved.replicas + surge;
    if ours && !moment.seen.deleting {
        return Err(format!(
            "{} replicas are left of {} and a surge of {surge}",
            set.replicas, saved.replicas
        ));
    }
    Ok(())
}

fn unknown_moves_nothing(moment: &Moment<'_>) -> Result<(), String> {
    let unknown = moment.seen.set.as_ref().is_some_and(|set| set.update_revision.is_none());
    match moment.decision.effect {
        Some(Effect::Delete { .. } | Effect::RestoreTemplate) if unknown && !leaving_surge(moment) => {
            Err("the update revision is Unknown".into())
        }
        _ => Ok(()),
    }
}

/// Whether what goes is the surge alone, whose removal does not depend on a revision.
fn leaving_surge(moment: &Moment<'_>) -> bool {
    let (Some(saved), Some(set)) = (&moment.decision.state.saved, &moment.seen.set) else { return false };
    let gone = leaving(moment);
    !gone.is_empty() && gone.iter().all(|ordinal| ordinal >= set.first + saved.replicas)
}

fn waits_have_reasons(moment: &Moment<'_>) -> Result<(), String> {
    if moment.decision.message.is_empty() && moment.decision.wake.is_none() {
        return Err("it waits and does not say for what".into());
    }
    Ok(())
}

/// A nudge may make a pod fail its clients, so none is done to a pod that a lever still sends new ones.
fn nudges_are_exact(moment: &Moment<'_>) -> Result<(), String> {
    let Some(Effect::Nudge { pods }) = &moment.decision.effect else { return Ok(()) };
    for (ordinal, uid) in pods {
        if !moment.decision.state.nudged.contains(uid) || moment.before.nudged.contains(uid) {
            return Err(format!("{uid} is nudged without a record, or again"));
        }
        for lever in &moment.seen.levers {
            if !lever.holds(*ordinal) && !given_up(moment, lever) {
                return Err(format!("{uid} is nudged although {} does not hold it", lever.name));
            }
        }
    }
    Ok(())
}
