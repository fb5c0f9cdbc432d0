//! `plan`: what it foretells is what the simulated run then does.

use std::time::Duration;

use lossless_upgrade::api::record;
use lossless_upgrade::api::status::LosslessUpgradeStatus;
use lossless_upgrade::cli::plan::forecast::{Forecast, Why, forecast};
use lossless_upgrade::cli::plan::view;
use lossless_upgrade::cli::plan::world::Assumptions;
use lossless_upgrade::cli::text::{Paint, Screen};
use lossless_upgrade::workflow::observed::Observed;
use lossless_upgrade::workflow::obstacles;
use lossless_upgrade::workflow::ordinals::OrdinalSet;
use lossless_upgrade::workflow::plan::{Amount, Order, Plan};
use lossless_upgrade::workflow::state::{BatchKind, Phase, Step};

use super::fixtures::{halted, object, paused};
use crate::sim::balancer::Balancer;
use crate::sim::moments::Story;
use crate::sim::plans::{one_by_one, with_image};
use crate::sim::telling::upgrade;
use crate::sim::world::World;

const SCREEN: Paint = Paint { colour: false, screen: Some(Screen { width: 80, height: 24 }) };

/// What takes how long in the simulated world.
fn assumed(world: &World) -> Assumptions {
    let seconds = |seconds: i64| Duration::from_secs(seconds.unsigned_abs());
    Assumptions {
        start: seconds(world.cluster.ready_after),
        start_seen: true,
        end: seconds(world.cluster.grace),
        follow: seconds(world.balancers.iter().map(|one| one.lag).max().unwrap_or_default()),
        count: Duration::from_secs(2),
    }
}

/// As `kubectl lu plan` sees the world: what is recorded comes from the object's status.
fn foretell(world: &World) -> Forecast {
    let mut status = LosslessUpgradeStatus::default();
    record::record(world.state.clone(), &mut status);
    let state = record::state(&status);
    let mut seen = world.observe();
    if state.run.is_some() {
        // The look is one as before a run.
        seen = Observed { levers: Vec::new(), drains: [].into(), ..seen };
    }
    let against = if state.run.is_some() { Vec::new() } else { obstacles(&world.plan, &seen) };
    forecast(&world.plan, &state, &seen, against, assumed(world), world.time())
}

fn batches(forecast: &Forecast) -> Vec<String> {
    let serving = forecast.legs.iter().filter(|leg| leg.kind == BatchKind::Serving);
    serving.map(|leg| leg.ordinals.to_string()).collect()
}

/// The batches of the run that the world then makes.
fn made(world: &mut World) -> Vec<String> {
    let mut made: Vec<String> = Vec::new();
    let mut last = OrdinalSet::new();
    for _ in 0..3000 {
        world.tick();
        let Some(run) = &world.state.run else { break };
        if run.batch.kind == BatchKind::Serving && run.batch.ordinals != last {
            last = run.batch.ordinals.clone();
            made.push(last.to_string());
        }
    }
    made
}

#[test]
fn the_batches_that_are_foretold_are_those_that_are_made() {
    let downwards = Plan {
        batch: Amount::Percent(50),
        order: Order::Descending,
        surge: Some(Amount::Count(1)),
        ..one_by_one()
    };
    for (first, plan) in [
        (0, one_by_one()),
        (0, with_image("v2")),
        (0, Plan { batch: Amount::Count(2), ..one_by_one() }),
        (5, downwards),
        (0, Plan { surge: Some(Amount::Count(0)), ..one_by_one() }),
    ] {
        let mut world = World::beginning_at(first, 4, plan.clone());
        world.cluster.lengths = vec![1];
        if plan.images.is_empty() {
            world.set_image("v2");
        }
        comes_true(&mut world);
    }
}

/// Holds what is foretold of the run that is wanted to the one that the world then makes.
fn comes_true(world: &mut World) -> Forecast {
    world.cluster.tick(1);
    world.cluster.tick(2);
    let told = foretell(world);
    assert_eq!(told.why, Why::Wanted);
    let begun = world.run_until(10, |world| world.state.run.is_some());
    assert!(begun, "{}", world.tale());
    let start = world.now;
    assert_eq!(batches(&told), made(world), "{:?}", world.plan);
    assert_eq!(world.state.phase(), Phase::Succeeded, "{}", world.tale());
    let (foretold, took) = (told.seconds.unwrap(), world.now - start);
    // The world looks every second and samples every other; the forecast sees all at once.
    assert!((foretold - took).abs() * 5 <= took, "foretold {foretold} s, took {took} s\n{}", world.tale());
    told
}

