//! What is recorded in the object's status, and all that survives a crash.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ordinals::{Ordinal, OrdinalSet};
use super::reasons::{Problem, Reason};
use super::words::Actions;

/// Everything the procedure remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// Where a run is not under way: how things stand. A run's phase follows from its step.
    pub rest: Rest,
    /// The run under way.
    pub run: Option<Run>,
    /// The ordinals that the levers are to hold.
    pub detached: OrdinalSet,
    /// The pods of the batch in flight.
    pub pods: Vec<PodRecord>,
    /// Uids of the pods that were nudged, as far as they may still exist: none is nudged twice, also
    /// where its batch served again in between, or its run has ended.
    pub nudged: BTreeSet<String>,
    /// What must be put back.
    pub saved: Option<Saved>,
    /// What was rolled back or aborted; not tried again until something changes.
    pub rejected: Option<Rejected>,
    /// The last value of each user action that was acted on.
    pub handled: Actions,
    /// The last runs, newest first.
    pub history: Vec<Past>,
}

impl State {
    /// The phase to show.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.run.as_ref().map_or_else(|| Phase::from(&self.rest), Run::phase)
    }
}

/// How things stand between runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Rest {
    /// Nothing to do, or nothing seen yet.
    #[default]
    Idle,
    /// A run is wanted and may not begin.
    Blocked(Problem),
    /// The last run succeeded.
    Succeeded,
    /// The last run went back.
    RolledBack(Problem),
    /// The last run was ended by the user.
    Aborted(Problem),
}

/// One pass from revision `from` to revision `to`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// Short name of the run; also in the names of drain counters.
    pub id: String,
    /// What most pods ran when the run began.
    pub from: String,
    /// The StatefulSet's update revision that the pods go to; empty until the template is written.
    pub to: String,
    /// Identity of the StatefulSet; another one of the same name is another matter.
    pub set_uid: String,
    /// When the run began.
    pub started_at: Timestamp,
    /// Where the run is to end.
    pub goal: Goal,
    /// What is being done.
    pub step: Step,
    /// When the step was entered. What has to last (settle, minimum, soak) counts from here.
    pub entered: Timestamp,
    /// When each step was first entered since the run last got somewhere. Deadlines count from here,
    /// so that going to and fro between steps does not refresh them.
    pub first_entered: BTreeMap<Step, Timestamp>,
    /// The process that carries the run; another one takes it over before it does anything else.
    pub carrier: String,
    /// The run was taken over, and what the process before may still write is not fenced off yet.
    pub fencing: bool,
    /// What the step works on.
    pub batch: Batch,
    /// Replicas added for the run.
    pub surge: u32,
    /// Ordinals proven at `to` in this run.
    pub updated: OrdinalSet,
    /// How often our entries in a lever had to be written again because somebody changed them.
    pub reasserted: u32,
    /// How often a batch had to serve again because nobody else did any more.
    pub relieved: u32,
    /// How often the surge was added again because somebody had taken it away.
    pub surge_lost: u32,
    /// Writes to levers in this step; more than a few mean that somebody undoes them.
    pub lever_writes: u32,
    /// The run waits for the user.
    pub halted: Option<Problem>,
    /// Why the run goes back or is given up.
    pub cause: Option<Problem>,
    /// The revision that failed, once the run goes back.
    pub failed: Option<String>,
    /// When the batch in flight first began to drain; going back to Drain does not refresh it.
    pub draining_since: Option<Timestamp>,
    /// `onTimeout: Proceed` said to replace the batch with connections left.
    pub forced: bool,
    /// The batch is put back without having been replaced, or its revision moved under it.
    pub turned_back: bool,
    /// `spec.paused` or another update strategy held the run at the last look.
    pub held: bool,
    /// When the run was told to leave (abort, deletion); bounds how long a deletion waits.
    pub leaving_since: Option<Timestamp>,
    /// Drains that were not over in time.
    pub timeouts: Vec<DrainTimeout>,
}

/// A drain that was not over in time, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DrainTimeout {
    /// The pods that had connections left.
    pub ordinals: OrdinalSet,
    /// What was done.
    pub then: AfterTimeout,
}

/// What was done when a drain was not over in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AfterTimeout {
    /// The run waited for the user.
    Paused,
    /// The pods were replaced with connections left.
    Proceeded,
    /// The run went back.
    RolledBack,
}

impl Run {
    /// The phase to show for what the run does.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.goal {
            Goal::RollBack => Phase::RollingBack,
            Goal::Abort | Goal::Release => Phase::Aborting,
            Goal::Upgrade => match (self.batch.kind, self.step) {
                (_, Step::Preflight) => Phase::Preflight,
                (_, Step::Retire | Step::Restore) | (BatchKind::Retiring, _) => Phase::Reclaim,
                (_, Step::Surge) | (BatchKind::Canary, _) => Phase::Surge,
                (_, Step::Detach) => Phase::Detach,
                (_, Step::Drain) => Phase::Drain,
                (_, Step::Replace) => Phase::Replace,
                (_, Step::Verify) => Phase::Verify,
                (_, Step::Attach) => Phase::Attach,
                (_, Step::Soak) => Phase::Soak,
                (_, Step::Template) => Phase::RollingBack,
            },
        }
    }
}

/// Where a run is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Goal {
    /// Every pod at the new revision.
    Upgrade,
    /// Every pod at the old revision.
    RollBack,
    /// All attached, surge gone, pods as they are; the object stays.
    Abort,
    /// The same, and then the object goes.
    Release,
}

