//! Deletions that nobody wanted.

use lossless_upgrade::workflow::checks::{GUARDS, Guard};
use lossless_upgrade::workflow::plan::{Amount, OnFailure, Order, Plan};
use lossless_upgrade::workflow::state::{BatchKind, Outcome, Phase, Rest, Step};

use crate::sim::cluster::Manner;
use crate::sim::moments::{Story, all_at, at_every_moment, finish, outcome, replicas, same};
use crate::sim::plans::{one_by_one, with_image};
use crate::sim::telling::{images, until, upgrade};
use crate::sim::world::{Probe, World};

fn without_surge() -> Plan {
    Plan { surge: Some(Amount::Count(0)), ..one_by_one() }
}

/// A pod is not Ready for so long, and nothing else is wrong with it.
fn sick(world: &mut World, ordinal: u32, seconds: i64) {
    world.happens(&format!("web-{ordinal} is not Ready for {seconds}s"));
    world.cluster.pods.get_mut(&ordinal).unwrap().sick_until = world.now + seconds;
}

#[test]
fn g_vm_operator_643_a_pod_that_is_not_ready_in_time_never_leads_to_the_next_delete() {
    let mut world = upgrade(3, Plan { on_failure: OnFailure::Pause, ..one_by_one() });
    until(&mut world, Step::Replace, BatchKind::Serving);
    world.happens("from now on v2 is never Ready");
    world.cluster.manners.insert("v2".into(), Manner::NeverReady);
    world.run_until(3600, |_| false);
    world.judge_end();
    world.acquit();
    assert_eq!(world.counts.deleted.len(), 1, "{}", world.tale());
    assert_eq!(images(&world)[1..3], ["v1", "v1"]);
}

#[test]
fn g_vm_operator_217_a_template_whose_pods_cannot_be_made_costs_no_serving_pod() {
    for manner in [Manner::Crashes, Manner::NeverReady, Manner::FindsNoRoom] {
        let mut world = upgrade(3, one_by_one());
        world.cluster.manners.insert("v2".into(), manner);
        world.run_until(1000, |_| false);
        world.acquit();
        assert!(world.counts.deleted.is_empty(), "{manner:?}\n{}", world.tale());
        assert_eq!((world.fewest_serving, images(&world)), (3, vec!["v1"; 3]), "{manner:?}");
    }
    let mut world = upgrade(3, one_by_one());
    world.happens("a quota forbids more pods");
    world.cluster.quota = Some(3);
    world.run_until(1000, |_| false);
    world.acquit();
    assert!(world.counts.deleted.is_empty() && world.fewest_serving == 3, "{}", world.tale());
}

#[test]
fn g_zalando_2966_no_further_pod_is_deleted_while_one_is_unexpectedly_down() {
    let mut world = upgrade(3, without_surge());
    until(&mut world, Step::Soak, BatchKind::Serving);
    until(&mut world, Step::Drain, BatchKind::Serving);
    let deleted = world.counts.deleted.len();
    sick(&mut world, 0, 900);
    world.run_until(800, |_| false);
    assert_eq!(world.counts.deleted.len(), deleted, "{}", world.tale());
    assert!(world.memory.stalled.is_some(), "{}", world.tale());
    finish(&mut world);
    all_at(&world, "v2");
}

#[test]
fn g_zalando_2031_an_api_server_that_does_not_answer_is_never_taken_for_a_change() {
    at_every_moment(
        &[Story::OneByOne, Story::Images, Story::RollingBack, Story::Aborting],
        |world| {
            world.happens("nothing can be read for a minute");
            world.balancers[0].unreadable = true;
            world.probe = Probe::Silent;
            let (lag, now) = (world.cluster.lag, world.now);
            world.cluster.lag = 60;
            world.cluster.write(now, None, None, false);
            let before = world.counts.clone();
            world.run_until(55, |_| false);
            same(world, "deletions", &world.counts.deleted, &before.deleted);
            same(world, "templates", world.counts.templates, before.templates);
            (world.cluster.lag, world.probe) = (lag, Probe::Counter);
            world.balancers[0].unreadable = false;
        },
        |_, _, world| assert!(world.counts.deleted.len() <= 7, "{}", world.tale()),
    );
}

