//! How a run begins, and how it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use lossless_upgrade::workflow::checks::GUARDS;
use lossless_upgrade::workflow::decision::Effect;
use lossless_upgrade::workflow::interrupts::RELEASE_TIMEOUT;
use lossless_upgrade::workflow::levers;
use lossless_upgrade::workflow::observed::{Confirmation, DrainView, Held, Site};
use lossless_upgrade::workflow::reasons::{Problem, Reason};
use lossless_upgrade::workflow::state::{
    BatchKind, Goal, Outcome, Past, PodState, Rejected, Rest, Run, State, Step,
};
use lossless_upgrade::workflow::steps::{rest, restore, retire};
use lossless_upgrade::workflow::turn::{Next, Turn, Wait, later};

use super::{Scene, in_flight, record, set, then};

#[test]
fn levers_are_put_back_once_nothing_of_the_batch_ends_any_more_or_after_a_time() {
    let waits = |seconds: u64, ends: bool, namespace_goes: bool| {
        let mut scene = in_flight(BatchKind::Retiring, Step::Restore, PodState::Deletable);
        scene.seen.pods.get_mut(&0).unwrap().terminating = ends;
        scene.seen.namespace_terminating = namespace_goes;
        matches!(then(&scene, seconds, restore::look).0, Next::Wait(_))
    };
    let over = Scene::new().world.plan.confirm_timeout.as_secs();
    assert!(waits(0, true, false) && waits(over - 1, true, false));
    assert!(!waits(over, true, false) && !waits(over + 1, true, false));
    assert!(!waits(0, false, false) && !waits(0, true, true));
}

#[test]
fn only_an_object_that_goes_is_looked_at_again_when_its_time_is_over() {
    let until = |goal: Goal| {
        let mut scene = Scene::new();
        scene.run().goal = goal;
        scene.seen.levers[0].held = Held::Unreadable("x".into());
        match then(&scene, 60, restore::look).0 {
            Next::Wait(wait) => (wait.until, wait.stalled),
            other => panic!("{other:?}"),
        }
    };
    let stalled = Some(Reason::LeverNotRestored);
    assert_eq!(until(Goal::Abort), (None, stalled));
    assert_eq!(until(Goal::Release), (Some(later(Scene::new().at(0), RELEASE_TIMEOUT)), stalled));
}

#[test]
fn only_who_leaves_goes_on_without_a_service_that_is_gone_and_only_after_a_time() {
    let waits = |goal: Goal, seconds: u64| {
        let mut scene = in_flight(BatchKind::Serving, Step::Attach, PodState::Chosen);
        scene.run().goal = goal;
        scene.world.plan.confirm_timeout = Duration::from_secs(100);
        scene.seen.levers[0].held = Held::Gone;
        scene.decide(seconds, |turn, run| levers::hold(turn, run, "Attaching")).0.is_some()
    };
    assert!(waits(Goal::Upgrade, 99) && waits(Goal::Upgrade, 1000));
    assert!(waits(Goal::Abort, 99) && !waits(Goal::Abort, 100));
}

#[test]
fn a_service_that_is_gone_is_waited_for_before_a_run_ends_unless_its_pods_are_gone_too() {
    let waits = |seconds: u64, with_its_set: bool| {
        let mut scene = in_flight(BatchKind::Retiring, Step::Restore, PodState::Deletable);
        scene.seen.levers[0].held = Held::Gone;
        scene.seen.set = scene.seen.set.filter(|_| !with_its_set);
        matches!(then(&scene, seconds, restore::look).0, Next::Wait(_))
    };
    let over = Scene::new().world.plan.confirm_timeout.as_secs();
    assert!(waits(0, false) && waits(over - 1, false) && !waits(over, false));
    assert!(!waits(0, true));
}

#[test]
fn a_look_that_was_due_is_not_due_again() {
    let wake = |seconds: u64| {
        let mut scene = Scene::new();
        let since = scene.at(0);
        let run = scene.run();
        (run.goal, run.leaving_since) = (Goal::Release, Some(since));
        let (plan, seen, state, now) =
            (&scene.world.plan, &scene.seen, scene.state.clone(), scene.at(seconds));
        let turn = Turn { guards: GUARDS, plan, seen, now, state, notes: Vec::new(), trail: Vec::new() };
        turn.finish(Wait::new("x").into()).wake
    };
    let over = RELEASE_TIMEOUT.as_secs();
    let at = later(Scene::new().at(0), RELEASE_TIMEOUT);
    assert_eq!([wake(0), wake(over - 1), wake(over), wake(over + 1)], [Some(at), Some(at), None, None]);
}

