//! Model check: every order of events in small clusters, with faults and an edit of the user anywhere.
#![allow(missing_docs, reason = "tests are named as sentences")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail tests")]

use std::sync::{Condvar, Mutex};

use model::workflow::checks::{GUARDS, Guard};
use model::workflow::invariants;
use model::{Config, check, most_memory, properties};

/// What all that runs beside each other here may take, in MiB.
const MOST_MEMORY: u64 = 8 << 10;

/// So many of the large clusters are tried at once, however many processors there are: they share the memory.
static PLACES: (Mutex<u8>, Condvar) = (Mutex::new(2), Condvar::new());

struct Place;

impl Place {
    fn take() -> Self {
        let (free, changed) = &PLACES;
        *changed.wait_while(free.lock().unwrap(), |free| *free == 0).unwrap() -= 1;
        Self
    }
}

/// Also when a cluster broke: the others are tried all the same.
impl Drop for Place {
    fn drop(&mut self) {
        let (free, changed) = &PLACES;
        *free.lock().unwrap() += 1;
        changed.notify_one();
    }
}

fn holds(config: Config) {
    let _place = Place::take();
    let title = config.to_string();
    if let Some((name, story)) = check(config).first() {
        panic!("{title}, broken: {name}\n{story}");
    }
    assert!(most_memory() < MOST_MEMORY, "{title}: {} MiB", most_memory());
}

/// Two faults and an edit of the user in any order. Each of these has one thread and two of them run beside
/// each other, in the order of their names: the small ones come last, so that no processor is idle for long.
macro_rules! in_any_order {
    ($($name:ident: $replicas:literal pods, batch $batch:literal, surge $surge:literal;)+) => {
        $(#[test]
        fn $name() {
            holds(Config::new($replicas, $batch, $surge));
        })+
    };
}

in_any_order! {
    nothing_breaks_among_three_pods_in_batches_of_two_without_a_surge: 3 pods, batch 2, surge 0;
    nothing_breaks_among_three_pods_in_batches_of_two_with_one_more: 3 pods, batch 2, surge 1;
    nothing_breaks_among_three_pods_in_batches_of_two_with_two_more: 3 pods, batch 2, surge 2;
    nothing_breaks_among_three_pods_one_by_one_without_a_surge: 3 pods, batch 1, surge 0;
    nothing_breaks_among_three_pods_one_by_one_with_one_more: 3 pods, batch 1, surge 1;
    nothing_breaks_among_three_pods_one_by_one_with_two_more: 3 pods, batch 1, surge 2;
    nothing_breaks_among_two_pods_in_batches_of_two_without_a_surge: 2 pods, batch 2, surge 0;
    nothing_breaks_among_two_pods_in_batches_of_two_with_one_more: 2 pods, batch 2, surge 1;
    nothing_breaks_among_two_pods_in_batches_of_two_with_two_more: 2 pods, batch 2, surge 2;
    nothing_breaks_among_two_pods_one_by_one_without_a_surge: 2 pods, batch 1, surge 0;
    nothing_breaks_among_two_pods_one_by_one_with_one_more: 2 pods, batch 1, surge 1;
    nothing_breaks_among_two_pods_one_by_one_with_two_more: 2 pods, batch 1, surge 2;
}

#[test]
fn nothing_breaks_where_the_operator_itself_sets_the_image() {
    for (faults, edits) in [(2, 0), (1, 1)] {
        holds(Config { images: true, faults, edits, ..Config::new(2, 1, 1) });
    }
}

/// The names of what breaks.
fn broken(config: Config) -> Vec<&'static str> {
    check(config).into_iter().map(|(name, _)| name).collect()
}

/// The least in which every guard is needed.
fn smallest() -> Config {
    Config { faults: 1, edits: 1, ..Config::new(2, 1, 1) }
}

fn without(guard: Guard) -> Config {
    let guards = GUARDS.iter().copied().filter(|one| *one != guard).collect();
    Config { guards, ..smallest() }
}

#[test]
fn with_every_guard_nothing_breaks_in_the_cluster_in_which_each_is_taken_out() {
    assert_eq!(broken(smallest()), [""; 0]);
}

/// A guard is worth its place when the procedure breaks without it.
fn is_needed(guard: Guard) {
    let broken = broken(without(guard));
    assert!(!broken.is_empty(), "nothing breaks without {guard:?}");
    println!("without {guard:?}: {broken:?}");
}

#[test]
fn a_pod_goes_for_a_revision_that_is_not_known_without_the_guard_of_the_revision() {
    is_needed(Guard::RevisionUnmoved);
}

#[test]
fn a_pod_goes_that_nobody_recorded_without_the_guard_of_the_record() {
    is_needed(Guard::Recorded);
}

#[test]
fn a_pod_goes_that_gets_connections_without_the_guard_of_the_levers() {
    is_needed(Guard::LeversHold);
}

#[test]
fn a_pod_goes_before_the_load_balancer_follows_without_the_guard_of_the_confirmation() {
    is_needed(Guard::LeversConfirmed);
}

#[test]
fn a_pod_goes_with_open_connections_without_the_guard_of_the_drain() {
    is_needed(Guard::Drained);
}

#[test]
fn a_pod_goes_that_is_needed_without_the_guard_of_the_others() {
    is_needed(Guard::OthersServe);
}

#[test]
fn each_guard_is_taken_out_by_a_test_and_each_invariant_is_a_property() {
    assert_eq!(GUARDS.len(), 6, "a guard without a test here");
    for (name, _) in invariants::ALL {
        assert!(properties().contains(name), "{name}");
    }
}

#[test]
fn a_late_act_lands_where_the_api_server_asks_for_no_version() {
    let broken = broken(Config { versions: false, ..smallest() });
    assert!(!broken.is_empty(), "nothing breaks without versions");
    println!("without versions: {broken:?}");
}
