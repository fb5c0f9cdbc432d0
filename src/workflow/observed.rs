//! What was seen of the cluster in one look. Unknown is a value of its own, never zero or ready.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::ordinals::{Ordinal, OrdinalSet};
use super::reasons::Problem;
use super::state::SavedLever;
use super::words::Actions;

/// One look at everything that concerns an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The object is being deleted and waits for its finalizer.
    pub deleting: bool,
    /// The whole namespace is going: nothing is worth waiting for.
    pub namespace_terminating: bool,
    /// The StatefulSet; none: there is none.
    pub set: Option<SetView>,
    /// Its pods that exist.
    pub pods: BTreeMap<Ordinal, PodView>,
    /// What the levers hold, one entry for each object written.
    pub levers: Vec<LeverView>,
    /// What the probes say, by pod uid.
    pub drains: BTreeMap<String, DrainView>,
    /// What stands against beginning a run. Only looked at while no run is under way.
    pub problems: Vec<Problem>,
    /// What a run beginning now would have to put back. Only looked at while no run is under way.
    pub levers_before: Vec<SavedLever>,
    /// Pod templates by revision name, as JSON text. Only looked at while no run is under way.
    pub templates: BTreeMap<String, String>,
    /// The user's words on the object.
    pub actions: Actions,
    /// The process that looks. No two processes have the same name, nor has one that cannot tell
    /// what became of its last write the same as before.
    pub process: String,
    /// Another process took the run over from this one and still carries it: until then it is left alone.
    pub yields_until: Option<Timestamp>,
    /// Since when this process has known of the run. What was recorded before, another one has
    /// recorded by a clock that may differ.
    pub known_since: Timestamp,
}

/// The StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetView {
    /// Its name, for messages.
    pub name: String,
    /// Its identity.
    pub uid: String,
    /// `spec.replicas`.
    pub replicas: u32,
    /// `spec.ordinals.start`.
    pub first: Ordinal,
    /// `status.updateRevision`; none while the status lags the spec: then it is Unknown.
    pub update_revision: Option<String>,
    /// The update strategy is `OnDelete`.
    pub on_delete: bool,
    /// Pods are started in order, each waiting for the one before.
    pub ordered_ready: bool,
    /// It has volume claim templates.
    pub claims: bool,
    /// Images of the template by container.
    pub images: BTreeMap<String, String>,
    /// It is being deleted.
    pub deleting: bool,
    /// The value of our fence annotation.
    pub fence: Option<String>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodView {
    /// Its name, for messages.
    pub name: String,
    /// Its identity.
    pub uid: String,
    /// Label `controller-revision-hash`.
    pub revision: String,
    /// Ready, readiness gates included, and not on its way out.
    pub ready: bool,
    /// It was never Ready in its life, as far as its conditions tell.
    pub never_ready: bool,
    /// A container of it runs.
    pub running: bool,
    /// It is being deleted.
    pub terminating: bool,
    /// Sum of its containers' restarts.
    pub restarts: u32,
    /// Whether the images that run are the template's.
    pub image: ImageView,
    /// Why it does not start, in the kubelet's or scheduler's words.
    pub trouble: Option<String>,
    /// It found no node.
    pub unschedulable: bool,
    /// The drain counter inside it.
    pub counter: CounterView,
    /// The value of our fence annotation.
    pub fence: Option<String>,
}

/// Whether a pod runs what the template says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageView {
    /// Every container runs its image.
    Right,
    /// Not told yet.
    Unknown,
    /// A container runs something else.
    Wrong(String),
}

/// The ephemeral container that counts connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CounterView {
    /// Not asked for by any probe.
    NotNeeded,
    /// None is there, or the last one ended: one may be started.
    Absent,
    /// It is there.
    Present,
    /// It cannot be had; in words.
    Refused(String),
}

/// One object that a lever writes, or all pods where it writes these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeverView {
    /// Kind and name, for messages: `tkeService on Service nginx`.
    pub name: String,
    /// Whose connections it keeps away.
    pub held: Held,
    /// Whether what it holds is in force.
    pub confirmed: Confirmation,
    /// Whether the load balancer sends connections to every pod that is attached and Ready: those of the batch, and who
    /// was made anew meanwhile.
    pub taken: Confirmation,
    /// Nothing of ours is left in it, byte for byte where nobody else wrote since.
    pub restored: bool,
    /// What it writes.
    pub site: Site,
}

