//! Golden stories: what the procedure does, told in prose and judged at every step.

use crate::sim::balancer::{self, Balancer};
use crate::sim::cluster::Manner;
use crate::sim::plans::{one_by_one, with_image};
use crate::sim::telling::{images, until, upgrade};
use crate::sim::world::{Probe, World};
use lossless_upgrade::workflow::plan::{Amount, OnFailure, OnTimeout, Plan};
use lossless_upgrade::workflow::state::{BatchKind, Outcome, Phase, Rest, Step};

/// Runs to the end, judges, and compares the tale.
fn tell(name: &str, mut world: World) -> World {
    world.run_until(3, |_| false);
    world.run_until(2000, |world| world.at_rest() || world.gone);
    world.judge_end();
    world.acquit();
    insta::assert_snapshot!(name, world.tale());
    world
}

fn outcome(world: &World) -> Outcome {
    world.state.history.first().expect("a run ended").outcome
}

#[test]
fn one_by_one_every_pod_is_carried_to_the_new_version() {
    let world = tell("one_by_one", upgrade(3, one_by_one()));
    assert_eq!(images(&world), ["v2", "v2", "v2"]);
    assert!(world.fewest_serving >= 3);
}

#[test]
fn a_batch_of_two_goes_together_and_the_surge_has_two() {
    let world = tell("batch_of_two", upgrade(4, Plan { batch: Amount::Count(2), ..one_by_one() }));
    assert_eq!(images(&world), ["v2"; 4]);
    assert!(world.fewest_serving >= 4);
}

#[test]
fn a_label_of_the_pods_moves_the_clients_that_no_annotation_reaches() {
    let mut world = World::new(3, one_by_one());
    world.balancers.push(Balancer::by_label("serving", 1));
    world.run_until(3, |_| false);
    world.set_image("v2");
    let world = tell("by_label", world);
    assert_eq!(images(&world), ["v2"; 3]);
    assert!(world.fewest_serving >= 3);
}

#[test]
fn a_new_version_that_is_never_ready_is_found_by_the_surge_and_no_serving_pod_is_touched() {
    let mut world = upgrade(3, one_by_one());
    world.cluster.manners.insert("v2".into(), Manner::NeverReady);
    let world = tell("rollback_from_the_surge", world);
    assert_eq!(outcome(&world), Outcome::RolledBack);
    assert!(world.counts.deleted.is_empty());
    assert_eq!(images(&world), ["v1"; 3]);
}

#[test]
fn a_new_version_that_restarts_in_the_soak_of_the_first_batch_is_rolled_back_everywhere() {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Soak, BatchKind::Serving);
    world.happens("from now on v2 restarts now and then");
    world.cluster.manners.insert("v2".into(), Manner::Restarts(8));
    let world = tell("rollback_in_mid_run", world);
    assert_eq!(outcome(&world), Outcome::RolledBack);
    assert_eq!(images(&world), ["v1"; 3]);
}

#[test]
fn a_pause_keeps_what_is_detached_detached_and_deletes_nothing() {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Drain, BatchKind::Serving);
    world.pause(true);
    world.run_until(100, |_| false);
    assert!(world.counts.deleted.is_empty());
    assert!(world.state.detached.contains(0));
    world.pause(false);
    let world = tell("pause", world);
    assert_eq!(outcome(&world), Outcome::Succeeded);
}

#[test]
fn a_pause_while_a_pod_may_be_deleted_keeps_a_late_delete_from_it() {
    let mut world = upgrade(3, Plan { surge: Some(Amount::Count(0)), ..one_by_one() });
    until(&mut world, Step::Detach, BatchKind::Serving);
    world.run_until(200, |world| !world.counts.deleted.is_empty());
    world.pause(true);
    world.run_until(30, |_| false);
    world.pause(false);
    let world = tell("pause_in_replace", world);
    assert_eq!(outcome(&world), Outcome::Succeeded);
}

