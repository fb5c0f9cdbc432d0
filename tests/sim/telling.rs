//! What stories have in common: how they begin, how far they go, what is looked at in the end.

use lossless_upgrade::workflow::plan::Plan;
use lossless_upgrade::workflow::state::{BatchKind, Phase, Step};

use super::world::World;

/// Every phase, in the order of the README.
pub const PHASES: [Phase; 16] = [
    Phase::Idle,
    Phase::Blocked,
    Phase::Preflight,
    Phase::Surge,
    Phase::Detach,
    Phase::Drain,
    Phase::Replace,
    Phase::Verify,
    Phase::Attach,
    Phase::Soak,
    Phase::Reclaim,
    Phase::Succeeded,
    Phase::RollingBack,
    Phase::RolledBack,
    Phase::Aborting,
    Phase::Aborted,
];

/// A world in which the image `v2` was just set.
pub fn upgrade(replicas: u32, plan: Plan) -> World {
    let mut world = World::new(replicas, plan);
    world.run_until(3, |_| false);
    world.set_image("v2");
    world.run_until(3, |_| false);
    world
}

/// Runs until the step is reached with a batch of this kind.
pub fn until(world: &mut World, step: Step, kind: BatchKind) {
    let there = world.run_until(1000, |world| {
        world.state.run.as_ref().is_some_and(|run| run.step == step && run.batch.kind == kind)
    });
    assert!(there, "never in {step:?} of {kind:?}\n{}", world.tale());
}

/// What each pod runs, by ordinal.
pub fn images(world: &World) -> Vec<&str> {
    world.cluster.pods.values().map(|pod| pod.image.as_str()).collect()
}
