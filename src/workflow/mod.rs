//! The procedure, pure: no Kubernetes client, no clock, no environment. `decide` looks at what is
//! recorded and what is seen, and says what to record and then do.

pub mod batches;
pub mod capacity;
pub mod checks;
pub mod decision;
pub mod holds;
pub mod interrupts;
pub mod invariants;
pub mod levers;
pub mod observed;
pub mod ordinals;
pub mod plan;
pub mod quiet;
pub mod reasons;
pub mod span;
pub mod state;
pub mod steps;
pub mod takeover;
pub mod transitions;
pub mod turn;
pub mod words;

use std::collections::BTreeSet;

use jiff::Timestamp;

use checks::{GUARDS, Guard};
use decision::Decision;
use observed::Observed;
use plan::Plan;
use reasons::Problem;
use state::{State, Step};
use turn::{Next, Turn, Wait};

/// More steps than any one look can pass through; beyond it the next look goes on.
const MOST_STEPS: usize = 32;

/// What is to be recorded, and then done. Guarantees: the same arguments give the same answer; the
/// effect follows from the returned state, so it may be repeated after a crash from the state alone;
/// all but [`decision::Effect::Nudge`], which is never repeated.
#[must_use]
pub fn decide(plan: &Plan, state: &State, seen: &Observed, now: Timestamp) -> Decision {
    decide_with(GUARDS, plan, state, seen, now)
}

/// The same with other guards before a removal, so that a test can show what each is for.
#[must_use]
pub fn decide_with(
    guards: &[Guard],
    plan: &Plan,
    state: &State,
    seen: &Observed,
    now: Timestamp,
) -> Decision {
    let mut turn =
        Turn { guards, plan, seen, now, state: state.clone(), notes: Vec::new(), trail: Vec::new() };
    for _ in 0..MOST_STEPS {
        match look(&mut turn) {
            Next::Again => {}
            Next::End(outcome, rest) => {
                if let Some(run) = turn.state.run.take() {
                    turn.close(run, outcome, rest);
                }
                // What a next run needs (old values of the levers, obstacles) is only looked at
                // while there is none, so it cannot begin in this look.
                let text = turn.notes.last().map(|note| note.text.clone()).unwrap_or_default();
                let now = turn.now;
                return turn.finish(Wait::new(text).until(now).into());
            }
            next @ (Next::Act(..) | Next::Wait(_)) => return turn.finish(next),
        }
    }
    turn.finish(Next::Again)
}

fn look(turn: &mut Turn<'_>) -> Next {
    let Some(mut run) = turn.state.run.take() else { return steps::rest::look(turn) };
    let next = interrupts::look(turn, &mut run).unwrap_or_else(|| steps::look(turn, &mut run));
    turn.state.run = Some(run);
    next
}

/// All that stands against beginning a run; `decide` stops at the first of them.
#[must_use]
pub fn obstacles(plan: &Plan, seen: &Observed) -> Vec<Problem> {
    let Some(set) = &seen.set else { return vec![steps::rest::missing()] };
    let container = steps::rest::template_change(plan, set).err();
    container.into_iter().chain(steps::rest::obstacles(plan, seen, set)).collect()
}

/// The uids of the pods whose connections are to be counted now. A pod's quiet is counted from the
/// moment it enters this set, so it enters only once its detach is confirmed.
#[must_use]
pub fn counted(state: &State, seen: &Observed) -> BTreeSet<String> {
    let Some(run) = &state.run else { return BTreeSet::new() };
    match run.step {
        Step::Preflight => {
            steps::preflight::witness(seen, run).map(|(_, pod)| pod.uid.clone()).into_iter().collect()
        }
        Step::Drain | Step::Replace | Step::Retire => {
            state.pods.iter().map(|record| record.uid.clone()).collect()
        }
        Step::Surge
        | Step::Detach
        | Step::Verify
        | Step::Attach
        | Step::Soak
        | Step::Restore
        | Step::Template => BTreeSet::new(),
    }
}
