//! The shell around `decide`: observe, decide, record, act. It may die between any two of these.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use lossless_upgrade::workflow::decision::{Decision, Effect};
use lossless_upgrade::workflow::observed::Observed;
use lossless_upgrade::workflow::ordinals::{Ordinal, OrdinalSet};
use lossless_upgrade::workflow::quiet::{Limits, Sample, Window};
use lossless_upgrade::workflow::reasons::Reason;
use lossless_upgrade::workflow::{counted, decide_with};

use super::balancer::{Balancer, Written};
use super::world::{Probe, World};

/// Where the operator dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    BeforeRecord,
    AfterRecord,
    AfterEffect,
    /// It stalls between the record and the effect, and another process goes on. The effect is held
    /// back in `World::late`.
    Stalled,
}

/// What a stalled process had ordered, on the version that it had looked at.
#[derive(Clone, Debug)]
pub struct Late {
    effect: Effect,
    on: Option<(Owner, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Set,
    Balancer(usize),
    Pod(Ordinal),
    /// A pod's label, and whether it is taken off.
    Label {
        index: usize,
        ordinal: Ordinal,
        off: bool,
    },
}

/// What a process knows that is recorded nowhere.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub(super) windows: BTreeMap<String, Window>,
    /// Since when each load balancer is known to do what its object says.
    pub(super) confirmed: BTreeMap<usize, Timestamp>,
    /// Since when the process has known of the run.
    pub(super) known: Option<(String, Timestamp)>,
    pub last: Option<Observed>,
    wake: Option<Timestamp>,
    pub stalled: Option<Reason>,
    pub message: String,
    /// Waits without a moment at which it would look again.
    pub asleep: bool,
}

/// Effects that one look may lead to before the world must move.
const MOST_EFFECTS: usize = 60;
/// The kubelet's own probes, counted in by the counter.
const KUBELET: f64 = 1.0;

impl World {
    /// The operator's second: it looks when something changed or its time has come.
    pub fn operate(&mut self) {
        if self.gone {
            return;
        }
        self.remember_confirmations();
        self.know_the_run();
        let mut seen = self.observe();
        if self.now % 2 == 0 {
            self.sample(&seen);
            seen.drains = self.drains();
        }
        for _ in 0..MOST_EFFECTS {
            let due = self.memory.wake.is_some_and(|wake| wake <= self.time());
            if self.memory.last.as_ref() == Some(&seen) && !due {
                return;
            }
            if !self.reconcile(seen) {
                return;
            }
            seen = self.observe();
        }
        self.violate(format!("{MOST_EFFECTS} effects at one moment, the last: {}", self.memory.message));
    }

    /// Observe, decide, record, act. True when something was done, so that it is worth another look.
    fn reconcile(&mut self, seen: Observed) -> bool {
        let now = self.time();
        let decision = decide_with(&self.guards, &self.plan, &self.state, &seen, now);
        self.judge(&seen, &decision);
        self.tell(&decision);
        let crash = self.crashes.get(&self.decisions).copied();
        self.decisions += 1;
        if crash == Some(Crash::BeforeRecord) {
            self.crash();
            return false;
        }
        let changed = self.state != decision.state;
        if changed {
            self.counts.records += 1;
        }
        self.counts.trail.extend(&decision.trail);
        self.state = decision.state.clone();
        self.know_the_run();
        if crash == Some(Crash::AfterRecord) {
            self.crash();
            return false;
        }
        if crash == Some(Crash::Stalled) {
            self.late = decision.effect.map(|effect| Late { on: self.version(&effect), effect });
            self.crash();
            return false;
        }
        self.keep(seen, &decision);
        let Some(effect) = decision.effect else {
            if !changed && decision.wake.is_some_and(|wake| wake <= now) {
                self.violate(format!("it looks again at once and nothing changed: {}", decision.message));
            }
            return changed;
        };
        self.apply(&effect);
        if crash == Some(Crash::AfterEffect) {
            self.crash();
            return false;
        }
        !self.gone
    }

