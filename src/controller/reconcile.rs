//! One look at one object, from top to bottom: observe, decide, record, act, report.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};

use super::act::{self, Scene};
use super::error::{Class, Error};
use super::names::FINALIZER;
use super::observe::{self, Look, pod_selector};
use super::record::{self, Recorded};
use super::session::{self, Session, Wanted};
use super::{Controller, Guarded, measure, report};
use crate::api::{LosslessUpgrade, LosslessUpgradeStatus, plan, record as status_record};
use crate::runtime::metrics::Key;
use crate::traffic::apply::best_write_moment;
use crate::workflow;
use crate::workflow::decision::{Decision, Effect};
use crate::workflow::observed::{Observed, Site};
use crate::workflow::reasons::{Problem, Reason};
use crate::workflow::state::{Rest, State};

/// The status is written for what is live alone at most this often.
const LIVE: Duration = Duration::from_secs(10);
/// An object that is not found although it is watched is looked for again after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// So many failures in a row are no accident.
const REFUSED: u32 = 4;
/// A moment that is nearer than this is now.
const NOW: Duration = Duration::from_millis(20);

/// Looks at the object once.
///
/// # Errors
/// When the look did not come to its end; what was recorded stays, and the next look goes on.
pub async fn reconcile(object: Arc<Guarded>, controller: Arc<Controller>) -> Result<Action, Error> {
    let key = session::key(&*object);
    let began = controller.context.clock.monotonic();
    let session = controller.sessions.of(&key);
    let mut session = session.lock().await;
    let woken = controller.waker.since(&key);
    let scheduled = session.scheduled.take().filter(|at| *at <= began);
    let due = woken.into_iter().chain(scheduled).min().unwrap_or(began);

    let outcome = Box::pin(look(&controller, &key, &mut session, due)).await;
    controller.context.metrics.reconcile_took(controller.context.clock.monotonic().saturating_sub(began));
    match outcome {
        Ok(wait) => {
            controller.context.metrics.backs_off(&key, None);
            session.failures = 0;
            session.trouble = None;
            session.scheduled = wait.map(|wait| controller.context.clock.monotonic() + wait);
            Ok(wait.map_or_else(Action::await_change, Action::requeue))
        }
        Err(error) => {
            // The lock is held here, so that the count is not lost.
            session.failures = session.failures.saturating_add(1);
            session.trouble = Some(error.to_string());
            Err(error)
        }
    }
}