#[test]
fn g_zalando_341_a_broken_pod_can_be_made_anew_while_an_upgrade_waits() {
    let mut world = upgrade(3, Plan { paused: true, ..one_by_one() });
    world.cluster.manners.insert("v1".into(), Manner::Crashes);
    world.run_until(30, |_| false);
    world.evict(1);
    world.run_until(30, |_| false);
    assert!(world.cluster.pods[&1].ready && world.counts.deleted.is_empty(), "{}", world.tale());
    world.pause(false);
    finish(&mut world);
    all_at(&world, "v2");
}

/// Two pods, of which the other one is not Ready when the first one's turn comes.
fn with_another_down(guards: &[Guard], order: Order, down: u32) -> World {
    let mut world = World::new(3, Plan { order, ..without_surge() });
    world.guards = guards.to_vec();
    world.set_image("v2");
    until(&mut world, Step::Drain, BatchKind::Serving);
    sick(&mut world, down, 200);
    world.run_until(190, |_| false);
    world
}

#[test]
fn g_kruise_1480_a_pod_that_is_down_later_in_the_order_is_counted_too() {
    for (order, down) in [(Order::Ascending, 2), (Order::Ascending, 1), (Order::Descending, 0)] {
        let mut world = with_another_down(GUARDS, order, down);
        assert!(world.counts.deleted.is_empty(), "{order:?}, web-{down} down\n{}", world.tale());
        finish(&mut world);
        all_at(&world, "v2");
    }
}

#[test]
fn g_kruise_1480_without_the_look_at_the_others_two_pods_would_be_down() {
    let unguarded: Vec<Guard> = GUARDS.iter().copied().filter(|guard| *guard != Guard::OthersServe).collect();
    let world = with_another_down(&unguarded, Order::Ascending, 2);
    assert!(!world.violations.is_empty() && !world.counts.deleted.is_empty(), "{}", world.tale());
}

#[test]
fn g_kruise_844_a_pod_that_is_down_and_out_is_counted_once() {
    let mut world = upgrade(4, Plan { batch: Amount::Count(2), ..without_surge() });
    until(&mut world, Step::Drain, BatchKind::Serving);
    // One of the batch itself: it takes no capacity beyond what was taken already.
    sick(&mut world, 0, 600);
    let went_on = world.run_until(100, |world| world.counts.deleted.len() == 2);
    assert!(went_on, "{}", world.tale());
    finish(&mut world);
    all_at(&world, "v2");
    assert_eq!(world.fewest_serving, 2, "{}", world.tale());
}

#[test]
fn g_kruise_898_pods_that_are_not_ready_are_not_all_deleted_at_once() {
    let mut world = World::new(3, without_surge());
    world.run_until(3, |_| false);
    sick(&mut world, 1, 400);
    sick(&mut world, 2, 400);
    world.set_image("v2");
    let mut most = 0;
    for _ in 0..1500 {
        world.tick();
        let gone = world.cluster.pods.values().filter(|pod| pod.deleted_by_us && pod.terminating.is_some());
        most = most.max(gone.count());
    }
    finish(&mut world);
    assert_eq!(most, 1, "{}", world.tale());
    all_at(&world, "v2");
}

#[test]
fn g_zalando_903_no_pod_is_taken_out_while_another_one_still_starts() {
    let mut world = upgrade(3, without_surge());
    world.cluster.ready_after = 40;
    let mut out_together = 0;
    for _ in 0..600 {
        world.tick();
        let down = |ordinal: &u32| !world.cluster.pods.get(ordinal).is_some_and(|pod| pod.ready);
        let out = (0..3).filter(|ordinal| down(ordinal) || world.state.detached.contains(*ordinal)).count();
        out_together = out_together.max(out);
    }
    finish(&mut world);
    assert_eq!(out_together, 1, "{}", world.tale());
    all_at(&world, "v2");
}

#[test]
fn g_opensearch_464_a_pod_that_is_gone_after_the_upgrade_is_no_unfinished_upgrade() {
    let mut world = upgrade(3, one_by_one());
    finish(&mut world);
    let deleted = world.counts.deleted.clone();
    for ordinal in [1, 0, 2] {
        world.evict(ordinal);
        world.run_until(20, |_| false);
    }
    finish(&mut world);
    assert_eq!(world.counts.deleted, deleted, "{}", world.tale());
    assert_eq!((world.state.history.len(), &world.state.rest), (1, &Rest::Succeeded));
}

