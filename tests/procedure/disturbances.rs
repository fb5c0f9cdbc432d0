//! What nobody asked for, at every moment of several runs: the run waits or goes on, and nothing is
//! lost by what the operator does.

use crate::sim::balancer::{self, Balancer};
use crate::sim::moments::{
    ALL, Story, all_at, as_undisturbed, as_undisturbed_and_served, at_every_moment, at_moments, finish, goal,
    outcome, replicas, same,
};
use crate::sim::plans::one_by_one;
use crate::sim::world::{Probe, World};
use lossless_upgrade::workflow::reasons::Reason;
use lossless_upgrade::workflow::state::{Goal, Outcome, Rest, Step};

#[test]
fn the_statefulset_deleted_ends_the_run_and_the_levers_are_put_back() {
    at_every_moment(
        ALL,
        |world| {
            world.happens("kubectl delete statefulset web");
            let now = world.now;
            world.cluster.delete_set(now);
        },
        |_, before, world| {
            same(world, "deletions", &world.counts.deleted, &before.counts.deleted);
            if before.step() != Some(Step::Restore) {
                same(world, "outcome", outcome(world), Some(Outcome::Aborted));
            }
            assert!(world.balancers.iter().all(Balancer::restored), "{}", world.tale());
        },
    );
}

#[test]
fn the_statefulset_deleted_without_its_pods_leaves_them_attached() {
    at_every_moment(
        ALL,
        |world| {
            world.happens("kubectl delete statefulset web --cascade=orphan");
            world.cluster.set = None;
            let before = world.counts.deleted.len();
            world.run_until(60, |world| world.state.run.is_none());
            assert_eq!(world.counts.deleted.len(), before, "{}", world.tale());
        },
        |_, before, world| {
            if before.step() != Some(Step::Restore) {
                same(world, "outcome", outcome(world), Some(Outcome::Aborted));
            }
            assert!(world.balancers.iter().all(Balancer::restored), "{}", world.tale());
        },
    );
}

#[test]
fn a_statefulset_that_is_not_found_for_a_while_takes_nothing_from_how_the_last_run_ended() {
    for story in ALL {
        let mut world = story.begin();
        finish(&mut world);
        let (rest, message) = (world.state.rest.clone(), world.memory.message.clone());
        let set = world.cluster.set.take();
        let noticed = world.run_until(60, |world| matches!(world.state.rest, Rest::Blocked(_)));
        assert!(noticed, "{}", world.tale());
        world.cluster.set = set;
        world.run_until(60, |world| world.state.rest == rest);
        same(&world, "how it ended", &world.state.rest, &rest);
        same(&world, "message", &world.memory.message, &message);
    }
}

#[test]
fn the_statefulset_made_anew_is_another_matter() {
    at_every_moment(
        ALL,
        |world| {
            world.happens("the StatefulSet is deleted without its pods and made anew");
            let now = world.now;
            world.cluster.replace_set(now);
        },
        |_, before, world| {
            let image = world.cluster.set.as_ref().unwrap().image.clone();
            if goal(before) == Goal::Upgrade {
                all_at(world, &image);
            }
        },
    );
}

#[test]
fn a_switch_to_rolling_update_holds_the_run_until_it_is_taken_back() {
    // A bad version that Kubernetes has carried everywhere falls everywhere at once, which halts its run.
    let stories: Vec<_> = ALL.iter().copied().filter(|story| *story != Story::RollingBack).collect();
    at_every_moment(
        &stories,
        |world| {
            world.happens("spec.updateStrategy: RollingUpdate");
            world.cluster.set.as_mut().unwrap().on_delete = false;
            let before = world.clone();
            world.run_until(40, |_| false);
            if goal(&before) != Goal::Abort {
                same(world, "deletions while it is held", &world.counts.deleted, &before.counts.deleted);
            }
            world.happens("spec.updateStrategy: OnDelete");
            world.cluster.set.as_mut().unwrap().on_delete = true;
        },
        |story, _, world| match story.ends() {
            Some(image) => all_at(world, image),
            // Kubernetes itself has replaced pods meanwhile.
            None => same(world, "outcome", outcome(world), Some(Outcome::Aborted)),
        },
    );
}

#[test]
fn a_lever_written_over_is_set_again() {
    at_every_moment(
        ALL,
        |world| {
            world.happens("somebody takes our weights out");
            world.overwrite(0);
        },
        as_undisturbed_and_served,
    );
}

#[test]
fn a_lever_written_over_again_and_again_stops_the_run_until_the_writer_is_stopped() {
    at_every_moment(
        ALL,
        |world| {
            for _ in 0..24 {
                world.overwrite(0);
                world.run_until(5, |_| false);
            }
            world.happens("the other writer is stopped");
            if world.state.run.is_some() {
                world.act("retry");
            }
        },
        as_undisturbed,
    );
}

