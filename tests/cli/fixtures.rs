//! Objects, pods and events as they are at one moment of a story.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lossless_upgrade::api::{LosslessUpgrade, plan};
use lossless_upgrade::cli::fetch::{Shown, Told};
use lossless_upgrade::cli::status::view::Scene;
use lossless_upgrade::controller::observe::Look;
use lossless_upgrade::controller::report;
use lossless_upgrade::drain::nudge::Nudges;
use lossless_upgrade::workflow::decide;
use lossless_upgrade::workflow::ordinals::Ordinal;
use lossless_upgrade::workflow::plan::{OnTimeout, Plan};
use lossless_upgrade::workflow::state::{BatchKind, Phase, Step};
use serde_json::json;

use crate::sim::cluster::Manner;
use crate::sim::plans::one_by_one;
use crate::sim::telling::{PHASES, until, upgrade};
use crate::sim::world::World;

/// All that a view needs.
pub struct Moment {
    pub name: String,
    pub object: LosslessUpgrade,
    pub first: Ordinal,
    pub pods: BTreeMap<Ordinal, Shown>,
    pub events: Vec<Told>,
    pub now: Timestamp,
}

impl Moment {
    pub fn scene(&self) -> Scene<'_> {
        Scene {
            object: &self.object,
            first: self.first,
            pods: &self.pods,
            events: &self.events,
            now: self.now,
            trouble: None,
        }
    }
}

/// When the stories begin.
const BEGIN: i64 = 1_767_225_600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(BEGIN + second).unwrap()
}

/// The object of a world: `spec` as a user would write its plan.
pub fn object(world: &World) -> LosslessUpgrade {
    let on_timeout = format!("{:?}", world.plan.drain.on_timeout);
    let mut object: LosslessUpgrade = serde_json::from_value(json!({
        "apiVersion": "lossless-upgrade.io/v1alpha1",
        "kind": "LosslessUpgrade",
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "lu-1", "generation": 1,
            "creationTimestamp": at(-7200).to_string(),
        },
        "spec": {
            "targetRef": {"name": "web"},
            "paused": world.plan.paused,
            "images": world.plan.images,
            "traffic": {"levers": [{"tkeService": {}}], "settle": "2s", "confirmTimeout": "30s"},
            "drain": {"stableFor": "4s", "minimum": "3s", "timeout": "90s", "onTimeout": on_timeout},
            "verify": {"soak": "10s", "timeout": "1m"},
        },
    }))
    .unwrap();
    assert_eq!(plan::plan(&object.spec).unwrap(), world.plan, "the spec says what the world's plan says");
    // What the operator would write at its next look.
    let seen = world.observe();
    let decision = decide(&world.plan, &world.state, &seen, world.time());
    let look = Look {
        seen,
        set: Some(
            serde_json::from_value(json!({
                "metadata": {"name": "web", "generation": 1},
                "spec": {"selector": {}, "serviceName": "web", "template": {}},
                "status": {"replicas": 3, "observedGeneration": 1},
            }))
            .unwrap(),
        ),
        pods: BTreeMap::new(),
        levers: Vec::new(),
        probes: Vec::new(),
        nudges: Nudges::default(),
        clouds: BTreeMap::new(),
        warnings: Vec::new(),
    };
    let now = world.time();
    object.status = Some(report::status(&object, &look, &decision, now));
    object
}

/// The moment at which a world is.
pub fn moment(name: &str, world: &World) -> Moment {
    let seen = world.observe();
    let created = |ordinal: &Ordinal| world.cluster.pods.get(ordinal).map(|pod| at(pod.born));
    let pods = seen
        .pods
        .iter()
        .map(|(ordinal, pod)| (*ordinal, Shown { pod: pod.clone(), created: created(ordinal) }));
    Moment {
        name: name.to_owned(),
        object: object(world),
        first: world.cluster.first,
        pods: pods.collect(),
        events: events(&world.story),
        now: world.time(),
    }
}

/// The events of a story, whose lines are `  0:27     - Detached: web-0: no new connections`.
fn events(story: &[String]) -> Vec<Told> {
    let told = story.iter().filter_map(|line| {
        let (clock, rest) = line.split_at_checked(6)?;
        let (minutes, seconds) = clock.trim().split_once(':')?;
        let mark = rest.trim_start().chars().next().filter(|mark| "-!".contains(*mark))?;
        let (reason, text) = rest.split_once(mark)?.1.split_once(": ")?;
        Some(Told {
            at: at(minutes.parse::<i64>().ok()? * 60 + seconds.parse::<i64>().ok()?),
            reason: reason.trim().to_owned(),
            text: text.to_owned(),
            warning: mark == '!',
        })
    });
    let mut told: Vec<Told> = told.collect();
    told.reverse();
    told
}