    /// One object at a time, the first that is not as it should be.
    fn next_write(&self, detached: &OrdinalSet, again: bool) -> Option<(Owner, u64)> {
        self.balancers.iter().enumerate().find_map(|(index, balancer)| match balancer.written {
            Written::Service => {
                let wrong = balancer.foreign.is_some() || balancer.value != *detached;
                (!balancer.gone && (wrong || (again && !balancer.confirmed())))
                    .then_some((Owner::Balancer(index), balancer.version))
            }
            Written::Pods(_) => {
                let (ordinal, off) = balancer.next_pod(&self.cluster.pods, detached)?;
                Some((Owner::Label { index, ordinal, off }, self.cluster.pods[&ordinal].version))
            }
        })
    }

    fn set_lever(&mut self, owner: Owner, detached: &OrdinalSet, again: bool) {
        let now = self.now;
        self.counts.levers += 1;
        match owner {
            Owner::Set | Owner::Pod(_) => {}
            Owner::Balancer(index) => {
                self.balancers[index].write(detached, again, now);
                self.memory.confirmed.remove(&index);
            }
            Owner::Label { index, ordinal, off } => {
                if let Some(pod) = self.cluster.pods.get_mut(&ordinal) {
                    pod.version += 1;
                    self.balancers[index].label(ordinal, &pod.uid, off, now);
                }
                self.memory.confirmed.remove(&index);
            }
        }
    }

    /// The object that an effect writes, and the version that it is looked at in.
    fn version(&self, effect: &Effect) -> Option<(Owner, u64)> {
        match effect {
            Effect::Scale { .. } | Effect::RestoreTemplate | Effect::FenceSet { .. } => {
                self.cluster.set.as_ref().map(|set| (Owner::Set, set.version))
            }
            Effect::SetLevers { detached, again } => self.next_write(detached, *again),
            Effect::Delete { ordinal, uid } => {
                let pod = self.cluster.pods.get(ordinal).filter(|pod| pod.uid == *uid);
                pod.map(|pod| (Owner::Pod(*ordinal), pod.version))
            }
            Effect::FenceLever { .. }
            | Effect::StartCounter { .. }
            | Effect::Nudge { .. }
            | Effect::Fence { .. }
            | Effect::RemoveFinalizer => None,
        }
    }

    /// The stalled process wakes up: what it had ordered is made if its object has not moved since.
    /// Answers whether it was made.
    pub fn late_lands(&mut self) -> bool {
        let Some(late) = self.late.take() else { return false };
        let unmoved = late.on.is_some_and(|(owner, version)| match owner {
            Owner::Set => self.cluster.set.as_ref().is_some_and(|set| set.version == version),
            Owner::Balancer(index) => self.balancers[index].version == version,
            Owner::Pod(ordinal) | Owner::Label { ordinal, .. } => {
                self.cluster.pods.get(&ordinal).is_some_and(|pod| pod.version == version)
            }
        });
        if unmoved {
            self.happens(&format!("a stalled process wakes up: {:?}", late.effect));
            self.judge_late(&late.effect);
            match (&late.effect, late.on) {
                (Effect::SetLevers { detached, again }, Some((owner, _))) => {
                    self.set_lever(owner, &detached.clone(), *again);
                }
                (effect, _) => self.apply(effect),
            }
        }
        unmoved
    }

    fn keep(&mut self, seen: Observed, decision: &Decision) {
        self.memory.last = Some(seen);
        self.memory.wake = decision.wake;
        self.memory.asleep = decision.effect.is_none() && decision.wake.is_none();
        self.memory.stalled = decision.stalled;
        self.memory.message.clone_from(&decision.message);
    }

    fn know_the_run(&mut self) {
        let run = self.state.run.as_ref().map(|run| run.id.clone());
        if self.memory.known.as_ref().map(|(id, _)| id) != run.as_ref() {
            self.memory.known = run.map(|id| (id, self.time()));
        }
    }

    fn remember_confirmations(&mut self) {
        let now = self.time();
        for (index, balancer) in self.balancers.iter().enumerate() {
            if balancer.confirmed() {
                self.memory.confirmed.entry(index).or_insert(now);
            } else {
                self.memory.confirmed.remove(&index);
            }
        }
    }