#[test]
fn deletion_in_mid_run_attaches_all_removes_the_surge_and_promotes_nothing() {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Drain, BatchKind::Serving);
    world.delete_object();
    let world = tell("deletion_in_mid_run", world);
    assert!(world.gone && world.counts.deleted.is_empty());
    assert_eq!(images(&world), ["v1"; 3]);
    assert!(world.fewest_serving >= 3);
}

#[test]
fn deletion_while_a_pod_is_being_replaced_waits_for_it_to_end_before_it_is_attached() {
    let mut world = upgrade(3, one_by_one());
    world.run_until(200, |world| !world.counts.deleted.is_empty());
    world.delete_object();
    let world = tell("deletion_in_replace", world);
    assert!(world.gone);
    assert_eq!(images(&world), ["v2", "v1", "v1"]);
}

#[test]
fn with_images_the_operator_writes_the_template_itself() {
    let mut world = World::new(3, with_image("v2"));
    world.run_until(3, |_| false);
    let world = tell("images", world);
    assert_eq!(images(&world), ["v2"; 3]);
}

#[test]
fn with_images_a_bad_image_is_taken_back_and_not_tried_again() {
    let mut world = World::new(3, with_image("v2"));
    world.cluster.manners.insert("v2".into(), Manner::Crashes);
    let mut world = tell("images_rolled_back", world);
    assert_eq!((images(&world), outcome(&world)), (vec!["v1"; 3], Outcome::RolledBack));
    world.run_until(1000, |_| false);
    assert_eq!(world.state.history.len(), 1);
}

#[test]
fn on_failure_pause_waits_for_the_user_and_goes_on_after_a_retry() {
    let mut world = upgrade(3, Plan { on_failure: OnFailure::Pause, ..one_by_one() });
    until(&mut world, Step::Soak, BatchKind::Serving);
    world.happens("the readiness of web-0 fails for 20 s");
    world.cluster.pods.get_mut(&0).unwrap().sick_until = world.now + 20;
    world.run_until(60, |_| false);
    assert!(world.memory.stalled.is_some(), "{}", world.tale());
    world.act("retry");
    let world = tell("on_failure_pause_then_retry", world);
    assert_eq!(outcome(&world), Outcome::Succeeded);
}

#[test]
fn a_newer_revision_in_mid_run_is_gone_to_and_nothing_skips_its_drain() {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Drain, BatchKind::Serving);
    world.set_image("v3");
    let world = tell("retargeted_while_draining", world);
    assert_eq!((images(&world), outcome(&world)), (vec!["v3"; 3], Outcome::Succeeded));
    assert!(world.fewest_serving >= 3);
}

#[test]
fn the_old_revision_set_again_in_mid_run_is_gone_back_to() {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Soak, BatchKind::Serving);
    world.set_image("v1");
    let world = tell("retargeted_to_the_old_one", world);
    assert_eq!(images(&world), ["v1"; 3]);
}

#[test]
fn a_lever_that_is_never_confirmed_stalls_the_run_and_nothing_is_deleted() {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Soak, BatchKind::Canary);
    world.happens("the load balancer's controller stops");
    world.balancers[0].manner = balancer::Manner::Deaf;
    let mut world = tell("lever_never_confirmed", world);
    assert!(world.counts.deleted.is_empty() && world.memory.stalled.is_some());
    world.balancers[0].manner = balancer::Manner::Follows;
    world.run_until(1000, World::at_rest);
    world.acquit();
    assert_eq!(outcome(&world), Outcome::Succeeded);
}

#[test]
fn what_the_load_balancers_controller_complains_of_is_said_at_once_and_nothing_is_deleted_meanwhile() {
    let mut world = upgrade(3, one_by_one());
    world.happens("the load balancer's controller is refused by its cloud");
    world.balancers[0].manner = balancer::Manner::Complains;
    let mut world = tell("lever_refused", world);
    assert!(world.counts.deleted.is_empty() && world.memory.stalled.is_some());
    world.balancers[0].manner = balancer::Manner::Follows;
    world.run_until(1000, World::at_rest);
    world.acquit();
    assert_eq!(outcome(&world), Outcome::Succeeded);
}

