//! Where exactly something begins to count: each of these was found untested by changing the procedure.

use lossless_upgrade::workflow::obstacles;
use lossless_upgrade::workflow::plan::{Amount, Order, Plan};
use lossless_upgrade::workflow::reasons::Reason;
use lossless_upgrade::workflow::state::{BatchKind, Outcome, Step};

use crate::sim::moments::{all_at, finish, outcome};
use crate::sim::plans::one_by_one;
use crate::sim::telling::{until, upgrade};
use crate::sim::world::World;

/// What stands against a run on so many replicas with such a surge.
fn against(replicas: u32, surge: u32, claims: bool, decided: bool) -> Vec<Reason> {
    let plan = Plan { surge: Some(Amount::Count(surge)), volumes_decided: decided, ..one_by_one() };
    let world = World::new(replicas, plan);
    let mut seen = world.observe();
    seen.set.as_mut().unwrap().claims = claims;
    obstacles(&world.plan, &seen).into_iter().map(|problem| problem.reason).collect()
}

#[test]
fn what_stands_against_a_run_is_told_all_at_once() {
    let world = World::new(1, Plan { surge: Some(Amount::Count(0)), ..one_by_one() });
    let mut seen = world.observe();
    seen.set.as_mut().unwrap().on_delete = false;
    let reasons: Vec<_> = obstacles(&world.plan, &seen).into_iter().map(|problem| problem.reason).collect();
    assert_eq!(reasons, [Reason::NotOnDelete, Reason::NoCapacity]);
    seen.set = None;
    let reasons: Vec<_> = obstacles(&world.plan, &seen).into_iter().map(|problem| problem.reason).collect();
    assert_eq!(reasons, [Reason::StatefulSetMissing]);
}

#[test]
fn one_replica_needs_a_surge_and_two_do_not() {
    assert_eq!(against(1, 0, false, false), [Reason::NoCapacity]);
    assert_eq!(against(1, 1, false, false), []);
    assert_eq!(against(2, 0, false, false), []);
}

#[test]
fn volume_claims_ask_for_a_word_only_where_there_is_a_surge() {
    assert_eq!(against(3, 1, true, false), [Reason::SurgeVolumesUndecided]);
    assert_eq!(against(3, 1, true, true), []);
    assert_eq!(against(3, 0, true, false), []);
    assert_eq!(against(3, 1, false, false), []);
}

#[test]
fn a_batch_serves_again_four_times_for_others_that_fall_and_then_the_run_waits_for_the_user() {
    let mut world = upgrade(3, one_by_one());
    let halted = |world: &World| world.state.run.as_ref().is_some_and(|run| run.halted.is_some());
    let drains = |world: &World| {
        let run = world.state.run.as_ref();
        run.is_some_and(|run| run.step == Step::Drain && run.batch.kind == BatchKind::Serving)
    };
    for _ in 0..8 {
        if !world.run_until(600, |world| halted(world) || drains(world)) || halted(&world) {
            break;
        }
        let end = world.now + 30;
        let batch = world.state.run.as_ref().unwrap().batch.ordinals.clone();
        for (ordinal, pod) in &mut world.cluster.pods {
            if !batch.contains(*ordinal) {
                pod.sick_until = end;
            }
        }
        world.run_until(60, |world| !drains(world));
    }
    let run = world.state.run.as_ref().unwrap();
    let why = run.halted.as_ref().map(|problem| problem.reason);
    assert_eq!((run.relieved, why), (4, Some(Reason::OthersNotReady)), "{}", world.tale());
    world.acquit();
}

#[test]
fn one_pod_that_is_left_in_mid_run_without_a_surge_is_not_taken_out_and_the_user_is_told_what_it_needs() {
    // The first pod is the one that is not upgraded when it becomes the only one.
    let plan = Plan { surge: Some(Amount::Count(0)), order: Order::Descending, ..one_by_one() };
    let mut world = upgrade(2, plan);
    until(&mut world, Step::Soak, BatchKind::Serving);
    world.set_replicas(1);
    world.run_until(60, |world| world.memory.stalled == Some(Reason::NoCapacity));
    assert_eq!(world.memory.stalled, Some(Reason::NoCapacity), "{}", world.tale());
    assert!(world.attached(0), "{}", world.tale());
    world.set_replicas(2);
    finish(&mut world);
    all_at(&world, "v2");
}