#[test]
fn g_dashboard_61_a_pod_of_the_same_name_is_another_pod() {
    // The pod that was drained is replaced by somebody else in the second before it would be deleted.
    at_every_moment(
        &[Story::OneByOne],
        |world| {
            let uid = world.cluster.pods.get(&0).map(|pod| pod.uid.clone());
            world.evict(0);
            world.run_until(400, |_| false);
            let again = uid.is_some_and(|uid| world.cluster.pods.get(&0).is_some_and(|pod| pod.uid == uid));
            assert!(!again || world.counts.deleted.is_empty(), "{}", world.tale());
        },
        |_, _, world| {
            // At most one deletion for each pod of the old version, and none for one that came anew at the new one.
            assert!(world.counts.deleted.values().all(|image| image == "v1"), "{}", world.tale());
        },
    );
}

#[test]
fn g_kubernetes_70442_a_pod_that_came_back_at_the_old_version_is_carried_over_all_the_same() {
    let mut world = World::new(3, one_by_one());
    world.cluster.lag = 8;
    world.set_image("v2");
    world.evict(1);
    let came = world.run_until(7, |world| {
        world.cluster.pods.get(&1).is_some_and(|pod| pod.terminating.is_none() && pod.born > 0)
    });
    assert!(came && images(&world)[1] == "v1", "{}", world.tale());
    finish(&mut world);
    all_at(&world, "v2");
    assert_eq!(outcome(&world), Some(Outcome::Succeeded));
}

#[test]
fn g_eck_9732_what_is_about_to_be_scaled_away_is_not_replaced_first() {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Soak, BatchKind::Serving);
    let surge = world.cluster.pods[&3].uid.clone();
    world.set_replicas(2);
    let gone = world.cluster.pods[&2].uid.clone();
    finish(&mut world);
    assert!(!world.counts.deleted.contains_key(&surge), "{}", world.tale());
    assert!(!world.counts.deleted.contains_key(&gone), "{}", world.tale());
    same(&world, "replicas", replicas(&world), 2);
    all_at(&world, "v2");
}

#[test]
fn g_eck_5449_the_next_pod_is_not_touched_before_the_last_one_is_back_and_proven() {
    let mut world = upgrade(3, one_by_one());
    world.cluster.ready_after = 50;
    let mut began = None;
    for _ in 0..900 {
        world.tick();
        let second = world.state.detached.contains(1);
        let proven = world.state.run.as_ref().is_none_or(|run| run.updated.contains(0));
        if second && began.is_none() {
            began = Some(world.now);
            assert!(proven && world.cluster.pods[&0].ready && world.attached(0), "{}", world.tale());
        }
    }
    finish(&mut world);
    assert!(began.is_some(), "{}", world.tale());
    all_at(&world, "v2");
}

#[test]
fn g_strimzi_6690_a_pod_that_still_starts_is_not_taken_for_broken() {
    let mut world = upgrade(3, one_by_one());
    world.cluster.ready_after = 55;
    finish(&mut world);
    assert_eq!(outcome(&world), Some(Outcome::Succeeded), "{}", world.tale());
    assert!(world.counts.deleted.values().all(|image| image == "v1"), "{}", world.tale());
}

#[test]
fn g_strimzi_3710_an_upgrade_ends_although_no_pod_was_ready_before_it() {
    let mut world = World::new(3, one_by_one());
    world.cluster.manners.insert("v1".into(), Manner::Crashes);
    world.run_until(30, |_| false);
    world.set_image("v2");
    finish(&mut world);
    all_at(&world, "v2");
}

#[test]
fn g_kruise_1183_each_pod_is_deleted_once_by_its_uid() {
    let mut world = upgrade(5, Plan { batch: Amount::Count(2), ..with_image("v2") });
    finish(&mut world);
    // A second deletion of a uid is a violation of its own, and `finish` has looked at them.
    assert_eq!(world.counts.deleted.len(), 5, "{}", world.tale());
    assert!(world.counts.deleted.values().all(|image| image == "v1"));
    assert_eq!(world.state.phase(), Phase::Succeeded);
}

#[test]
fn g_dynamo_3567_success_needs_every_pod_at_the_new_version_and_not_only_enough_that_are_ready() {
    at_every_moment(
        &[Story::OneByOne, Story::InBatches, Story::WithoutSurge],
        |world| {
            let succeeded = world.run_until(500, |world| world.state.phase() == Phase::Succeeded);
            assert!(succeeded, "{}", world.tale());
        },
        |_, _, world| all_at(world, "v2"),
    );
}
