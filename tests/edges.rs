//! Stories of rare moments: each was a way to lose a request, or to wait for ever, when it was found.
#![allow(missing_docs, reason = "tests are named as sentences")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail tests")]
#![allow(dead_code, reason = "the simulation serves several test files, and none uses all of it")]

mod sim;

use lossless_upgrade::workflow::plan::{Amount, OnTimeout, Plan};
use lossless_upgrade::workflow::reasons::Reason;
use lossless_upgrade::workflow::state::{BatchKind, Outcome, Rest, Step};
use sim::cluster::Manner;
use sim::plans::one_by_one;
use sim::telling::{images, until, upgrade};
use sim::world::World;

fn finish(world: &mut World) {
    world.run_until(3, |_| false);
    world.run_until(3000, |world| world.at_rest() || world.gone);
    world.judge_end();
    world.acquit();
}

#[test]
fn a_version_that_comes_while_the_surge_goes_gets_a_run_with_levers_and_a_way_back() {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Drain, BatchKind::Retiring);
    world.set_image("v3");
    let began = world.run_until(1000, |world| {
        world.state.run.as_ref().is_some_and(|run| run.to.ends_with("v3") && run.step == Step::Drain)
    });
    assert!(began, "{}", world.tale());
    let saved = world.state.saved.as_ref().unwrap();
    assert!(!saved.levers.is_empty() && saved.template.is_some(), "{saved:?}");
    finish(&mut world);
    assert_eq!(images(&world), ["v3"; 3]);
}

#[test]
fn an_object_that_is_deleted_goes_in_the_end_although_its_surge_never_drains() {
    let plan = one_by_one();
    let drain =
        lossless_upgrade::workflow::plan::DrainPlan { on_timeout: OnTimeout::Pause, ..plan.drain.clone() };
    let mut world = upgrade(3, Plan { drain, ..plan });
    until(&mut world, Step::Detach, BatchKind::Serving);
    world.happens("a client of web-3 stays for two hours");
    let end = world.now + 7200;
    world.cluster.pods.get_mut(&3).unwrap().connections.push(end);
    world.delete_object();
    world.run_until(1500, |world| world.gone);
    assert!(world.gone, "{}", world.tale());
    assert!(world.counts.deleted.is_empty());
}

#[test]
fn a_failed_template_that_somebody_puts_back_halts_the_rollback() {
    let mut world = upgrade(3, one_by_one());
    world.cluster.manners.insert("v2".into(), Manner::NeverReady);
    let back = world.run_until(1000, |world| {
        world.state.run.as_ref().is_some_and(|run| run.failed.is_some() && run.step != Step::Template)
    });
    assert!(back, "{}", world.tale());
    world.set_image("v2");
    world.run_until(60, |_| false);
    let run = world.state.run.as_ref();
    // It was reclaiming and ended, or it waits for the user: it never goes for the failed version again.
    let waits = run.is_some_and(|run| run.halted.as_ref().is_some_and(|why| why.reason == Reason::Rejected));
    let rests =
        run.is_none() && world.state.history.first().is_some_and(|past| past.outcome == Outcome::RolledBack);
    assert!(waits || rests, "{}", world.tale());
    assert_eq!(images(&world)[..3], ["v1"; 3]);
    world.acquit();
}

#[test]
fn a_set_without_replicas_takes_the_new_images_and_comes_to_rest() {
    let images = [("web".to_owned(), "v2".to_owned())].into();
    let plan = Plan { images, surge: Some(Amount::Count(1)), ..one_by_one() };
    let mut world = World::new(0, plan);
    world.run_until(600, |world| world.state.rest == Rest::Succeeded);
    assert_eq!(world.state.rest, Rest::Succeeded, "{}", world.tale());
    assert_eq!(world.cluster.pods.len(), 0);
}