/// How long until the next look; none: until something changes.
async fn look(
    controller: &Controller,
    key: &Key,
    session: &mut Session,
    due: Duration,
) -> Result<Option<Duration>, Error> {
    let context = &controller.context;
    let began = context.clock.monotonic();
    let api: Api<LosslessUpgrade> = Api::namespaced(context.client.clone(), &key.namespace);
    let guarded: Api<Guarded> = Api::namespaced(context.client.clone(), &key.namespace);
    let object = match guarded.get_opt(&key.name).await {
        Ok(Some(object)) => match readable(&object) {
            Ok(object) => object,
            Err(error) => {
                left_alone(controller, key, &object, session, &error);
                return Ok(None);
            }
        },
        // An API server that has just started may not know of our kind yet: gone is what the watch says too.
        Ok(None) if is_known(controller, key) => return Ok(Some(LOOK_AGAIN)),
        Ok(None) => {
            context.metrics.forget(key);
            controller.sessions.forget(key);
            return Ok(None);
        }
        Err(error) => return Err(Error::api("reading the object")(error)),
    };
    if object.metadata.deletion_timestamp.is_some() && !has_finalizer(&object) {
        return Ok(None);
    }
    if object.metadata.deletion_timestamp.is_none() && !has_finalizer(&object) {
        // Before anything else is written: from here on the object does not go without us.
        act::finalizer(context, &object, true).await?;
        return Ok(Some(Duration::ZERO));
    }
    let state = object.status.as_ref().map(status_record::state).unwrap_or_default();

    // observe (reads only)
    let (seen, plan) = match observed(controller, &object, &state, session).await {
        Err(error) if error.class() == Class::Invalid => {
            return invalid(controller, key, &api, object, &state, &error).await;
        }
        other => other?,
    };
    // decide (no client)
    let now = context.clock.now();
    let mut decision = workflow::decide(&plan, &state, &seen.seen, now);
    admit_trouble(&mut decision, session);
    let took = context.clock.monotonic().saturating_sub(began);
    if let Some(wait) = not_this_moment(&decision, session, now, took) {
        return Ok(Some(wait));
    }
    // record (status)
    let status = report::status(&object, &seen, &decision, now);
    let (recorded, written) = match recorded(controller, &api, &object, &status, &decision, session).await? {
        Some(recorded) => (Some(recorded), true),
        None => (None, false),
    };
    if written {
        // A run that begins here is known from its beginning.
        session.knows(&decision.state, now);
    }
    // act (one effect)
    let mut done = Ok(Vec::new());
    if let (Some(effect), Some(recorded)) = (&decision.effect, recorded) {
        let scene = Scene {
            context,
            object: &object,
            namespace: &key.namespace,
            state: &decision.state,
            look: &seen,
        };
        done = act::act(&scene, effect, session, recorded).await;
        if done.as_ref().is_err_and(Error::is_outcome_unknown) {
            session.unknown_outcomes += 1;
        }
    }
    // report (events, metrics) and what is to be watched from here on
    let selector = seen.set.as_ref().filter(|_| decision.state.run.is_some()).and_then(pod_selector);
    let slices = seen.seen.levers.iter().any(|lever| lever.site == Site::Pods);
    let wanted = selector.map(|selector| Wanted { selector, slices });
    session.watch(&context.client, &controller.waker, key, wanted);
    seen.count(controller, &object, &decision.state, session, key);
    let wake = (controller.waker.clone(), key.clone());
    session.asking.ask(&seen.clouds, &controller.eye().cloud(&key.namespace), context.clock, &wake);
    measure::show(&context.metrics, key, &object, &status, &seen.seen);
    measure::count(&context.metrics, key, &state, &decision.state, &decision.notes, now);
    if written && (decision.state != state || decision.effect.is_some()) {
        context.metrics.acted_late(key, context.clock.monotonic().saturating_sub(due));
    }
    let before = object.status.as_ref().map_or(&[][..], |status| status.conditions.as_slice());
    let mut notes = report::further_notes(&state, before, &seen.seen, &decision, &status);
    notes.extend(decision.notes.iter().cloned());
    if state.run.is_none() && decision.state.run.is_some() && !seen.warnings.is_empty() {
        // In one event: of several with the same reason only the first text would be seen.
        notes.push(Problem::new(Reason::MayDisturb, seen.warnings.join(". ")).into());
    }
    let run = decision.state.run.as_ref().or(state.run.as_ref()).map(|run| run.id.as_str());
    notes.extend(done.as_ref().into_iter().flatten().cloned());
    report::events(controller, &object, &seen.seen, run, &notes);
    done?;
    Ok(next_look(&decision, session, context.clock.monotonic(), context.clock.now()))
}

fn is_known(controller: &Controller, key: &Key) -> bool {
    controller.objects.get(&ObjectRef::new(&key.name).within(&key.namespace)).is_some()
}

/// The object, if all of it is known to this operator: what it does not know it would lose.
fn readable(object: &Guarded) -> Result<LosslessUpgrade, Error> {
    let object = object.0.as_ref().map_err(|invalid| Error::Unreadable(invalid.error.clone()))?;
    let found = object.status.as_ref().map_or(0, |status| status.format);
    let known = status_record::FORMAT;
    if found > known { Err(Error::Newer { found, known }) } else { Ok(object.clone()) }
}

