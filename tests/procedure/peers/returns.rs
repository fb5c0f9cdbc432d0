//! Ways back from a version that is no good.

use lossless_upgrade::workflow::plan::{Amount, OnFailure, OnTimeout, Plan};
use lossless_upgrade::workflow::reasons::Reason;
use lossless_upgrade::workflow::state::{BatchKind, Outcome, Phase, Rest, Step};

use crate::sim::cluster::Manner;
use crate::sim::moments::{
    ALL, GOOD, all_at, at_every_moment, enough_served, finish, outcome, replicas, same,
};
use crate::sim::plans::{one_by_one, with_image};
use crate::sim::telling::{images, until, upgrade};
use crate::sim::world::World;

/// One pod is left at a version that crashes, and the template has been put right since.
fn one_pod_broken(plan: Plan) -> World {
    let mut world = World::new(3, Plan { paused: true, ..plan });
    world.cluster.manners.insert("bad".into(), Manner::Crashes);
    world.set_image("bad");
    world.run_until(5, |_| false);
    world.evict(2);
    world.run_until(20, |_| false);
    world.set_image("v2");
    world.run_until(5, |_| false);
    world
}

#[test]
fn g_kubernetes_67250_a_broken_pod_gets_the_mended_template_without_anybody_deleting_it() {
    for plan in [one_by_one(), Plan { surge: Some(Amount::Count(0)), ..one_by_one() }] {
        let mut world = one_pod_broken(plan);
        world.pause(false);
        finish(&mut world);
        all_at(&world, "v2");
        assert_eq!(outcome(&world), Some(Outcome::Succeeded), "{}", world.tale());
    }
}

#[test]
fn g_rollout_operator_339_the_broken_pod_comes_first_and_no_healthy_one_goes_while_it_is_down() {
    let mut world = one_pod_broken(Plan { surge: Some(Amount::Count(0)), ..one_by_one() });
    let broken = world.cluster.pods[&2].uid.clone();
    world.pause(false);
    world.run_until(200, |world| !world.counts.deleted.is_empty());
    assert!(world.counts.deleted.contains_key(&broken), "{}", world.tale());
    // The mended version starts slowly: nobody else goes meanwhile.
    world.cluster.ready_after = 50;
    world.run_until(45, |_| false);
    assert_eq!(world.counts.deleted.len(), 1, "{}", world.tale());
    finish(&mut world);
    all_at(&world, "v2");
    assert!(world.fewest_serving == 2, "{}", world.tale());
}

#[test]
fn g_argo_1774_a_bad_old_version_does_not_stand_in_the_way_of_a_good_new_one() {
    for manner in [Manner::Crashes, Manner::NeverReady, Manner::Restarts(20)] {
        let mut world = World::new(3, one_by_one());
        world.cluster.manners.insert("v1".into(), manner);
        world.run_until(30, |_| false);
        world.set_image("v2");
        finish(&mut world);
        all_at(&world, "v2");
    }
}

#[test]
fn g_kruise_rollouts_257_the_old_template_set_again_in_the_middle_of_the_canary_is_gone_back_to() {
    for step in [Step::Verify, Step::Soak] {
        let mut world = upgrade(3, one_by_one());
        until(&mut world, step, BatchKind::Canary);
        world.set_image("v1");
        finish(&mut world);
        all_at(&world, "v1");
        // Only the surge had the new version, and it may be made anew at the old one.
        assert!(world.counts.deleted.values().all(|image| image == "v2"), "{}", world.tale());
        assert!(world.fewest_serving >= 3, "{}", world.tale());
    }
}

#[test]
fn g_rollout_operator_revert_pods_of_an_abandoned_version_are_seen_one_by_one() {
    // The set's revision is the old one again as soon as the template is, whatever the pods run.
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Soak, BatchKind::Serving);
    world.set_image("v1");
    world.run_until(4, |_| false);
    assert!(images(&world).contains(&"v2") && world.state.run.is_some(), "{}", world.tale());
    finish(&mut world);
    all_at(&world, "v1");

    // The same while nobody looked.
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Soak, BatchKind::Serving);
    world.act("abort");
    finish(&mut world);
    world.set_image("v1");
    finish(&mut world);
    all_at(&world, "v1");
}

#[test]
fn g_dynamo_13620_a_revert_in_mid_run_keeps_everybody_served() {
    at_every_moment(GOOD, |world| world.set_image("v1"), |story, _, world| enough_served(story, world));
}

