//! Single decisions on a single look in the middle of a run. Each was found untested by changing the procedure: in a
//! whole run something else stands behind it.

mod batches;
mod ends;
mod guards;
mod interrupts;
mod invariants;
mod steps;
mod takeover;

use std::time::Duration;

use jiff::Timestamp;
use lossless_upgrade::workflow::batches::{broken, choose};
use lossless_upgrade::workflow::checks::GUARDS;
use lossless_upgrade::workflow::observed::{Confirmation, DrainView, Held, Observed};
use lossless_upgrade::workflow::ordinals::{Ordinal, OrdinalSet};
use lossless_upgrade::workflow::state::{BatchKind, PodRecord, PodState, Run, State, Step};
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

    /// So many seconds after the step was entered.
    fn at(&self, seconds: u64) -> Timestamp {
        later(self.state.run.as_ref().unwrap().entered, Duration::from_secs(seconds))
    }

    /// One decision, so many seconds after the step was entered.
    fn decide<T>(&self, seconds: u64, decision: impl FnOnce(&mut Turn<'_>, &mut Run) -> T) -> (T, Run) {
        let mut state = self.state.clone();
        let mut run = state.run.take().unwrap();
        let now = self.at(seconds);
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

fn record(uid: &str) -> PodRecord {
    PodRecord { ordinal: 0, uid: uid.to_owned(), state: PodState::Deletable, restarts: 0, seen_ready: true }
}

/// The first pod is in flight: detached, with a record in this state.
fn in_flight(kind: BatchKind, step: Step, state: PodState) -> Scene {
    let mut scene = Scene::new();
    let uid = scene.seen.pods[&0].uid.clone();
    scene.state.pods = vec![record(&uid)];
    scene.state.pods[0].state = state;
    scene.state.detached = set(&[0]);
    let entered = scene.run().entered;
    let run = scene.run();
    (run.batch.kind, run.batch.ordinals, run.step) = (kind, set(&[0]), step);
    run.first_entered.insert(step, entered);
    scene.seen.levers[0].held = Held::Ordinals(set(&[0]));
    scene.seen.levers[0].confirmed = Confirmation::Confirmed(entered);
    scene.seen.drains.insert(uid, DrainView::Quiet(Duration::from_mins(1)));
    scene
}

/// The step after it.
fn then(scene: &Scene, seconds: u64, look: fn(&mut Turn<'_>, &mut Run) -> Next) -> (Next, Run) {
    scene.decide(seconds, look)
}
