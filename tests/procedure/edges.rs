//! Stories of rare moments: each was a way to lose a request, or to wait for ever, when it was found.

use std::time::Duration;

use crate::sim::balancer;
use crate::sim::cluster::Manner;
use crate::sim::plans::one_by_one;
use crate::sim::telling::{images, until, upgrade};
use crate::sim::world::World;
use lossless_upgrade::workflow::plan::{Amount, DrainPlan, OnTimeout, Plan, VerifyPlan};
use lossless_upgrade::workflow::reasons::Reason;
use lossless_upgrade::workflow::state::{AfterTimeout, BatchKind, Outcome, Rest, Step};

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
    let drain = DrainPlan { on_timeout: OnTimeout::Pause, ..plan.drain.clone() };
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
fn a_surge_that_is_lost_when_no_pod_waits_for_it_any_more_is_not_added_again() {
    let mut world = upgrade(3, one_by_one());
    let last = world.run_until(600, |world| {
        let run = world.state.run.as_ref();
        run.is_some_and(|run| run.step == Step::Soak && run.batch.ordinals.contains(2))
    });
    assert!(last, "{}", world.tale());
    world.set_replicas(3);
    finish(&mut world);
    assert_eq!((images(&world), world.counts.scales), (vec!["v2"; 3], 1), "{}", world.tale());
}

#[test]
fn levers_that_somebody_undoes_while_they_are_put_back_stall_the_run_until_he_stops() {
    for word in [None, Some("abort")] {
        let mut world = upgrade(3, one_by_one());
        if let Some(word) = word {
            until(&mut world, Step::Detach, BatchKind::Retiring);
            world.act(word);
        }
        until(&mut world, Step::Retire, BatchKind::Retiring);
        let before = world.counts.levers;
        world.balancers[0].contrary = true;
        world.run_until(300, |_| false);
        assert_eq!(world.memory.stalled, Some(Reason::LeverContested), "{}", world.tale());
        let writes = world.counts.levers - before;
        assert!((20..=60).contains(&writes), "{writes} writes in five minutes\n{}", world.tale());
        world.balancers[0].contrary = false;
        finish(&mut world);
        assert_eq!(world.state.run, None, "{}", world.tale());
    }
}

#[test]
fn an_object_that_is_deleted_goes_in_the_end_although_somebody_undoes_what_it_puts_back() {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Retire, BatchKind::Retiring);
    world.balancers[0].contrary = true;
    world.delete_object();
    world.run_until(1500, |world| world.gone);
    assert!(world.gone, "{}", world.tale());
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

#[test]
fn a_set_that_is_switched_to_rolling_update_in_mid_run_holds_the_run_until_it_is_switched_back() {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Drain, BatchKind::Serving);
    world.cluster.set.as_mut().unwrap().on_delete = false;
    world.happens("the update strategy is RollingUpdate now");
    world.run_until(120, |_| false);
    assert_eq!(world.memory.stalled, Some(Reason::NotOnDelete), "{}", world.tale());
    assert!(world.counts.deleted.is_empty(), "{}", world.tale());
    world.cluster.set.as_mut().unwrap().on_delete = true;
    world.happens("the update strategy is OnDelete again");
    finish(&mut world);
    assert_eq!(world.state.rest, Rest::Succeeded, "{}", world.tale());
    assert_eq!(images(&world), ["v2"; 3]);
}

#[test]
fn a_run_that_rolling_update_holds_can_still_be_aborted() {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Drain, BatchKind::Serving);
    world.cluster.set.as_mut().unwrap().on_delete = false;
    world.run_until(10, |_| false);
    world.act("abort");
    finish(&mut world);
    assert!(world.counts.deleted.is_empty(), "{}", world.tale());
    assert_eq!(world.state.history[0].outcome, Outcome::Aborted, "{}", world.tale());
    assert_eq!(world.cluster.set.as_ref().unwrap().replicas, 3);
}

