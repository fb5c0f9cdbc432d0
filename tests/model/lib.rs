//! Every order of events in a small cluster: the real `workflow::decide`, with a bounded number of
//! faults and edits of the user on the way. The procedure is compiled here once more, without all that
//! it stands in, so that it can be optimised: millions of decisions are asked for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail tests")]

#[path = "../../src/workflow/mod.rs"]
pub mod workflow;

mod actions;
mod liveness;
mod normal;
mod outcome;
mod properties;
mod view;
mod words;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::workflow::checks::{GUARDS, Guard};
use crate::workflow::plan::{Amount, DrainPlan, OnFailure, OnTimeout, Order, Plan, VerifyPlan};
use crate::workflow::state::State;
use stateright::{Checker, HasDiscoveries, Model, Property};

use actions::Action;
use liveness::Fates;
use normal::Records;
use view::Decisions;
use world::{Image, World};

/// Which cluster, and how much may happen in it.
#[derive(Clone, Debug)]
pub struct Config {
    /// Pods before the run.
    pub replicas: u8,
    /// Pods replaced together.
    pub batch: u8,
    /// Pods added for the run.
    pub surge: u8,
    /// The operator itself sets the image.
    pub images: bool,
    /// So many things go wrong at most.
    pub faults: u8,
    /// So many things the user does at most, once the new version is set.
    pub edits: u8,
    /// What must hold before a pod goes.
    pub guards: Vec<Guard>,
    /// The API server refuses an act on an object that has changed since it was looked at.
    pub versions: bool,
}

impl Config {
    /// Everything that can happen with two faults and one edit.
    #[must_use]
    pub fn new(replicas: u8, batch: u8, surge: u8) -> Self {
        let guards = GUARDS.to_vec();
        Self { replicas, batch, surge, images: false, faults: 2, edits: 1, guards, versions: true }
    }

    fn plan(&self, paused: bool, wish: Option<Image>) -> Plan {
        let deadline = Duration::from_mins(10);
        Plan {
            paused,
            images: wish
                .map(|image| ("web".to_owned(), image.name().to_owned()))
                .into_iter()
                .collect::<BTreeMap<_, _>>(),
            surge: Some(Amount::Count(self.surge.into())),
            volumes_decided: false,
            batch: Amount::Count(self.batch.into()),
            order: Order::Ascending,
            settle: Duration::ZERO,
            confirm_timeout: deadline,
            drain: DrainPlan {
                idle_after: None,
                nudged: false,
                counted: true,
                stable_for: Duration::ZERO,
                minimum: Duration::ZERO,
                timeout: deadline,
                on_timeout: OnTimeout::Pause,
            },
            verify: VerifyPlan { timeout: deadline, soak: Duration::from_secs(1), max_restarts: 0 },
            on_failure: OnFailure::Rollback,
        }
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { replicas, batch, surge, faults, edits, .. } = self;
        write!(f, "{replicas} pods, batch {batch}, surge {surge}, {faults} faults, {edits} edits")?;
        f.write_str(if self.images { ", images" } else { "" })?;
        let missing: Vec<_> = GUARDS.iter().filter(|guard| !self.guards.contains(guard)).collect();
        if missing.is_empty() { Ok(()) } else { write!(f, ", without {missing:?}") }
    }
}

/// The model: a configuration, and what was found out on the way.
struct Upgrade {
    config: Config,
    records: Records,
    decisions: Decisions,
    fates: Fates,
}

impl Upgrade {
    fn new(config: Config) -> Self {
        Self { config, records: Records::default(), decisions: Decisions::default(), fates: Fates::default() }
    }
}

impl Model for Upgrade {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let wish = self.config.images.then_some(Image::V2);
        let record = self.records.put(State::default());
        // That the new version is bad is the first of the faults.
        let bad = [false, true].into_iter().take(1 + usize::from(self.config.faults > 0));
        bad.map(|bad| World::new(self.config.replicas, record, wish, bad)).collect()
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        self.possible(world, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        self.after(world, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

/// Tries everything, and tells how much that was. Answers the names of what can break, with a story
/// for each.
#[expect(clippy::disallowed_methods, reason = "how long it took is told, and nothing depends on it")]
pub fn check(config: Config) -> Vec<(&'static str, String)> {
    let title = config.to_string();
    let began = Instant::now();
    let checker = Upgrade::new(config).checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    // Not by `println`: the test runner would keep it to itself.
    let told = writeln!(
        std::io::stderr(),
        "{title}: {} states, {} ways to them, the longest {}; from each of them an end within {}; {:.1}s; at most {} MiB",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        checker.model().fates.longest(),
        began.elapsed().as_secs_f64(),
        most_memory(),
    );
    told.ok();
    let broken = checker.discoveries().into_iter();
    broken.map(|(name, path)| (name, words::story(checker.model(), path))).collect()
}

/// The most memory that this process has had so far, in MiB; 0 where there is no `/proc`.
///
/// # Panics
/// Where that is of another form.
pub fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes / 1024
}

/// What `check` looks for.
pub fn properties() -> Vec<&'static str> {
    properties::all().into_iter().map(|property| property.name).collect()
}
