//! Random plans, random orders of events, crashes anywhere: the invariants hold at every step, and
//! every run ends or says what it waits for.
#![allow(missing_docs, reason = "tests are named as sentences")]

mod sim;

use std::collections::BTreeMap;

use lossless_upgrade::workflow::checks::{GUARDS, Guard};
use lossless_upgrade::workflow::plan::{Amount, Plan};
use lossless_upgrade::workflow::state::{BatchKind, Step};
use proptest::prelude::*;
use sim::balancer::{self, Balancer};
use sim::chance::{Event, crash, event, manner, plan};
use sim::cluster::Manner;
use sim::operator::Crash;
use sim::plans::{one_by_one, with_image};
use sim::world::{Probe, World};

/// Lets everything happen in its order, then mends what was broken from outside, and waits for the end.
fn play(mut world: World, events: &[(i64, Event)]) -> World {
    for (pause, event) in events {
        let end = world.now + pause;
        world.run_until(*pause, |world| world.now >= end);
        event.happen(&mut world);
    }
    world.happens("from here on nothing is broken from outside");
    for balancer in &mut world.balancers {
        balancer.manner = balancer::Manner::Follows;
        balancer.unreadable = false;
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

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_invariant_breaks_and_every_run_ends_or_says_what_it_waits_for(
        plan in plan(),
        replicas in 1..6_u32,
        ordered_ready in any::<bool>(),
        services in 1..3_usize,
        manners in prop::collection::vec(manner(), 3),
        events in prop::collection::vec((0..60_i64, event()), 0..12),
        crashes in prop::collection::btree_map(0..200_usize, crash(), 0..4),
    ) {
        let mut world = World::new(replicas, plan);
        world.cluster.set.as_mut().unwrap().ordered_ready = ordered_ready;
        world.balancers = (0..services).map(|index| Balancer::new(&format!("web-{index}"), 2 + index as i64)).collect();
        world.cluster.manners = ["v2", "v3", "v4"].into_iter().map(str::to_owned).zip(manners).collect();
        world.crashes = crashes;
        world.set_image("v2");
        play(world, &events);
    }
}
