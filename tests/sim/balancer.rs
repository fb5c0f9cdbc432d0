//! A load balancer that follows what a lever's object says, some time behind.

use jiff::Timestamp;
use lossless_upgrade::workflow::observed::{Confirmation, Held, LeverView};
use lossless_upgrade::workflow::ordinals::OrdinalSet;

/// How the load balancer behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// It follows after its lag and says so.
    #[default]
    Follows,
    /// It does nothing, and says nothing.
    Deaf,
    /// It follows, but whether a first write was seen cannot be told; a second one settles it.
    Vague,
}

/// One Service with the load balancer behind it.
#[derive(Clone, Debug)]
pub struct Balancer {
    pub name: String,
    pub manner: Manner,
    /// Seconds from a write until it is in force.
    pub lag: i64,
    /// Our entries in the object, as they stand.
    pub value: OrdinalSet,
    /// Whom the load balancer really sends nothing new.
    pub in_force: OrdinalSet,
    /// Our entries are such as we did not write.
    pub foreign: Option<String>,
    /// Somebody undoes each of our writes at once.
    pub contrary: bool,
    /// The object cannot be read.
    pub unreadable: bool,
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
            manner: Manner::Follows,
            lag,
            value: OrdinalSet::new(),
            in_force: OrdinalSet::new(),
            foreign: None,
            contrary: false,
            unreadable: false,
            fence: None,
            version: 0,
            due: None,
            vague: false,
        }
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
        self.value = OrdinalSet::new();
        self.due = Some(now + self.lag);
    }

    /// Somebody else writes their own entries, which the load balancer has to take in too.
    pub fn touch(&mut self, now: i64) {
        self.version += 1;
        self.due = Some(now + self.lag);
    }

    /// One second.
    pub fn tick(&mut self, now: i64) {
        if self.manner != Manner::Deaf && self.due.is_some_and(|due| now >= due) {
            self.in_force = self.value.clone();
            self.due = None;
        }
    }

    /// What can be seen; `since` is when this process first saw the present value confirmed.
    pub fn view(&self, since: Timestamp) -> LeverView {
        let held = match (&self.foreign, self.unreadable) {
            (_, true) => Held::Unreadable("the API server does not answer".into()),
            (Some(what), false) => Held::Foreign(what.clone()),
            (None, false) => Held::Ordinals(self.value.clone()),
        };
        LeverView {
            name: format!("tkeService on Service {}", self.name),
            held,
            confirmed: self.confirmation(since),
            restored: self.restored(),
            fence: self.fence.clone(),
        }
    }

    pub fn confirmed(&self) -> bool {
        self.due.is_none() && !self.vague
    }

    fn confirmation(&self, since: Timestamp) -> Confirmation {
        if self.due.is_some() {
            return Confirmation::Pending("no sync since the write".into());
        }
        if self.vague {
            return Confirmation::Doubtful("the last sync may be older than the write".into());
        }
        Confirmation::Confirmed(since)
    }

    pub fn restored(&self) -> bool {
        self.value.is_empty() && self.foreign.is_none()
    }
}
