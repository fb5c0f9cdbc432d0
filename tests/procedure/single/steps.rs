//! What one step does at an edge that whole runs pass by.

use std::time::Duration;

use lossless_upgrade::workflow::decision::Effect;
use lossless_upgrade::workflow::interrupts;
use lossless_upgrade::workflow::levers;
use lossless_upgrade::workflow::observed::{Confirmation, CounterView, DrainView, Held, Site};
use lossless_upgrade::workflow::plan::OnTimeout;
use lossless_upgrade::workflow::reasons::Reason;
use lossless_upgrade::workflow::state::{AfterTimeout, BatchKind, DrainTimeout, Goal, PodState, Run, Step};
use lossless_upgrade::workflow::steps::{attach, detach, drain, replace, soak, surge, verify};
use lossless_upgrade::workflow::turn::{Next, Turn};

use super::{Scene, in_flight, set, then};

#[test]
fn only_what_may_be_deleted_is_taken_back_and_only_what_is_chosen_is_detached() {
    let after = |state: PodState, step: fn(&mut Turn<'_>, &mut Run)| {
        let mut scene = in_flight(BatchKind::Serving, Step::Detach, state);
        let mark = |scene: &mut Scene| {
            let run = scene.run();
            format!("{}-{:x}", run.id, run.entered.as_millisecond())
        };
        let mark = mark(&mut scene);
        scene.seen.pods.get_mut(&0).unwrap().fence = Some(mark);
        let change = |turn: &mut Turn<'_>, run: &mut Run| {
            step(turn, run);
            turn.state.pods[0].state
        };
        scene.decide(60, change).0
    };
    let take_back = |turn: &mut Turn<'_>, run: &mut Run| drop(attach::take_back(turn, run));
    assert_eq!(after(PodState::Deletable, take_back), PodState::Chosen);
    assert_eq!(after(PodState::Replaced, take_back), PodState::Replaced);
    let detach = |turn: &mut Turn<'_>, run: &mut Run| drop(detach::look(turn, run));
    assert_eq!(after(PodState::Chosen, detach), PodState::Detached);
    assert_eq!(after(PodState::Replaced, detach), PodState::Replaced);
}

#[test]
fn a_counter_is_started_where_one_counts_and_once_every_lever_is_written() {
    let starts = |counted: bool, written: bool| {
        let mut scene = in_flight(BatchKind::Serving, Step::Detach, PodState::Chosen);
        scene.world.plan.drain.counted = counted;
        scene.seen.pods.get_mut(&0).unwrap().counter = CounterView::Absent;
        if !written {
            scene.seen.levers[0].held = Held::Ordinals(set(&[]));
        }
        scene.decide(0, |turn, run| detach::start_counters(turn, run)).0.is_some()
    };
    assert!(starts(true, true));
    assert!(!starts(true, false) && !starts(false, true) && !starts(false, false));
}

#[test]
fn a_pod_that_goes_or_is_another_one_is_not_nudged() {
    let nudged = |change: fn(&mut Scene)| {
        let mut scene = in_flight(BatchKind::Serving, Step::Drain, PodState::Detached);
        scene.world.plan.drain.nudged = true;
        change(&mut scene);
        matches!(then(&scene, 1, drain::look).0, Next::Act(Effect::Nudge { .. }, _))
    };
    assert!(nudged(|_| ()));
    assert!(!nudged(|scene| scene.seen.pods.get_mut(&0).unwrap().terminating = true));
    assert!(!nudged(|scene| scene.seen.pods.get_mut(&0).unwrap().uid = "another".into()));
}

/// A drain whose time is over with a connection left.
fn overdue(kind: BatchKind, goal: Goal, policy: OnTimeout) -> Scene {
    let mut scene = in_flight(kind, Step::Drain, PodState::Detached);
    scene.world.plan.drain.on_timeout = policy;
    scene.run().goal = goal;
    scene.run().draining_since = Some(scene.at(0));
    let uid = scene.state.pods[0].uid.clone();
    scene.seen.drains.insert(uid, DrainView::Busy { connections: 1, why: "1 connection".into() });
    scene
}

