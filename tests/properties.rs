//! Random plans, random orders of events, crashes anywhere: the invariants hold at every step, and
//! every run ends or says what it waits for.
#![allow(missing_docs, reason = "tests are named as sentences")]

mod sim;

use std::collections::BTreeMap;

use lossless_upgrade::workflow::checks::{GUARDS, Guard};
use lossless_upgrade::workflow::plan::{Amount, Plan};
use lossless_upgrade::workflow::state::PodState;
use proptest::prelude::*;
use sim::balancer::{self, Balancer};
use sim::chance::{Event, crash, event, manner, plan};
use sim::cluster::Manner;
use sim::operator::Crash;
use sim::plans::{one_by_one, with_image};
use sim::world::{Probe, World};

/// Lets everything happen in its order, then mends what was broken from outside, and waits for the end.
fn play(mut world: World, events: &[(i64, Event)]) -> World {
    for (pause, event) in events {
        let end = world.now + pause;
        world.run_until(*pause, |world| world.now >= end);
        event.happen(&mut world);
    }
    world.happens("from here on nothing is broken from outside");
    for balancer in &mut world.balancers {
        balancer.manner = balancer::Manner::Follows;
        balancer.unreadable = false;
    }
    world.probe = if world.probe == Probe::Http { Probe::Http } else { Probe::Counter };
    world.crashes.clear();
    world.pause(false);
    world.run_until(5, |_| false);
    let halted = |world: &World| world.state.run.as_ref().is_some_and(|run| run.halted.is_some());
    world.run_until(5000, |world| world.gone || world.state.run.is_none() || halted(world));
    world.judge_end();
    world.acquit();
    world
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_invariant_breaks_and_every_run_ends_or_says_what_it_waits_for(
        plan in plan(),
        replicas in 1..6_u32,
        ordered_ready in any::<bool>(),
        services in 1..3_usize,
        manners in prop::collection::vec(manner(), 3),
        events in prop::collection::vec((0..60_i64, event()), 0..12),
        crashes in prop::collection::btree_map(0..200_usize, crash(), 0..4),
    ) {
        let mut world = World::new(replicas, plan);
        world.cluster.set.as_mut().unwrap().ordered_ready = ordered_ready;
        world.balancers = (0..services).map(|index| Balancer::new(&format!("web-{index}"), 2 + index as i64)).collect();
        world.cluster.manners = ["v2", "v3", "v4"].into_iter().map(str::to_owned).zip(manners).collect();
        world.crashes = crashes;
        world.set_image("v2");
        play(world, &events);
    }
}

/// A run in which nothing goes wrong but the operator.
fn undisturbed(plan: Plan, story: &str) -> World {
    let mut world = World::new(3, plan);
    if story == "a bad version" {
        world.cluster.manners.insert("v2".into(), Manner::Restarts(30));
    }
    world.set_image("v2");
    world
}

/// What must be the same however often the operator died: the end, and what was deleted.
fn end(world: &World) -> (String, Vec<String>, BTreeMap<String, usize>) {
    let mut deleted = BTreeMap::new();
    for image in world.counts.deleted.values() {
        *deleted.entry(image.clone()).or_default() += 1;
    }
    let images = world.cluster.pods.values().map(|pod| pod.image.clone()).collect();
    (format!("{:?}", world.state.phase()), images, deleted)
}

#[test]
fn a_crash_at_any_decision_ends_as_the_undisturbed_run_does() {
    let plans = [
        ("one by one", one_by_one()),
        ("batches of two", Plan { batch: Amount::Count(2), ..one_by_one() }),
        ("no surge", Plan { surge: Some(Amount::Count(0)), ..one_by_one() }),
        ("images", with_image("v2")),
        ("a bad version", one_by_one()),
    ];
    for (story, plan) in plans {
        let mut calm = undisturbed(plan.clone(), story);
        calm.run_until(5, |_| false);
        calm.run_until(2000, World::at_rest);
        calm.judge_end();
        calm.acquit();
        for decision in 0..calm.decisions {
            for crash in [Crash::BeforeRecord, Crash::AfterRecord, Crash::AfterEffect] {
                let mut world = undisturbed(plan.clone(), story);
                world.crashes.insert(decision, crash);
                world.run_until(5, |_| false);
                world.run_until(2000, World::at_rest);
                world.judge_end();
                world.acquit();
                assert_eq!(end(&world), end(&calm), "{story}, {crash:?} at {decision}\n{}", world.tale());
            }
        }
    }
}

/// Something goes wrong at the worst moment, tried at every moment of the run.
fn at_any_moment(guards: &[Guard], disturb: impl Fn(&mut World)) -> Option<String> {
    (0..140).find_map(|moment| {
        let mut world = World::new(2, one_by_one());
        world.guards = guards.to_vec();
        world.cluster.lag = 3;
        world.cluster.ready_after = 1;
        world.cluster.grace = 1;
        world.balancers[0].lag = 0;
        world.set_image("v2");
        world.run_until(moment, |_| false);
        disturb(&mut world);
        world.run_until(400, |_| false);
        world.violations.first().map(|what| format!("{what}\n{}", world.tale()))
    })
}

fn without(guard: Guard) -> Vec<Guard> {
    GUARDS.iter().copied().filter(|one| *one != guard).collect()
}

/// For each guard something that only it stands against.
fn disturbance(guard: Guard) -> fn(&mut World) {
    match guard {
        Guard::RevisionUnmoved => |world| world.set_image("v3"),
        // The record is older than the deletion that it would order.
        Guard::Recorded => |world| {
            sick(world);
            world.run_until(2, |_| false);
            for record in &mut world.state.pods {
                record.state = PodState::Detached;
            }
        },
        Guard::LeversHold => |world| {
            // Between the last count and the moment when the others serve again.
            sick(world);
            world.run_until(2, |_| false);
            let now = world.now;
            world.tampered = now;
            world.balancers[0].overwrite(now);
        },
        Guard::LeversConfirmed => |world| {
            let now = world.now;
            world.balancers[0].lag = 5;
            world.balancers[0].touch(now);
        },
        // What was counted is lost while the deletion is held up.
        Guard::Drained => |world| {
            sick(world);
            world.run_until(2, |_| false);
            world.crash();
            world.probe = Probe::Silent;
        },
        Guard::OthersServe => sick,
    }
}

fn sick(world: &mut World) {
    let end = world.now + 3;
    for pod in world.cluster.pods.iter_mut().filter(|(ordinal, _)| **ordinal != 0).map(|(_, pod)| pod) {
        pod.sick_until = end;
    }
}

#[test]
fn each_guard_stands_against_something_that_nothing_else_stands_against() {
    for guard in GUARDS {
        let disturb = disturbance(*guard);
        assert_eq!(at_any_moment(GUARDS, disturb), None, "with all guards, the disturbance of {guard:?}");
        let broken = at_any_moment(&without(*guard), disturb);
        assert!(broken.is_some(), "nothing broke without {guard:?}");
    }
}