impl LeverView {
    /// Whose connections it keeps away.
    ///
    /// # Errors
    /// What keeps that from being told.
    pub fn ordinals(&self) -> Result<&OrdinalSet, String> {
        match &self.held {
            Held::Ordinals(ordinals) => Ok(ordinals),
            Held::Foreign(what) => Err(format!("{}: {what}", self.name)),
            Held::Unreadable(why) => Err(format!("{} cannot be read: {why}", self.name)),
            Held::Gone => Err(format!("{} is gone", self.name)),
        }
    }

    /// Whether it is known to keep new connections from the ordinal.
    #[must_use]
    pub fn holds(&self, ordinal: Ordinal) -> bool {
        matches!(&self.held, Held::Ordinals(held) if held.contains(ordinal))
    }
}

/// What a lever writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Site {
    /// One object, which names ordinals: a pod that is made again is still detached.
    Object {
        /// The value of our fence annotation; it is no part of `restored`.
        fence: Option<String>,
    },
    /// Each pod itself. An ordinal without a pod is held, and is not any more when a pod comes.
    Pods,
}

/// What a lever's object holds of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Exactly these ordinals, everywhere.
    Ordinals(OrdinalSet),
    /// Something that we did not write.
    Foreign(String),
    /// It cannot be read.
    Unreadable(String),
    /// The object is gone: it sends nobody, and may come back.
    Gone,
}

/// Whether the load balancer does what the lever says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// Yes, and this process has known since then.
    Confirmed(Timestamp),
    /// Not yet; this is waited for.
    Pending(String),
    /// It cannot be told whether the last sync was ours; writing again settles it.
    Doubtful(String),
    /// It cannot be told at all.
    Unknown(String),
    /// Not as far as can be told, and the load balancer's controller says what keeps it.
    Refused(String),
}

/// What the probes say about one pod.
#[derive(Clone, Debug, PartialEq)]
pub enum DrainView {
    /// At least one does not answer.
    Unknown(String),
    /// Above a threshold, or with new connections that nothing explains.
    Busy {
        /// Connections, the highest of the probes.
        connections: u64,
        /// What holds it, in words with the number.
        why: String,
    },
    /// Every probe at or below its threshold, seen for this long.
    Quiet(Duration),
}

impl LeverView {
    /// Whether another write settles what cannot be told.
    #[must_use]
    pub const fn is_doubtful(&self) -> bool {
        matches!(self.confirmed, Confirmation::Doubtful(_)) || matches!(self.taken, Confirmation::Doubtful(_))
    }

    /// Our mark on the one object that it writes.
    #[must_use]
    pub const fn fence(&self) -> Option<&String> {
        match &self.site {
            Site::Object { fence } => fence.as_ref(),
            Site::Pods => None,
        }
    }
}

impl SetView {
    /// Whether the ordinal lies within the replicas: a pod beyond them, or before the first one, goes in a moment.
    #[must_use]
    pub fn has(&self, ordinal: Ordinal) -> bool {
        (self.first..self.first.saturating_add(self.replicas)).contains(&ordinal)
    }

    /// Whether the template has these images, by container.
    #[must_use]
    pub fn runs(&self, images: &BTreeMap<String, String>) -> bool {
        images.iter().all(|(container, image)| self.images.get(container) == Some(image))
    }
}

impl Observed {
    /// The pods that do not run the revision. A pod that is missing or on its way out is the
    /// StatefulSet controller's matter: it comes at the update revision.
    #[must_use]
    pub fn behind(&self, set: &SetView, revision: &str) -> OrdinalSet {
        let old = |ordinal: &Ordinal| {
            self.pods.get(ordinal).is_some_and(|pod| !pod.terminating && pod.revision != revision)
        };
        Self::ordinals(set, 0, set.replicas).iter().filter(old).collect()
    }

    /// The ordinals that the StatefulSet has for `replicas`, from `skip` on.
    #[must_use]
    pub fn ordinals(set: &SetView, skip: u32, replicas: u32) -> OrdinalSet {
        (set.first + skip..set.first + replicas).collect()
    }

    /// The pod's name, also where there is no pod.
    #[must_use]
    pub fn name(&self, ordinal: Ordinal) -> String {
        let set = self.set.as_ref().map_or("pod", |set| set.name.as_str());
        format!("{set}-{ordinal}")
    }

    /// Names of several pods, cut short where there are many.
    #[must_use]
    pub fn names(&self, ordinals: &OrdinalSet) -> String {
        if ordinals.len() > 4 {
            return format!("{} ({} pods)", self.name_range(ordinals), ordinals.len());
        }
        ordinals.iter().map(|ordinal| self.name(ordinal)).collect::<Vec<_>>().join(", ")
    }

    fn name_range(&self, ordinals: &OrdinalSet) -> String {
        let set = self.set.as_ref().map_or("pod", |set| set.name.as_str());
        format!("{set}-{{{ordinals}}}")
    }
}