#[test]
fn what_came_of_a_drain_that_was_not_over_in_time_stands_in_the_history() {
    for (on_timeout, then) in [
        (OnTimeout::Pause, AfterTimeout::Paused),
        (OnTimeout::Proceed, AfterTimeout::Proceeded),
        (OnTimeout::Rollback, AfterTimeout::RolledBack),
    ] {
        let plan = one_by_one();
        let drain = DrainPlan { on_timeout, ..plan.drain.clone() };
        let mut world = upgrade(3, Plan { drain, ..plan });
        let end = world.now + 200;
        world.cluster.pods.get_mut(&0).unwrap().connections.push(end);
        world.run_until(400, |world| world.state.run.as_ref().is_some_and(|run| !run.timeouts.is_empty()));
        if on_timeout == OnTimeout::Pause {
            world.run_until(200, |_| false);
            world.act("retry");
        }
        finish(&mut world);
        let timeouts = &world.state.history[0].timeouts;
        assert_eq!(timeouts.len(), 1, "{}", world.tale());
        assert_eq!((timeouts[0].ordinals.to_string().as_str(), timeouts[0].then), ("0", then));
    }
}

#[test]
fn a_word_that_has_nothing_to_act_on_is_answered() {
    for word in ["abort", "rollback"] {
        let mut world = World::new(2, one_by_one());
        world.run_until(3, |_| false);
        world.act(word);
        world.run_until(3, |_| false);
        assert!(world.tale().contains("NothingUnderWay"), "{}", world.tale());
    }
}

#[test]
fn no_deadline_runs_while_another_update_strategy_holds_the_run() {
    for step in [Step::Detach, Step::Drain, Step::Verify, Step::Attach] {
        let mut world = upgrade(3, one_by_one());
        until(&mut world, step, BatchKind::Serving);
        world.cluster.rolls = false;
        world.cluster.set.as_mut().unwrap().on_delete = false;
        world.run_until(400, |_| false);
        world.cluster.set.as_mut().unwrap().on_delete = true;
        finish(&mut world);
        assert_eq!(world.state.rest, Rest::Succeeded, "{step:?}\n{}", world.tale());
    }
}

#[test]
fn no_pod_is_taken_out_before_the_load_balancer_has_the_surge_that_stands_in_for_it() {
    let no_soak = VerifyPlan { soak: Duration::ZERO, ..one_by_one().verify };
    let mut world = upgrade(1, Plan { verify: no_soak, settle: Duration::ZERO, ..one_by_one() });
    world.balancers[0].intake = 20;
    finish(&mut world);
    assert_eq!(images(&world), ["v2"]);
    assert_eq!(world.fewest_serving, 1, "{}", world.tale());

    // One that never takes it in is waited for, and said.
    let mut world = upgrade(1, one_by_one());
    world.balancers[0].manner = balancer::Manner::Deaf;
    assert!(world.run_until(300, |world| world.memory.stalled.is_some()), "{}", world.tale());
    assert_eq!((world.memory.stalled, world.counts.levers), (Some(Reason::LeverNotConfirmed), 0));
}

#[test]
fn no_pod_is_taken_out_before_the_load_balancer_has_one_that_was_evicted_meanwhile() {
    let mut world = upgrade(2, one_by_one());
    until(&mut world, Step::Soak, BatchKind::Serving);
    world.balancers[0].intake = 60;
    world.evict(2);
    let is_next = |world: &World| world.state.detached.contains(1);
    assert!(world.run_until(300, is_next), "{}", world.tale());
    assert_eq!(world.serving(), 3, "the last one to go, the one before it and the surge: {}", world.tale());
    finish(&mut world);
    assert_eq!(images(&world), ["v2"; 2]);
}

#[test]
fn without_a_lever_every_pod_is_replaced_all_the_same() {
    let mut world = upgrade(3, one_by_one());
    world.balancers.clear();
    finish(&mut world);
    assert_eq!(images(&world), ["v2"; 3]);
}