#[test]
fn what_comes_of_a_drain_that_is_overdue_depends_on_policy_goal_and_batch() {
    use AfterTimeout::{Paused, Proceeded, RolledBack};
    let overdue_at = |scene: &Scene| scene.world.plan.drain.timeout.as_secs();
    for (kind, goal, policy, then_what) in [
        (BatchKind::Serving, Goal::Upgrade, OnTimeout::Pause, Paused),
        (BatchKind::Serving, Goal::Upgrade, OnTimeout::Proceed, Proceeded),
        (BatchKind::Serving, Goal::Upgrade, OnTimeout::Rollback, RolledBack),
        (BatchKind::Retiring, Goal::Upgrade, OnTimeout::Rollback, Paused),
        (BatchKind::Serving, Goal::RollBack, OnTimeout::Rollback, Paused),
        (BatchKind::Retiring, Goal::Abort, OnTimeout::Pause, Paused),
    ] {
        let scene = overdue(kind, goal, policy);
        let (next, run) = then(&scene, overdue_at(&scene), drain::look);
        let told: Vec<_> = run.timeouts.iter().map(|timeout| timeout.then).collect();
        assert_eq!(told, [then_what], "{kind:?} {goal:?} {policy:?}");
        assert_eq!(run.forced, then_what == Proceeded);
        // Who leaves waits for the last client; who does not waits for the user.
        let leaves = goal == Goal::Abort;
        assert_eq!(run.halted.is_some(), then_what == Paused && !leaves, "{kind:?} {goal:?} {policy:?}");
        assert_eq!(matches!(next, Next::Wait(_)), leaves);
    }
    let leaves = overdue(BatchKind::Retiring, Goal::Abort, OnTimeout::Proceed);
    let (next, run) = then(&leaves, overdue_at(&leaves), drain::look);
    assert!(matches!(next, Next::Again) && run.forced, "{next:?}");
}

#[test]
fn time_outs_are_noted_ten_times_and_of_who_leaves_not_again() {
    let noted = |goal: Goal, before: &[DrainTimeout]| {
        let mut scene = overdue(BatchKind::Retiring, goal, OnTimeout::Pause);
        scene.run().timeouts = before.to_vec();
        then(&scene, 1000, drain::look).1.timeouts.len()
    };
    let of = |ordinal: u32| DrainTimeout { ordinals: set(&[ordinal]), then: AfterTimeout::Paused };
    assert_eq!((noted(Goal::Upgrade, &[]), noted(Goal::Upgrade, &[of(0)])), (1, 2));
    assert_eq!((noted(Goal::Abort, &[of(0)]), noted(Goal::Abort, &[of(1)])), (1, 2));
    assert_eq!((noted(Goal::Upgrade, &vec![of(1); 9]), noted(Goal::Upgrade, &vec![of(1); 10])), (10, 10));
}

#[test]
fn what_was_taken_for_broken_and_lives_is_not_deleted() {
    let deletes = |change: fn(&mut Scene)| {
        let mut scene = in_flight(BatchKind::Broken, Step::Replace, PodState::Deletable);
        let pod = scene.seen.pods.get_mut(&0).unwrap();
        (pod.ready, pod.running) = (false, false);
        change(&mut scene);
        then(&scene, 0, replace::look)
    };
    assert!(matches!(deletes(|_| ()).0, Next::Act(Effect::Delete { ordinal: 0, .. }, _)));
    let (next, run) = deletes(|scene| scene.seen.pods.get_mut(&0).unwrap().ready = true);
    assert!(matches!(next, Next::Again) && run.turned_back, "it is alive");
    let ends = |scene: &mut Scene| {
        let pod = scene.seen.pods.get_mut(&0).unwrap();
        (pod.running, pod.terminating) = (true, true);
    };
    let (next, run) = deletes(ends);
    assert!(matches!(next, Next::Wait(_)) && !run.turned_back, "its end is waited for: {next:?}");
}

#[test]
fn what_is_refused_goes_back_to_the_step_that_can_mend_it() {
    let goes_to = |change: fn(&mut Scene)| {
        let mut scene = in_flight(BatchKind::Serving, Step::Replace, PodState::Deletable);
        change(&mut scene);
        then(&scene, 0, replace::look).1.step
    };
    assert_eq!(goes_to(|_| ()), Step::Replace);
    let unconfirmed = Confirmation::Pending("a sync is under way".into());
    let mut scene = in_flight(BatchKind::Serving, Step::Replace, PodState::Deletable);
    scene.seen.levers[0].confirmed = unconfirmed;
    assert_eq!(then(&scene, 0, replace::look).1.step, Step::Detach);
    assert_eq!(goes_to(|scene| scene.seen.drains.clear()), Step::Drain);
}

