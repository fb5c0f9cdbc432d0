//! The real controller on a fake API server: an upgrade of three pods ends as if nothing had been,
//! whatever goes wrong with any one call.
#![allow(missing_docs, reason = "tests are named as sentences")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail tests")]

#[path = "faults/client.rs"]
mod client;
mod conformance;
mod fake;
#[path = "faults/levers.rs"]
mod levers;
#[path = "faults/plans.rs"]
mod plans;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fake::call::{Part, Resource, Verb};
use fake::cluster::NAME;
use fake::fault::{BESIDE, CallId, EventId, Plan, Trouble};
use fake::play::{End, Played, REPLICAS, Story, Word, alone, careless, credulous, play};
use jiff::SignedDuration;
use plans::{crashes, of_each_read, of_each_write, soaks, writes, writes_that_count};

/// Plays the story with each of these and holds each to the undisturbed one.
fn matrix(calm: &Played, stories: &[(Story, Plan)]) {
    println!("    undisturbed it takes {:?}", calm.took);
    judged(stories, |story, plan, played| difference(story, plan, played, calm));
}

/// Plays each of these, on all processors, and says what is wrong.
fn judged(stories: &[(Story, Plan)], wrong: impl Fn(Story, Plan, &Played) -> Option<String> + Sync) {
    let stories: Vec<_> = stories.iter().copied().step_by(every()).collect();
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let slowest = Mutex::new(Duration::ZERO);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((story, plan)) = stories.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
                    let played = play(story, plan);
                    failures.lock().unwrap().extend(wrong(story, plan, &played));
                    let mut slowest = slowest.lock().unwrap();
                    *slowest = slowest.max(played.took);
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    let (runs, slowest) = (stories.len(), slowest.into_inner().unwrap());
    println!("    {runs} runs, the slowest took {slowest:?}");
    assert!(failures.is_empty(), "{} of {runs} failed:\n{}", failures.len(), failures.join("\n"));
}

/// `FAULTS_EVERY=20` plays every 20th story only: a first answer in seconds instead of minutes.
#[expect(clippy::disallowed_methods, reason = "a setting of the test, not of the program")]
fn every() -> usize {
    std::env::var("FAULTS_EVERY").map_or(1, |every| every.parse().expect("FAULTS_EVERY is a number"))
}

fn good(plans: impl IntoIterator<Item = Plan>) -> Vec<(Story, Plan)> {
    all_of(Story::Good, plans)
}

fn all_of(story: Story, plans: impl IntoIterator<Item = Plan>) -> Vec<(Story, Plan)> {
    plans.into_iter().map(|plan| (story, plan)).collect()
}

/// What is not as in the undisturbed run.
fn difference(story: Story, plan: Plan, played: &Played, calm: &Played) -> Option<String> {
    let what = if plan != Plan::Nothing && !played.happened {
        "the fault did not happen".to_owned()
    } else if !played.violations.is_empty() {
        format!("{:#?}", played.violations)
    } else if played.end != calm.end {
        format!("{:#?}\ninstead of\n{:#?}", played.end, calm.end)
    } else {
        return None;
    };
    Some(format!("{}: {what}", told(story, plan, played)))
}

/// The new version was given up, and all is as it was before.
fn is_given_up(played: &Played, calm: &Played) -> bool {
    let End { phase, pods, replicas, weights, .. } = &played.end;
    phase == "RolledBack"
        && pods.len() == calm.end.pods.len()
        && pods.iter().all(|[_, image, revision]| image == "app:1" && revision == "web-1")
        && (replicas, weights) == (&calm.end.replicas, &calm.end.weights)
}

fn told(story: Story, plan: Plan, played: &Played) -> String {
    format!("{story:?} {plan:?}: after {:?}: {}", played.took, played.status["message"])
}

#[test]
fn an_undisturbed_upgrade_loses_nothing_and_puts_everything_back() {
    let played = play(Story::Good, Plan::Nothing);
    println!("took {:?}, {} calls, events {:?}", played.took, played.calls.len(), played.events);
    assert_eq!(played.violations, Vec::<String>::new());
    assert_eq!(played.end.phase, "Succeeded");
}

