//! A load balancer that follows what a lever's object says, some time behind.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lossless_upgrade::workflow::observed::{Confirmation, Held, LeverView, Site};
use lossless_upgrade::workflow::ordinals::{Ordinal, OrdinalSet};

use super::cluster::Pod;
use super::world::World;

/// How the load balancer behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// It follows after its lag and says so.
    #[default]
    Follows,
    /// It does nothing, and says nothing.
    Deaf,
    /// It does nothing, and its controller says why.
    Complains,
    /// It follows, but whether a first write was seen cannot be told; a second one settles it.
    Vague,
}

impl Manner {
    pub const ALL: [Self; 4] = [Self::Follows, Self::Deaf, Self::Complains, Self::Vague];
}

/// What the operator writes for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// An annotation of the Service, which names ordinals.
    Service,
    /// A label of each pod; here those that it was taken off, by identity.
    Pods(BTreeMap<Ordinal, String>),
}

/// One Service with the load balancer behind it.
#[derive(Clone, Debug)]
pub struct Balancer {
    pub name: String,
    pub written: Written,
    pub manner: Manner,
    /// Seconds from a write until it is in force.
    pub lag: i64,
    /// Seconds from when a pod is Ready until it is a backend.
    pub intake: i64,
    /// Our entries in the object, as they stand.
    pub value: OrdinalSet,
    /// Whom the load balancer really sends nothing new.
    pub in_force: OrdinalSet,
    /// The pods that are Ready, by identity, with when it has them as backends: it drops one that is not at once.
    has: BTreeMap<String, i64>,
    /// Our entries are such as we did not write.
    pub foreign: Option<String>,
    /// Somebody undoes each of our writes at once.
    pub contrary: bool,
    /// The object cannot be read.
    pub unreadable: bool,
    /// Its Service was deleted.
    pub gone: bool,
    pub fence: Option<String>,
    /// Moves with every write.
    pub version: u64,
    due: Option<i64>,
    vague: bool,
}

impl Balancer {
    pub fn new(name: &str, lag: i64) -> Self {
        Self {
            name: name.to_owned(),
            written: Written::Service,
            manner: Manner::Follows,
            lag,
            intake: lag,
            value: OrdinalSet::new(),
            in_force: OrdinalSet::new(),
            has: BTreeMap::new(),
            foreign: None,
            contrary: false,
            unreadable: false,
            gone: false,
            fence: None,
            version: 0,
            due: None,
            vague: false,
        }
    }

    /// One that follows a label of the pods.
    pub fn by_label(name: &str, lag: i64) -> Self {
        Self { written: Written::Pods(BTreeMap::new()), ..Self::new(name, lag) }
    }

    /// A pod that was made anew has the label, and gets connections as soon as it is Ready.
    pub fn meet(&mut self, pods: &BTreeMap<Ordinal, Pod>) {
        let Written::Pods(detached) = &mut self.written else { return };
        detached.retain(|ordinal, uid| pods.get(ordinal).is_some_and(|pod| pod.uid == *uid));
        let gone: Vec<Ordinal> = self.value.iter().filter(|one| !detached.contains_key(one)).collect();
        for ordinal in gone {
            self.value.remove(ordinal);
            self.in_force.remove(ordinal);
        }
    }

    /// Its controller follows which pods are Ready, if it follows anything.
    pub fn see(&mut self, pods: &BTreeMap<Ordinal, Pod>, now: i64) {
        let ready = |uid: &String| pods.values().any(|pod| pod.ready && pod.uid == *uid);
        self.has.retain(|uid, _| ready(uid));
        if self.follows() {
            for pod in pods.values().filter(|pod| pod.ready) {
                self.has.entry(pod.uid.clone()).or_insert(now + self.intake);
            }
        }
    }

    /// Whether it sends the pod something new.
    pub fn sends(&self, ordinal: Ordinal, pod: &Pod, now: i64) -> bool {
        !self.gone
            && self.has.get(&pod.uid).is_some_and(|from| now >= *from)
            && !self.in_force.contains(ordinal)
    }

    fn follows(&self) -> bool {
        !matches!(self.manner, Manner::Deaf | Manner::Complains)
    }

    /// The pod whose label is written next, and whether it is taken off.
    pub fn next_pod(&self, pods: &BTreeMap<Ordinal, Pod>, detached: &OrdinalSet) -> Option<(Ordinal, bool)> {
        let mut there = pods.iter().filter(|(_, pod)| pod.terminating.is_none()).map(|(one, _)| *one);
        there
            .find(|one| self.value.contains(*one) != detached.contains(*one))
            .map(|one| (one, detached.contains(one)))
    }

