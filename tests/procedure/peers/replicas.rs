//! Replicas: the surge, autoscalers, and what is left behind.

use lossless_upgrade::workflow::plan::{Amount, Plan};
use lossless_upgrade::workflow::reasons::Reason;
use lossless_upgrade::workflow::state::{BatchKind, Outcome, Rest, Step};

use crate::sim::cluster::Manner;
use crate::sim::moments::{all_at, finish, outcome, replicas, same};
use crate::sim::plans::{one_by_one, with_image};
use crate::sim::telling::{until, upgrade};
use crate::sim::world::World;

#[test]
fn g_emqx_1105_the_surge_is_added_once_and_taken_away_once() {
    for plan in [one_by_one(), with_image("v2"), Plan { batch: Amount::Count(2), ..one_by_one() }] {
        let mut world = upgrade(4, plan);
        let mut most = 0;
        for _ in 0..400 {
            world.tick();
            most = most.max(replicas(&world));
        }
        finish(&mut world);
        assert_eq!(world.counts.scales, 2, "{}", world.tale());
        same(&world, "replicas", replicas(&world), 4);
        assert!(most <= 6, "{most}\n{}", world.tale());
    }
}

#[test]
fn g_emqx_1105_an_autoscaler_that_goes_up_and_down_is_followed_and_never_added_to() {
    let mut world = upgrade(3, one_by_one());
    let mut wanted = 3;
    for turn in 0..20_u32 {
        world.run_until(23, |_| false);
        wanted = [6, 8, 5, 7][turn as usize % 4];
        world.set_replicas(wanted);
        assert!(replicas(&world) <= 9, "{}", world.tale());
    }
    finish(&mut world);
    same(&world, "replicas", replicas(&world), wanted);
    all_at(&world, "v2");
}

#[test]
fn g_argo_3848_an_autoscaler_that_goes_down_while_a_run_ends_leaves_nothing_half_done() {
    for step in [Step::Detach, Step::Drain, Step::Retire] {
        let mut world = upgrade(4, one_by_one());
        until(&mut world, step, BatchKind::Retiring);
        world.set_replicas(2);
        finish(&mut world);
        same(&world, "replicas", replicas(&world), 2);
        assert_eq!(outcome(&world), Some(Outcome::Succeeded), "{}", world.tale());
    }
}

#[test]
fn g_druid_160_replicas_that_are_set_when_no_run_is_on_are_nobodys_business() {
    let mut world = upgrade(3, one_by_one());
    finish(&mut world);
    for wanted in [7, 2, 5] {
        let before = world.counts.scales;
        world.set_replicas(wanted);
        world.run_until(120, |_| false);
        same(&world, "replicas", replicas(&world), wanted);
        assert_eq!(world.counts.scales, before, "{}", world.tale());
        assert_eq!(world.state.rest, Rest::Succeeded);
    }
}

#[test]
fn g_kubernetes_67092_the_surge_keeps_as_many_serving_as_there_were() {
    for (count, batch) in [(1, 1), (3, 1), (5, 2), (4, 4)] {
        let mut world = upgrade(count, Plan { batch: Amount::Count(batch), ..one_by_one() });
        finish(&mut world);
        assert!(world.fewest_serving >= count as usize, "{}", world.tale());
        same(&world, "pods", world.cluster.pods.len(), count as usize);
    }
}

#[test]
fn g_milvus_469_an_upgrade_ends_although_replicas_change_all_the_time() {
    let mut world = upgrade(3, one_by_one());
    for turn in 0..40_u32 {
        world.run_until(7, |_| false);
        world.set_replicas(4 + turn % 3);
    }
    finish(&mut world);
    all_at(&world, "v2");
}

#[test]
fn g_vm_operator_389_a_restart_of_the_pods_is_a_new_target_like_any_other() {
    // `kubectl rollout restart` changes an annotation of the template: another revision of the same image.
    let mut world = World::new(3, one_by_one());
    world.run_until(3, |_| false);
    world.set_image("v1, restarted at noon");
    finish(&mut world);
    all_at(&world, "v1, restarted at noon");
    assert_eq!(world.counts.deleted.len(), 3);
}

#[test]
fn g_kep_3541_a_set_that_replaces_its_pods_itself_is_refused_and_nothing_is_written() {
    let mut world = World::new(3, one_by_one());
    world.cluster.set.as_mut().unwrap().on_delete = false;
    world.cluster.manners.insert("v2".into(), Manner::NeverReady);
    world.set_image("v2");
    world.run_until(200, |_| false);
    assert_eq!(world.memory.stalled, Some(Reason::NotOnDelete), "{}", world.tale());
    assert!(world.state.run.is_none() && matches!(world.state.rest, Rest::Blocked(_)), "{}", world.tale());
    let counts = &world.counts;
    assert_eq!((counts.levers, counts.scales, counts.deleted.len(), counts.counters), (0, 0, 0, 0));
}

#[test]
fn g_argo_4571_what_is_recorded_does_not_grow_with_the_runs() {
    let mut world = World::new(2, one_by_one());
    let mut sizes = Vec::new();
    for turn in 0..60 {
        world.set_image(if turn % 2 == 0 { "v2" } else { "v3" });
        finish(&mut world);
        sizes.push(format!("{:?}", world.state).len());
        world.story.clear();
    }
    assert_eq!(world.state.history.len(), 10);
    // From the tenth run on there is as much in it as there will ever be.
    assert!(sizes[59] <= sizes[12] + 64, "{sizes:?}");
}