#[test]
fn a_version_is_left_to_the_pods_that_run_it_and_not_to_one_that_ends() {
    let ends_batch = |terminating: bool, elsewhere: bool| {
        let mut scene = in_flight(BatchKind::Serving, Step::Verify, PodState::Replaced);
        let to = scene.run().to.clone();
        let pod = scene.seen.pods.get_mut(&0).unwrap();
        (pod.terminating, pod.revision) = (terminating, if elsewhere { "another".into() } else { to });
        then(&scene, 0, verify::look).1.batch.kind == BatchKind::None
    };
    assert!(ends_batch(false, true));
    assert!(!ends_batch(true, true) && !ends_batch(false, false));
}

#[test]
fn a_pod_that_ends_while_it_is_verified_leaves_half_of_the_time_to_the_one_after_it() {
    let mut scene = in_flight(BatchKind::Serving, Step::Verify, PodState::Replaced);
    scene.world.plan.verify.timeout = Duration::from_secs(100);
    scene.seen.pods.get_mut(&0).unwrap().terminating = true;
    let until = |seconds: u64| match then(&scene, seconds, verify::look).0 {
        Next::Wait(wait) => wait.until,
        Next::Again => None,
        other @ (Next::Act(..) | Next::End(..)) => panic!("{other:?}"),
    };
    assert_eq!([0, 49, 50].map(until), [Some(scene.at(50)), Some(scene.at(50)), None]);
}

#[test]
fn a_pod_that_was_seen_ready_stays_so_in_the_record() {
    let seen = |before: bool, ready: bool| {
        let mut scene = in_flight(BatchKind::Serving, Step::Verify, PodState::Replaced);
        scene.state.pods[0].seen_ready = before;
        let to = scene.run().to.clone();
        let pod = scene.seen.pods.get_mut(&0).unwrap();
        (pod.ready, pod.restarts, pod.revision) = (ready, 9, to);
        let after = |turn: &mut Turn<'_>, run: &mut Run| {
            let _ = verify::look(turn, run);
            turn.state.pods.first().map(|record| record.seen_ready)
        };
        scene.world.plan.verify.max_restarts = 9;
        scene.decide(0, after).0
    };
    assert_eq!(seen(true, false), Some(true));
    assert_eq!(seen(false, true), Some(true));
    assert_eq!(seen(false, false), Some(false));
}

#[test]
fn a_surge_without_room_takes_the_images_back_only_where_they_were_written_by_us() {
    let goal = |images: bool| {
        let mut scene = Scene::new();
        scene.run().step = Step::Surge;
        if images {
            scene.world.plan.images.insert("web".into(), "v2".into());
        }
        let no_room = |turn: &mut Turn<'_>, run: &mut Run| surge::no_room(turn, run, "no room".into());
        scene.decide(0, no_room).1.goal
    };
    assert_eq!((goal(false), goal(true)), (Goal::Abort, Goal::RollBack));
}

#[test]
fn a_surge_that_others_hold_up_is_said_to_be_held_up_only_where_pods_start_in_order() {
    let held_up = |in_order: bool, one_is_out: bool| {
        let mut scene = Scene::new();
        scene.run().step = Step::Surge;
        scene.seen.pods.remove(&3);
        scene.seen.pods.get_mut(&1).unwrap().ready = !one_is_out;
        scene.seen.set.as_mut().unwrap().ordered_ready = in_order;
        let (_, run) = then(&scene, 60, surge::look);
        run.cause.unwrap().text.contains("as the pods start in order")
    };
    assert!(held_up(true, true));
    assert!(!held_up(true, false) && !held_up(false, true) && !held_up(false, false));
}

#[test]
fn who_is_told_to_leave_while_the_surge_goes_lets_it_go() {
    for (kind, step, turned) in [
        (BatchKind::Retiring, Step::Drain, false),
        (BatchKind::None, Step::Restore, false),
        (BatchKind::Serving, Step::Drain, true),
    ] {
        let mut scene = in_flight(kind, step, PodState::Detached);
        scene.seen.actions.abort = Some("now".into());
        let (_, run) = scene.decide(0, interrupts::look);
        assert_eq!((run.goal, run.step != step), (Goal::Abort, turned), "{kind:?} in {step:?}");
    }
}

