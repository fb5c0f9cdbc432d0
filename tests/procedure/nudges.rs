//! Stories of what is done to a pod once when its drain begins.

use crate::sim::moments;
use crate::sim::operator::Crash;
use crate::sim::plans::one_by_one;
use crate::sim::telling::{images, until, upgrade};
use crate::sim::world::World;
use lossless_upgrade::workflow::plan::{Amount, DrainPlan, Plan};
use lossless_upgrade::workflow::state::{BatchKind, Rest, Step};

fn nudged() -> Plan {
    let plan = one_by_one();
    Plan { drain: DrainPlan { nudged: true, ..plan.drain.clone() }, ..plan }
}

fn finish(world: &mut World) {
    moments::finish(world);
    assert_eq!((&world.state.rest, images(world)), (&Rest::Succeeded, vec!["v2"; world.cluster.pods.len()]));
}

#[test]
fn each_pod_is_nudged_once_after_its_detach_and_leaves_sooner() {
    let mut world = upgrade(4, Plan { batch: Amount::Count(2), ..nudged() });
    until(&mut world, Step::Detach, BatchKind::Serving);
    world.happens("a client of web-0 stays for ten minutes unless it is told to leave");
    let end = world.now + 600;
    world.cluster.pods.get_mut(&0).unwrap().connections.push(end);
    finish(&mut world);
    // Those that served and the surge, and none of those that came in their place.
    assert_eq!(world.counts.nudged.len(), 6, "{}", world.tale());
    insta::assert_snapshot!("nudged", world.tale());
}

#[test]
fn a_pod_that_serves_again_in_between_is_not_nudged_again() {
    let mut world = upgrade(3, nudged());
    until(&mut world, Step::Drain, BatchKind::Serving);
    world.set_replicas(3);
    until(&mut world, Step::Attach, BatchKind::Serving);
    until(&mut world, Step::Drain, BatchKind::Serving);
    assert_eq!(world.counts.nudged.len(), 1, "{}", world.tale());
    let tale = world.tale();
    assert_eq!(tale.matches("=> nudge 0").count(), 1, "{tale}");
    finish(&mut world);
}

#[test]
fn a_nudge_that_is_lost_in_a_crash_is_not_made_up_for_and_none_is_done_twice() {
    let mut before = upgrade(2, nudged());
    until(&mut before, Step::Detach, BatchKind::Serving);
    let mut lost = 0;
    for crash in [Crash::BeforeRecord, Crash::AfterRecord, Crash::AfterEffect, Crash::Stalled] {
        for later in 0..12 {
            let mut world = before.clone();
            world.crashes.insert(world.decisions + later, crash);
            finish(&mut world);
            lost += 3 - world.counts.nudged.len();
        }
    }
    assert_eq!(lost, 2, "one at each moment between the record and the nudge");
}

#[test]
fn what_is_nudged_is_forgotten_with_the_pod() {
    let mut world = upgrade(3, nudged());
    let mut most = 0;
    while !world.at_rest() && world.now < 2000 {
        world.tick();
        most = most.max(world.state.nudged.len());
    }
    finish(&mut world);
    assert_eq!(most, 1, "a batch has one pod");
    assert!(world.state.nudged.is_empty(), "{:?}", world.state.nudged);
}

#[test]
fn a_pod_is_not_nudged_again_in_another_run() {
    let mut world = upgrade(3, nudged());
    until(&mut world, Step::Drain, BatchKind::Serving);
    world.act("abort");
    world.run_until(1000, World::at_rest);
    world.act("retry");
    until(&mut world, Step::Drain, BatchKind::Serving);
    let tale = world.tale();
    assert_eq!(tale.matches("=> nudge 0").count(), 1, "{tale}");
    finish(&mut world);
}
