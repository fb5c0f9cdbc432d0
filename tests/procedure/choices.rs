//! Single decisions on single looks: what comes next, and what may go. Each of these was found untested by
//! changing the procedure; in a whole run something else stands behind it.

use lossless_upgrade::workflow::batches::{choose, undeleted};
use lossless_upgrade::workflow::checks::{Guard, refusal};
use lossless_upgrade::workflow::decision::Effect;
use lossless_upgrade::workflow::observed::{Confirmation, Held, Site};
use lossless_upgrade::workflow::ordinals::OrdinalSet;
use lossless_upgrade::workflow::reasons::{Problem, Reason};
use lossless_upgrade::workflow::state::{BatchKind, Goal, PodRecord, PodState, Step};
use lossless_upgrade::workflow::transitions::{TABLE, allowed};
use lossless_upgrade::workflow::turn::Next;
use lossless_upgrade::workflow::words::Actions;
use lossless_upgrade::workflow::{interrupts, takeover};

use crate::scene::{Scene, set};
use crate::sim::plans::one_by_one;

#[test]
fn a_detached_pod_that_comes_back_is_waited_for_and_one_that_does_not_is_not() {
    // Within the replicas the StatefulSet controller makes it anew.
    let mut scene = Scene::new();
    scene.state.detached = set(&[1]);
    scene.seen.pods.remove(&1);
    assert!(scene.waits(0).unwrap().contains("web-1"));
    // Beyond them it is there until it has ended.
    let mut scene = Scene::new();
    scene.state.detached = set(&[3]);
    scene.seen.set.as_mut().unwrap().replicas = 3;
    scene.seen.pods.get_mut(&3).unwrap().terminating = true;
    assert!(scene.waits(0).unwrap().contains("web-3"));
    scene.seen.pods.remove(&3);
    assert_eq!(scene.waits(0), None);
}

#[test]
fn a_surge_that_is_condemned_is_drained_at_once_although_another_pod_is_away() {
    let mut scene = Scene::upgraded();
    scene.seen.set.as_mut().unwrap().replicas = 3;
    scene.seen.pods.remove(&1);
    let (next, run) = scene.decide(0, choose);
    assert!(matches!(next, Next::Again), "{next:?}");
    assert_eq!((run.batch.kind, run.batch.ordinals), (BatchKind::Retiring, set(&[3])));
}

#[test]
fn the_surge_goes_when_all_others_serve_and_an_abort_does_not_wait_for_them_for_ever() {
    let patience = one_by_one().verify.timeout.as_secs();
    for (goal, waits) in [
        (Goal::Upgrade, [true, true, true]),
        (Goal::RollBack, [true, true, true]),
        (Goal::Abort, [true, true, false]),
        (Goal::Release, [true, true, false]),
    ] {
        let mut scene = Scene::upgraded();
        scene.run().goal = goal;
        assert_eq!(scene.waits(0), None, "{goal:?}: all serve");
        scene.seen.pods.get_mut(&1).unwrap().ready = false;
        let at = [0, patience - 1, patience].map(|seconds| scene.waits(seconds).is_some());
        assert_eq!(at, waits, "{goal:?}");
        scene.run().surge = 0;
        scene.seen.set.as_mut().unwrap().replicas = 3;
        let leaves = matches!(goal, Goal::Abort | Goal::Release);
        assert_eq!(scene.waits(0).is_none(), leaves, "{goal:?} without a surge");
    }
}

#[test]
fn a_broken_surge_is_replaced_while_serving_pods_wait_for_it_or_a_version_is_to_be_proven_on_it() {
    let broken = |upgraded: bool, goal: Goal| {
        let mut scene = if upgraded { Scene::upgraded() } else { Scene::new() };
        scene.run().goal = goal;
        let pod = scene.seen.pods.get_mut(&3).unwrap();
        (pod.ready, pod.running, pod.revision) = (false, false, "another".to_owned());
        scene.broken()
    };
    assert_eq!(broken(false, Goal::Upgrade), Some(set(&[3])));
    assert_eq!(broken(false, Goal::RollBack), Some(set(&[3])));
    assert_eq!(broken(true, Goal::Upgrade), Some(set(&[3])));
    assert_eq!(broken(true, Goal::RollBack), None);
}

