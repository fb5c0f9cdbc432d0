//! The run in the imagined cluster, played to its end.

use jiff::Timestamp;
use serde::Serialize;

use super::world::{Assumptions, NEW, World};
use crate::workflow::decide;
use crate::workflow::decision::Decision;
use crate::workflow::observed::Observed;
use crate::workflow::ordinals::OrdinalSet;
use crate::workflow::plan::Plan;
use crate::workflow::reasons::Problem;
use crate::workflow::state::{BatchKind, Phase, Rest, State, Step};
use crate::workflow::turn::later;

/// More looks than any run needs; beyond it the forecast says that it does not see an end.
const MOST_LOOKS: usize = 200_000;

/// Why there is a run to tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Why {
    /// It is wanted.
    Wanted,
    /// It is under way.
    UnderWay,
    /// None is wanted; this is what one would do.
    IfChanged,
    /// It was given up before; this is what a retry would do.
    IfRetried,
}

/// What the run would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// Why there is one.
    pub why: Why,
    /// What stands against it; then there are no legs.
    pub obstacles: Vec<Obstacle>,
    /// Where it comes from and goes to.
    pub from: String,
    /// Its target; `(new)` where the revision has no name yet.
    pub to: String,
    /// Replicas without the surge.
    pub replicas: u32,
    /// Replicas that are added.
    pub surge: u32,
    /// What it does, in order.
    pub legs: Vec<Leg>,
    /// Seconds until its end; none where it waits for somebody.
    pub seconds: Option<i64>,
    /// How it would end, or what it would wait for.
    pub end: String,
    /// Held by `spec.paused`: it goes on when that is taken back.
    pub paused: bool,
    /// Seconds assumed from a pod's creation until it is Ready.
    pub start_seconds: u64,
    /// Whether that is how long the pods that are there took.
    pub start_seen: bool,
    /// Seconds assumed from a lever's write to its confirmation.
    pub follow_seconds: u64,
}

/// Something that stands against a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Obstacle {
    /// Its kind.
    pub reason: String,
    /// What to do.
    pub text: String,
}

/// One group of pods from its first step to its last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Leg {
    /// Seconds from now to its begin.
    pub at: i64,
    /// The phase that is shown first.
    pub phase: Phase,
    /// What happens to the pods.
    pub kind: BatchKind,
    /// Which pods.
    pub ordinals: OrdinalSet,
    /// Its steps, with the seconds that each takes.
    pub steps: Vec<(Step, i64)>,
}

impl Leg {
    /// Seconds from its begin to its end.
    pub fn seconds(&self) -> i64 {
        self.steps.iter().map(|(_, seconds)| seconds).sum()
    }
}

/// Plays the run from what is recorded and seen.
pub fn forecast(
    plan: &Plan,
    state: &State,
    seen: &Observed,
    obstacles: Vec<Problem>,
    assumed: Assumptions,
    now: Timestamp,
) -> Forecast {
    let why = why(plan, state, seen);
    let paused = plan.paused;
    let plan = &Plan { paused: false, ..plan.clone() };
    let set = seen.set.as_ref();
    let replicas = state.saved.as_ref().map(|saved| saved.replicas).or(set.map(|set| set.replicas));
    let mut told = Forecast {
        why,
        obstacles: obstacles
            .into_iter()
            .map(|problem| Obstacle { reason: problem.reason.to_string(), text: problem.text })
            .collect(),
        from: String::new(),
        to: String::new(),
        replicas: replicas.unwrap_or_default(),
        surge: 0,
        legs: Vec::new(),
        seconds: None,
        end: String::new(),
        paused,
        start_seconds: assumed.start.as_secs(),
        start_seen: assumed.start_seen,
        follow_seconds: assumed.follow.as_secs(),
    };
    if told.obstacles.is_empty() {
        play(plan, state, seen, assumed, now, &mut told);
    }
    told
}