/// Seconds that the batches of serving pods take in this step.
fn seconds(told: &Forecast, step: Step) -> Vec<i64> {
    let serving = told.legs.iter().filter(|leg| leg.kind == BatchKind::Serving);
    let steps = serving.flat_map(|leg| &leg.steps);
    steps.filter(|(one, _)| *one == step).map(|(_, seconds)| *seconds).collect()
}

#[test]
fn a_pod_that_is_made_anew_is_foretold_to_come_attached_where_the_lever_writes_the_pods() {
    let two = || Plan { batch: Amount::Count(2), ..one_by_one() };
    for (plan, by_label, service, attach) in [
        // Nothing is written, so only the settling is left; a Service is written and has to follow first.
        (one_by_one(), true, false, vec![2; 4]),
        (two(), true, false, vec![2; 2]),
        (one_by_one(), false, true, vec![4; 4]),
        (one_by_one(), true, true, vec![4; 4]),
    ] {
        let mut world = World::new(4, plan);
        world.cluster.lengths = vec![1];
        world.balancers.clear();
        world.balancers.extend(service.then(|| Balancer::new("web", 2)));
        world.balancers.extend(by_label.then(|| Balancer::by_label("serving", 2)));
        world.set_image("v2");
        let told = comes_true(&mut world);
        assert_eq!(seconds(&told, Step::Detach), vec![4; attach.len()], "{told:?}");
        assert_eq!(seconds(&told, Step::Attach), attach, "{told:?}");
    }
}

#[test]
fn a_run_under_way_is_foretold_from_where_it_is_and_ends_well_from_each_moment() {
    for story in [Story::OneByOne, Story::InBatches, Story::ByLabel, Story::Images, Story::OrderedReady] {
        let mut world = story.begin();
        while world.state.run.is_some() {
            let told = foretell(&world);
            assert_eq!(told.why, Why::UnderWay);
            assert!(
                told.end.starts_with("Succeeded"),
                "{story:?} at {}: {}\n{}",
                world.now,
                told.end,
                world.tale()
            );
            world.tick();
        }
    }
}

#[test]
fn where_no_run_is_wanted_the_plan_is_what_the_next_one_would_do() {
    let mut world = World::new(3, one_by_one());
    world.run_until(3, |_| false);
    let told = foretell(&world);
    assert_eq!((told.why, batches(&told)), (Why::IfChanged, vec!["0".into(), "1".into(), "2".into()]));
    insta::assert_snapshot!("plan", view::view(&object(&world), &told, SCREEN));
}

#[test]
fn what_was_given_up_is_foretold_as_a_retry() {
    let mut world = upgrade(3, one_by_one());
    world.run_until(5, |_| false);
    world.act("abort");
    world.run_until(300, |world| world.state.phase() == Phase::Aborted);
    let told = foretell(&world);
    assert_eq!(told.why, Why::IfRetried);
    assert_eq!(batches(&told).len(), 3);
}

#[test]
fn a_halted_run_is_foretold_to_wait_and_a_paused_one_to_go_on_when_it_is_resumed() {
    let told = foretell(&halted());
    assert_eq!(told.seconds, None);
    assert!(told.end.contains("Connections are left"), "{}", told.end);
    let world = paused();
    let told = foretell(&world);
    assert!(told.paused && told.end.starts_with("Succeeded"), "{}", told.end);
    insta::assert_snapshot!("plan_paused", view::view(&object(&world), &told, SCREEN));
}

#[test]
fn what_stands_against_a_run_is_told_instead_of_a_plan_and_all_of_it() {
    let mut world = World::new(1, Plan { surge: Some(Amount::Count(0)), ..one_by_one() });
    world.cluster.set.as_mut().unwrap().on_delete = false;
    world.cluster.rolls = false;
    world.set_image("v2");
    world.cluster.tick(1);
    world.cluster.tick(2);
    let told = foretell(&world);
    assert!(told.legs.is_empty());
    let reasons: Vec<&str> = told.obstacles.iter().map(|one| one.reason.as_str()).collect();
    assert_eq!(reasons, ["NotOnDelete", "NoCapacity"]);
    let shown = object(&World::new(1, one_by_one()));
    insta::assert_snapshot!("plan_blocked", view::view(&shown, &told, SCREEN));
}

#[test]
fn many_batches_are_told_by_the_first_and_the_last() {
    let mut world = World::new(200, one_by_one());
    world.run_until(2, |_| false);
    let told = foretell(&world);
    assert_eq!(batches(&told).len(), 200);
    let shown = view::view(&object(&world), &told, SCREEN);
    assert!(shown.lines().count() < 24 && shown.contains("196 more batches like these"), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
}