/// The drained surge is about to go, or its replicas are taken back already.
fn retiring(replicas: u32) -> Scene {
    let mut scene = Scene::upgraded();
    let uid = scene.seen.pods[&3].uid.clone();
    let entered = scene.run().entered;
    let mut one = record(&uid);
    one.ordinal = 3;
    scene.state.pods = vec![one];
    scene.state.detached = set(&[3]);
    let run = scene.run();
    (run.batch.kind, run.batch.ordinals, run.step) = (BatchKind::Retiring, set(&[3]), Step::Retire);
    run.first_entered.insert(Step::Retire, entered);
    scene.seen.set.as_mut().unwrap().replicas = replicas;
    scene.seen.levers[0].held = Held::Ordinals(set(&[3]));
    scene.seen.levers[0].confirmed = Confirmation::Confirmed(entered);
    scene.seen.drains.insert(uid, DrainView::Quiet(Duration::from_mins(1)));
    scene
}

#[test]
fn the_surge_is_waited_for_while_nobody_knows_whether_it_comes_again() {
    let ends = |known: bool, surge: &[u32]| {
        let mut scene = retiring(3);
        scene.seen.pods.remove(&3);
        scene.run().batch.ordinals = set(surge);
        let view = scene.seen.set.as_mut().unwrap();
        view.update_revision = view.update_revision.take().filter(|_| known);
        then(&scene, 0, retire::look).1.step == Step::Restore
    };
    assert!(ends(true, &[3]) && ends(true, &[]) && ends(false, &[]));
    assert!(!ends(false, &[3]));
}

#[test]
fn a_surge_that_nobody_removes_is_deleted_after_a_while_and_no_other_pod() {
    let deletes = |seconds: u64, change: fn(&mut Scene)| {
        let mut scene = retiring(3);
        change(&mut scene);
        matches!(then(&scene, seconds, retire::look).0, Next::Act(Effect::Delete { ordinal: 3, .. }, _))
    };
    assert!(deletes(30, |_| ()) && !deletes(29, |_| ()));
    for seconds in [0, 30] {
        assert!(!deletes(seconds, |scene| scene.seen.pods.get_mut(&3).unwrap().terminating = true));
        let is_another = |scene: &mut Scene| {
            scene.seen.pods.get_mut(&3).unwrap().uid = "another".into();
        };
        assert!(!deletes(seconds, is_another));
    }
}

#[test]
fn the_surge_goes_when_every_pod_of_it_is_recorded_drained_and_held() {
    let goes = |seconds: u64, change: fn(&mut Scene)| {
        let mut scene = retiring(4);
        change(&mut scene);
        let (next, run) = then(&scene, seconds, retire::look);
        (matches!(next, Next::Act(Effect::Scale { replicas: 3, .. }, _)), run.step)
    };
    assert_eq!(goes(0, |_| ()), (true, Step::Retire));
    assert_eq!(goes(0, |scene| scene.state.pods.clear()), (false, Step::Detach), "it came since");
    // One that is away may come back before anybody takes notice: the levers must hold it, in force.
    let is_away = |scene: &mut Scene| drop(scene.seen.pods.remove(&3));
    assert_eq!(goes(0, is_away), (true, Step::Retire));
    let unconfirmed = |scene: &mut Scene| {
        scene.seen.pods.remove(&3);
        scene.seen.levers[0].confirmed = Confirmation::Pending("x".into());
    };
    assert_eq!(goes(0, unconfirmed), (false, Step::Detach));
    // Nothing holds a pod that is not there where a lever is on the pods.
    let on_pods = |scene: &mut Scene| {
        scene.seen.pods.remove(&3);
        scene.seen.levers[0].site = Site::Pods;
    };
    assert_eq!(goes(29, on_pods), (false, Step::Retire));
    assert_eq!((goes(30, on_pods).0, goes(31, on_pods).0), (true, true));
}

#[test]
fn the_replica_of_a_pod_that_waits_to_go_comes_back_when_a_lever_lets_connections_to_it() {
    let comes_back = |held: Held, change: fn(&mut Scene)| {
        let mut scene = retiring(3);
        scene.seen.levers[0].held = held;
        change(&mut scene);
        matches!(then(&scene, 0, retire::look).0, Next::Act(Effect::Scale { replicas: 4, .. }, _))
    };
    let nobody = || Held::Ordinals(set(&[]));
    assert!(comes_back(nobody(), |_| ()) && comes_back(Held::Foreign("x".into()), |_| ()));
    assert!(!comes_back(Held::Ordinals(set(&[2, 3])), |_| ()));
    assert!(comes_back(Held::Unreadable("x".into()), |_| ()) && !comes_back(Held::Gone, |_| ()));
    assert!(comes_back(nobody(), |scene| scene.state.pods.clear()), "it came late");
    assert!(!comes_back(nobody(), |scene| scene.seen.pods.get_mut(&3).unwrap().terminating = true));
    assert!(!comes_back(nobody(), |scene| drop(scene.seen.pods.remove(&3))));
    let owes_nothing = |scene: &mut Scene| {
        let pod = scene.seen.pods.get_mut(&3).unwrap();
        (pod.ready, pod.running) = (false, false);
    };
    assert!(!comes_back(nobody(), owes_nothing));
}