#[test]
fn g_flagger_1898_a_rollback_never_takes_the_last_pods_that_serve() {
    for replicas in [1, 2, 3] {
        let mut world = upgrade(replicas, one_by_one());
        until(&mut world, Step::Soak, BatchKind::Serving);
        world.happens("the readiness of web-0 fails from now on, for as long as it has v2");
        world.cluster.pods.get_mut(&0).unwrap().sick_until = i64::MAX;
        let mut fewest = usize::MAX;
        for _ in 0..1500 {
            world.tick();
            fewest = fewest.min(world.serving());
        }
        finish(&mut world);
        all_at(&world, "v1");
        assert!(fewest >= replicas as usize, "{fewest} of {replicas}\n{}", world.tale());
    }
}

#[test]
fn g_kubevela_7170_a_run_that_went_back_does_not_say_that_it_is_paused() {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Drain, BatchKind::Serving);
    world.pause(true);
    world.run_until(20, |_| false);
    world.act("rollback");
    world.pause(false);
    finish(&mut world);
    assert_eq!(world.state.phase(), Phase::RolledBack, "{}", world.tale());
    assert!(world.state.run.is_none() && world.memory.stalled.is_none());
    assert!(!world.memory.message.contains("Paused"), "{}", world.memory.message);
}

#[test]
fn g_flagger_1588_deleting_the_object_while_it_ends_its_run_leaves_everything_as_it_was() {
    for kind in [BatchKind::Serving, BatchKind::Retiring] {
        let mut world = upgrade(3, one_by_one());
        until(&mut world, Step::Drain, kind);
        let before = world.counts.deleted.clone();
        world.delete_object();
        finish(&mut world);
        same(&world, "deletions", &world.counts.deleted, &before);
        assert!(world.gone && world.balancers[0].restored(), "{}", world.tale());
        same(&world, "replicas", replicas(&world), 3);
    }
}

#[test]
fn g_kruise_rollouts_finalize_deleting_the_object_promotes_nothing() {
    at_every_moment(
        GOOD,
        |world| {
            world.delete_object();
            let before = images(world).iter().filter(|image| **image == "v2").count();
            world.run_until(1000, |world| world.gone);
            let after = images(world).iter().filter(|image| **image == "v2").count();
            // A pod that was deleted already comes back at the new version, and no other one does.
            assert!(after <= before + 2, "{}", world.tale());
        },
        |_, before, world| same(world, "deletions", &world.counts.deleted, &before.counts.deleted),
    );
}

#[test]
fn g_argo_3304_an_abort_takes_effect_at_once_whatever_is_waited_for() {
    at_every_moment(
        ALL,
        |world| {
            world.act("abort");
            world.run_until(4, |_| false);
            let phase = world.state.phase();
            assert!(matches!(phase, Phase::Aborting | Phase::Aborted), "{phase:?}\n{}", world.tale());
        },
        |_, _, _| (),
    );
}

#[test]
fn g_flagger_1186_what_a_bad_version_leads_to_is_the_users_choice() {
    let bad_in_mid_run = |on_failure| {
        let mut world = upgrade(3, Plan { on_failure, ..one_by_one() });
        until(&mut world, Step::Soak, BatchKind::Serving);
        world.happens("from now on v2 restarts now and then");
        world.cluster.manners.insert("v2".into(), Manner::Restarts(8));
        world.run_until(1500, World::at_rest);
        world.judge_end();
        world.acquit();
        world
    };
    let back = bad_in_mid_run(OnFailure::Rollback);
    assert!(matches!(back.state.rest, Rest::RolledBack(_)), "{}", back.tale());
    let frozen = bad_in_mid_run(OnFailure::Pause);
    assert_eq!(frozen.memory.stalled, Some(Reason::SoakFailed), "{}", frozen.tale());
    assert_eq!(frozen.counts.deleted.len(), 1, "{}", frozen.tale());
}

#[test]
fn g_brupop_590_a_bad_version_is_left_without_anybody_asking_and_is_not_tried_again() {
    let mut world = World::new(3, with_image("v2"));
    world.cluster.manners.insert("v2".into(), Manner::NeverReady);
    finish(&mut world);
    world.run_until(3600, |_| false);
    assert_eq!(
        (world.state.history.len(), outcome(&world)),
        (1, Some(Outcome::RolledBack)),
        "{}",
        world.tale()
    );
    all_at(&world, "v1");
}

#[test]
fn g_flagger_724_a_drain_that_does_not_end_goes_where_the_policy_says() {
    for (on_timeout, ends) in [(OnTimeout::Rollback, "v1"), (OnTimeout::Proceed, "v2")] {
        let mut plan = one_by_one();
        plan.drain.on_timeout = on_timeout;
        let mut world = upgrade(2, plan);
        until(&mut world, Step::Detach, BatchKind::Serving);
        let end = world.now + 900;
        world.cluster.pods.get_mut(&0).unwrap().connections.push(end);
        finish(&mut world);
        all_at(&world, ends);
        assert!(world.state.history[0].timeouts.len() == 1, "{:?}", world.state.history[0]);
    }
}