/// An object that cannot be worked on without losing something of it is not written at all. It is said
/// once to whom looks at its events.
fn left_alone(controller: &Controller, key: &Key, object: &Guarded, session: &mut Session, error: &Error) {
    let version = object.resource_version();
    if session.left_alone != version {
        session.left_alone = version;
        measure::show_unreadable(&controller.context.metrics, key, controller.context.clock.now());
        controller.context.metrics.reconcile_failed(error.class().as_str());
        let problem = Problem::new(Reason::InvalidObject, error.to_string());
        report::events(controller, object, &Observed::default(), None, &[problem.into()]);
    }
}

fn has_finalizer(object: &LosslessUpgrade) -> bool {
    object.finalizers().iter().any(|name| name == FINALIZER)
}

async fn observed(
    controller: &Controller,
    object: &LosslessUpgrade,
    state: &State,
    session: &mut Session,
) -> Result<(Look, workflow::plan::Plan), Error> {
    let plan = plan::plan(&object.spec)?;
    let look = observe::look(controller.eye(), object, &plan, state, session).await?;
    Ok((look, plan))
}

/// A spec that slipped past the API server's rules: said, and not worked on. A run under way waits.
async fn invalid(
    controller: &Controller,
    key: &Key,
    api: &Api<LosslessUpgrade>,
    mut object: LosslessUpgrade,
    state: &State,
    error: &Error,
) -> Result<Option<Duration>, Error> {
    if object.metadata.deletion_timestamp.is_some() && state.run.is_none() {
        act::finalizer(&controller.context, &object, false).await?;
        return Ok(None);
    }
    let problem = Problem::new(Reason::InvalidObject, error.to_string());
    let mut state = state.clone();
    if state.run.is_none() {
        state.rest = Rest::Blocked(problem.clone());
    }
    let mut status = object.status.clone().unwrap_or_default();
    status_record::record(state.clone(), &mut status);
    status.message.clone_from(&problem.text);
    status.observed_generation = object.metadata.generation.unwrap_or_default();
    let now = controller.context.clock.now();
    status.conditions =
        report::conditions(&object, true, state.run.as_ref(), Some(problem.reason), &status, now);
    measure::show(&controller.context.metrics, key, &object, &status, &Observed::default());
    if object.status.as_ref() != Some(&status) {
        object.status = Some(status);
        record::record(api, &object).await?;
        let run = state.run.as_ref().map(|run| run.id.as_str());
        report::events(controller, &object, &Observed::default(), run, &[problem.into()]);
    }
    Ok(None)
}

/// What the API server refuses again and again is said where the user looks.
fn admit_trouble(decision: &mut Decision, session: &Session) {
    if let Some(trouble) = session.trouble.as_ref().filter(|_| session.failures >= REFUSED)
        && decision.effect.is_some()
    {
        decision.stalled = Some(Reason::EffectRefused);
        decision.message = format!("{}: {trouble}. It is tried again", decision.message);
    }
}

/// A write that is to end a doubt comes late in a second: the stamps that answer it have seconds. It is
/// put off once, by so much that the next look has come to its end by then.
fn not_this_moment(
    decision: &Decision,
    session: &mut Session,
    now: Timestamp,
    took: Duration,
) -> Option<Duration> {
    let put_off = std::mem::take(&mut session.put_off);
    let Some(Effect::SetLevers { again: true, .. }) = &decision.effect else { return None };
    let wait: Duration = best_write_moment(now).duration_since(now).try_into().unwrap_or_default();
    let wait = wait.saturating_sub(took);
    session.put_off = wait > NOW && !put_off;
    session.put_off.then_some(wait)
}