#[test]
fn a_lever_on_pods_may_be_written_as_often_as_there_are_pods() {
    let halts = |site: Site, writes: u32| {
        let mut scene = in_flight(BatchKind::Serving, Step::Detach, PodState::Chosen);
        scene.state.detached = set(&[0, 1, 2]);
        scene.seen.levers[0].site = site;
        scene.run().lever_writes = writes;
        let write = |turn: &mut Turn<'_>, run: &mut Run| levers::write(turn, run, false, "x".into());
        scene.decide(0, write).1.halted.is_some()
    };
    let object = || Site::Object { fence: None };
    assert!(!halts(object(), 9) && halts(object(), 10));
    assert!(!halts(Site::Pods, 10) && !halts(Site::Pods, 29) && halts(Site::Pods, 30));
}

#[test]
fn a_batch_is_proven_once_every_load_balancer_has_it() {
    let does = |kind: BatchKind, writes: u32, confirmed: Confirmation, taken: Confirmation, seconds: u64| {
        let mut scene = in_flight(kind, Step::Soak, PodState::Replaced);
        scene.state.detached = set(&[]);
        let lever = &mut scene.seen.levers[0];
        (lever.held, lever.confirmed, lever.taken) = (Held::Ordinals(set(&[])), confirmed, taken);
        scene.run().lever_writes = writes;
        match then(&scene, seconds, soak::look) {
            (Next::Act(Effect::SetLevers { again: true, .. }, _), _) => "writes",
            (Next::Again, run) if run.batch.kind == BatchKind::None => "proven",
            (Next::Wait(wait), _) if wait.stalled == Some(Reason::LeverNotConfirmed) => "stalls",
            (Next::Wait(_), _) => "waits",
            other => panic!("{other:?}"),
        }
    };
    let since = Scene::new().at(0);
    let yes = || Confirmation::Confirmed(since);
    let doubt = || Confirmation::Doubtful("x".into());
    let pending = || Confirmation::Pending("x".into());
    let refused = || Confirmation::Refused("x".into());
    for kind in [BatchKind::Canary, BatchKind::Serving] {
        let does = |writes, confirmed, taken| does(kind, writes, confirmed, taken, 20);
        assert_eq!(does(0, yes(), yes()), "proven");
        assert_eq!(does(0, doubt(), yes()), "proven", "what was there before the run is none of ours");
        assert_eq!(does(0, yes(), pending()), "waits");
        assert_eq!(does(0, yes(), Confirmation::Unknown("x".into())), "waits");
        assert_eq!(does(0, yes(), refused()), "stalls");
        assert_eq!(does(0, yes(), doubt()), "writes");
        // From then on it is that write that has to be in force.
        assert_eq!(does(1, pending(), doubt()), "waits");
        assert_eq!(does(1, doubt(), doubt()), "writes");
        assert_eq!(does(1, yes(), doubt()), "proven");
    }
    // The deadline counts from the end of the soak: 10 seconds, and 2 in which it settles.
    assert_eq!(does(BatchKind::Canary, 0, yes(), pending(), 41), "waits");
    assert_eq!(does(BatchKind::Canary, 0, yes(), pending(), 42), "stalls");
}

#[test]
fn nothing_that_was_seen_before_a_soak_proves_its_batch() {
    let mut scene = in_flight(BatchKind::Serving, Step::Soak, PodState::Replaced);
    scene.world.plan.verify.soak = Duration::ZERO;
    scene.world.plan.settle = Duration::ZERO;
    assert!(matches!(then(&scene, 0, soak::look).0, Next::Wait(wait) if wait.until == Some(scene.at(1))));
    assert!(matches!(then(&scene, 1, soak::look).0, Next::Again));
}

#[test]
fn many_pods_are_named_as_ranges() {
    let scene = Scene::new();
    assert_eq!(scene.seen.names(&set(&[0, 1, 2, 3])), "web-0, web-1, web-2, web-3");
    assert_eq!(scene.seen.names(&set(&[0, 1, 2, 3, 7])), "web-{0-3,7} (5 pods)");
}