#[test]
fn a_doubtful_confirmation_is_settled_by_writing_once_more() {
    let mut world = upgrade(2, one_by_one());
    world.balancers[0].manner = balancer::Manner::Vague;
    let world = tell("lever_doubtful", world);
    assert_eq!(outcome(&world), Outcome::Succeeded);
}

#[test]
fn a_lever_that_somebody_keeps_changing_halts_the_run_and_nothing_is_deleted() {
    let mut world = upgrade(3, one_by_one());
    for _ in 0..5 {
        world.run_until(200, |world| world.step() == Some(Step::Drain));
        world.happens("somebody takes our weight out");
        let now = world.now;
        world.balancers[0].overwrite(now);
        world.run_until(3, |_| false);
    }
    let world = tell("lever_contested", world);
    assert!(world.counts.deleted.is_empty());
}

#[test]
fn a_probe_that_falls_silent_holds_the_drain_and_is_never_taken_for_zero() {
    let mut world = upgrade(2, Plan { drain: proceed(), ..one_by_one() });
    until(&mut world, Step::Drain, BatchKind::Serving);
    world.happens("the probe falls silent");
    world.probe = Probe::Silent;
    world.run_until(300, |_| false);
    assert!(world.counts.deleted.is_empty() && world.memory.stalled.is_some());
    world.happens("the probe answers again");
    world.probe = Probe::Counter;
    let world = tell("probe_silent", world);
    assert_eq!(outcome(&world), Outcome::Succeeded);
}

#[test]
fn a_probe_that_cannot_be_used_is_found_before_anything_is_written() {
    let mut world = World::new(2, one_by_one());
    world.probe = Probe::Refused;
    world.set_image("v2");
    world.run_until(60, |_| false);
    world.judge_end();
    world.acquit();
    assert_eq!(world.state.phase(), Phase::Blocked);
    assert_eq!(world.counts.levers + world.counts.scales, 0);
}

fn proceed() -> lossless_upgrade::workflow::plan::DrainPlan {
    lossless_upgrade::workflow::plan::DrainPlan { on_timeout: OnTimeout::Proceed, ..one_by_one().drain }
}

fn with_clients_that_stay(on_timeout: OnTimeout) -> World {
    let mut plan = one_by_one();
    plan.drain.on_timeout = on_timeout;
    let mut world = upgrade(2, plan);
    until(&mut world, Step::Detach, BatchKind::Serving);
    world.happens("a client of web-0 stays for ten minutes");
    let end = world.now + 600;
    world.cluster.pods.get_mut(&0).unwrap().connections.push(end);
    world
}

#[test]
fn a_drain_that_takes_too_long_waits_for_the_user_with_pause() {
    let mut world = with_clients_that_stay(OnTimeout::Pause);
    world.run_until(700, |_| false);
    assert!(world.counts.deleted.is_empty() && world.memory.stalled.is_some());
    world.act("retry");
    let world = tell("drain_timeout_pause", world);
    assert_eq!(outcome(&world), Outcome::Succeeded);
}

#[test]
fn a_drain_that_takes_too_long_goes_on_with_proceed_and_says_so() {
    let world = tell("drain_timeout_proceed", with_clients_that_stay(OnTimeout::Proceed));
    assert_eq!(outcome(&world), Outcome::Succeeded);
}

#[test]
fn a_drain_that_takes_too_long_goes_back_with_rollback() {
    let world = tell("drain_timeout_rollback", with_clients_that_stay(OnTimeout::Rollback));
    assert_eq!((outcome(&world), images(&world)), (Outcome::RolledBack, vec!["v1"; 2]));
    assert!(world.counts.deleted.is_empty());
}