#[test]
fn a_lever_that_lets_go_of_the_surge_is_set_again_before_anything_is_waited_for() {
    let then_it = |held: &[u32], ends: bool| {
        let mut scene = retiring(4);
        let entered = scene.run().entered;
        (scene.run().forced, scene.run().draining_since) = (true, Some(entered));
        scene.seen.levers[0].held = Held::Ordinals(set(held));
        scene.seen.pods.get_mut(&3).unwrap().terminating = ends;
        let run = then(&scene, 0, retire::look).1;
        // What has come meanwhile has its own time to go.
        (run.step, run.forced && run.draining_since.is_some(), run.reasserted)
    };
    assert_eq!(then_it(&[], false), (Step::Detach, false, 1));
    assert_eq!(then_it(&[], true), (Step::Detach, false, 1));
    assert_eq!(then_it(&[3], true), (Step::Retire, true, 0));
}

#[test]
fn no_pod_goes_for_a_drained_one_when_somebody_moves_the_ordinals() {
    let then_it = |replicas: u32, first: u32, change: fn(&mut Scene)| {
        let mut scene = retiring(replicas);
        scene.seen.set.as_mut().unwrap().first = first;
        change(&mut scene);
        match then(&scene, 0, retire::look) {
            (Next::Act(Effect::Scale { replicas: 3, .. }, _), _) => "goes".to_owned(),
            (Next::Act(Effect::Fence { ordinal: 3, .. }, _), _) => "is kept from a late delete".to_owned(),
            (Next::Wait(wait), _) => wait.message,
            (Next::Again, run) => format!("{:?} of {}", run.step, run.batch.ordinals),
            other => panic!("{other:?}"),
        }
    };
    let is_gone = |scene: &mut Scene| drop(scene.seen.pods.remove(&3));
    let is_marked = |scene: &mut Scene| {
        let run = scene.run();
        let mark = format!("{}-{:x}", run.id, run.entered.as_millisecond());
        scene.seen.pods.get_mut(&3).unwrap().fence = Some(mark);
    };
    assert_eq!(then_it(4, 0, |_| ()), "goes");
    // It has no place any more, so it goes without us, and the levers hold it until then.
    assert_eq!(then_it(4, 5, |_| ()), "Waiting for web-3 to go, which the StatefulSet has no place for");
    assert_eq!(then_it(4, 5, is_gone), "Detach of 8");
    // It is no surge any more, so it stays; also where the replicas are back already.
    for (replicas, then) in [(4, "Detach of 4"), (3, "Restore of 3")] {
        assert_eq!(then_it(replicas, 1, |_| ()), "is kept from a late delete");
        assert_eq!(then_it(replicas, 1, is_marked), then);
    }
}

#[test]
fn what_most_ready_pods_run_is_what_a_run_comes_from() {
    let from = |pods: [(&str, bool); 4]| {
        let mut scene = Scene::new();
        for (pod, (revision, ready)) in scene.seen.pods.values_mut().zip(pods) {
            (pod.revision, pod.ready) = (revision.into(), ready);
        }
        let (state, now) = (State { run: None, ..scene.state.clone() }, scene.at(0));
        let (plan, seen) = (&scene.world.plan, &scene.seen);
        let mut turn = Turn { guards: GUARDS, plan, seen, now, state, notes: Vec::new(), trail: Vec::new() };
        let _ = rest::look(&mut turn);
        turn.state.run.map(|run| run.from)
    };
    let told = |pods| from(pods).unwrap();
    assert_eq!(told([("a", true), ("a", true), ("b", true), ("a", true)]), "a");
    assert_eq!(told([("a", false), ("a", false), ("b", true), ("a", false)]), "b", "the Ready ones first");
    assert_eq!(told([("a", false), ("a", false), ("b", false), ("a", false)]), "a");
}

/// How a run from one revision to another ended; `this` is the one that the StatefulSet asks for now.
type Ended<'a> = (Outcome, &'a str, &'a str);

