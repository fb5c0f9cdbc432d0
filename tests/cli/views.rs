//! What is shown, in every phase.

use kube::api::DynamicObject;
use lossless_upgrade::cli::status::view::{self, lines};
use lossless_upgrade::cli::text::{Paint, Screen};
use lossless_upgrade::cli::{explain, get, history};
use lossless_upgrade::workflow::state::{BatchKind, Step};

use super::fixtures::{Moment, all, halted, moment};
use crate::sim::plans::one_by_one;
use crate::sim::telling::until;
use crate::sim::world::World;

const SCREEN: Paint = Paint { colour: false, screen: Some(Screen { width: 80, height: 24 }) };

fn dynamic(moment: &Moment) -> DynamicObject {
    let mut object = moment.object.clone();
    object.metadata.name = Some(moment.name.to_lowercase().replace(", ", "-"));
    serde_json::from_value(serde_json::to_value(object).unwrap()).unwrap()
}

/// One view of all moments, each under its name.
fn each(view: impl Fn(&Moment) -> String) -> String {
    let shown = all().into_iter().map(|moment| format!("=== {}\n{}\n", moment.name, view(&moment)));
    shown.collect::<Vec<_>>().concat()
}

#[test]
fn the_list_shows_each_phase_in_a_line() {
    let (objects, now): (Vec<_>, Vec<_>) = all().iter().map(|one| (dynamic(one), one.now)).unzip();
    let now = *now.iter().max().unwrap();
    insta::assert_snapshot!("get", get::view(&objects, true, false, now, Paint::PLAIN));
    insta::assert_snapshot!("get_wide", get::view(&objects, false, true, now, Paint::PLAIN));
    let narrow = get::view(&objects, true, false, now, SCREEN);
    assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
}

#[test]
fn an_object_of_a_newer_operator_is_listed_and_does_not_hide_the_others() {
    let moment = moment("Drain", &halted());
    let mut newer = dynamic(&moment);
    newer.data["status"]["phase"] = "Teleport".into();
    let list = get::view(&[newer, dynamic(&moment)], false, false, moment.now, Paint::PLAIN);
    assert!(list.contains("cannot read it") && list.contains("Drain, halted"), "{list}");
}

#[test]
fn the_status_shows_the_pods_the_wait_and_the_events_in_each_phase() {
    let shown = each(|moment| lines(&moment.scene(), Paint::PLAIN, None).join("\n"));
    insta::assert_snapshot!("status", shown);
}

#[test]
fn the_status_never_is_wider_or_higher_than_the_terminal() {
    for moment in all() {
        for (width, height) in [(80, 24), (40, 10), (60, 8), (120, 50)] {
            let paint = Paint { colour: false, screen: Some(Screen { width, height }) };
            let lines = lines(&moment.scene(), paint, Some(height));
            assert!(lines.len() <= height, "{}: {lines:#?}", moment.name);
            let longest = lines.iter().map(|line| line.chars().count()).max().unwrap();
            assert!(longest <= width, "{} in {width}: {lines:#?}", moment.name);
        }
    }
}

#[test]
fn of_more_pods_than_there_is_room_for_those_in_flight_are_shown() {
    let mut world = crate::sim::telling::upgrade(60, crate::sim::plans::one_by_one());
    world.run_until(2000, |world| world.state.detached.contains(37));
    let moment = moment("many", &world);
    let shown = lines(&moment.scene(), SCREEN, Some(23)).join("\n");
    assert!(shown.contains("web-37") && shown.contains("web-60"), "{shown}");
    assert!(shown.contains("more: "), "{shown}");
}

#[test]
fn the_surge_is_told_from_the_others_whatever_the_first_ordinal_is() {
    for (first, surge) in [(0, "web-3"), (5, "web-8")] {
        let mut world = World::beginning_at(first, 3, one_by_one());
        world.set_image("v2");
        until(&mut world, Step::Drain, BatchKind::Serving);
        let shown = lines(&moment("surge", &world).scene(), Paint::PLAIN, None);
        let surge_pods: Vec<_> = shown.iter().filter(|line| line.trim_end().ends_with("surge")).collect();
        assert!(surge_pods.len() == 1 && surge_pods[0].starts_with(surge), "{shown:#?}");
    }
}

#[test]
fn the_time_that_is_left_is_about_what_the_run_then_takes() {
    let mut world = crate::sim::telling::upgrade(8, crate::sim::plans::one_by_one());
    let mut told = Vec::new();
    while world.state.run.is_some() {
        let status = moment("", &world).object.status.unwrap();
        let left = status.run.as_ref().and_then(|run| view::left(&status, run, world.time()));
        told.extend(left.map(|left| (world.now, left)));
        world.tick();
    }
    assert!(told.len() > 200, "{told:?}");
    for (at, left) in told {
        let real = world.now - at;
        assert!((left - real).abs() <= real / 3 + 15, "at {at} s: told {left} s, it was {real} s");
    }
}

#[test]
fn colours_change_nothing_but_the_colour() {
    for moment in all() {
        let plain = lines(&moment.scene(), Paint::PLAIN, None).join("\n");
        let painted = lines(&moment.scene(), Paint { colour: true, screen: None }, None).join("\n");
        assert_ne!(plain, painted);
        let mut bare = String::new();
        let mut rest = painted.as_str();
        while let Some((before, after)) = rest.split_once("\u{1b}[") {
            bare.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        assert_eq!(plain, bare + rest);
    }
}

#[test]
fn the_explanation_says_what_it_waits_for_and_what_would_end_that_in_each_phase() {
    insta::assert_snapshot!("explain", each(|moment| explain::view(&moment.object, moment.now, SCREEN)));
}

#[test]
fn the_explanation_of_a_drain_says_which_connections_do_not_count() {
    let mut moment = all().into_iter().find(|moment| moment.name == "Drain").unwrap();
    let explained = |moment: &Moment| explain::view(&moment.object, moment.now, Paint::PLAIN);
    assert!(!explained(&moment).contains("silent"));
    moment.object.spec.drain.idle_after = Some("5m".parse().unwrap());
    assert!(explained(&moment).contains("connections silent for 5m do not count"), "{}", explained(&moment));
}

#[test]
fn the_history_has_the_run_under_way_on_top() {
    insta::assert_snapshot!(
        "history",
        each(|moment| history::view(&moment.object, moment.now, Paint::PLAIN))
    );
}

#[test]
fn an_object_that_nobody_has_looked_at_says_so_in_each_view() {
    let mut moment = moment("new", &halted());
    moment.object.status = None;
    let list = get::view(&[dynamic(&moment)], false, true, moment.now, Paint::PLAIN);
    let status = lines(&moment.scene(), Paint::PLAIN, None).join(" ");
    let explained = explain::view(&moment.object, moment.now, Paint::PLAIN);
    for text in [list, status, explained] {
        assert!(text.contains("the operator has not looked at it yet"), "{text}");
    }
    assert_eq!(history::view(&moment.object, moment.now, Paint::PLAIN), "No run has been made yet.\n");
}