#[test]
fn a_set_whose_first_ordinal_is_five_is_upgraded_as_one_that_begins_at_zero() {
    let [zero, five] = [Story::Good, Story::BeginsAt(5)].map(|story| play(story, Plan::Nothing));
    assert_eq!(five.violations, Vec::<String>::new());
    let [zero, five] = [zero.end, five.end];
    let deleted = |end: &End| end.gone.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let named = |first: u32| -> Vec<String> {
        (first..=first + REPLICAS).map(|ordinal| format!("{NAME}-{ordinal}")).collect()
    };
    assert_eq!(deleted(&zero), named(0), "the surge is the last");
    assert_eq!(deleted(&five), named(5));
    let moved = |held: &BTreeSet<u32>| -> BTreeSet<u32> { held.iter().map(|ordinal| ordinal + 5).collect() };
    assert_eq!(five.levers, zero.levers.iter().map(moved).collect::<Vec<_>>());
    let stay: Vec<_> = five.pods.iter().map(|[name, ..]| name.clone()).collect();
    assert_eq!(stay, named(5)[..3]);
    assert_eq!((five.phase, five.replicas, five.weights), (zero.phase, zero.replicas, zero.weights));
}

#[test]
fn a_process_that_dies_at_any_write_is_followed_by_one_that_ends_as_if_nothing_had_been() {
    for (story, phase) in [
        (Story::Good, "Succeeded"),
        (Story::Flaky, "RolledBack"),
        (Story::Told(Word::Abort), "Aborted"),
        (Story::Told(Word::Rollback), "RolledBack"),
        (Story::TwoLevers, "Succeeded"),
    ] {
        let calm = play(story, Plan::Nothing);
        println!("    {story:?}: {}", calm.end.phase);
        assert_eq!(calm.end.phase, phase, "{story:?}");
        assert_eq!(calm.violations, Vec::<String>::new());
        assert_eq!(calm.told.is_some(), matches!(story, Story::Told(_)), "{:?}", calm.end);
        matrix(&calm, &all_of(story, crashes(story, &calm)));
    }
}

#[test]
fn a_write_that_is_refused_or_gets_no_answer_changes_nothing_about_the_end() {
    let calm = play(Story::Good, Plan::Nothing);
    matrix(&calm, &good(of_each_write(writes_that_count(&calm))));
}

#[test]
fn a_read_that_is_refused_stale_or_gets_no_answer_changes_nothing_about_the_end() {
    let calm = play(Story::Good, Plan::Nothing);
    let plans = of_each_read(&calm, |_| true);
    matrix(&calm, &good(plans));
}

#[test]
fn a_watch_that_loses_an_event_is_late_ends_or_goes_back_changes_nothing_about_the_end() {
    let calm = play(Story::Good, Plan::Nothing);
    let late = Trouble::Late(Duration::from_secs(30));
    let troubles = [late, Trouble::GoesBack, Trouble::Ends, Trouble::Torn, Trouble::Expired];
    let mut troubles = troubles.into_iter().cycle();
    let mut plans = Vec::new();
    for (resource, events) in &calm.events {
        for nth in 0..*events {
            let id = EventId { resource: *resource, nth };
            plans.push(Plan::Event(id, Trouble::Lost));
            plans.extend(troubles.next().map(|trouble| Plan::Event(id, trouble)));
        }
    }
    matrix(&calm, &good(plans));
}

#[test]
fn two_processes_at_once_with_clocks_that_differ_and_writes_that_come_late_do_no_harm() {
    let calm = play(Story::Good, Plan::Nothing);
    let mut stories = Vec::new();
    for after in (5..110).step_by(7).map(Duration::from_secs) {
        for skew in [-30, 30].map(SignedDuration::from_secs) {
            for late in [1, 8].map(Duration::from_secs) {
                stories.push((Story::TakenOver { after, skew, late }, Plan::Nothing));
            }
        }
    }
    matrix(&calm, &stories);
}

#[test]
fn the_judge_sees_a_pod_that_goes_while_it_serves() {
    let violations = careless().join("\n");
    for what in ["connections", "while clients are sent to it", "only 2 pods serve", "a client was sent to"] {
        assert!(violations.contains(what), "{what} in\n{violations}");
    }
}

#[test]
fn an_api_server_that_refuses_everything_for_a_while_changes_nothing_about_the_end() {
    let calm = play(Story::Good, Plan::Nothing);
    let mut plans = Vec::new();
    let last = calm.calls.last().expect("it calls").at;
    for from in (1..last.as_secs()).step_by(9).map(Duration::from_secs) {
        for code in [401, 429, 503] {
            plans.push(Plan::Outage { from, length: Duration::from_secs(40), code });
        }
    }
    matrix(&calm, &good(plans));
}