#[test]
fn a_service_that_is_gone_for_good_holds_an_upgrade_and_lets_it_be_aborted() {
    at_every_moment(
        ALL,
        |world| {
            world.happens("the Service is deleted");
            let before = world.clone();
            world.vanish(0, true);
            world.run_until(120, |_| false);
            if goal(&before) == Goal::Upgrade && before.step() != Some(Step::Replace) {
                same(world, "deletions", &world.counts.deleted, &before.counts.deleted);
            }
            if world.state.run.is_some() {
                world.act("abort");
            }
        },
        |story, _, world| same(world, "replicas", replicas(world), story.replicas()),
    );
}

#[test]
fn a_service_that_is_gone_for_a_while_holds_the_run() {
    at_every_moment(
        ALL,
        |world| {
            world.happens("the Service is deleted");
            world.vanish(0, true);
            world.run_until(90, |_| false);
            world.happens("the Service is there again");
            world.vanish(0, false);
            if world.state.run.is_some() {
                world.act("retry");
            }
        },
        as_undisturbed,
    );
}

#[test]
fn a_load_balancer_that_is_deaf_for_a_while_holds_the_run() {
    at_every_moment(
        ALL,
        |world| {
            world.happens("the load balancer's controller stops");
            world.balancers[0].manner = balancer::Manner::Deaf;
            world.run_until(90, |_| false);
            world.happens("the load balancer's controller runs again");
            world.balancers[0].manner = balancer::Manner::Follows;
        },
        as_undisturbed_and_served,
    );
}

#[test]
fn a_probe_that_is_silent_for_a_while_holds_the_run() {
    at_every_moment(
        ALL,
        |world| {
            world.happens("the probe falls silent");
            world.probe = Probe::Silent;
            world.run_until(200, |_| false);
            world.happens("the probe answers again");
            world.probe = Probe::Counter;
        },
        as_undisturbed_and_served,
    );
}

#[test]
fn a_pod_that_is_evicted_comes_back_and_the_run_goes_on() {
    for ordinal in 0..4 {
        let every = i64::from(ordinal % 2)..2;
        at_moments(
            ALL,
            every,
            |world| world.evict(ordinal),
            |story, before, world| match story.ends() {
                Some(_) => as_undisturbed(story, before, world),
                // It may have come back at the version that the others were not carried to.
                None => same(world, "outcome", outcome(world), Some(Outcome::Aborted)),
            },
        );
    }
}

#[test]
fn a_node_that_is_lost_holds_the_run_until_its_pod_is_gone() {
    for ordinal in 0..4 {
        at_moments(
            ALL,
            i64::from(ordinal)..4,
            |world| {
                world.happens(&format!("the node of web-{ordinal} is lost"));
                lose_node(world, ordinal, 40, 240);
                world.run_until(300, |_| false);
                if world.state.run.as_ref().is_some_and(|run| run.halted.is_some()) {
                    world.act("retry");
                }
            },
            |story, _, world| {
                same(world, "replicas", replicas(world), story.replicas());
                match outcome(world) {
                    Some(Outcome::Succeeded) => all_at(world, "v2"),
                    Some(Outcome::RolledBack) => all_at(world, "v1"),
                    Some(Outcome::Aborted) => same(world, "story", story, Story::Aborting),
                    Some(Outcome::Blocked) | None => panic!("no end\n{}", world.tale()),
                }
            },
        );
    }
}

/// The pod is not Ready any more, is deleted after a while, and is not gone before the node is.
fn lose_node(world: &mut World, ordinal: u32, unnoticed: i64, gone: i64) {
    if let Some(pod) = world.cluster.pods.get_mut(&ordinal) {
        pod.sick_until = i64::MAX;
    }
    world.run_until(unnoticed, |_| false);
    let end = world.now + gone;
    if let Some(pod) = world.cluster.pods.get_mut(&ordinal) {
        pod.terminating.get_or_insert(end);
    }
}

#[test]
fn a_surge_that_somebody_takes_away_again_and_again_is_added_a_few_times_and_then_waits_for_the_user() {
    let mut world = World::new(3, one_by_one());
    world.run_until(3, |_| false);
    world.set_image("v2");
    let soaks = |world: &World| {
        world.state.run.as_ref().is_some_and(|run| run.step == Step::Soak && run.halted.is_none())
    };
    let mut taken = 0;
    while world.run_until(200, soaks) {
        taken += 1;
        assert!(taken < 10, "{}", world.tale());
        world.set_replicas(3);
        world.run_until(2, |_| false);
    }
    assert_eq!((taken, world.memory.stalled), (4, Some(Reason::ReplicasChanged)), "{}", world.tale());
    assert_eq!(world.counts.deleted.len(), 0, "{}", world.tale());
    world.act("retry");
    finish(&mut world);
    all_at(&world, "v2");
}
