//! A process that goes on where another one stopped, stalled, or has another clock.

use crate::sim::operator::Crash;
use crate::sim::plans::{one_by_one, with_image};
use crate::sim::telling::upgrade;
use crate::sim::world::World;
use lossless_upgrade::workflow::plan::{Amount, Plan};
use lossless_upgrade::workflow::state::{BatchKind, Step};

/// The plans whose every decision is tried.
fn plans() -> Vec<Plan> {
    vec![
        one_by_one(),
        Plan { batch: Amount::Count(2), ..one_by_one() },
        Plan { surge: Some(Amount::Count(0)), ..one_by_one() },
        with_image("v2"),
    ]
}

/// The operator stalls at this decision; the next one does what `then` says and comes to rest; then the
/// stalled one wakes up. Answers whether it could still do anything, and the world.
fn stalled_at(decision: usize, plan: Plan, then: impl Fn(&mut World)) -> (bool, World) {
    stalled_in(World::new(2, plan), decision, then)
}

fn stalled_in(mut world: World, decision: usize, then: impl Fn(&mut World)) -> (bool, World) {
    world.set_image("v2");
    world.crashes.insert(decision, Crash::Stalled);
    world.run_until(400, |world| world.late.is_some() || world.processes > 1);
    then(&mut world);
    world.run_until(5, |_| false);
    world.run_until(2000, World::at_rest);
    let landed = world.late_lands();
    world.run_until(60, |_| false);
    (landed, world)
}

/// Decisions of the longest of the plans; beyond the end of a run nothing is there to stall in.
const DECISIONS: usize = 90;

#[test]
fn what_a_stalled_process_had_ordered_changes_nothing_once_another_has_ended_the_run() {
    let mut fenced = 0;
    for plan in plans() {
        for decision in 0..DECISIONS {
            let (landed, world) = stalled_at(decision, plan.clone(), |world| world.act("abort"));
            fenced += usize::from(world.counts.fences > 0);
            let set = world.cluster.set.as_ref().unwrap();
            let left = world.balancers.iter().any(|one| !one.restored() || one.fence.is_some());
            assert!(!left, "{decision}: the levers are not as before, landed: {landed}\n{}", world.tale());
            assert_eq!(set.replicas, 2, "{decision}, landed: {landed}\n{}", world.tale());
            assert_eq!(set.fence, None, "{decision}\n{}", world.tale());
            world.acquit();
        }
    }
    assert!(fenced > 100, "only {fenced} runs were taken over");
}

#[test]
fn without_the_marks_of_a_take_over_a_late_write_would_stay() {
    let stays = |plan: &Plan, decision: usize| {
        let mut world = World::new(2, plan.clone());
        world.marks_move = false;
        let (landed, world) = stalled_in(world, decision, |world| world.act("abort"));
        let set = world.cluster.set.as_ref().unwrap();
        let replicas = landed && set.replicas != 2;
        let lever = landed && world.balancers.iter().any(|one| !one.restored());
        (replicas, lever)
    };
    let all: Vec<_> =
        plans().iter().flat_map(|plan| (0..DECISIONS).map(move |decision| stays(plan, decision))).collect();
    assert!(all.iter().any(|(replicas, _)| *replicas), "no surge would have stayed");
    assert!(all.iter().any(|(_, lever)| *lever), "no detach would have stayed");
}

#[test]
fn without_the_mark_on_a_pod_a_late_delete_would_hit_one_that_serves() {
    let harm = |marks_move: bool, plan: &Plan, decision: usize| {
        let mut world = World::new(2, plan.clone());
        world.marks_move = marks_move;
        let (landed, world) = stalled_in(world, decision, |world| world.act("abort"));
        landed && world.violations.iter().any(|what| what.contains("goes while the load balancer sends"))
    };
    let harms = |marks_move: bool| {
        let all =
            plans().into_iter().flat_map(|plan| (0..DECISIONS).map(move |decision| (plan.clone(), decision)));
        all.filter(|(plan, decision)| harm(marks_move, plan, *decision)).count()
    };
    assert_eq!(harms(true), 0, "a late delete lands although the pod was marked");
    assert!(harms(false) > 0, "no late delete would do harm, so that nothing shows what the mark is for");
}

#[test]
fn a_run_that_was_taken_over_ends_as_if_nothing_had_been() {
    for plan in plans() {
        for decision in 0..DECISIONS {
            let (_, mut world) = stalled_at(decision, plan.clone(), |_| ());
            world.judge_end();
            world.acquit();
            assert!(world.cluster.pods.values().all(|pod| pod.image == "v2"), "{decision}\n{}", world.tale());
        }
    }
}

/// How long each serving batch really soaked, where its run was taken over at `moment` by a process whose clock is
/// ahead by `skew` seconds.
fn soaks(moment: i64, skew: i64, doubts_clocks: bool) -> Vec<i64> {
    let mut world = upgrade(2, one_by_one());
    world.doubts_clocks = doubts_clocks;
    let (mut soaks, mut since) = (Vec::new(), None);
    for _ in 0..400 {
        if world.now == moment {
            world.crash();
            world.skew = skew;
        }
        let run = world.state.run.as_ref();
        let soaking = run.is_some_and(|run| run.step == Step::Soak && run.batch.kind == BatchKind::Serving);
        since = match (since, soaking) {
            (None, true) => Some(world.now),
            (Some(began), false) => {
                soaks.push(world.now - began);
                None
            }
            (since, _) => since,
        };
        world.tick();
    }
    assert!(world.at_rest(), "{}", world.tale());
    world.acquit();
    soaks
}

#[test]
fn no_soak_is_cut_short_by_a_clock_that_is_half_a_minute_off() {
    let asked = i64::try_from(one_by_one().verify.soak.as_secs()).unwrap();
    let shortest = |skew: i64, doubts: bool| {
        (8..110).filter_map(|moment| soaks(moment, skew, doubts).into_iter().min()).min().unwrap()
    };
    for skew in [-30, -7, 7, 30] {
        assert!(shortest(skew, true) >= asked, "skew {skew}");
    }
    assert!(shortest(30, false) < asked, "a clock that is believed shows no difference");
}

#[test]
fn a_restart_costs_a_wait_at_most_what_clocks_may_differ_by() {
    let calm = soaks(i64::MAX, 0, true).into_iter().max().unwrap();
    let longest = (8..110).filter_map(|moment| soaks(moment, 0, true).into_iter().max()).max().unwrap();
    assert!(longest <= calm + 30, "{longest} s instead of {calm} s");
}