#[test]
fn a_pod_can_be_kept_only_as_the_one_that_is_recorded_and_while_it_is_not_on_its_way_out() {
    let kept = |uid: &str, terminating: bool| {
        let mut scene = Scene::new();
        let pod = scene.seen.pods.get_mut(&0).unwrap();
        (pod.uid, pod.terminating) = (uid.to_owned(), terminating);
        scene.state.pods = vec![record("old")];
        scene.decide(0, |turn, _| undeleted(turn)).0
    };
    assert!(kept("old", false));
    assert!(!kept("old", true) && !kept("new", false) && !kept("new", true));
}

fn record(uid: &str) -> PodRecord {
    PodRecord { ordinal: 0, uid: uid.to_owned(), state: PodState::Deletable, restarts: 0, seen_ready: true }
}

#[test]
fn only_a_broken_pod_in_a_batch_of_broken_ones_needs_no_lever() {
    for guard in [Guard::LeversHold, Guard::LeversConfirmed] {
        for (kind, is_broken, free) in [
            (BatchKind::Broken, true, true),
            (BatchKind::Broken, false, false),
            (BatchKind::Serving, true, false),
            (BatchKind::Serving, false, false),
        ] {
            let mut scene = Scene::new();
            for lever in &mut scene.seen.levers {
                lever.held = Held::Ordinals(OrdinalSet::new());
                lever.confirmed = Confirmation::Pending("not yet".to_owned());
            }
            scene.run().batch.kind = kind;
            let pod = scene.seen.pods.get_mut(&0).unwrap();
            (pod.ready, pod.running) = (!is_broken, !is_broken);
            let (pod, record) = (pod.clone(), record(&pod.uid));
            let (refused, _) = scene.decide(0, |turn, run| refusal(&[guard], turn, run, &record, &pod));
            assert_eq!(refused.is_none(), free, "{guard:?}, {kind:?}, broken: {is_broken}");
        }
    }
}

/// What a process that finds the run does first, seconds after the step was entered.
fn takes_over(scene: &Scene, seconds: u64) -> Option<Next> {
    scene.decide(seconds, |turn, run| takeover::look(turn, run)).0
}

#[test]
fn a_run_that_another_process_has_taken_is_left_to_it_until_its_time_is_over() {
    let mut scene = Scene::new();
    scene.seen.process = "another".to_owned();
    scene.seen.yields_until = Some(scene.at(10));
    let waits = |seconds| matches!(takes_over(&scene, seconds), Some(Next::Wait(_)));
    assert_eq!([0, 9, 10, 11].map(waits), [true, true, false, false]);
}

#[test]
fn a_stateful_set_that_goes_or_is_another_one_is_not_marked() {
    let marks = |uid: &str, deleting: bool| {
        let mut scene = Scene::new();
        scene.seen.process = "another".to_owned();
        let set = scene.seen.set.as_mut().unwrap();
        (set.uid, set.deleting) = (uid.to_owned(), deleting);
        matches!(takes_over(&scene, 0), Some(Next::Act(Effect::FenceSet { .. }, _)))
    };
    let uid = Scene::new().seen.set.unwrap().uid;
    assert!(marks(&uid, false));
    assert!(!marks(&uid, true) && !marks("new", false) && !marks("new", true));
}