impl Goal {
    /// Only has to leave: no serving pod is replaced on the way.
    #[must_use]
    pub const fn leaves(self) -> bool {
        match self {
            Self::Upgrade | Self::RollBack => false,
            Self::Abort | Self::Release => true,
        }
    }
}

/// What a run is doing. `transitions` has the table of what follows what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Step {
    /// The first count, before anything is written.
    Preflight,
    /// Template (with `images`) and replicas in one write.
    Surge,
    /// Levers: no new connections for the batch.
    Detach,
    /// Wait until the connections are gone.
    Drain,
    /// Delete the pods of the batch.
    Replace,
    /// Ready, right revision, right image.
    Verify,
    /// Levers: the batch serves again.
    Attach,
    /// Stay good under live traffic.
    Soak,
    /// Replicas back.
    Retire,
    /// Levers back, byte for byte.
    Restore,
    /// The old template back.
    Template,
}

/// The pods a step works on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Batch {
    /// What is to happen to them.
    pub kind: BatchKind,
    /// Which ones.
    pub ordinals: OrdinalSet,
}

impl Batch {
    /// No pods yet.
    #[must_use]
    pub const fn none() -> Self {
        Self { kind: BatchKind::None, ordinals: OrdinalSet::new() }
    }
}

/// What is to happen to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BatchKind {
    /// No batch.
    None,
    /// New surge pods: verify, soak.
    Canary,
    /// Serving pods: detach, drain, replace, verify, attach, soak.
    Serving,
    /// Pods that owe nothing: replace, verify, attach, soak.
    Broken,
    /// Pods that came to the revision without our hand: verify, attach, soak.
    Found,
    /// Surge pods on their way out: detach, drain, retire.
    Retiring,
}

/// A pod of the batch in flight.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodRecord {
    /// Its ordinal.
    pub ordinal: Ordinal,
    /// The uid that the record is about: before Verify the old pod's, from Verify on the new one's.
    pub uid: String,
    /// How far it is.
    pub state: PodState,
    /// Restart count that is not held against the new version.
    pub restarts: u32,
    /// Whether this uid was ever seen Ready by us: then it may owe bytes.
    pub seen_ready: bool,
}

/// How far a pod of the batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PodState {
    /// Chosen, nothing done to it.
    Chosen,
    /// Out of the load balancer, confirmed.
    Detached,
    /// May be deleted: a delete of this uid may be under way.
    Deletable,
    /// Replaced; the record is about the new pod.
    Replaced,
}

/// What must be put back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Saved {
    /// `spec.replicas` before the surge, or what the user set since.
    pub replicas: u32,
    /// The levers' old values.
    pub levers: Vec<SavedLever>,
    /// The pod template of `from`, as JSON text.
    pub template: Option<String>,
}

/// The old value of one lever.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SavedLever {
    /// The lever's kind.
    pub lever: String,
    /// The Service that it writes, or what it writes on the pods.
    pub name: String,
    /// The whole old value; none: it was absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

/// What is not tried again by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rejected {
    /// The revision that failed or was aborted.
    pub revision: String,
    /// `spec.images` of that run.
    pub images: BTreeMap<String, String>,
}

impl Rejected {
    /// Whether it is what is wanted now: by the images of the spec, be they still to be written or not.
    #[must_use]
    pub fn is_wanted(
        &self,
        images: &BTreeMap<String, String>,
        unwritten: bool,
        revision: Option<&String>,
    ) -> bool {
        self.images == *images && (unwritten || Some(&self.revision) == revision)
    }
}

/// A finished run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Past {
    /// What most pods ran.
    pub from: String,
    /// Where it was to go.
    pub to: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// Pods proven at the new revision.
    pub pods: u32,
    /// Why, where it did not succeed.
    pub reason: Option<Reason>,
    /// Why, in one or two sentences; none: an operator of an older version wrote it.
    pub text: Option<String>,
    /// Drains that were not over in time.
    pub timeouts: Vec<DrainTimeout>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Every pod at the new revision.
    Succeeded,
    /// Every pod at the old revision.
    RolledBack,
    /// Ended by the user, or its target went away.
    Aborted,
    /// Given up before a serving pod was touched.
    Blocked,
}

/// Where an object stands, as users see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Pods run the wanted revision.
    #[default]
    Idle,
    /// A run is wanted; checks and the first count.
    Preflight,
    /// A run is wanted and may not begin.
    Blocked,
    /// Surge pods come and are proven.
    Surge,
    /// The batch is taken out of the load balancer.
    Detach,
    /// The batch's connections run out.
    Drain,
    /// The batch's pods are deleted and come back.
    Replace,
    /// The new pods are looked at.
    Verify,
    /// The new pods get traffic again.
    Attach,
    /// The new pods are watched under traffic.
    Soak,
    /// The surge is drained and removed, levers put back.
    Reclaim,
    /// Done.
    Succeeded,
    /// Going back to the old revision.
    RollingBack,
    /// Back at the old revision.
    RolledBack,
    /// Giving up: attach all, remove the surge.
    Aborting,
    /// Given up.
    Aborted,
}

impl From<&Rest> for Phase {
    fn from(rest: &Rest) -> Self {
        match rest {
            Rest::Idle => Self::Idle,
            Rest::Blocked(_) => Self::Blocked,
            Rest::Succeeded => Self::Succeeded,
            Rest::RolledBack(_) => Self::RolledBack,
            Rest::Aborted(_) => Self::Aborted,
        }
    }
}