/// Writes the status where the decision changes it, or where an effect asks for the proof.
async fn recorded(
    controller: &Controller,
    api: &Api<LosslessUpgrade>,
    object: &LosslessUpgrade,
    status: &LosslessUpgradeStatus,
    decision: &Decision,
    session: &mut Session,
) -> Result<Option<Recorded>, Error> {
    let before = object.status.clone().unwrap_or_default();
    // An edit of the spec that changes nothing else is shown as seen too: who waits for the object
    // (`kubectl wait`, kstatus) waits for that first.
    let moved = report::without_live(status) != report::without_live(&before)
        || status.observed_generation != before.observed_generation
        || status.target.as_ref().map(|target| &target.update_revision)
            != before.target.as_ref().map(|target| &target.update_revision);
    let clock = controller.context.clock.monotonic();
    let live_due = session.live_written.is_none_or(|at| clock.saturating_sub(at) >= LIVE);
    // At rest every sentence is news at once.
    let moved = moved || (status.run.is_none() && status.message != before.message);
    let alone = !moved && decision.effect.is_none();
    let newer = report::live(status) != report::live(&before);
    session.live_waits = alone && newer && !live_due;
    if alone && (!newer || !live_due) {
        return Ok(None);
    }
    let mut object = object.clone();
    object.status = Some(status.clone());
    let recorded = record::record(api, &object).await?;
    if alone {
        session.live_written = Some(clock);
    }
    Ok(Some(recorded))
}

/// When to look again: at the moment that something is due, and right after an effect.
fn next_look(decision: &Decision, session: &Session, clock: Duration, now: Timestamp) -> Option<Duration> {
    let wake = decision.wake.map(|at| at.duration_since(now).try_into().unwrap_or_default());
    let live = session.live_written.filter(|_| session.live_waits);
    let live = live.map(|at| (at + LIVE).saturating_sub(clock).max(NOW));
    wake.into_iter().chain(live).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::ordinals::OrdinalSet;

    fn doubtful() -> Decision {
        Decision {
            state: State::default(),
            effect: Some(Effect::SetLevers { detached: OrdinalSet::new(), again: true }),
            wake: None,
            message: "Attaching".into(),
            stalled: None,
            deadline: None,
            notes: Vec::new(),
            trail: Vec::new(),
        }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_767_225_600_000 + millis).unwrap()
    }

    #[test]
    fn a_write_that_ends_a_doubt_is_put_off_once_and_however_long_a_look_takes_it_is_made() {
        for took in [0, 15, 160, 1_500].map(Duration::from_millis) {
            let mut session = Session::default();
            let mut now = at(300);
            let mut waits = 0;
            while let Some(wait) = not_this_moment(&doubtful(), &mut session, now, took) {
                waits += 1;
                assert!(waits == 1 && wait < Duration::from_secs(1), "{took:?}");
                now = now.checked_add(jiff::SignedDuration::try_from(wait + took).unwrap()).unwrap();
            }
            if took < Duration::from_millis(600) {
                assert_eq!((waits, now), (1, at(950)), "{took:?}");
            }
        }
    }

    #[test]
    fn what_is_refused_again_and_again_is_said_where_the_user_looks() {
        let mut session = Session::default();
        session.failures = REFUSED - 1;
        session.trouble = Some("deleting a pod: forbidden".into());
        let mut decision = doubtful();
        admit_trouble(&mut decision, &session);
        assert_eq!(decision.stalled, None);
        session.failures = REFUSED;
        admit_trouble(&mut decision, &session);
        assert_eq!(decision.stalled, Some(Reason::EffectRefused));
        assert!(decision.message.contains("forbidden"), "{}", decision.message);
    }

    fn guarded(status: &serde_json::Value) -> Guarded {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "lossless-upgrade.io/v1alpha1", "kind": "LosslessUpgrade",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"targetRef": {"name": "web"}, "traffic": {"levers": [{"none": {}}]}},
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn what_a_newer_operator_has_written_is_left_alone() {
        let known = status_record::FORMAT;
        assert!(readable(&guarded(&serde_json::json!({"format": known}))).is_ok());
        let newer = readable(&guarded(&serde_json::json!({"format": known + 1, "detached": "3"})));
        assert!(matches!(newer, Err(Error::Newer { .. })), "{newer:?}");
        let error = newer.unwrap_err();
        assert!(error.to_string().contains("newer operator"), "{error}");
        // A word that this operator does not know, in a form that claims to be known.
        let unknown = readable(&guarded(&serde_json::json!({"format": known, "phase": "Teleporting"})));
        assert!(matches!(unknown, Err(Error::Unreadable(_))), "{unknown:?}");
    }
}
