//! What comes next.

use lossless_upgrade::workflow::batches::{choose, undeleted};
use lossless_upgrade::workflow::state::{BatchKind, Goal};
use lossless_upgrade::workflow::turn::Next;

use super::{Scene, record, set};
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