#[test]
fn tries_at_an_api_server_that_refuses_everything_become_rare() {
    let (from, length) = (Duration::from_secs(30), Duration::from_mins(20));
    for code in [401, 429, 500] {
        let played = play(Story::Good, Plan::Outage { from, length, code });
        assert_eq!((played.end.phase.as_str(), &played.violations), ("Succeeded", &Vec::new()));
        let late = played.calls.iter().filter(|made| made.at > from + length / 2 && made.at < from + length);
        let mut calls = BTreeMap::new();
        for made in late {
            *calls.entry((made.id.verb, made.id.resource)).or_insert(0) += 1;
        }
        println!("    {code}: in the second half of {length:?}: {calls:?}");
        // The object once a minute, each watch every 30 s and some jitter; a pod that is counted every
        // second or two, off the path of the reconciles.
        let looks = calls.get(&(Verb::Get, Resource::Upgrades)).copied().unwrap_or_default();
        assert!((5..=12).contains(&looks), "{calls:?}");
    }
}

#[test]
fn an_object_that_cannot_be_looked_at_is_let_be_longer_and_longer_and_the_one_beside_it_keeps_its_pace() {
    let calm = play(Story::Good, Plan::Nothing);
    let played = play(Story::Good, Plan::Beside { code: 500 });
    assert_eq!((&played.end, &played.violations), (&calm.end, &Vec::new()));
    assert!(played.took <= calm.took + Duration::from_secs(1), "{:?}, calm {:?}", played.took, calm.took);
    let waits = |name: &str| -> Vec<f64> {
        played.backed_off.iter().filter_map(|(_, waits)| waits.get(name).copied()).collect()
    };
    assert_eq!(waits(NAME), [] as [f64; 0]);
    let waits = waits(BESIDE);
    assert!(waits.is_sorted() && waits.first() < waits.last(), "{waits:?}");
    assert_eq!(waits.last(), Some(&60.0), "{waits:?}");
}

#[test]
fn the_back_off_is_shown_while_the_api_server_refuses_and_not_before_or_after() {
    let (from, length) = (Duration::from_secs(30), Duration::from_mins(5));
    let played = play(Story::Good, Plan::Outage { from, length, code: 503 });
    assert_eq!(played.end.phase, "Succeeded");
    let shown = |at: &Duration| *at > from + length / 2 && *at < from + length;
    // The last wait may outlive what it was for.
    let mut looks = played.calls.iter().filter(|made| made.id.resource == Resource::Upgrades);
    let back = looks.find(|made| made.id.verb == Verb::Get && made.at > from + length);
    let back = back.expect("it looks again").at + Duration::from_secs(1);
    let hidden = |at: &Duration| *at < from || *at > back;
    let of = |is: &dyn Fn(&Duration) -> bool| -> Vec<_> {
        played.backed_off.iter().filter(|(at, _)| is(at)).map(|(_, waits)| waits.get(NAME)).collect()
    };
    let (shown, hidden) = (of(&shown), of(&hidden));
    assert!(!shown.is_empty() && shown.iter().all(|wait| *wait == Some(&60.0)), "{shown:?}");
    assert!(hidden.len() > 20 && hidden.iter().all(Option::is_none), "{hidden:?}");
}

#[test]
fn a_node_that_is_lost_holds_the_run_until_its_pod_is_gone_and_no_other_pod_goes_meanwhile() {
    let calm = play(Story::Good, Plan::Nothing);
    let mut stories = Vec::new();
    for after in (1..calm.took.as_secs()).step_by(8).map(Duration::from_secs) {
        for ordinal in 0..=REPLICAS {
            stories.push((Story::NodeLost { after, ordinal }, Plan::Nothing));
        }
    }
    judged(&stories, |story, plan, played| {
        let wrong = node_lost(played, &calm)?;
        Some(format!("{}: {wrong}", told(story, plan, played)))
    });
}

/// What is not as it should be where a node was lost.
fn node_lost(played: &Played, calm: &Played) -> Option<String> {
    if !played.violations.is_empty() {
        return Some(format!("{:#?}", played.violations));
    }
    if !played.lost {
        return (played.end != calm.end).then(|| format!("no node was lost: {:#?}", played.end));
    }
    // Whether its pod goes by our hand, and which other batches are taken back, is as the moment wants it.
    let rest = |end: &End| End { gone: Vec::new(), levers: Vec::new(), ..end.clone() };
    if rest(&played.end) == rest(&calm.end) {
        return None;
    }
    // The batch whose node it is did not stay good.
    let why = played.status["message"].as_str().is_some_and(|text| text.contains("is not Ready any more"));
    (!why || !is_given_up(played, calm)).then(|| format!("{:#?}", played.end))
}

#[test]
fn the_fake_api_server_is_as_the_real_one_where_it_matters() {
    for (claim, check) in conformance::CHECKS {
        println!("    {claim}");
        alone(|client| check(conformance::Ground { client, namespace: "shop".to_owned() }));
    }
}
