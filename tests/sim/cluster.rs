//! The StatefulSet, its controller, its pods and their connections.

use std::collections::BTreeMap;
use std::ops::Range;

use lossless_upgrade::workflow::ordinals::Ordinal;

/// How the pods of an image behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Ready some time after the start.
    Good,
    /// Runs, but its readiness probe never answers.
    NeverReady,
    /// Its container ends at once, again and again.
    Crashes,
    /// Ready, and so many seconds later it restarts.
    Restarts(i64),
    /// No node has room for it.
    FindsNoRoom,
}

/// The StatefulSet.
#[derive(Clone, Debug)]
pub struct Set {
    pub uid: String,
    pub replicas: u32,
    pub image: String,
    pub ordered_ready: bool,
    pub on_delete: bool,
    pub deleting: bool,
    pub fence: Option<String>,
    /// Moves with every write.
    pub version: u64,
    /// The ordinals that go because we lowered the replicas: these are judged.
    pub taken_by_us: Range<Ordinal>,
    /// What the controller has taken notice of.
    noticed: (u32, String),
    /// When the spec was last written, while the controller has not taken notice of it.
    unnoticed: Option<i64>,
}

/// A pod.
#[derive(Clone, Debug)]
pub struct Pod {
    pub uid: String,
    pub image: String,
    pub born: i64,
    pub ready: bool,
    pub ever_ready: bool,
    pub running: bool,
    pub restarts: u32,
    /// When it will be gone.
    pub terminating: Option<i64>,
    pub deleted_by_us: bool,
    /// When each connection ends.
    pub connections: Vec<i64>,
    /// New connections in the last second.
    pub opened: u32,
    /// When the drain counter in it was started.
    pub counter: Option<i64>,
    pub fence: Option<String>,
    /// Moves with our marks, its label and its deletion; no pod before it had the same. A real one moves with
    /// much more, so that a late write has it harder there.
    pub version: u64,
    /// Its readiness probe fails until then.
    pub sick_until: i64,
    restarted: i64,
}

/// Everything that stands behind the API server.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub set: Option<Set>,
    /// `spec.ordinals.start` of the StatefulSet.
    pub first: Ordinal,
    pub pods: BTreeMap<Ordinal, Pod>,
    pub manners: BTreeMap<String, Manner>,
    /// Seconds from a pod's start until it is Ready.
    pub ready_after: i64,
    /// Seconds from a deletion until the pod is gone.
    pub grace: i64,
    /// Seconds from a change of the spec until the controller has taken notice.
    pub lag: i64,
    /// Lengths of the connections, in turn.
    pub lengths: Vec<i64>,
    /// Whether the controller rolls the pods where the update strategy lets it.
    pub rolls: bool,
    /// Ordinals from here on are forbidden by a quota.
    pub quota: Option<Ordinal>,
    births: u32,
}

impl Cluster {
    /// A StatefulSet whose pods all run `v1` and have done so for long.
    pub fn new(first: Ordinal, replicas: u32) -> Self {
        let set = Set {
            uid: "set-1".into(),
            replicas,
            image: "v1".into(),
            ordered_ready: false,
            on_delete: true,
            deleting: false,
            fence: None,
            version: 0,
            taken_by_us: 0..0,
            noticed: (replicas, "v1".into()),
            unnoticed: None,
        };
        let mut cluster = Self {
            set: Some(set),
            first,
            pods: BTreeMap::new(),
            manners: BTreeMap::new(),
            ready_after: 4,
            grace: 3,
            lag: 1,
            lengths: vec![1, 3, 7],
            rolls: true,
            quota: None,
            births: 0,
        };
        for ordinal in cluster.ordinals(replicas) {
            cluster.give_birth(ordinal, "v1".into(), -100);
        }
        cluster
    }

    fn give_birth(&mut self, ordinal: Ordinal, image: String, now: i64) {
        self.births += 1;
        let pod = Pod {
            uid: format!("uid-{}", self.births),
            image,
            born: now,
            ready: false,
            ever_ready: false,
            running: false,
            restarts: 0,
            terminating: None,
            deleted_by_us: false,
            connections: Vec::new(),
            opened: 0,
            counter: None,
            fence: None,
            version: u64::from(self.births) << 32,
            sick_until: i64::MIN,
            restarted: now,
        };
        self.pods.insert(ordinal, pod);
    }

    /// The ordinals of so many replicas.
    fn ordinals(&self, replicas: u32) -> Range<Ordinal> {
        self.first..self.first + replicas
    }

    /// Somebody writes the spec.
    pub fn write(&mut self, now: i64, replicas: Option<u32>, image: Option<&str>, ours: bool) {
        let first = self.first;
        let Some(set) = &mut self.set else { return };
        set.version += 1;
        if let Some(replicas) = replicas.filter(|replicas| *replicas != set.replicas) {
            set.taken_by_us = if ours { first + replicas..first + set.replicas } else { 0..0 };
            set.replicas = replicas;
        }
        if let Some(image) = image {
            image.clone_into(&mut set.image);
        }
        set.unnoticed = Some(now);
    }

