//! Every order of events in a small cluster: the real `workflow::decide`, with a bounded number of
//! faults and edits of the user on the way.

pub mod actions;
pub mod liveness;
pub mod normal;
pub mod outcome;
pub mod properties;
pub mod view;
pub mod words;
pub mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use lossless_upgrade::workflow::checks::{GUARDS, Guard};
use lossless_upgrade::workflow::plan::{Amount, DrainPlan, OnFailure, OnTimeout, Order, Plan, VerifyPlan};
use lossless_upgrade::workflow::state::State;
use stateright::{Model, Property};

use actions::Action;
use liveness::Fates;
use normal::Records;
use view::Decisions;
use world::{Image, World};

/// Which cluster, and how much may happen in it.
#[derive(Clone, Debug)]
pub struct Config {
    pub replicas: u8,
    pub batch: u8,
    pub surge: u8,
    /// The operator itself sets the image.
    pub images: bool,
    pub faults: u8,
    pub edits: u8,
    pub guards: Vec<Guard>,
    /// The API server refuses an act on an object that has changed since it was looked at.
    pub versions: bool,
}

impl Config {
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
pub struct Upgrade {
    pub config: Config,
    records: Records,
    decisions: Decisions,
    fates: Fates,
}

impl Upgrade {
    pub fn new(config: Config) -> Self {
        Self { config, records: Records::default(), decisions: Decisions::default(), fates: Fates::default() }
    }

    /// The longest way to an end when nothing more goes wrong.
    pub fn longest(&self) -> u16 {
        self.fates.longest()
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