fn why(plan: &Plan, state: &State, seen: &Observed) -> Why {
    if state.run.is_some() {
        return Why::UnderWay;
    }
    let Some(set) = &seen.set else { return Why::IfChanged };
    let revision = set.update_revision.as_ref();
    let unwritten = !set.runs(&plan.images);
    let behind = revision.is_none_or(|revision| !seen.behind(set, revision).is_empty());
    let rejected = state.rejected.as_ref();
    let given_up = rejected.is_some_and(|rejected| rejected.is_wanted(&plan.images, unwritten, revision));
    match (behind || unwritten, given_up) {
        (true, true) => Why::IfRetried,
        (true, false) => Why::Wanted,
        (false, _) => Why::IfChanged,
    }
}

fn play(
    plan: &Plan,
    state: &State,
    seen: &Observed,
    assumed: Assumptions,
    start: Timestamp,
    told: &mut Forecast,
) {
    let mut state = state.clone();
    let mut world = World::new(seen, &state, assumed, start);
    if state.run.is_none() {
        state.rejected = None;
        // What kept a run from beginning is gone, or the obstacles say so.
        state.rest = Rest::Idle;
    }
    if told.why == Why::IfChanged {
        world.set_template();
    }
    let mut legs = Legs { start, last: start, ..Legs::default() };
    for _ in 0..MOST_LOOKS {
        let look = world.observe(&state);
        let decision = decide(plan, &state, &look, world.now);
        legs.tell(&decision, world.now);
        let moved = decision.state != state;
        let over = state.run.is_some() && decision.state.run.is_none();
        state = decision.state;
        world.count(&state);
        if let Some(run) = &state.run {
            told.from.clone_from(&run.from);
            told.to = if run.to.is_empty() { NEW.to_owned() } else { run.to.clone() };
            told.surge = told.surge.max(run.surge);
        }
        if over {
            told.seconds = Some(world.now.duration_since(start).as_secs());
            told.end = format!("{:?}: {}", state.phase(), decision.message);
            break;
        }
        if let Some(effect) = &decision.effect {
            world.apply(effect, plan, &state);
            continue;
        }
        let due = decision.wake.filter(|wake| *wake > world.now || moved);
        let Some(next) = due.into_iter().chain(world.next(plan)).min() else {
            told.end = decision.message;
            break;
        };
        // Where it looks again in the same moment no time passes.
        world.now = next.max(world.now);
        // Past every deadline that there could be it only waits.
        if decision.stalled.is_some() && world.next(plan).is_none() {
            told.end = decision.message;
            break;
        }
    }
    told.legs = legs.close(world.now);
}

/// The legs as they come.
#[derive(Default)]
struct Legs {
    start: Timestamp,
    told: Vec<Leg>,
    last: Timestamp,
}

impl Legs {
    fn tell(&mut self, decision: &Decision, now: Timestamp) {
        let Some(run) = &decision.state.run else { return };
        let (kind, step) = (run.batch.kind, run.step);
        let same = self.told.last().is_some_and(|leg| leg.kind == kind && leg.ordinals == run.batch.ordinals);
        let same_step =
            same && self.told.last().and_then(|leg| leg.steps.last()).is_some_and(|(last, _)| *last == step);
        if same_step {
            return;
        }
        self.add_time(now);
        if same {
            if let Some(leg) = self.told.last_mut() {
                leg.steps.push((step, 0));
            }
        } else {
            self.told.push(Leg {
                at: now.duration_since(self.start).as_secs(),
                phase: decision.state.phase(),
                kind,
                ordinals: run.batch.ordinals.clone(),
                steps: vec![(step, 0)],
            });
        }
    }

    fn add_time(&mut self, now: Timestamp) {
        let seconds = now.duration_since(self.last).as_secs();
        if let Some((_, took)) = self.told.last_mut().and_then(|leg| leg.steps.last_mut()) {
            *took += seconds;
        }
        self.last =
            later(self.last, std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or_default()));
    }

    fn close(mut self, now: Timestamp) -> Vec<Leg> {
        self.add_time(now);
        self.told
    }
}
