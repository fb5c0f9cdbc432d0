//! Runs that hang, and deadlines that never come.

use lossless_upgrade::workflow::plan::Plan;
use lossless_upgrade::workflow::reasons::Reason;
use lossless_upgrade::workflow::state::{BatchKind, Outcome, Phase, Rest, Step};

use crate::sim::balancer;
use crate::sim::cluster::Manner;
use crate::sim::moments::{GOOD, all_at, at_every_moment, finish, outcome, same};
use crate::sim::plans::one_by_one;
use crate::sim::telling::{until, upgrade};
use crate::sim::world::{Probe, World};

#[test]
fn g_mimir_8877_a_healthy_finished_run_is_not_stalled() {
    let mut world = upgrade(3, one_by_one());
    finish(&mut world);
    for _ in 0..1000 {
        world.tick();
        assert_eq!((world.memory.stalled, world.state.phase()), (None, Phase::Succeeded), "{}", world.tale());
    }
}

/// How long the run waits until it says that it is stalled or goes another way, while a pod outside
/// the batch is Ready for `up` seconds and not Ready for `down`, in turn.
fn stalls_after(up: i64, down: i64) -> Option<i64> {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Soak, BatchKind::Serving);
    world.run_until(200, |world| world.state.run.as_ref().is_some_and(|run| run.updated.contains(0)));
    world.happens("web-2 and the surge are Ready now and then");
    let began = world.now;
    for second in 0..1000 {
        if second % (up + down) == 0 {
            let end = world.now + down;
            for ordinal in [2, 3] {
                world.cluster.pods.get_mut(&ordinal).unwrap().sick_until = end;
            }
        }
        world.tick();
        if world.memory.stalled.is_some() || world.state.run.is_none() {
            return Some(world.now - began);
        }
    }
    None
}

#[test]
fn g_argo_3765_readiness_that_comes_and_goes_does_not_refresh_the_deadline() {
    // Too short to be drained in, and too short to be held up by for long at a time.
    for (up, down) in [(5, 10), (3, 25), (8, 8)] {
        let after = stalls_after(up, down);
        assert!(after.is_some_and(|after| after <= 150), "up {up} s, down {down} s: {after:?}");
    }
}

#[test]
fn g_argo_3765_pods_that_are_lost_again_and_again_do_not_refresh_the_deadline() {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Verify, BatchKind::Serving);
    for turn in 0..20 {
        // It is never there for as long as it takes to prove it.
        world.evict(0);
        if world.run_until(9, |world| world.memory.stalled.is_some()) {
            assert!(turn > 5, "{}", world.tale());
            world.run_until(300, |_| false);
            finish(&mut world);
            return all_at(&world, "v2");
        }
    }
    panic!("it is waited for without a deadline\n{}", world.tale());
}

#[test]
fn g_argo_3765_crashes_of_the_new_version_do_not_refresh_the_deadline() {
    let mut world = upgrade(3, one_by_one());
    world.cluster.manners.insert("v2".into(), Manner::Crashes);
    let began = world.now;
    let went_back = world.run_until(500, |world| world.state.rest != Rest::Idle);
    assert!(went_back && world.now - began < 100, "{}", world.tale());
    finish(&mut world);
    assert_eq!(outcome(&world), Some(Outcome::RolledBack));
}

#[test]
fn g_argo_3988_the_deadline_holds_for_the_second_bad_version_too() {
    let mut world = upgrade(3, one_by_one());
    for image in ["v2", "v3"] {
        world.cluster.manners.insert(image.into(), Manner::NeverReady);
    }
    finish(&mut world);
    world.set_image("v3");
    let began = world.now;
    finish(&mut world);
    let outcomes: Vec<_> = world.state.history.iter().map(|past| past.outcome).collect();
    assert_eq!(outcomes, [Outcome::RolledBack; 2], "{}", world.tale());
    assert!(world.now - began < 200, "{}", world.tale());

    // And where the second one comes while the first one is still waited for.
    let mut world = upgrade(3, one_by_one());
    for image in ["v2", "v3"] {
        world.cluster.manners.insert(image.into(), Manner::NeverReady);
    }
    until(&mut world, Step::Verify, BatchKind::Canary);
    world.run_until(50, |_| false);
    world.set_image("v3");
    let began = world.now;
    finish(&mut world);
    assert!(world.now - began < 300, "{}", world.tale());
    assert!(world.counts.deleted.values().all(|image| image == "v2"), "{}", world.tale());
    all_at(&world, "v1");
}

/// A step that is held up for ever, and why the run must say that it is stalled.
fn held_up(step: Step, kind: BatchKind, hold: impl Fn(&mut World)) -> Option<Reason> {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, step, kind);
    hold(&mut world);
    let stalled = world.run_until(700, |world| world.memory.stalled.is_some() || world.state.run.is_none());
    assert!(stalled, "{step:?} waits without a deadline\n{}", world.tale());
    world.acquit();
    world.memory.stalled
}

fn deaf(world: &mut World) {
    world.balancers[0].manner = balancer::Manner::Deaf;
}

