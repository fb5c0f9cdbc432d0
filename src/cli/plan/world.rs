//! A cluster in which all goes well: pods start, the load balancer follows, clients leave. Time jumps from
//! one thing that happens to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::controller::observe::{lever_title, writes_pods};
use crate::workflow::counted;
use crate::workflow::decision::Effect;
use crate::workflow::observed::{
    Confirmation, CounterView, DrainView, Held, ImageView, LeverView, Observed, PodView, Site,
};
use crate::workflow::ordinals::{Ordinal, OrdinalSet};
use crate::workflow::plan::Plan;
use crate::workflow::state::{PodState, SavedLever, State};
use crate::workflow::turn::later;

/// What takes how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assumptions {
    /// From a pod's creation until it is Ready.
    pub start: Duration,
    /// Whether that is how long the pods that are there took.
    pub start_seen: bool,
    /// From a pod's deletion until it is gone.
    pub end: Duration,
    /// From a lever's write until the load balancer has confirmed it.
    pub follow: Duration,
    /// From the start of a counter to its first number.
    pub count: Duration,
}

impl Default for Assumptions {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { start: seconds(20), start_seen: false, end: seconds(1), follow: seconds(5), count: seconds(2) }
    }
}

/// The name of a revision that is still to come.
pub const NEW: &str = "(new)";

/// The cluster.
pub struct World {
    /// The moment.
    pub now: Timestamp,
    /// What can be seen, but for what the time does to it.
    seen: Observed,
    assumed: Assumptions,
    /// When each pod that starts will be Ready.
    ready: BTreeMap<Ordinal, Timestamp>,
    /// When each pod that ends will be gone.
    gone: BTreeMap<Ordinal, Timestamp>,
    /// When the levers as they are will be in force.
    in_force: Timestamp,
    /// The ordinals that the Services name.
    held: OrdinalSet,
    /// The pods that are detached by what is written on them, by uid: one that is made anew is attached.
    out: BTreeSet<String>,
    /// Since when each pod that is counted has been quiet.
    quiet: BTreeMap<String, Timestamp>,
    born: u32,
}

impl World {
    /// The cluster as it was seen, and from here on as it is imagined.
    pub fn new(seen: &Observed, state: &State, assumed: Assumptions, now: Timestamp) -> Self {
        let mut seen = seen.clone();
        seen.problems.clear();
        seen.deleting = false;
        seen.yields_until = None;
        // No word of the user is new, and no other process had the run.
        seen.actions = state.handled.clone();
        seen.known_since = Timestamp::UNIX_EPOCH;
        if let Some(run) = &state.run {
            seen.process.clone_from(&run.carrier);
        }
        let mut world = Self {
            now,
            assumed,
            ready: BTreeMap::new(),
            gone: BTreeMap::new(),
            in_force: now,
            held: state.detached.clone(),
            out: out(&seen, state),
            quiet: BTreeMap::new(),
            born: 0,
            seen,
        };
        world.settle_pods(state);
        world
    }

    /// What is not as it should be just now will be in a moment.
    fn settle_pods(&mut self, state: &State) {
        for (ordinal, pod) in &mut self.seen.pods {
            pod.counter = CounterView::Present;
            if pod.terminating {
                self.gone.insert(*ordinal, later(self.now, self.assumed.end));
            } else if !pod.ready {
                pod.never_ready = true;
                self.ready.insert(*ordinal, later(self.now, self.assumed.start));
            }
        }
        // An update revision that is not known will be, and until then it is the run's.
        let to = state.run.as_ref().map(|run| run.to.clone()).filter(|to| !to.is_empty());
        if let Some(set) = &mut self.seen.set {
            set.update_revision.get_or_insert_with(|| to.unwrap_or_else(|| NEW.to_owned()));
        }
    }

    /// A new template is set now.
    pub fn set_template(&mut self) {
        if let Some(set) = &mut self.seen.set {
            set.update_revision = Some(NEW.to_owned());
        }
    }

    /// What can be seen now.
    pub fn observe(&mut self, state: &State) -> Observed {
        self.happen();
        let mut seen = self.seen.clone();
        seen.drains = self.quiet.iter().map(|(uid, since)| (uid.clone(), self.drain(*since))).collect();
        seen.levers = self.levers(state);
        seen
    }

    /// The pods that are to be counted from now on, and no others.
    pub fn count(&mut self, state: &State) {
        let wanted = counted(state, &self.seen);
        self.quiet.retain(|uid, _| wanted.contains(uid));
        let first = later(self.now, self.assumed.count);
        for uid in wanted {
            self.quiet.entry(uid).or_insert(first);
        }
    }

    fn drain(&self, since: Timestamp) -> DrainView {
        match Duration::try_from(self.now.duration_since(since)) {
            Ok(length) => DrainView::Quiet(length),
            Err(_) => DrainView::Unknown("not counted yet".into()),
        }
    }

    fn levers(&self, state: &State) -> Vec<LeverView> {
        let saved = state.saved.iter().flat_map(|saved| &saved.levers);
        let confirmed = if self.now >= self.in_force {
            Confirmation::Confirmed(self.in_force)
        } else {
            Confirmation::Pending("not followed yet".into())
        };
        let view = |saved: &SavedLever| {
            let (held, restored, site) = if writes_pods(saved) {
                let nobody = self.held_on_pods(&OrdinalSet::new()).is_empty();
                (self.held_on_pods(&state.detached), nobody, Site::Pods)
            } else {
                (self.held.clone(), self.held.is_empty(), Site::Object { fence: None })
            };
            LeverView {
                name: lever_title(saved),
                held: Held::Ordinals(held),
                confirmed: confirmed.clone(),
                taken: confirmed.clone(),
                restored,
                site,
            }
        };
        saved.map(view).collect()
    }

