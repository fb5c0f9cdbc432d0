//! What the user says, and what happens, in mid-run.

use lossless_upgrade::workflow::interrupts;
use lossless_upgrade::workflow::ordinals::{Ordinal, OrdinalSet};
use lossless_upgrade::workflow::reasons::{Problem, Reason};
use lossless_upgrade::workflow::state::{BatchKind, Goal, PodRecord, Run, Step};
use lossless_upgrade::workflow::turn::Next;
use lossless_upgrade::workflow::words::Actions;

use super::{Scene, record, set};

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

/// One look at what interrupts a run, and the run afterwards.
fn interrupted(scene: &Scene) -> (Option<Next>, Run) {
    scene.decide(0, interrupts::look)
}

#[test]
fn a_template_that_failed_and_is_put_back_halts_the_rollback_and_any_other_is_gone_to() {
    for (revision, halts) in [("failed", true), ("newer", false)] {
        let mut scene = Scene::new();
        let run = scene.run();
        (run.goal, run.failed) = (Goal::RollBack, Some("failed".to_owned()));
        scene.seen.set.as_mut().unwrap().update_revision = Some(revision.to_owned());
        let (_, run) = interrupted(&scene);
        let why = run.halted.as_ref().map(|problem| problem.reason);
        assert_eq!((why, run.to == revision), (halts.then_some(Reason::Rejected), !halts), "{revision}");
    }
}

#[test]
fn on_the_way_to_a_newer_template_a_batch_is_put_back_only_while_it_can_be_kept() {
    for (uid, put_back) in [("old", true), ("new", false)] {
        let mut scene = Scene::new();
        scene.run().step = Step::Replace;
        scene.seen.pods.get_mut(&0).unwrap().uid = uid.to_owned();
        scene.state.pods = vec![record("old")];
        scene.seen.set.as_mut().unwrap().update_revision = Some("newer".to_owned());
        let (_, run) = interrupted(&scene);
        assert_eq!((run.to.as_str(), run.turned_back), ("newer", put_back));
    }
}

#[test]
fn of_a_batch_only_what_is_gone_and_beyond_the_replicas_is_not_waited_for() {
    let waited_for = |replicas: u32, gone: &[Ordinal]| {
        let mut scene = Scene::new();
        let run = scene.run();
        run.step = Step::Verify;
        run.batch.ordinals = set(&[1, 2]);
        scene.state.pods =
            [1, 2].map(|ordinal| PodRecord { ordinal, ..record(&format!("u{ordinal}")) }).to_vec();
        scene.seen.set.as_mut().unwrap().replicas = replicas;
        scene.seen.pods.retain(|ordinal, _| !gone.contains(ordinal));
        scene
            .decide(0, |turn, run| {
                interrupts::look(turn, run);
                let recorded: OrdinalSet = turn.state.pods.iter().map(|record| record.ordinal).collect();
                assert_eq!(recorded, run.batch.ordinals);
                recorded
            })
            .0
    };
    assert_eq!(waited_for(4, &[]), set(&[1, 2]));
    assert_eq!(waited_for(4, &[2]), set(&[1, 2]), "it comes back");
    assert_eq!(waited_for(2, &[]), set(&[1, 2]), "it is still there");
    assert_eq!(waited_for(2, &[2]), set(&[1]));
    assert_eq!(waited_for(1, &[1, 2]), set(&[]));
}

#[test]
fn no_pod_before_the_first_ordinal_is_one_of_the_replicas_nor_one_beyond_them() {
    let mut view = Scene::new().seen.set.unwrap();
    (view.first, view.replicas) = (5, 3);
    let has: Vec<Ordinal> = (0..12).filter(|ordinal| view.has(*ordinal)).collect();
    assert_eq!(has, [5, 6, 7]);
}

#[test]
fn when_nobody_else_serves_the_batch_does_if_it_can() {
    let serves_again = |change: fn(&mut Scene)| {
        let mut scene = Scene::new();
        scene.run().step = Step::Drain;
        scene.state.detached = set(&[0]);
        scene.state.pods = vec![record("there")];
        for (ordinal, pod) in &mut scene.seen.pods {
            pod.ready = *ordinal == 0;
        }
        scene.seen.pods.get_mut(&0).unwrap().uid = "there".to_owned();
        change(&mut scene);
        let (_, run) = interrupted(&scene);
        assert_eq!(run.relieved, u32::from(run.turned_back));
        run.turned_back
    };
    assert!(serves_again(|_| ()));
    assert!(!serves_again(|scene| scene.seen.pods.get_mut(&1).unwrap().ready = true), "another one serves");
    assert!(!serves_again(|scene| scene.seen.pods.get_mut(&0).unwrap().ready = false), "it is not Ready");
    assert!(!serves_again(|scene| scene.state.pods[0].uid = "before".to_owned()), "it is another one");
    assert!(!serves_again(|scene| scene.state.pods[0].ordinal = 1), "the other one is not out");
    // A surge that goes with the replicas goes in any case.
    assert!(!serves_again(|scene| {
        scene.run().batch.kind = BatchKind::Retiring;
        scene.seen.set.as_mut().unwrap().replicas = 3;
        scene.seen.pods.get_mut(&3).unwrap().ready = true;
        scene.seen.pods.get_mut(&3).unwrap().uid = "there".to_owned();
        scene.seen.pods.get_mut(&0).unwrap().ready = false;
        scene.state.pods[0].ordinal = 3;
        scene.state.detached = set(&[3]);
    }));
}