    /// `status.updateRevision`, where the status is not behind.
    pub fn update_revision(&self) -> Option<String> {
        let set = self.set.as_ref()?;
        set.unnoticed.is_none().then(|| revision(&set.image))
    }

    /// Deletes a pod, as the API server does.
    pub fn delete(&mut self, ordinal: Ordinal, now: i64, ours: bool) {
        let grace = self.grace;
        if let Some(pod) = self.pods.get_mut(&ordinal).filter(|pod| pod.terminating.is_none()) {
            pod.terminating = Some(now + grace);
            pod.version += 1;
            pod.deleted_by_us = ours;
        }
    }

    /// Makes the StatefulSet of the same name anew, over the pods that are there.
    pub fn replace_set(&mut self, now: i64) {
        if let Some(set) = &mut self.set {
            set.uid.push('x');
            set.fence = None;
            set.version += 1;
            set.taken_by_us = 0..0;
            set.unnoticed = Some(now);
        }
    }

    /// Deletes the StatefulSet, and its pods with it.
    pub fn delete_set(&mut self, now: i64) {
        self.set = None;
        for ordinal in self.pods.keys().copied().collect::<Vec<_>>() {
            self.delete(ordinal, now, false);
        }
    }

    /// One second of pods and of the StatefulSet controller. Answers which pods the controller
    /// began to remove because of a scale-down.
    pub fn tick(&mut self, now: i64) -> Vec<Ordinal> {
        self.pods.retain(|_, pod| pod.terminating.is_none_or(|gone| now < gone));
        for pod in self.pods.values_mut() {
            let manner = self.manners.get(&pod.image).copied().unwrap_or(Manner::Good);
            pod.live(manner, self.ready_after, now);
        }
        self.control(now)
    }

    fn control(&mut self, now: i64) -> Vec<Ordinal> {
        let lag = self.lag;
        let Some(set) = &mut self.set else { return Vec::new() };
        if set.unnoticed.is_some_and(|since| now >= since + lag) {
            set.noticed = (set.replicas, set.image.clone());
            set.unnoticed = None;
        }
        let (replicas, image) = set.noticed.clone();
        let (ordered, rolling) = (set.ordered_ready, !set.on_delete);
        if set.deleting {
            return Vec::new();
        }
        let ordinals = self.ordinals(replicas);
        for ordinal in ordinals.clone() {
            let forbidden = self.quota.is_some_and(|quota| ordinal >= quota);
            match self.pods.get(&ordinal) {
                // A controller that cannot create a pod goes no further, not even to remove others.
                None if forbidden => return Vec::new(),
                None => self.give_birth(ordinal, image.clone(), now),
                Some(_) => {}
            }
            if ordered && self.pods.get(&ordinal).is_some_and(|pod| !pod.ready) {
                return Vec::new();
            }
        }
        if rolling && self.rolls {
            self.roll(&ordinals, &image, now);
        }
        let mut condemned: Vec<Ordinal> =
            self.pods.range(ordinals.end..).map(|(ordinal, _)| *ordinal).rev().collect();
        if ordered {
            condemned.truncate(1);
        }
        condemned.retain(|ordinal| self.pods.get(ordinal).is_some_and(|pod| pod.terminating.is_none()));
        for ordinal in &condemned {
            self.delete(*ordinal, now, false);
        }
        condemned
    }
}

impl Cluster {
    /// A rolling update: the highest pod of another image goes while all are Ready.
    fn roll(&mut self, ordinals: &Range<Ordinal>, image: &str, now: i64) {
        let ready = |ordinal: Ordinal| self.pods.get(&ordinal).is_some_and(|pod| pod.ready);
        let all_ready = ordinals.clone().all(ready);
        let next = self.pods.range(ordinals.clone()).rev().find(|(_, pod)| pod.image != image);
        if let Some(ordinal) = next.map(|(ordinal, _)| *ordinal).filter(|_| all_ready) {
            self.delete(ordinal, now, false);
        }
    }
}

impl Pod {
    fn live(&mut self, manner: Manner, ready_after: i64, now: i64) {
        self.connections.retain(|end| *end > now);
        self.opened = 0;
        let started = now >= self.restarted + ready_after;
        match manner {
            Manner::Restarts(after) if now >= self.restarted + ready_after + after => {
                self.restarts += 1;
                self.restarted = now;
                self.connections.clear();
            }
            Manner::Crashes if now >= self.restarted + 10 => {
                self.restarts += 1;
                self.restarted = now;
            }
            Manner::Good
            | Manner::NeverReady
            | Manner::Crashes
            | Manner::Restarts(_)
            | Manner::FindsNoRoom => {}
        }
        let can_be_ready = matches!(manner, Manner::Good | Manner::Restarts(_));
        self.running = now > self.born && !matches!(manner, Manner::Crashes | Manner::FindsNoRoom);
        self.ready = can_be_ready
            && started
            && now >= self.restarted + ready_after
            && now >= self.sick_until
            && self.terminating.is_none();
        self.ever_ready |= self.ready;
    }
}

/// The name of an image's revision: the same template has the same name.
pub fn revision(image: &str) -> String {
    format!("web-{image}")
}
