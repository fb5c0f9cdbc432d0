//! Single decisions on single looks: what comes next, and what may go. Each of these was found untested by
//! changing the procedure; in a whole run something else stands behind it.

use lossless_upgrade::workflow::batches::{broken, choose, undeleted};
use lossless_upgrade::workflow::checks::{GUARDS, Guard, refusal};
use lossless_upgrade::workflow::observed::{Confirmation, Held, Observed};
use lossless_upgrade::workflow::ordinals::{Ordinal, OrdinalSet};
use lossless_upgrade::workflow::state::{BatchKind, Goal, PodRecord, PodState, Run, State, Step};
use lossless_upgrade::workflow::turn::{Next, Turn, later};

use crate::sim::plans::one_by_one;
use crate::sim::telling::{until, upgrade};
use crate::sim::world::World;

/// Three pods of the old version and a surge of one that is proven, about to take out the first of the three;
/// nothing is detached.
struct Scene {
    world: World,
    seen: Observed,
    state: State,
}

impl Scene {
    fn new() -> Self {
        let mut world = upgrade(3, one_by_one());
        until(&mut world, Step::Detach, BatchKind::Serving);
        let (seen, mut state) = (world.observe(), world.state.clone());
        state.detached = OrdinalSet::new();
        assert_eq!(state.run.as_ref().map(|run| run.surge), Some(1));
        Self { world, seen, state }
    }

    /// The same when all four are at the target and proven.
    fn upgraded() -> Self {
        let mut scene = Self::new();
        let to = scene.run().to.clone();
        scene.seen.pods.values_mut().for_each(|pod| pod.revision.clone_from(&to));
        scene.run().updated = set(&[0, 1, 2]);
        scene
    }

    fn run(&mut self) -> &mut Run {
        self.state.run.as_mut().unwrap()
    }

    /// One decision, so many seconds after the step was entered.
    fn decide<T>(&self, seconds: u64, decision: impl FnOnce(&mut Turn<'_>, &mut Run) -> T) -> (T, Run) {
        let mut state = self.state.clone();
        let mut run = state.run.take().unwrap();
        let now = later(run.entered, std::time::Duration::from_secs(seconds));
        let (plan, seen) = (&self.world.plan, &self.seen);
        let mut turn = Turn { guards: GUARDS, plan, seen, now, state, notes: Vec::new(), trail: Vec::new() };
        (decision(&mut turn, &mut run), run)
    }

    /// What is waited for; none: something is begun.
    fn waits(&self, seconds: u64) -> Option<String> {
        match self.decide(seconds, choose).0 {
            Next::Wait(wait) => Some(wait.message),
            Next::Again => None,
            other @ (Next::Act(..) | Next::End(..)) => panic!("{other:?}"),
        }
    }

    /// The batch of broken pods, if there is one.
    fn broken(&self) -> Option<OrdinalSet> {
        let (begun, run) = self.decide(0, broken);
        begun.map(|_| run.batch.ordinals)
    }
}

fn set(ordinals: &[Ordinal]) -> OrdinalSet {
    ordinals.iter().copied().collect()
}

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