#[test]
fn a_pod_that_others_wait_for_is_named_as_such_also_where_there_is_no_surge() {
    let mut world = upgrade(2, Plan { surge: Some(Amount::Count(0)), ..one_by_one() });
    until(&mut world, Step::Soak, BatchKind::Serving);
    let end = world.now + 3600;
    world.cluster.pods.get_mut(&1).unwrap().sick_until = end;
    world.cluster.pods.get_mut(&0).unwrap().sick_until = world.now + 5;
    world.run_until(900, |world| world.memory.stalled.is_some());
    assert_ne!(world.memory.stalled, Some(Reason::NoCapacity), "{}", world.tale());
}

/// Seconds until an abort is over while another pod is not Ready.
fn aborted_after(surge: u32) -> i64 {
    let mut world = upgrade(3, Plan { surge: Some(Amount::Count(surge)), ..one_by_one() });
    until(&mut world, Step::Drain, BatchKind::Serving);
    let end = world.now + 7200;
    world.cluster.pods.get_mut(&2).unwrap().sick_until = end;
    world.act("abort");
    let began = world.now;
    assert!(world.run_until(3600, |world| world.state.run.is_none()), "{}", world.tale());
    assert_eq!(outcome(&world), Some(Outcome::Aborted), "{}", world.tale());
    world.acquit();
    world.now - began
}

#[test]
fn an_abort_waits_for_others_before_the_surge_goes_and_for_nobody_where_there_is_none() {
    let patience = i64::try_from(one_by_one().verify.timeout.as_secs()).unwrap();
    let (with, without) = (aborted_after(1), aborted_after(0));
    assert!(with >= patience && with < patience + 120, "{with} s, and others are waited for {patience} s");
    assert!(without < patience, "{without} s");
}

#[test]
fn a_surge_that_stops_serving_is_waited_for_and_is_no_lack_of_replicas() {
    // With one pod before anything of it was deleted, with several before the next one is taken out.
    for (replicas, step) in [(1, Step::Drain), (3, Step::Soak)] {
        let mut world = upgrade(replicas, one_by_one());
        until(&mut world, step, BatchKind::Serving);
        let end = world.now + 3600;
        world.cluster.pods.get_mut(&replicas).unwrap().sick_until = end;
        world.run_until(600, |world| world.memory.stalled.is_some());
        assert_eq!(world.memory.stalled, Some(Reason::OthersNotReady), "{}", world.tale());
        assert!(world.attached(0), "{}", world.tale());
        world.acquit();
    }
}

#[test]
fn a_surge_that_somebody_takes_away_after_the_last_pod_is_not_added_again() {
    let mut world = upgrade(2, one_by_one());
    let last = world.run_until(600, |world| {
        let run = world.state.run.as_ref();
        run.is_some_and(|run| run.step == Step::Soak && run.batch.ordinals.contains(1))
    });
    assert!(last, "{}", world.tale());
    world.set_replicas(2);
    let again = world.run_until(600, |world| world.cluster.set.as_ref().is_some_and(|set| set.replicas > 2));
    assert!(!again && world.state.run.is_none(), "{}", world.tale());
    all_at(&world, "v2");
}

#[test]
fn a_rollback_begins_with_the_surge_that_is_to_stand_in_for_the_others() {
    let mut world = upgrade(3, one_by_one());
    let second = world.run_until(600, |world| {
        let run = world.state.run.as_ref();
        run.is_some_and(|run| run.step == Step::Drain && run.batch.ordinals.contains(1))
    });
    assert!(second, "{}", world.tale());
    world.act("rollback");
    let image = |world: &World, ordinal| world.cluster.pods.get(&ordinal).map(|pod| pod.image.clone());
    let back = |world: &World, ordinal| image(world, ordinal).as_deref() == Some("v1");
    assert!(world.run_until(600, |world| back(world, 3) || back(world, 0)), "{}", world.tale());
    assert!(back(&world, 3) && !back(&world, 0), "{}", world.tale());
    finish(&mut world);
    all_at(&world, "v1");
}