#[test]
fn g_flagger_1591_every_step_has_a_deadline_and_says_so_when_it_is_over() {
    let stays = |world: &mut World, ordinal: u32| {
        let end = world.now + 100_000;
        world.cluster.pods.get_mut(&ordinal).unwrap().connections.push(end);
    };
    let never_ends = |world: &mut World| world.cluster.grace = 100_000;
    let held = [
        held_up(Step::Detach, BatchKind::Serving, deaf),
        held_up(Step::Drain, BatchKind::Serving, |world| stays(world, 0)),
        held_up(Step::Drain, BatchKind::Serving, |world| world.probe = Probe::Silent),
        held_up(Step::Drain, BatchKind::Serving, never_ends),
        held_up(Step::Attach, BatchKind::Serving, deaf),
        held_up(Step::Detach, BatchKind::Retiring, deaf),
        held_up(Step::Drain, BatchKind::Retiring, |world| stays(world, 3)),
        held_up(Step::Drain, BatchKind::Retiring, never_ends),
        held_up(Step::Retire, BatchKind::Retiring, |world| world.balancers[0].unreadable = true),
    ];
    let expected = [
        Reason::LeverNotConfirmed,
        Reason::DrainTimedOut,
        Reason::ProbeSilent,
        Reason::ReplaceTimedOut,
        Reason::LeverNotConfirmed,
        Reason::LeverNotConfirmed,
        Reason::DrainTimedOut,
        Reason::ReclaimTimedOut,
        Reason::LeverNotRestored,
    ];
    assert_eq!(held, expected.map(Some));
}

#[test]
fn g_flagger_1591_a_statefulset_controller_that_is_silent_stalls_whatever_waits_for_it() {
    let silent = |world: &mut World| world.cluster.lag = 100_000;
    let pushed = |world: &mut World| {
        silent(world);
        world.set_image("v3");
    };
    let asked = |word: &'static str| {
        move |world: &mut World| {
            pushed(world);
            world.act(word);
        }
    };
    let rolled_back = |world: &mut World| {
        silent(world);
        world.act("rollback");
    };
    let held = [
        held_up(Step::Surge, BatchKind::None, silent),
        held_up(Step::Soak, BatchKind::Canary, pushed),
        held_up(Step::Soak, BatchKind::Serving, pushed),
        held_up(Step::Detach, BatchKind::Serving, asked("abort")),
        held_up(Step::Verify, BatchKind::Serving, asked("rollback")),
        held_up(Step::Detach, BatchKind::Serving, rolled_back),
        held_up(Step::Retire, BatchKind::Retiring, silent),
    ];
    assert_eq!(held, [Some(Reason::ControllerSilent); 7]);
}

#[test]
fn a_run_that_stalled_for_a_silent_controller_goes_on_when_it_speaks_again() {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Soak, BatchKind::Canary);
    let lag = std::mem::replace(&mut world.cluster.lag, 2_000);
    world.set_image("v3");
    world.run_until(1_500, |world| world.memory.stalled.is_some());
    let said = world.memory.message.clone();
    assert!(
        said.ends_with("is kube-controller-manager running? (`kubectl -n kube-system get pods,leases`)"),
        "{said}"
    );
    world.run_until(1_000, |world| world.memory.stalled.is_none());
    world.cluster.lag = lag;
    finish(&mut world);
    all_at(&world, "v3");
}

#[test]
fn g_kruise_1468_what_never_becomes_ready_or_is_never_created_ends_the_run() {
    for manner in [Manner::NeverReady, Manner::FindsNoRoom] {
        let mut world = upgrade(3, one_by_one());
        world.cluster.manners.insert("v2".into(), manner);
        let over = world.run_until(200, |world| world.state.run.is_none() && world.state.rest != Rest::Idle);
        assert!(over, "{manner:?}\n{}", world.tale());
    }
    let mut world = World::new(3, one_by_one());
    world.probe = Probe::Silent;
    world.set_image("v2");
    let over = world.run_until(100, |world| matches!(world.state.rest, Rest::Blocked(_)));
    assert!(over && world.memory.stalled == Some(Reason::ProbeUnusable), "{}", world.tale());
}

#[test]
fn g_eck_8654_what_holds_a_run_is_named_and_the_user_can_end_it() {
    let mut world = upgrade(3, Plan { surge: None, ..one_by_one() });
    until(&mut world, Step::Soak, BatchKind::Serving);
    world.run_until(200, |world| world.state.run.as_ref().is_some_and(|run| run.updated.contains(0)));
    let end = world.now + 3600;
    for ordinal in [0, 3] {
        world.cluster.pods.get_mut(&ordinal).unwrap().sick_until = end;
    }
    world.run_until(300, |world| world.memory.stalled.is_some());
    assert_eq!(world.memory.stalled, Some(Reason::OthersNotReady), "{}", world.tale());
    world.act("abort");
    world.run_until(1000, |world| world.state.run.is_none());
    assert!(matches!(world.state.rest, Rest::Aborted(_)), "{}", world.tale());
}

#[test]
fn g_brupop_691_nothing_stays_out_of_the_load_balancer_when_a_run_is_over() {
    for action in ["abort", "rollback"] {
        at_every_moment(
            GOOD,
            |world| world.act(action),
            |_, _, world| {
                same(world, "detached", world.state.detached.len(), 0);
                let serving = world.cluster.pods.len();
                same(world, "serving", world.serving(), serving);
            },
        );
    }
}

#[test]
fn g_argo_2522_a_lever_that_somebody_fights_over_ends_in_a_named_wait_and_not_in_a_hot_loop() {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Detach, BatchKind::Serving);
    let before = world.counts.levers;
    for _ in 0..600 {
        world.overwrite(0);
        world.tick();
    }
    assert_eq!(world.memory.stalled, Some(Reason::LeverContested), "{}", world.tale());
    assert!(world.counts.levers - before <= 12 && world.counts.deleted.is_empty(), "{}", world.tale());
}