    /// What a lever that writes pods holds: who is not there gets no connection, and is held while that is wanted.
    fn held_on_pods(&self, wanted: &OrdinalSet) -> OrdinalSet {
        let is_away = |one: &Ordinal| self.seen.pods.get(one).is_none_or(|pod| pod.terminating);
        let mut held: OrdinalSet = wanted.iter().filter(is_away).collect();
        let there = self.seen.pods.iter().filter(|(_, pod)| !pod.terminating);
        held.extend(there.filter(|(_, pod)| self.out.contains(&pod.uid)).map(|(one, _)| *one));
        held
    }

    /// What is due happens.
    fn happen(&mut self) {
        let now = self.now;
        let gone: Vec<Ordinal> =
            self.gone.iter().filter(|(_, at)| **at <= now).map(|(one, _)| *one).collect();
        for ordinal in gone {
            self.gone.remove(&ordinal);
            self.seen.pods.remove(&ordinal);
            self.ready.remove(&ordinal);
        }
        self.give_birth();
        let ready: Vec<Ordinal> =
            self.ready.iter().filter(|(_, at)| **at <= now).map(|(one, _)| *one).collect();
        for ordinal in ready {
            self.ready.remove(&ordinal);
            if let Some(pod) = self.seen.pods.get_mut(&ordinal) {
                *pod = PodView {
                    ready: true,
                    never_ready: false,
                    running: true,
                    image: ImageView::Right,
                    trouble: None,
                    unschedulable: false,
                    ..pod.clone()
                };
            }
        }
    }

    fn give_birth(&mut self) {
        let Some(set) = &self.seen.set else { return };
        let missing = Observed::ordinals(set, 0, set.replicas);
        let missing: Vec<Ordinal> =
            missing.iter().filter(|ordinal| !self.seen.pods.contains_key(ordinal)).collect();
        let (name, revision) = (set.name.clone(), set.update_revision.clone().unwrap_or_default());
        for ordinal in missing {
            self.born += 1;
            let pod = PodView {
                name: format!("{name}-{ordinal}"),
                uid: format!("imagined-{}", self.born),
                revision: revision.clone(),
                ready: false,
                never_ready: true,
                running: false,
                terminating: false,
                restarts: 0,
                image: ImageView::Unknown,
                trouble: None,
                unschedulable: false,
                counter: CounterView::Present,
                fence: None,
            };
            self.seen.pods.insert(ordinal, pod);
            self.ready.insert(ordinal, later(self.now, self.assumed.start));
        }
    }

    /// An effect is made.
    pub fn apply(&mut self, effect: &Effect, plan: &Plan, state: &State) {
        let end = later(self.now, self.assumed.end);
        match effect {
            Effect::Scale { replicas, images } => {
                let Some(set) = &mut self.seen.set else { return };
                set.replicas = *replicas;
                if *images {
                    set.images.extend(plan.images.clone());
                    set.update_revision = Some(NEW.to_owned());
                }
                let last = set.first + *replicas;
                for (ordinal, pod) in self.seen.pods.range_mut(last..) {
                    pod.terminating = true;
                    pod.ready = false;
                    self.gone.entry(*ordinal).or_insert(end);
                }
            }
            Effect::RestoreTemplate => {
                if let (Some(set), Some(run)) = (&mut self.seen.set, &state.run) {
                    set.update_revision = Some(run.from.clone());
                }
            }
            Effect::SetLevers { detached, .. } => {
                self.held.clone_from(detached);
                let there = self.seen.pods.iter().filter(|(_, pod)| !pod.terminating);
                let out = there.filter(|(one, _)| detached.contains(**one));
                self.out = out.map(|(_, pod)| pod.uid.clone()).collect();
                self.in_force = later(self.now, self.assumed.follow);
            }
            Effect::Delete { ordinal, .. } => {
                if let Some(pod) = self.seen.pods.get_mut(ordinal) {
                    pod.terminating = true;
                    pod.ready = false;
                    self.gone.entry(*ordinal).or_insert(end);
                }
            }
            Effect::Fence { ordinal, mark, .. } => {
                if let Some(pod) = self.seen.pods.get_mut(ordinal) {
                    pod.fence = Some(mark.clone());
                }
            }
            Effect::FenceSet { mark } => {
                if let Some(set) = &mut self.seen.set {
                    set.fence.clone_from(mark);
                }
            }
            // Counters are there in each pod; nobody knows what a nudge does; levers carry no mark; the
            // object stays.
            Effect::StartCounter { .. }
            | Effect::Nudge { .. }
            | Effect::FenceLever { .. }
            | Effect::RemoveFinalizer => {}
        }
    }

    /// The next moment at which something happens by itself.
    pub fn next(&self, plan: &Plan) -> Option<Timestamp> {
        let quiet = self.quiet.values().flat_map(|since| [*since, later(*since, plan.drain.stable_for)]);
        let pods = self.ready.values().chain(self.gone.values()).copied();
        pods.chain([self.in_force]).chain(quiet).filter(|at| *at > self.now).min()
    }
}

/// The pods that the run has detached: not those that came in their place.
fn out(seen: &Observed, state: &State) -> BTreeSet<String> {
    let is_new = |ordinal: Ordinal, uid: &String| {
        let mut records = state.pods.iter().filter(|record| record.ordinal == ordinal);
        records.any(|record| record.state == PodState::Replaced || record.uid != *uid)
    };
    let detached = seen.pods.iter().filter(|(ordinal, _)| state.detached.contains(**ordinal));
    let old = detached.filter(|(ordinal, pod)| !is_new(**ordinal, &pod.uid));
    old.map(|(_, pod)| pod.uid.clone()).collect()
}