#[test]
fn a_surge_lost_to_an_apply_is_noticed_and_made_good_before_the_next_detach() {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Drain, BatchKind::Serving);
    world.set_replicas(3);
    let world = tell("surge_lost", world);
    assert_eq!((images(&world), outcome(&world)), (vec!["v2"; 3], Outcome::Succeeded));
}

#[test]
fn replicas_that_the_user_raises_in_mid_run_are_kept() {
    let mut world = upgrade(2, one_by_one());
    until(&mut world, Step::Drain, BatchKind::Serving);
    world.set_replicas(5);
    let world = tell("replicas_raised", world);
    assert_eq!((images(&world), outcome(&world)), (vec!["v2"; 5], Outcome::Succeeded));
}

#[test]
fn replicas_that_the_user_raises_while_the_surge_goes_are_kept() {
    let mut world = upgrade(2, one_by_one());
    until(&mut world, Step::Drain, BatchKind::Retiring);
    world.set_replicas(5);
    let world = tell("replicas_raised_in_reclaim", world);
    assert_eq!((images(&world), outcome(&world)), (vec!["v2"; 5], Outcome::Succeeded));
}

#[test]
fn a_pod_that_was_broken_before_the_run_is_replaced_first_and_without_a_drain() {
    let mut world = World::new(3, one_by_one());
    world.cluster.manners.insert("v0".into(), Manner::Crashes);
    world.set_image("v0");
    world.plan.paused = true;
    world.run_until(5, |_| false);
    world.evict(2);
    world.run_until(5, |_| false);
    world.plan.paused = false;
    world.set_image("v2");
    let world = tell("broken_before_the_run", world);
    assert_eq!((images(&world), outcome(&world)), (vec!["v2"; 3], Outcome::Succeeded));
}

#[test]
fn with_ordered_ready_a_broken_pod_is_replaced_before_the_surge_is_asked_for() {
    let mut world = World::new(3, one_by_one());
    world.cluster.set.as_mut().unwrap().ordered_ready = true;
    world.cluster.manners.insert("v0".into(), Manner::NeverReady);
    world.set_image("v0");
    world.plan.paused = true;
    world.run_until(5, |_| false);
    world.evict(1);
    world.run_until(5, |_| false);
    world.plan.paused = false;
    world.set_image("v2");
    let world = tell("ordered_ready", world);
    assert_eq!((images(&world), outcome(&world)), (vec!["v2"; 3], Outcome::Succeeded));
}

#[test]
fn a_surge_that_finds_no_room_is_taken_back_and_nothing_is_held_against_the_version() {
    let mut world = upgrade(3, one_by_one());
    world.cluster.manners.insert("v2".into(), Manner::FindsNoRoom);
    world.run_until(100, |world| world.state.phase() == Phase::Blocked);
    world.judge_end();
    world.happens("a node is added");
    world.cluster.manners.clear();
    let world = tell("no_room_for_the_surge", world);
    assert_eq!(
        world.state.history.iter().map(|past| past.outcome).collect::<Vec<_>>(),
        [Outcome::Succeeded, Outcome::Blocked]
    );
}

#[test]
fn a_surge_that_a_quota_forbids_is_taken_back() {
    let mut world = upgrade(3, one_by_one());
    world.cluster.quota = Some(3);
    world.run_until(200, |world| world.state.phase() == Phase::Blocked);
    world.run_until(100, |_| false);
    world.judge_end();
    world.acquit();
    insta::assert_snapshot!("quota", world.tale());
}

#[test]
fn with_images_a_surge_without_room_is_not_tried_again_at_once() {
    let mut world = World::new(3, with_image("v2"));
    world.cluster.manners.insert("v2".into(), Manner::FindsNoRoom);
    world.run_until(250, |_| false);
    world.acquit();
    assert_eq!(world.state.history.len(), 1, "{}", world.tale());
    assert_eq!(images(&world), ["v1"; 3]);
}

