//! Requests that were cut off.

use lossless_upgrade::workflow::checks::{GUARDS, Guard};
use lossless_upgrade::workflow::plan::{Amount, Plan};
use lossless_upgrade::workflow::state::{BatchKind, Outcome, Rest, Step};

use crate::sim::moments::{Story, all_at, at_every_moment, finish, outcome};
use crate::sim::plans::one_by_one;
use crate::sim::telling::{until, upgrade};
use crate::sim::world::World;

#[test]
fn g_kuperator_302_a_newer_version_in_mid_run_is_drained_for_again() {
    // Each deletion is judged by the connections that the pod really has, and by the load balancer.
    at_every_moment(
        &[Story::OneByOne, Story::InBatches, Story::WithoutSurge],
        |world| {
            world.set_image("v3");
            world.run_until(25, |_| false);
            world.set_image("v4");
        },
        |_, _, world| all_at(world, "v4"),
    );
}

#[test]
fn g_kuperator_302_a_pod_that_was_just_drained_and_replaced_is_taken_out_anew() {
    let mut world = upgrade(2, one_by_one());
    until(&mut world, Step::Soak, BatchKind::Serving);
    let second = world.cluster.pods[&0].uid.clone();
    world.set_image("v3");
    let deleted = world.run_until(400, |world| world.counts.deleted.contains_key(&second));
    assert!(deleted, "{}", world.tale());
    let out = world.story.iter().filter(|line| line.contains("web-0: no connection left")).count();
    assert_eq!(out, 2, "{}", world.tale());
    finish(&mut world);
    all_at(&world, "v3");
}

/// An upgrade behind a load balancer that is slow to do what it is told.
fn behind_a_slow_one(guards: &[Guard], lag: i64) -> World {
    let mut world = World::new(2, one_by_one());
    world.guards = guards.to_vec();
    world.balancers[0].lag = lag;
    world.set_image("v2");
    world.run_until(5, |_| false);
    world.run_until(3000, World::at_rest);
    world
}

#[test]
fn g_aws_lbc_1064_a_load_balancer_that_goes_on_sending_for_long_is_waited_for() {
    for lag in [0, 1, 20, 28] {
        let mut world = behind_a_slow_one(GUARDS, lag);
        world.judge_end();
        world.acquit();
        assert_eq!(world.state.rest, Rest::Succeeded, "{lag} s\n{}", world.tale());
        assert!(world.fewest_serving >= 2, "{lag} s\n{}", world.tale());
    }
}

/// A client that stays for long, and whether its pod went before it did.
fn with_a_long_client(guards: &[Guard], seconds: i64) -> (World, i64) {
    let mut world = World::new(2, one_by_one());
    world.guards = guards.to_vec();
    world.set_image("v2");
    until(&mut world, Step::Detach, BatchKind::Serving);
    let end = world.now + seconds;
    world.happens(&format!("a websocket of web-0 stays for {seconds}s"));
    world.cluster.pods.get_mut(&0).unwrap().connections.push(end);
    world.run_until(500, |world| !world.counts.deleted.is_empty());
    (world, end)
}

#[test]
fn g_argo_3761_a_websocket_is_waited_for_until_it_ends() {
    for seconds in [10, 40, 80] {
        let (mut world, end) = with_a_long_client(GUARDS, seconds);
        assert!(world.now >= end + 3, "deleted at {} before {end}\n{}", world.now, world.tale());
        finish(&mut world);
        assert_eq!(outcome(&world), Some(Outcome::Succeeded));
    }
}

#[test]
fn g_aibrix_2413_clients_are_counted_and_never_taken_on_trust() {
    // Between two counts of nothing a client that the load balancer still had in hand comes: the quiet
    // begins anew.
    let mut world = upgrade(2, one_by_one());
    until(&mut world, Step::Drain, BatchKind::Serving);
    world.run_until(3, |_| false);
    for _ in 0..4 {
        let end = world.now + 3;
        world.cluster.pods.get_mut(&0).unwrap().connections.push(end);
        world.run_until(4, |_| false);
        assert!(world.counts.deleted.is_empty(), "{}", world.tale());
    }
    finish(&mut world);
    assert_eq!(outcome(&world), Some(Outcome::Succeeded));
}

#[test]
fn g_aws_lbc_1719_new_connections_that_no_lever_keeps_away_hold_the_drain() {
    let mut world = upgrade(2, one_by_one());
    world.happens("clients reach the pods past the load balancer");
    world.uncovered = 5;
    world.run_until(600, |_| false);
    world.judge_end();
    world.acquit();
    assert!(world.counts.deleted.is_empty() && world.memory.stalled.is_some(), "{}", world.tale());
}

#[test]
fn g_pgd_34_an_operator_that_starts_anew_in_a_drain_counts_anew() {
    let mut world = upgrade(2, one_by_one());
    until(&mut world, Step::Drain, BatchKind::Serving);
    // Every 4 s, in which no process has seen 4 s of quiet.
    for _ in 0..10 {
        world.crash();
        world.run_until(4, |_| false);
        assert!(world.counts.deleted.is_empty(), "{}", world.tale());
    }
    finish(&mut world);
    assert_eq!(outcome(&world), Some(Outcome::Succeeded), "{}", world.tale());
}

#[test]
fn g_argo_2050_no_old_pod_goes_while_the_surge_is_away() {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Drain, BatchKind::Serving);
    world.cluster.ready_after = 40;
    world.evict(3);
    let back = world.run_until(100, |world| {
        let surge = world.cluster.pods.get(&3).is_some_and(|pod| pod.ready);
        assert!(surge || world.counts.deleted.is_empty(), "{}", world.tale());
        surge
    });
    assert!(back, "{}", world.tale());
    finish(&mut world);
    all_at(&world, "v2");
}

#[test]
fn the_last_pod_that_could_serve_is_given_back_when_all_others_fall() {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Drain, BatchKind::Serving);
    world.happens("all others are not Ready for 30s");
    let end = world.now + 30;
    for ordinal in 1..4 {
        world.cluster.pods.get_mut(&ordinal).unwrap().sick_until = end;
    }
    let again = world.run_until(10, |world| world.attached(0));
    assert!(again && world.counts.deleted.is_empty(), "{}", world.tale());
    finish(&mut world);
    all_at(&world, "v2");
}

#[test]
fn g_rollout_operator_354_no_pod_is_touched_before_the_last_one_has_served_for_its_soak() {
    let mut plan = one_by_one();
    plan.verify.soak = std::time::Duration::from_secs(45);
    let mut world = upgrade(3, Plan { batch: Amount::Count(1), ..plan });
    let (mut attached_at, mut gaps) = (None, Vec::new());
    for _ in 0..1500 {
        let before = world.state.detached.clone();
        world.tick();
        let after = &world.state.detached;
        if !before.is_empty() && after.is_empty() {
            attached_at = Some(world.now);
        } else if before.is_empty() && !after.is_empty() {
            gaps.extend(attached_at.map(|at| world.now - at));
        }
    }
    assert_eq!(world.state.rest, Rest::Succeeded, "{}", world.tale());
    assert!(gaps.len() >= 3 && gaps.iter().all(|gap| *gap >= 45), "{gaps:?}\n{}", world.tale());
}
