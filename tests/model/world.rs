//! A cluster so small that every order of events in it can be tried. What is not needed to tell two
//! situations apart is left out, so that there are few of them.

use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};

use crate::workflow::state::State;

use super::normal::{Record, Records, uid};
use super::properties::Broken;

/// Ordinals that can exist: three pods, two of surge, one that the user adds.
pub const MOST: usize = 6;

/// A set of ordinals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pods(pub u8);

impl Pods {
    /// Those of `ordinals` that are so.
    pub fn which(is: impl Fn(usize) -> bool) -> Self {
        Self((0..MOST).filter(|ordinal| is(*ordinal)).fold(0, |all, ordinal| all | 1 << ordinal))
    }

    pub const fn has(self, ordinal: usize) -> bool {
        self.0 & 1 << ordinal != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }
}

/// A version of the application; its revision has the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Image {
    V1,
    V2,
    V3,
}

impl Image {
    pub const ALL: [Self; 3] = [Self::V1, Self::V2, Self::V3];

    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::V3 => "v3",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|image| image.name() == name)
    }
}

/// The annotation by which a process fences off the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mark {
    #[default]
    None,
    /// By the process that runs.
    Ours,
    /// By one before it.
    Older,
}

/// The StatefulSet as it stands in the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Set {
    pub replicas: u8,
    pub image: Image,
    /// What its controller knows of: the same, or what was there before.
    pub noticed: (u8, Image),
    /// The controller has said so.
    pub current: bool,
    pub mark: Mark,
    /// What goes because we lowered the replicas.
    pub taken_by_us: Pods,
    /// Since then somebody took our entries out of the lever: that connections came back is theirs.
    pub excused: bool,
}

/// How a pod does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    /// Was never Ready.
    New,
    Ready,
    /// Runs and is not Ready, but was.
    Sick,
    /// Does not run, but did.
    Down,
}

/// A pod. Its uid is not kept: the record says `old` where it means the pod before this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pod {
    pub image: Image,
    pub life: Life,
    pub restarted: bool,
    pub terminating: bool,
    pub deleted_by_us: bool,
    /// It may have open connections.
    pub owing: bool,
    /// It carries the mark of the step that the run is in.
    pub fenced: bool,
}

impl Pod {
    /// All of it in nine bits.
    fn bits(self) -> u64 {
        let flags = [self.restarted, self.terminating, self.deleted_by_us, self.owing, self.fenced];
        let kind = self.image as u64 * 4 + self.life as u64;
        flags.into_iter().fold(kind, |bits, flag| bits << 1 | u64::from(flag))
    }

    pub const fn new(image: Image) -> Self {
        Self {
            image,
            life: Life::New,
            restarted: false,
            terminating: false,
            deleted_by_us: false,
            owing: false,
            fenced: false,
        }
    }

    pub fn ready(self) -> bool {
        self.life == Life::Ready && !self.terminating
    }
}

/// The pod at each ordinal, if there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slots([Option<Pod>; MOST]);

/// Each place has ten bits of one number, or two worlds would be taken for one.
const _: () = assert!(MOST * 10 <= 64 && (Image::ALL.len() * 4) << 5 <= 1 << 9);

/// All in one number: the states are hashed more often than anything else is done.
impl Hash for Slots {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let slot = |slot: &Option<Pod>| slot.map_or(0, |pod| 1 << 9 | pod.bits());
        state.write_u64(self.0.iter().fold(0, |bits, one| bits << 10 | slot(one)));
    }
}

impl Deref for Slots {
    type Target = [Option<Pod>; MOST];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Slots {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// The Service's annotation and the load balancer behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lever {
    /// Whom the annotation keeps connections from.
    pub value: Pods,
    /// Whom the load balancer keeps connections from.
    pub in_force: Pods,
    /// The load balancer has yet to take in the annotation.
    pub pending: bool,
    /// Our last write was made, and this process does not know when.
    pub doubtful: bool,
    pub mark: Mark,
}

/// What a process has counted on a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Count {
    /// It is not asked.
    #[default]
    Off,
    /// It has not answered.
    Silent,
    Busy,
    Quiet,
}

/// An act that a process has recorded and not carried out. It is kept while the object that it is
/// about is at the version that was looked at: from then on the API server refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Act {
    pub what: What,
    /// Since the look somebody took our entries out of the lever.
    pub excused: bool,
}

/// An effect without what can be told from the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    Scale { replicas: u8, images: bool },
    Template,
    Levers { detached: Pods, again: bool },
    Delete(usize),
    Fence(usize),
    MarkSet(Mark),
    MarkLever(Mark),
    Finalizer,
}

/// What the user said in an annotation, or the deletion of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Word {
    Pause,
    Abort,
    RollBack,
    Retry,
    Delete,
}

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub set: Set,
    pub pods: Slots,
    pub lever: Lever,
    /// What is recorded in the object's status.
    pub record: Record,
    /// What stands in the object: what the user said, and the image where the operator sets it.
    pub said: Option<Word>,
    pub wish: Option<Image>,
    /// The object is gone.
    pub gone: bool,
    /// The replicas that the user wants.
    pub wanted: u8,
    /// Pods of V2 never become Ready.
    pub bad: bool,
    /// The deadline of a deletion of the object has passed.
    pub overdue: bool,
    /// What the process knows that is recorded nowhere.
    pub counts: [Count; MOST],
    /// What an older process has recorded and may still do.
    pub late: Option<Act>,
    /// The process has begun a look before the StatefulSet changed, and will see all else as it is then.
    pub half: Option<Set>,
    /// Faults and edits that happened on the way here.
    pub faults: u8,
    pub edits: u8,
    /// What happened that may never happen.
    pub broken: Option<Broken>,
}