#[test]
fn without_a_surge_one_pod_fewer_serves_and_never_two() {
    let world = tell("surge_0", upgrade(3, Plan { surge: Some(Amount::Count(0)), ..one_by_one() }));
    assert_eq!(images(&world), ["v2"; 3]);
    assert_eq!(world.fewest_serving, 2);
}

#[test]
fn a_statefulset_deleted_in_mid_run_ends_the_run_and_the_levers_are_put_back() {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Drain, BatchKind::Serving);
    world.happens("kubectl delete statefulset web");
    world.cluster.set = None;
    world.cluster.pods.clear();
    world.run_until(30, |_| false);
    world.acquit();
    assert!(world.balancers[0].restored());
    insta::assert_snapshot!("statefulset_deleted", world.tale());
}

#[test]
fn a_statefulset_made_anew_in_mid_run_ends_the_run_and_the_next_one_is_allowed() {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Drain, BatchKind::Serving);
    world.happens("the StatefulSet is deleted without its pods and made anew");
    let now = world.now;
    world.cluster.replace_set(now);
    let world = tell("statefulset_made_anew", world);
    assert_eq!(images(&world)[..3], ["v2"; 3]);
}

#[test]
fn an_abort_leaves_upgraded_pods_as_they_are_and_removes_the_surge() {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Soak, BatchKind::Serving);
    world.act("abort");
    let mut world = tell("abort", world);
    assert_eq!((images(&world), outcome(&world)), (vec!["v2", "v1", "v1"], Outcome::Aborted));
    world.act("retry");
    world.run_until(3, |_| false);
    world.run_until(1000, World::at_rest);
    world.acquit();
    assert_eq!(images(&world), ["v2"; 3]);
}

#[test]
fn a_rollback_asked_by_the_user_goes_back_by_the_same_lossless_steps() {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Soak, BatchKind::Serving);
    until(&mut world, Step::Drain, BatchKind::Serving);
    world.act("rollback");
    let world = tell("rollback_by_the_user", world);
    assert_eq!((images(&world), outcome(&world)), (vec!["v1"; 3], Outcome::RolledBack));
    assert!(world.fewest_serving >= 3);
}

#[test]
fn a_pod_evicted_in_its_soak_is_verified_anew_and_is_no_word_on_the_version() {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Soak, BatchKind::Serving);
    world.evict(0);
    let world = tell("evicted_in_soak", world);
    assert_eq!((images(&world), outcome(&world)), (vec!["v2"; 3], Outcome::Succeeded));
}

#[test]
fn a_pod_evicted_while_others_are_out_is_verified_before_the_next_batch() {
    let mut world = upgrade(3, one_by_one());
    until(&mut world, Step::Drain, BatchKind::Serving);
    world.evict(2);
    let world = tell("evicted_elsewhere", world);
    assert_eq!((images(&world), outcome(&world)), (vec!["v2"; 3], Outcome::Succeeded));
}

#[test]
fn the_record_changes_once_a_step_and_each_pod_costs_four_writes() {
    for (services, replicas) in [(1, 3), (2, 3), (1, 5)] {
        let mut world = upgrade(replicas, one_by_one());
        for more in 1..services {
            world.balancers.push(Balancer::new(&format!("web-{more}"), 2));
        }
        world.run_until(2000, World::at_rest);
        world.acquit();
        assert_eq!(world.state.rest, Rest::Succeeded);
        let pods = replicas as usize + 1;
        let counts = &world.counts;
        // The number of lever writes in a step is recorded with each write beyond the first.
        let further = counts.levers - counts.levers / services;
        assert!(counts.records <= counts.trail.len() + further + 3, "{counts:?}");
        let writes = counts.levers + counts.counters + counts.deleted.len() + counts.fences;
        assert!(writes <= pods * (4 + 2 * (services - 1)), "{writes} writes: {counts:?}");
        assert_eq!(counts.scales, 2, "{counts:?}");
    }
}