/// A world in the middle of a run, in this step of the second pod.
fn second_pod_in(step: Step) -> World {
    let mut world = upgrade(3, one_by_one());
    world.cluster.lengths = vec![2, 9, 30];
    let there = world.run_until(1000, |world| {
        world.state.run.as_ref().is_some_and(|run| {
            run.step == step && run.batch.kind == BatchKind::Serving && run.updated.len() == 1
        })
    });
    assert!(there, "never in {step:?}\n{}", world.tale());
    world.run_until(2, |_| false);
    world
}

fn in_phase(mut world: World, phase: Phase) -> World {
    let there = world.run_until(2000, |world| world.state.phase() == phase);
    assert!(there, "never in {phase:?}\n{}", world.tale());
    world
}

fn flaky() -> World {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Soak, BatchKind::Serving);
    world.cluster.manners.insert("v2".into(), Manner::Restarts(8));
    world
}

fn aborted() -> World {
    let mut world = second_pod_in(Step::Drain);
    world.act("abort");
    world
}

/// A story that comes to this phase. Exhaustive: a new phase must be shown too.
fn of(phase: Phase) -> World {
    match phase {
        Phase::Idle => {
            let mut world = World::new(3, one_by_one());
            world.run_until(3, |_| false);
            world
        }
        Phase::Blocked => {
            let mut world = World::new(3, one_by_one());
            world.cluster.set.as_mut().unwrap().on_delete = false;
            world.cluster.rolls = false;
            world.set_image("v2");
            in_phase(world, phase)
        }
        Phase::Preflight => {
            let mut world = World::new(3, one_by_one());
            world.run_until(3, |_| false);
            world.set_image("v2");
            in_phase(world, phase)
        }
        Phase::Detach => second_pod_in(Step::Detach),
        Phase::Drain => second_pod_in(Step::Drain),
        Phase::Replace => {
            // It is over within the grace of the old pod.
            let mut world = upgrade(3, one_by_one());
            let there = world.run_until(1000, |world| world.state.phase() == Phase::Replace);
            assert!(there, "{}", world.tale());
            world
        }
        Phase::Verify => second_pod_in(Step::Verify),
        Phase::Attach => second_pod_in(Step::Attach),
        Phase::Soak => second_pod_in(Step::Soak),
        Phase::Surge | Phase::Reclaim | Phase::Succeeded => in_phase(upgrade(3, one_by_one()), phase),
        Phase::RollingBack | Phase::RolledBack => in_phase(flaky(), phase),
        Phase::Aborting | Phase::Aborted => in_phase(aborted(), phase),
    }
}

/// A moment of each phase, and of each way to be held.
pub fn all() -> Vec<Moment> {
    let mut all: Vec<Moment> =
        PHASES.into_iter().map(|phase| moment(&format!("{phase:?}"), &of(phase))).collect();
    all.extend([moment("Drain, paused", &paused()), moment("Drain, halted", &halted())]);
    all.push(moment("Detach, stalled", &stalled()));
    all
}

pub fn paused() -> World {
    let mut world = second_pod_in(Step::Drain);
    world.pause(true);
    world.run_until(5, |_| false);
    world
}

pub fn halted() -> World {
    let mut world = second_pod_in(Step::Drain);
    world.cluster.pods.get_mut(&1).unwrap().connections.push(10_000);
    let there =
        world.run_until(200, |world| world.state.run.as_ref().is_some_and(|run| run.halted.is_some()));
    assert!(there, "{}", world.tale());
    world
}

fn stalled() -> World {
    let mut world = upgrade(3, Plan { ..one_by_one() });
    assert_eq!(world.plan.drain.on_timeout, OnTimeout::Pause);
    until(&mut world, Step::Soak, BatchKind::Canary);
    world.balancers[0].manner = crate::sim::balancer::Manner::Deaf;
    let there = world.run_until(200, |world| world.memory.stalled.is_some());
    assert!(there, "{}", world.tale());
    world
}
