//! What a user can say, at every moment of several runs: what it leads to, and that nothing is lost
//! by it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::sim::moments::{
    ALL, LONGEST, Story, all_at, as_undisturbed, as_undisturbed_and_served, at_every_moment, at_moments,
    enough_served, finish, nothing_more_is_replaced, outcome, replicas, same,
};
use crate::sim::plans::with_image;
use crate::sim::world::World;
use lossless_upgrade::workflow::plan::{Amount, Order, Plan};
use lossless_upgrade::workflow::state::{Outcome, Step};

#[test]
fn the_moments_of_these_stories_are_of_every_step_phase_and_kind_of_batch() {
    let (mut steps, mut phases, mut kinds) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    at_every_moment(ALL, |_| (), as_undisturbed_and_served);
    for story in ALL {
        let mut calm = story.begin();
        let end = calm.now + LONGEST;
        while let Some(run) = calm.state.run.as_ref().filter(|_| calm.now < end) {
            steps.insert(format!("{:?}", run.step));
            phases.insert(format!("{:?}", run.phase()));
            kinds.insert(format!("{:?}", run.batch.kind));
            calm.tick();
        }
    }
    println!("{steps:?} {phases:?} {kinds:?}");
    assert_eq!((steps.len(), phases.len(), kinds.len()), (11, 11, 6));
}

#[test]
fn an_abort_leaves_the_pods_as_they_are_and_takes_the_surge_away() {
    at_every_moment(
        ALL,
        |world| world.act("abort"),
        |story, before, world| {
            same(world, "outcome", outcome(world), Some(Outcome::Aborted));
            same(world, "replicas", replicas(world), story.replicas());
            same(world, "pods", world.cluster.pods.len(), story.replicas() as usize);
            nothing_more_is_replaced(story, before, world);
        },
    );
}

#[test]
fn what_was_aborted_is_gone_on_with_after_a_retry() {
    at_every_moment(
        ALL,
        |world| {
            world.act("abort");
            finish(world);
            world.act("retry");
        },
        |_, _, world| {
            let image = world.cluster.set.as_ref().unwrap().image.clone();
            if image == "v2" && world.cluster.manners.contains_key("v2") {
                return same(world, "outcome", outcome(world), Some(Outcome::RolledBack));
            }
            all_at(world, &image);
        },
    );
}

#[test]
fn a_rollback_brings_every_pod_back_to_the_old_version() {
    at_every_moment(
        ALL,
        |world| world.act("rollback"),
        |story, before, world| {
            same(world, "replicas", replicas(world), story.replicas());
            all_at(world, "v1");
            // Before the operator has written a template there is none to be taken back.
            let unwritten = story == Story::Images && before.step() == Some(Step::Preflight);
            let back = if unwritten { Outcome::Aborted } else { Outcome::RolledBack };
            same(world, "outcome", outcome(world), Some(back));
            same(world, "template", world.cluster.set.as_ref().unwrap().image.as_str(), "v1");
            enough_served(story, world);
        },
    );
}

#[test]
fn a_pause_holds_everything_where_it_is_and_what_follows_is_as_if_there_had_been_none() {
    at_every_moment(
        ALL,
        |world| {
            world.pause(true);
            let before = world.clone();
            world.run_until(200, |_| false);
            let (is, was) = (&world.counts, &before.counts);
            same(world, "deletions in a pause", &is.deleted, &was.deleted);
            same(
                world,
                "writes in a pause",
                (is.levers, is.scales, is.templates),
                (was.levers, was.scales, was.templates),
            );
            same(world, "detached in a pause", &world.state.detached, &before.state.detached);
            same(world, "phase in a pause", world.state.phase(), before.state.phase());
            world.pause(false);
        },
        as_undisturbed_and_served,
    );
}

#[test]
fn a_retry_that_nobody_waits_for_changes_nothing() {
    at_every_moment(ALL, |world| world.act("retry"), as_undisturbed_and_served);
}

#[test]
fn a_newer_revision_is_gone_to_and_no_pod_skips_its_drain() {
    at_every_moment(
        ALL,
        |world| world.set_image("v3"),
        |story, _, world| {
            same(world, "replicas", replicas(world), story.replicas());
            let wanted = if story == Story::Images { "v2" } else { "v3" };
            if story != Story::Aborting {
                all_at(world, wanted);
            }
            enough_served(story, world);
        },
    );
}

#[test]
fn the_old_revision_set_again_is_gone_back_to() {
    at_every_moment(
        ALL,
        |world| world.set_image("v1"),
        |story, _, world| {
            same(world, "replicas", replicas(world), story.replicas());
            all_at(world, if story == Story::Images { "v2" } else { "v1" });
            enough_served(story, world);
        },
    );
}

#[test]
fn other_images_in_the_spec_are_gone_to() {
    at_every_moment(
        &[Story::Images],
        |world| {
            world.happens("spec.images: web=v3");
            world.plan = Plan { images: with_image("v3").images, ..world.plan.clone() };
            world.memory.last = None;
        },
        |story, _, world| {
            all_at(world, "v3");
            same(world, "replicas", replicas(world), story.replicas());
            enough_served(story, world);
        },
    );
}

#[test]
fn the_object_deleted_lets_go_of_everything_and_promotes_nothing() {
    at_every_moment(ALL, World::delete_object, |story, before, world| {
        assert!(world.gone, "{}", world.tale());
        same(world, "replicas", replicas(world), story.replicas());
        nothing_more_is_replaced(story, before, world);
    });
}

fn edit(world: &mut World, what: &str, edit: impl Fn(&mut Plan)) {
    world.happens(what);
    edit(&mut world.plan);
    world.memory.last = None;
}

#[test]
fn another_order_another_surge_and_longer_drains_change_no_end() {
    let edits: [fn(&mut World); 3] = [
        |world| edit(world, "order: Descending", |plan| plan.order = Order::Descending),
        |world| edit(world, "surge: 2", |plan| plan.surge = Some(Amount::Count(2))),
        |world| {
            edit(world, "drain: minimum 12s, stableFor 9s", |plan| {
                plan.drain.minimum = Duration::from_secs(12);
                plan.drain.stable_for = Duration::from_secs(9);
            });
        },
    ];
    for (turn, edit) in (0..).zip(edits) {
        at_moments(ALL, turn..3, edit, as_undisturbed_and_served);
    }
}

#[test]
fn a_larger_batch_changes_no_end_and_lowers_no_capacity_that_the_surge_has_to_cover() {
    at_every_moment(
        ALL,
        |world| edit(world, "batch: 3", |plan| plan.batch = Amount::Count(3)),
        |story, before, world| {
            as_undisturbed(story, before, world);
            if story != Story::WithoutSurge {
                enough_served(story, world);
            }
        },
    );
}

#[test]
fn replicas_that_somebody_sets_are_kept() {
    let surging: Vec<_> = ALL.iter().copied().filter(|story| *story != Story::WithoutSurge).collect();
    // One pod without a surge cannot be replaced at all: that is waited for, and said.
    for (turn, (wanted, stories)) in (0..).zip([(1, surging.as_slice()), (2, ALL), (7, ALL)]) {
        at_moments(
            stories,
            turn..3,
            |world| world.set_replicas(wanted),
            |story, _, world| {
                same(world, "replicas", replicas(world), wanted);
                match story.ends() {
                    Some(image) => all_at(world, image),
                    None => same(world, "pods", world.cluster.pods.len(), wanted as usize),
                }
            },
        );
    }
}