impl World {
    /// `replicas` pods of V1 that serve, and a new version that the user has just set.
    pub fn new(replicas: u8, record: Record, wish: Option<Image>, bad: bool) -> Self {
        let image = if wish.is_some() { Image::V1 } else { Image::V2 };
        let set = Set {
            replicas,
            image,
            noticed: (replicas, Image::V1),
            current: wish.is_some(),
            mark: Mark::None,
            taken_by_us: Pods::default(),
            excused: false,
        };
        let mut pods = Slots::default();
        for pod in pods.iter_mut().take(usize::from(replicas)) {
            *pod = Some(Pod { life: Life::Ready, owing: true, ..Pod::new(Image::V1) });
        }
        Self {
            set,
            pods,
            lever: Lever::default(),
            record,
            said: None,
            wish,
            gone: false,
            wanted: replicas,
            bad,
            overdue: false,
            counts: [Count::Off; MOST],
            late: None,
            half: None,
            faults: u8::from(bad),
            edits: 0,
            broken: None,
        }
    }

    /// The same world, whatever went wrong before.
    pub fn without_counts(self) -> Self {
        Self { faults: 0, edits: 0, ..self }
    }

    /// The pods that are so.
    pub fn which(&self, is: impl Fn(Pod) -> bool) -> Pods {
        Pods::which(|ordinal| self.pods[ordinal].is_some_and(&is))
    }

    /// Whether new connections reach the pod.
    pub fn reached(&self, ordinal: usize) -> bool {
        self.pods[ordinal].is_some_and(Pod::ready) && !self.lever.in_force.has(ordinal)
    }

    /// A pod's object moves to another version: what was looked at before is refused.
    pub fn touch_pod(&mut self, ordinal: usize) {
        self.outdate(|what| what == What::Delete(ordinal));
    }

    pub fn touch_set(&mut self) {
        self.outdate(|what| matches!(what, What::Scale { .. } | What::Template | What::MarkSet(_)));
    }

    pub fn touch_lever(&mut self) {
        self.outdate(|what| matches!(what, What::Levers { .. } | What::MarkLever(_)));
    }

    /// Another process carries on, and remembers nothing.
    pub fn hand_over(&mut self, records: &Records) {
        self.counts = [Count::Off; MOST];
        self.half = None;
        self.rename(records);
    }

    /// What was written by the process that ran until now is by an older one.
    pub fn rename(&mut self, records: &Records) {
        self.record = records.handed_over(self.record);
        for mark in [&mut self.set.mark, &mut self.lever.mark] {
            if *mark == Mark::Ours {
                *mark = Mark::Older;
            }
        }
    }

    fn outdate(&mut self, concerns: impl Fn(What) -> bool) {
        self.late = self.late.filter(|act| !concerns(act.what));
    }

    /// Somebody took our entries out of the lever: what follows is not our doing.
    pub fn excuse(&mut self) {
        if let Some(act) = &mut self.late {
            act.excused = true;
        }
        self.set.excused = !self.set.taken_by_us.is_empty();
    }

    /// Leaves out what the record makes no use of any more.
    pub fn forget(&mut self, state: &State) {
        // Once the processes before are fenced off the marks say nothing; stories see them taken off.
        if state.run.as_ref().is_none_or(|run| !run.fencing) {
            (self.set.mark, self.lever.mark) = (Mark::None, Mark::None);
        }
        for (ordinal, pod) in self.pods.iter_mut().enumerate() {
            let recorded = state.pods.iter().any(|record| record.uid == uid(ordinal));
            if let Some(pod) = pod.as_mut().filter(|_| !recorded) {
                (pod.fenced, pod.restarted) = (false, false);
            }
        }
    }

    /// Leaves out what makes no difference any more, and connects clients wherever they can.
    pub fn settle(&mut self) {
        let reached = Pods::which(|ordinal| self.reached(ordinal));
        for (ordinal, slot) in self.pods.iter_mut().enumerate() {
            match slot {
                Some(pod) => {
                    pod.owing = !pod.terminating && (pod.owing || reached.has(ordinal));
                    pod.fenced &= !pod.terminating;
                }
                None => self.counts[ordinal] = Count::Off,
            }
            // A probe tells the truth of who is kept out; for who is let in it depends on the moment.
            if self.counts[ordinal] == Count::Silent && !reached.has(ordinal) {
                let owing = slot.is_some_and(|pod| pod.owing);
                self.counts[ordinal] = if owing { Count::Busy } else { Count::Quiet };
            }
        }
        if self.set.current {
            let there = self.which(|pod| !pod.terminating);
            self.set.taken_by_us = self.set.taken_by_us.and(there);
        }
        self.set.excused &= !self.set.taken_by_us.is_empty();
    }
}