/// What is shown after these runs, the last one first, once nothing stands against another one any more. `there`: all
/// pods run what is asked for. `given_up`: what the last one was for.
fn shown_after(runs: &[Ended<'_>], there: bool, given_up: bool) -> Rest {
    let mut scene = Scene::new();
    let now = scene.at(0);
    let revision = scene.seen.set.as_ref().unwrap().update_revision.clone().unwrap();
    if there {
        scene.seen.pods.values_mut().for_each(|pod| pod.revision.clone_from(&revision));
    }
    let this = |name: &str| if name == "this" { revision.clone() } else { name.to_owned() };
    let past = |(outcome, from, to): &Ended<'_>| Past {
        from: this(from),
        to: this(to),
        started_at: now,
        finished_at: now,
        outcome: *outcome,
        pods: 3,
        reason: (*outcome != Outcome::Succeeded).then_some(why().reason),
        text: Some(why().text),
        timeouts: Vec::new(),
    };
    scene.state.history = runs.iter().map(past).collect();
    let rejected = if there { this(runs.first().map_or("", |last| last.2)) } else { revision.clone() };
    scene.state.rejected = given_up.then(|| Rejected { revision: rejected, images: BTreeMap::default() });
    scene.state.rest = Rest::Blocked(Problem::new(Reason::NotOnDelete, "x"));
    scene.state.run = None;
    lossless_upgrade::workflow::decide(&scene.world.plan, &scene.state, &scene.seen, now).state.rest
}

fn why() -> Problem {
    Problem::new(Reason::SoakFailed, "why")
}

#[test]
fn what_stood_against_a_run_is_forgotten_when_none_is_wanted() {
    let last = |outcome: Outcome, from: &str, to: &str, given_up: bool| {
        shown_after(&[(outcome, from, to)], true, given_up)
    };
    assert_eq!(shown_after(&[], true, false), Rest::Idle);
    assert_eq!(last(Outcome::Succeeded, "old", "this", false), Rest::Succeeded);
    assert_eq!(last(Outcome::Succeeded, "this", "other", false), Rest::Idle, "made anew since");
    assert_eq!(last(Outcome::RolledBack, "this", "bad", true), Rest::RolledBack(why()));
    assert_eq!(last(Outcome::RolledBack, "this", "bad", false), Rest::Idle, "a retry was asked");
    assert_eq!(last(Outcome::RolledBack, "old", "bad", true), Rest::Idle, "of other revisions");
    assert_eq!(last(Outcome::RolledBack, "old", "this", true), Rest::Idle, "made anew at what had failed");
    assert_eq!(last(Outcome::Aborted, "old", "this", true), Rest::Aborted(why()));
    assert_eq!(last(Outcome::Aborted, "this", "bad", true), Rest::Aborted(why()));
    assert_eq!(last(Outcome::Aborted, "this", "bad", false), Rest::Idle);
    assert_eq!(last(Outcome::Aborted, "old", "this", false), Rest::Idle);
    assert_eq!(last(Outcome::Aborted, "old", "bad", true), Rest::Idle);
    assert_eq!(last(Outcome::Blocked, "old", "this", true), Rest::Idle);
    let older = [(Outcome::Aborted, "old", "this"), (Outcome::Succeeded, "old", "this")];
    assert_eq!(shown_after(&older, true, true), Rest::Aborted(why()), "only the last one counts");
}

#[test]
fn what_is_asked_for_although_it_was_given_up_is_shown_as_its_run_ended() {
    let last = |outcome: Outcome, to: &str| shown_after(&[(outcome, "old", to)], false, true);
    assert_eq!(last(Outcome::RolledBack, "this"), Rest::RolledBack(why()));
    assert_eq!(last(Outcome::RolledBack, "other"), Rest::Idle);
    // What is given up by an abort may have come after what the run was for.
    assert_eq!(last(Outcome::Aborted, "other"), Rest::Aborted(why()));
    assert_eq!((last(Outcome::Succeeded, "this"), last(Outcome::Blocked, "this")), (Rest::Idle, Rest::Idle));
}

#[test]
fn tries_that_never_began_in_earnest_are_one_entry_of_the_history() {
    let entries = |last: Option<(Outcome, &str)>, outcome: Outcome| {
        let mut scene = Scene::new();
        let run = scene.run().clone();
        let close = |turn: &mut Turn<'_>, _: &mut Run| {
            if let Some((before, to)) = last {
                turn.close(Run { to: to.into(), ..run.clone() }, before, Rest::Idle);
            }
            turn.close(Run { to: "new".into(), ..run.clone() }, outcome, Rest::Idle);
            turn.state.history.len()
        };
        scene.decide(0, close).0
    };
    assert_eq!(entries(None, Outcome::Blocked), 1);
    assert_eq!(entries(Some((Outcome::Blocked, "new")), Outcome::Blocked), 1);
    assert_eq!(entries(Some((Outcome::Blocked, "older")), Outcome::Blocked), 2);
    assert_eq!(entries(Some((Outcome::Aborted, "new")), Outcome::Blocked), 2);
    assert_eq!(entries(Some((Outcome::Blocked, "new")), Outcome::Succeeded), 2);
}