#[test]
fn of_a_lever_on_pods_each_pod_is_marked_that_a_late_write_may_reach_and_no_other() {
    let marked = |held: Held, change: fn(&mut Scene)| {
        let mut scene = Scene::new();
        scene.seen.process = "another".to_owned();
        scene.seen.set.as_mut().unwrap().fence = Some("another".to_owned());
        scene.seen.levers[0].site = Site::Pods;
        scene.seen.levers[0].held = held;
        scene.run().batch.ordinals = set(&[0]);
        scene.state.detached = set(&[1]);
        change(&mut scene);
        let mut marked = OrdinalSet::new();
        while let Some(Next::Act(Effect::Fence { ordinal, mark, .. }, _)) = takes_over(&scene, 0) {
            scene.seen.pods.get_mut(&ordinal).unwrap().fence = Some(mark);
            marked.insert(ordinal);
        }
        assert!(takes_over(&scene, 0).is_none());
        marked
    };
    assert_eq!(marked(Held::Ordinals(set(&[2])), |_| ()), set(&[0, 1, 2]));
    assert_eq!(marked(Held::Foreign("changed".to_owned()), |_| ()), set(&[0, 1]));
    let ends = |scene: &mut Scene| scene.seen.pods.get_mut(&2).unwrap().terminating = true;
    assert_eq!(marked(Held::Ordinals(set(&[2])), ends), set(&[0, 1]));
}

#[test]
fn what_ends_a_run_waits_until_it_is_known_which_template_is_the_newest() {
    for (word, is_known, waits) in
        [("abort", true, false), ("abort", false, true), ("rollback", true, false), ("rollback", false, true)]
    {
        let mut scene = Scene::new();
        let said = Some("now".to_owned());
        match word {
            "abort" => scene.seen.actions = Actions { abort: said, ..Actions::default() },
            _ => scene.seen.actions = Actions { rollback: said, ..Actions::default() },
        }
        let view = scene.seen.set.as_mut().unwrap();
        view.update_revision = view.update_revision.take().filter(|_| is_known);
        let (next, _) = scene.decide(0, interrupts::look);
        assert_eq!(matches!(next, Some(Next::Wait(_))), waits, "{word}, known: {is_known}: {next:?}");
    }
}

#[test]
fn a_rollback_gives_up_the_newest_template_but_not_the_one_to_go_back_to() {
    let fails = |newest: &str| {
        let mut scene = Scene::new();
        scene.seen.actions = Actions { rollback: Some("now".to_owned()), ..Actions::default() };
        let newest = if newest == "from" { scene.run().from.clone() } else { newest.to_owned() };
        scene.seen.set.as_mut().unwrap().update_revision = Some(newest);
        let (_, run) = scene.decide(0, interrupts::look);
        assert_eq!(run.goal, Goal::RollBack);
        run.failed
    };
    let to = Scene::new().run().to.clone();
    assert_eq!(fails(&to), Some(to.clone()));
    assert_eq!(fails("newer"), Some("newer".to_owned()));
    assert_eq!(fails("from"), Some(to));
}

#[test]
fn a_retry_forgives_the_restarts_of_the_pod_that_is_recorded_and_of_no_other() {
    let restarts = |uid: &str| {
        let mut scene = Scene::new();
        scene.seen.actions = Actions { retry: Some("now".to_owned()), ..Actions::default() };
        scene.run().halted = Some(Problem::new(Reason::OthersNotReady, "a test"));
        scene.state.pods = vec![record(uid)];
        let pod = scene.seen.pods.get_mut(&0).unwrap();
        (pod.uid, pod.restarts) = ("there".to_owned(), 3);
        scene
            .decide(0, |turn, run| {
                assert!(interrupts::look(turn, run).is_some());
                assert_eq!(run.halted, None);
                turn.state.pods[0].restarts
            })
            .0
    };
    assert_eq!((restarts("there"), restarts("before")), (3, 0));
}

#[test]
fn only_what_the_table_has_may_follow() {
    for (step, next) in TABLE {
        assert!(allowed(*step, *step) && next.iter().all(|next| allowed(*step, *next)), "{step:?}");
    }
    for (step, next) in
        [(Step::Attach, Step::Replace), (Step::Restore, Step::Detach), (Step::Template, Step::Replace)]
    {
        assert!(!allowed(step, next), "{step:?} to {next:?}");
    }
}
