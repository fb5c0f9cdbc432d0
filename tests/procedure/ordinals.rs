//! StatefulSets whose first pod has another ordinal than 0 (`spec.ordinals.start`).

use lossless_upgrade::workflow::ordinals::{Ordinal, OrdinalSet};
use lossless_upgrade::workflow::plan::{Amount, Order, Plan};
use lossless_upgrade::workflow::state::{BatchKind, Outcome, Step};

use crate::sim::balancer::Balancer;
use crate::sim::moments::outcome;
use crate::sim::plans::one_by_one;
use crate::sim::telling::{images, until};
use crate::sim::world::World;

/// A world in which the image `v2` was just set.
fn upgrade(first: Ordinal, plan: Plan) -> World {
    let mut world = World::beginning_at(first, 3, plan);
    world.balancers.push(Balancer::by_label("serving", 1));
    world.run_until(3, |_| false);
    world.set_image("v2");
    let begun = world.run_until(10, |world| world.state.run.is_some());
    assert!(begun, "{}", world.tale());
    world
}

/// What went together, in order, and every ordinal that there was, until the run was over.
fn played(world: &mut World) -> (Vec<(BatchKind, OrdinalSet)>, OrdinalSet) {
    let (mut batches, mut ordinals) = (Vec::new(), OrdinalSet::new());
    let end = world.now + 2000;
    while world.now < end {
        ordinals.extend(world.cluster.pods.keys().copied());
        let Some(run) = &world.state.run else { break };
        let batch = (run.batch.kind, run.batch.ordinals.clone());
        if batch.0 != BatchKind::None && batches.last() != Some(&batch) {
            batches.push(batch);
        }
        world.tick();
    }
    world.run_until(30, World::at_rest);
    world.judge_end();
    world.acquit();
    (batches, ordinals)
}

fn set(ordinals: impl IntoIterator<Item = Ordinal>) -> OrdinalSet {
    ordinals.into_iter().collect()
}

/// The pods that there are.
fn pods(world: &World) -> OrdinalSet {
    world.cluster.pods.keys().copied().collect()
}

#[test]
fn a_set_that_begins_at_five_is_upgraded_from_five_on_with_its_surge_behind_the_last() {
    let mut world = upgrade(5, one_by_one());
    let (batches, ordinals) = played(&mut world);
    let expected = [
        (BatchKind::Canary, set([8])),
        (BatchKind::Serving, set([5])),
        (BatchKind::Serving, set([6])),
        (BatchKind::Serving, set([7])),
        (BatchKind::Retiring, set([8])),
    ];
    assert_eq!(batches, expected, "{}", world.tale());
    assert_eq!((ordinals, pods(&world)), (set(5..9), set(5..8)), "{}", world.tale());
    assert_eq!((images(&world), outcome(&world)), (vec!["v2"; 3], Some(Outcome::Succeeded)));
    assert!(world.fewest_serving >= 3, "{}", world.tale());
}

#[test]
fn a_set_that_begins_at_five_is_rolled_back_by_the_same_lossless_steps() {
    let mut world = upgrade(5, one_by_one());
    until(&mut world, Step::Soak, BatchKind::Serving);
    until(&mut world, Step::Drain, BatchKind::Serving);
    assert_eq!(world.state.detached, set([6]), "{}", world.tale());
    world.act("rollback");
    let (_, ordinals) = played(&mut world);
    assert_eq!((ordinals, pods(&world)), (set(5..9), set(5..8)), "{}", world.tale());
    assert_eq!((images(&world), outcome(&world)), (vec!["v1"; 3], Some(Outcome::RolledBack)));
    assert!(world.fewest_serving >= 3, "{}", world.tale());
}

#[test]
fn whatever_the_first_ordinal_is_the_same_pods_go_together() {
    for plan in [
        Plan { batch: Amount::Count(2), order: Order::Descending, ..one_by_one() },
        Plan { surge: Some(Amount::Count(0)), ..one_by_one() },
        Plan { surge: Some(Amount::Count(2)), ..one_by_one() },
    ] {
        let [zero, five] = [0, 5].map(|first| played(&mut upgrade(first, plan.clone())));
        let moved = |ordinals: &OrdinalSet| set(ordinals.iter().map(|ordinal| ordinal + 5));
        let batches: Vec<_> = zero.0.iter().map(|(kind, batch)| (*kind, moved(batch))).collect();
        assert_eq!(five, (batches, moved(&zero.1)), "{plan:?}");
    }
}