    fn apply(&mut self, effect: &Effect) {
        let now = self.now;
        match effect {
            Effect::Scale { replicas, images } => {
                self.counts.scales += 1;
                let image = self.plan.images.values().next().cloned().filter(|_| *images);
                self.cluster.write(now, Some(*replicas), image.as_deref(), true);
            }
            Effect::RestoreTemplate => {
                self.counts.templates += 1;
                let template = self.state.saved.as_ref().and_then(|saved| saved.template.clone());
                self.cluster.write(now, None, template.as_deref(), true);
            }
            Effect::SetLevers { detached, again } => {
                if let Some((owner, _)) = self.next_write(detached, *again) {
                    self.set_lever(owner, detached, *again);
                }
            }
            Effect::StartCounter { ordinal, uid } => {
                self.counts.counters += 1;
                if let Some(pod) = self.cluster.pods.get_mut(ordinal).filter(|pod| pod.uid == *uid) {
                    pod.counter = Some(now);
                }
            }
            Effect::Nudge { pods } => {
                for (ordinal, uid) in pods {
                    if !self.counts.nudged.insert(uid.clone()) {
                        self.violate(format!("{uid} is nudged twice"));
                    }
                    // Its clients are told to leave, and do so soon.
                    let pod = self.cluster.pods.get_mut(ordinal).filter(|pod| pod.uid == *uid);
                    for end in pod.into_iter().flat_map(|pod| &mut pod.connections) {
                        *end = (*end).min(now + 2);
                    }
                }
            }
            Effect::Delete { ordinal, uid } => {
                let image =
                    self.cluster.pods.get(ordinal).filter(|pod| pod.uid == *uid).map(|pod| pod.image.clone());
                if self.counts.deleted.insert(uid.clone(), image.unwrap_or_default()).is_some() {
                    self.violate(format!("{uid} is deleted twice"));
                }
                self.cluster.delete(*ordinal, now, true);
            }
            Effect::Fence { ordinal, uid, mark } => {
                self.counts.fences += 1;
                if let Some(pod) = self.cluster.pods.get_mut(ordinal).filter(|pod| pod.uid == *uid) {
                    pod.fence = Some(mark.clone());
                    pod.version += u64::from(self.marks_move);
                }
            }
            Effect::FenceSet { mark } => {
                self.counts.fences += 1;
                if let Some(set) = &mut self.cluster.set {
                    set.fence.clone_from(mark);
                    set.version += u64::from(self.marks_move);
                }
            }
            Effect::FenceLever { lever, mark } => {
                self.counts.fences += 1;
                let name = |one: &&mut Balancer| one.title() == *lever;
                if let Some(balancer) = self.balancers.iter_mut().find(name) {
                    balancer.fence.clone_from(mark);
                    balancer.version += u64::from(self.marks_move);
                }
            }
            Effect::RemoveFinalizer => self.gone = true,
        }
    }

    /// Counts the connections of the pods that are to be counted.
    fn sample(&mut self, seen: &Observed) {
        let wanted = counted(&self.state, seen);
        self.memory.windows.retain(|uid, _| wanted.contains(uid));
        let at = Duration::from_secs(self.now.unsigned_abs());
        for uid in wanted {
            let Some(pod) = self.cluster.pods.values().find(|pod| pod.uid == uid) else { continue };
            let limits = Limits { threshold: 0, new_per_second: 3.0, idle_after: None };
            let answer = match self.probe {
                // No counter and no endpoint answers in a pod in which nothing runs.
                _ if !pod.running => Some(Sample::Unknown("nothing runs in it".into())),
                Probe::Silent | Probe::Refused => Some(Sample::Unknown("the probe timed out".into())),
                Probe::Counter if pod.counter.is_none_or(|since| self.now < since + 2) => None,
                Probe::Counter | Probe::Http => Some(Sample::Count {
                    connections: pod.connections.len() as u64,
                    new_per_second: Some(f64::from(pod.opened) + KUBELET),
                }),
            };
            let window =
                self.memory.windows.entry(uid).or_insert_with(|| Window::new(limits, Duration::from_secs(6)));
            if let Some(answer) = answer {
                window.push(at, answer);
            }
        }
    }
}
