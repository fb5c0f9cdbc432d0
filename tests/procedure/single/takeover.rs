//! What a process does first with a run that another one carried.

use lossless_upgrade::workflow::decision::Effect;
use lossless_upgrade::workflow::observed::{Held, Site};
use lossless_upgrade::workflow::ordinals::OrdinalSet;
use lossless_upgrade::workflow::takeover;
use lossless_upgrade::workflow::turn::Next;

use super::{Scene, set};

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