    /// Our own write of a pod's label.
    pub fn label(&mut self, ordinal: Ordinal, uid: &str, off: bool, now: i64) {
        let Written::Pods(detached) = &mut self.written else { return };
        if off {
            detached.insert(ordinal, uid.to_owned());
            self.value.insert(ordinal);
        } else {
            detached.remove(&ordinal);
            self.value.remove(ordinal);
        }
        self.due = Some(now + self.lag);
    }

    /// Our own write.
    pub fn write(&mut self, detached: &OrdinalSet, again: bool, now: i64) {
        self.version += 1;
        self.value = detached.clone();
        self.foreign = self.contrary.then(|| "our entries were changed".to_owned());
        self.vague = self.manner == Manner::Vague && !again;
        self.due = Some(now + self.lag);
    }

    /// Somebody else takes our entries out.
    pub fn overwrite(&mut self, now: i64) {
        self.version += 1;
        if let Written::Pods(detached) = &mut self.written {
            detached.clear();
        }
        self.value = OrdinalSet::new();
        self.due = Some(now + self.lag);
    }

    /// The Service is deleted, or made anew from its manifest. Nobody is sent through one that is gone. A lever on pods
    /// has other ones.
    pub fn vanish(&mut self, gone: bool, now: i64) {
        let gone = gone && matches!(self.written, Written::Service);
        if self.gone && !gone {
            self.foreign = None;
            self.fence = None;
            self.overwrite(now);
        }
        self.gone = gone;
    }

    /// Somebody else writes their own entries, which the load balancer has to take in too.
    pub fn touch(&mut self, now: i64) {
        self.version += 1;
        self.due = Some(now + self.lag);
    }

    /// One second.
    pub fn tick(&mut self, now: i64) {
        if self.follows() && self.due.is_some_and(|due| now >= due) {
            self.in_force = self.value.clone();
            self.due = None;
        }
    }

    /// What can be seen; `since` is when this process first saw the present value confirmed.
    pub fn view(&self, since: Timestamp, world: &World) -> LeverView {
        let (pods, wanted) = (&world.cluster.pods, &world.state.detached);
        let mut value = self.value.clone();
        let site = match &self.written {
            Written::Service => Site::Object { fence: self.fence.clone() },
            Written::Pods(_) => {
                let is_there = |one: &Ordinal| pods.get(one).is_some_and(|pod| pod.terminating.is_none());
                value = value.iter().filter(is_there).collect();
                for ordinal in wanted.iter().filter(|one| !is_there(one)) {
                    value.insert(ordinal);
                }
                Site::Pods
            }
        };
        let held = match &self.foreign {
            _ if self.gone => Held::Gone,
            _ if self.unreadable => Held::Unreadable("the API server does not answer".into()),
            Some(what) => Held::Foreign(what.clone()),
            None => Held::Ordinals(value),
        };
        LeverView {
            name: self.title(),
            held,
            confirmed: self.confirmation(since),
            taken: self.taken(world),
            restored: self.restored(),
            site,
        }
    }

    pub fn title(&self) -> String {
        match &self.written {
            Written::Service => format!("tkeService on Service {}", self.name),
            Written::Pods(_) => format!("podLabel {}", self.name),
        }
    }

    pub fn confirmed(&self) -> bool {
        self.due.is_none() && !self.vague
    }

    fn confirmation(&self, since: Timestamp) -> Confirmation {
        if self.gone {
            return Confirmation::Unknown("the Service is gone".into());
        }
        if self.due.is_some() && self.manner == Manner::Complains {
            return Confirmation::Refused("the cloud answers E4009 arrears".into());
        }
        if self.due.is_some() {
            return Confirmation::Pending("no sync since the write".into());
        }
        if self.vague {
            return Confirmation::Doubtful("the last sync may be older than the write".into());
        }
        Confirmation::Confirmed(since)
    }

    /// Whether it has all pods that are attached.
    fn taken(&self, world: &World) -> Confirmation {
        if self.gone {
            return Confirmation::Unknown("the Service is gone".into());
        }
        let is_new = |one: &Ordinal| !world.state.detached.contains(*one);
        let ready = world.cluster.pods.iter().filter(|(one, pod)| pod.ready && is_new(one));
        let from =
            ready.map(|(_, pod)| self.has.get(&pod.uid).copied().unwrap_or(i64::MAX)).max().unwrap_or(0);
        if world.now >= from {
            Confirmation::Confirmed(world.time_of(from))
        } else if self.manner == Manner::Complains {
            Confirmation::Refused("the cloud answers E4009 arrears".into())
        } else {
            Confirmation::Pending("no sync since it became Ready".into())
        }
    }

    pub fn restored(&self) -> bool {
        self.gone || self.value.is_empty() && self.foreign.is_none()
    }
}
