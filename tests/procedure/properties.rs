//! Random plans, random orders of events, crashes anywhere: the invariants hold at every step, and
//! every run ends or says what it waits for.

use std::collections::BTreeMap;

use crate::sim::balancer::{self, Balancer};
use crate::sim::chance::{Event, crash, event, first, manner, plan};
use crate::sim::cluster::Manner;
use crate::sim::operator::Crash;
use crate::sim::plans::{one_by_one, with_image};
use crate::sim::world::{Probe, World};
use lossless_upgrade::workflow::checks::{GUARDS, Guard};
use lossless_upgrade::workflow::plan::{Amount, Plan};
use lossless_upgrade::workflow::state::PodState;
use proptest::prelude::*;

/// Lets everything happen in its order, then mends what was broken from outside, and waits for the end.
fn play(mut world: World, events: &[(i64, Event)]) -> World {
    for (pause, event) in events {
        let end = world.now + pause;
        world.run_until(*pause, |world| world.now >= end);
        event.happen(&mut world);
    }
    world.happens("from here on nothing is broken from outside");
    for index in 0..world.balancers.len() {
        world.vanish(index, false);
        world.balancers[index].manner = balancer::Manner::Follows;
        world.balancers[index].unreadable = false;
    }
    if let Some(set) = &mut world.cluster.set {
        set.on_delete = true;
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

/// How many stories are told, where `PROPTEST_CASES` does not say another number.
const STORIES: u32 = 10_000;

fn cases() -> u32 {
    if std::env::var_os("PROPTEST_CASES").is_some() { ProptestConfig::default().cases } else { STORIES }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_invariant_breaks_and_every_run_ends_or_says_what_it_waits_for(
        plan in plan(),
        first in first(),
        replicas in 1..6_u32,
        ordered_ready in any::<bool>(),
        services in 1..3_u8,
        manners in prop::collection::vec(manner(), 3),
        events in prop::collection::vec((0..60_i64, event()), 0..12),
        crashes in prop::collection::btree_map(0..200_usize, crash(), 0..4),
    ) {
        let mut world = World::beginning_at(first, replicas, plan);
        world.cluster.set.as_mut().unwrap().ordered_ready = ordered_ready;
        world.balancers = (0..services).map(|index| Balancer::new(&format!("web-{index}"), 2 + i64::from(index))).collect();
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
            world.overwrite(0);
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

/// One other pod does not serve for a moment.
fn sick(world: &mut World) {
    let end = world.now + 3;
    if let Some(pod) = world.cluster.pods.get_mut(&1) {
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

/// A story that random orders found, as short as it could be made.
fn again(replicas: u32, plan: Plan, set_up: impl Fn(&mut World), events: &[(i64, Event)]) -> World {
    let mut world = World::new(replicas, plan);
    set_up(&mut world);
    world.set_image("v2");
    play(world, events)
}

fn hasty() -> Plan {
    let mut plan = one_by_one();
    plan.settle = std::time::Duration::ZERO;
    plan.drain.stable_for = std::time::Duration::ZERO;
    plan.drain.minimum = std::time::Duration::ZERO;
    plan
}

#[test]
fn a_surge_pod_that_becomes_ready_while_it_is_taken_back_is_detached_all_the_same() {
    again(1, hasty(), |_| (), &[(6, Event::Act("rollback"))]);
}

#[test]
fn a_pod_that_is_on_its_way_out_begins_no_run_that_ends_at_once_and_begins_again() {
    let plan = Plan { surge: Some(Amount::Count(0)), ..hasty() };
    let world = again(3, plan, |_| (), &[(0, Event::Replicas(2)), (0, Event::Evict(0))]);
    assert!(world.state.history.len() <= 1, "{}", world.tale());
}

#[test]
fn a_newer_version_while_a_deleted_pod_still_ends_does_not_give_it_connections() {
    for moment in 10..40 {
        again(2, hasty(), |_| (), &[(moment, Event::Image("v3")), (10, Event::Image("v1"))]);
    }
}

#[test]
fn replicas_that_the_user_adds_in_preflight_are_not_taken_for_the_surge() {
    let world = again(2, hasty(), |world| world.probe = Probe::Silent, &[(3, Event::Replicas(3))]);
    assert_eq!(world.cluster.set.as_ref().unwrap().replicas, 3, "{}", world.tale());
}

#[test]
fn replicas_that_the_user_adds_after_an_abort_in_preflight_are_not_taken_for_the_surge() {
    let events = [(1, Event::Pause(true)), (0, Event::Act("abort")), (1, Event::Replicas(3))];
    let world = again(2, hasty(), |_| (), &events);
    assert_eq!(world.cluster.set.as_ref().unwrap().replicas, 3, "{}", world.tale());
}

#[test]
fn replicas_that_the_user_adds_after_a_rollback_in_preflight_are_not_taken_for_the_surge() {
    let events = [(1, Event::Pause(true)), (0, Event::Act("rollback")), (1, Event::Replicas(3))];
    let world = again(2, hasty(), |_| (), &events);
    assert_eq!(world.cluster.set.as_ref().unwrap().replicas, 3, "{}", world.tale());
}

#[test]
fn a_surge_pod_evicted_while_it_is_reclaimed_is_drained_anew_or_waited_for() {
    for moment in 30..90 {
        again(1, hasty(), |world| world.cluster.lag = 3, &[(moment, Event::Evict(1))]);
    }
}

#[test]
fn no_run_ends_while_the_controller_has_yet_to_remove_a_pod_of_the_surge() {
    let ordered = |world: &mut World| world.cluster.set.as_mut().unwrap().ordered_ready = true;
    for moment in 30..70 {
        let events = [(moment, Event::Sick(0, 51)), (0, Event::Overwrite(0))];
        again(1, Plan { surge: Some(Amount::Count(2)), ..hasty() }, ordered, &events);
    }
}

#[test]
fn a_pod_that_waits_to_go_and_is_given_connections_again_is_drained_again() {
    let slow_to_end = |world: &mut World| {
        world.cluster.set.as_mut().unwrap().ordered_ready = true;
        world.cluster.grace = 15;
    };
    let came_back = (30..110).filter(|moment| {
        let plan = Plan { surge: Some(Amount::Count(2)), ..hasty() };
        let world = again(1, plan, slow_to_end, &[(*moment, Event::Overwrite(0))]);
        assert_eq!(world.cluster.set.as_ref().unwrap().replicas, 1, "{}", world.tale());
        world.counts.scales == 4
    });
    assert!(came_back.count() > 10);
}
