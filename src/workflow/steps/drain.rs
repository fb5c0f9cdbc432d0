//! Wait until the connections of the batch are really gone.

use crate::workflow::checks::undrained;
use crate::workflow::decision::Effect;
use crate::workflow::interrupts;
use crate::workflow::levers;
use crate::workflow::levers::clock;
use crate::workflow::observed::{DrainView, PodView};
use crate::workflow::ordinals::Ordinal;
use crate::workflow::plan::OnTimeout;
use crate::workflow::reasons::{Problem, Reason};
use crate::workflow::state::{AfterTimeout, BatchKind, DrainTimeout, Goal, PodRecord, PodState, Run, Step};
use crate::workflow::steps::{attach, detach, retire};
use crate::workflow::turn::{Next, Turn, Wait, later};

/// More time-outs of one run than this are not kept apart.
const MOST_TIMEOUTS: usize = 10;

/// Waits for the drain.
pub fn look(turn: &mut Turn<'_>, run: &mut Run) -> Next {
    if let Some(next) = attach::take_back(turn, run).or_else(|| levers::still_held(turn, run)) {
        return next;
    }
    if let Some(next) = nudge(turn) {
        return next;
    }
    if let Some(next) = detach::start_counters(turn, run) {
        return next;
    }
    let since = turn.since(*run.draining_since.get_or_insert(turn.now));
    let deadline = later(since, turn.plan.drain.timeout);
    let held = left(turn, run);
    if held.is_empty() {
        let minimum = later(turn.since(run.entered), turn.plan.drain.minimum);
        if turn.now < minimum {
            return Wait::new(format!("Drained; not before {}", clock(minimum))).until(minimum).into();
        }
        return drained(turn, run);
    }
    let text = held.iter().map(|held| held.text.as_str()).collect::<Vec<_>>().join("; ");
    let any = |what| held.iter().any(|held| held.what == what);
    let message = format!("Draining: {text}; until {}", clock(deadline));
    if !any(What::Unknown) && turn.now >= deadline {
        if any(What::Busy) {
            return timed_out(turn, run, &held, &text);
        }
        // What is quiet already, only not for long enough, is not given up for some seconds more.
        let patience = later(deadline, turn.plan.drain.stable_for);
        return Wait::new(message).deadline(patience, turn.now, Reason::DrainTimedOut).into();
    }
    // Past the deadline with an Unknown count neither the user's policy nor anything else moves it on.
    Wait::new(message).deadline(deadline, turn.now, Reason::ProbeSilent).into()
}

/// Nudges the pods of the batch that were not nudged yet, all at once.
fn nudge(turn: &mut Turn<'_>) -> Option<Next> {
    if !turn.plan.drain.nudged {
        return None;
    }
    let due = |(record, pod): (&PodRecord, Option<&PodView>)| {
        let pod = pod.filter(|pod| pod.uid == record.uid && !pod.terminating)?;
        let due = !turn.owes_nothing(record.ordinal, pod) && !turn.state.nudged.contains(&pod.uid);
        due.then(|| (record.ordinal, pod.uid.clone()))
    };
    let pods: Vec<_> = turn.records().filter_map(due).collect();
    if pods.is_empty() {
        return None;
    }
    turn.forget_nudged();
    turn.state.nudged.extend(pods.iter().map(|(_, uid)| uid.clone()));
    let names = turn.seen.names(&pods.iter().map(|(ordinal, _)| *ordinal).collect());
    Some(Next::Act(Effect::Nudge { pods }, format!("Nudging {names}, once")))
}

struct Left {
    ordinal: Ordinal,
    text: String,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Unknown,
    Busy,
    Settling,
}

/// The pods of the batch that may still owe bytes, and what holds each.
fn left(turn: &Turn<'_>, run: &Run) -> Vec<Left> {
    turn.records()
        .filter_map(|(record, pod)| {
            let pod = pod.filter(|pod| pod.uid == record.uid && !pod.terminating)?;
            if turn.owes_nothing(record.ordinal, pod) {
                return None;
            }
            let view = turn.seen.drains.get(&record.uid);
            let why = undrained(turn.plan, run, view)?;
            let what = match view {
                None | Some(DrainView::Unknown(_)) => What::Unknown,
                Some(DrainView::Busy { .. }) => What::Busy,
                Some(DrainView::Quiet(_)) => What::Settling,
            };
            Some(Left { ordinal: record.ordinal, text: format!("{}: {why}", pod.name), what })
        })
        .collect()
}

fn drained(turn: &mut Turn<'_>, run: &mut Run) -> Next {
    if !run.forced {
        let none = turn.plan.drain.none_left();
        turn.note(Reason::Drained, format!("{}: {none}", turn.batch_names(run)));
    }
    match run.batch.kind {
        BatchKind::Retiring => retire::begin(turn, run),
        BatchKind::None | BatchKind::Canary | BatchKind::Serving | BatchKind::Broken | BatchKind::Found => {
            turn.state.pods.iter_mut().for_each(|record| record.state = PodState::Deletable);
            turn.enter(run, Step::Replace);
        }
    }
    Next::Again
}

fn timed_out(turn: &mut Turn<'_>, run: &mut Run, held: &[Left], text: &str) -> Next {
    let left = format!("Connections are left after {}s: {text}", turn.plan.drain.timeout.as_secs());
    // The surge that is on its way out says nothing about the new version: it is waited for.
    let serving = run.batch.kind == BatchKind::Serving;
    let then = match (turn.plan.drain.on_timeout, run.goal) {
        (OnTimeout::Proceed, _) => AfterTimeout::Proceeded,
        (OnTimeout::Rollback, Goal::Upgrade) if serving => AfterTimeout::RolledBack,
        (OnTimeout::Pause | OnTimeout::Rollback, _) => AfterTimeout::Paused,
    };
    let timeout = DrainTimeout { ordinals: held.iter().map(|held| held.ordinal).collect(), then };
    let leaves = run.goal.leaves();
    if run.timeouts.len() < MOST_TIMEOUTS && !(leaves && run.timeouts.last() == Some(&timeout)) {
        run.timeouts.push(timeout);
    }
    if leaves && then == AfterTimeout::Paused {
        // Only the surge is left to drain: it goes when its last client does.
        return Wait::new(left).stalled(Reason::DrainTimedOut).into();
    }
    match then {
        AfterTimeout::Proceeded => {
            turn.warn(
                Reason::DrainTimedOut,
                format!("Going on with connections left, as onTimeout says: {text}"),
            );
            run.forced = true;
            Next::Again
        }
        AfterTimeout::RolledBack => {
            interrupts::roll_back(turn, run, Problem::new(Reason::DrainTimedOut, left))
        }
        AfterTimeout::Paused => {
            let text = format!(
                "{left}. The pods stay detached. Wait for the clients and set the annotation lossless-upgrade.io/retry, or set spec.drain.onTimeout"
            );
            turn.halt(run, Problem::new(Reason::DrainTimedOut, text))
        }
    }
}
