//! What users read, and all that the operator remembers.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use jiff::Timestamp;

use super::schema;
use crate::workflow::ordinals::OrdinalSet;
use crate::workflow::reasons::{Problem, Reason};
use crate::workflow::state::{AfterTimeout, BatchKind, Goal, Outcome, Phase, PodState, SavedLever, Step};
use crate::workflow::words::Actions;

/// What the operator saw, does and remembers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LosslessUpgradeStatus {
    /// The form of what is remembered here. An operator that knows only an older form leaves the
    /// object alone, so that nothing of it is lost.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(schema_with = "schema::count")]
    pub format: u32,
    /// The `metadata.generation` that this status is about.
    #[serde(default)]
    pub observed_generation: i64,
    /// What is being done.
    #[schemars(schema_with = "schema::word")]
    #[serde(default)]
    pub phase: Phase,
    /// One sentence: what it is doing or waiting for, with the number it waits on.
    #[serde(default)]
    pub message: String,
    /// Replicas of the StatefulSet without the surge.
    #[serde(default)]
    pub replicas: i32,
    /// Pods at the wanted revision, without the surge.
    #[serde(default)]
    pub updated_replicas: i32,
    /// The same for people: `3/10`.
    #[serde(default)]
    pub progress: String,
    /// What of the StatefulSet this status has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetStatus>,
    /// The run under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunStatus>,
    /// Ordinals that the levers are to keep new connections from, as ranges (`0-3,7`).
    #[schemars(schema_with = "schema::ranges")]
    #[serde(default, skip_serializing_if = "OrdinalSet::is_empty")]
    pub detached: OrdinalSet,
    /// The pods in flight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodStatus>,
    /// Uids of the pods that were nudged at the start of a drain, as far as they may still exist. None
    /// is nudged twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nudged: Vec<String>,
    /// What will be put back at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<SavedStatus>,
    /// What was rolled back or aborted. It is not tried again until the template, `spec.images` or
    /// the annotation `lossless-upgrade.io/retry` changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<RejectedStatus>,
    /// The last value of each user action that was acted on.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(with = "ActionsStatus")]
    pub handled: Actions,
    /// Ready: every pod runs the wanted revision. Reconciling: a run is under way or wanted. Stalled: it
    /// cannot go on by itself, or a deadline passed. Paused: `spec.paused` holds it.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The last runs, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<PastStatus>,
    /// How the last run ended, or why none may begin, where it is not simply well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<ProblemStatus>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What of the StatefulSet this status has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    /// The StatefulSet's `status.observedGeneration`.
    pub observed_generation: i64,
    /// Its `status.updateRevision`.
    pub update_revision: String,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunStatus {
    /// Short name of the run.
    pub id: String,
    /// Revision that most pods ran when it began.
    pub from: String,
    /// Revision that it goes to; empty until the template is written.
    pub to: String,
    /// Identity of the StatefulSet.
    pub set_uid: String,
    /// When it began.
    #[schemars(schema_with = "schema::time")]
    pub started_at: Timestamp,
    /// Where it is to end: Upgrade, `RollBack`, Abort or Release.
    #[schemars(schema_with = "schema::word")]
    pub goal: Goal,
    /// What is being done.
    #[schemars(schema_with = "schema::word")]
    pub step: Step,
    /// When the step was entered.
    #[schemars(schema_with = "schema::time")]
    pub entered: Timestamp,
    /// When each step was first entered since the run last got somewhere; deadlines count from here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::times")]
    pub first_entered: BTreeMap<Step, Timestamp>,
    /// The process that carries the run.
    #[serde(default)]
    pub carrier: String,
    /// It took the run over, and what the process before may still write is not fenced off yet.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fencing: bool,
    /// When the step will have taken too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::maybe_time")]
    pub deadline: Option<Timestamp>,
    /// Ordinals in flight, as ranges.
    #[schemars(schema_with = "schema::ranges")]
    pub batch: OrdinalSet,
    /// What is to happen to them.
    #[schemars(schema_with = "schema::word")]
    pub batch_kind: BatchKind,
    /// Replicas added for the run.
    #[schemars(schema_with = "schema::count")]
    pub surge: u32,
    /// Ordinals proven at the revision, as ranges.
    #[schemars(schema_with = "schema::ranges")]
    pub updated: OrdinalSet,
    /// How often our entries in a lever had to be written again.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(schema_with = "schema::count")]
    pub reasserted: u32,
    /// How often a batch had to serve again because nobody else did any more.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(schema_with = "schema::count")]
    pub relieved: u32,
    /// How often the surge was added again because somebody had taken it away.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(schema_with = "schema::count")]
    pub surge_lost: u32,
    /// Writes to levers in this step.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(schema_with = "schema::count")]
    pub lever_writes: u32,
    /// The run waits for the user, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted: Option<ProblemStatus>,
    /// Why it goes back or is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<ProblemStatus>,
    /// The revision that failed, once it goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// When the batch began to drain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::maybe_time")]
    pub draining_since: Option<Timestamp>,
    /// The batch is replaced with connections left, as `drain.onTimeout: Proceed` says.
    #[serde(default, skip_serializing_if = "is_default")]
    pub forced: bool,
    /// The batch is put back without having been replaced.
    #[serde(default, skip_serializing_if = "is_default")]
    pub turned_back: bool,
    /// `spec.paused` or another update strategy held it at the last look.
    #[serde(default, skip_serializing_if = "is_default")]
    pub held: bool,
    /// When it was told to leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::maybe_time")]
    pub leaving_since: Option<Timestamp>,
    /// Drains that were not over in time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drain_timeouts: Vec<DrainTimeoutStatus>,
}

/// A drain that was not over in time, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainTimeoutStatus {
    /// Ordinals that had connections left, as ranges.
    #[schemars(schema_with = "schema::ranges")]
    pub ordinals: OrdinalSet,
    /// What was done: Paused, Proceeded (they were replaced with connections left) or `RolledBack`.
    #[schemars(schema_with = "schema::word")]
    pub then: AfterTimeout,
}

/// A pod in flight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// Its ordinal.
    #[schemars(schema_with = "schema::count")]
    pub ordinal: u32,
    /// Its uid.
    pub uid: String,
    /// How far it is: Chosen, Detached, Deletable or Replaced.
    #[schemars(schema_with = "schema::word")]
    pub state: PodState,
    /// Restarts that are not held against the new version.
    #[schemars(schema_with = "schema::count")]
    pub restarts: u32,
    /// Whether it was ever seen Ready, and so may have connections.
    pub seen_ready: bool,
    /// Connections left when last counted; absent while it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<i64>,
}

/// What will be put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SavedStatus {
    /// `spec.replicas` without the surge.
    #[schemars(schema_with = "schema::count")]
    pub replicas: u32,
    /// The levers' old values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<SavedLeverStatus>")]
    pub levers: Vec<SavedLever>,
    /// The pod template of the revision that the run comes from, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

/// The old value of one lever.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "schema of `workflow::state::SavedLever`, which may not know of schemas")]
pub struct SavedLeverStatus {
    /// The lever's kind.
    lever: String,
    /// The Service that it writes, or what it writes on the pods.
    name: String,
    /// The whole old value; absent: there was none.
    before: Option<String>,
}

/// The user's words.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "schema of `workflow::words::Actions`, which may not know of schemas")]
pub struct ActionsStatus {
    /// Last handled value of the annotation `lossless-upgrade.io/abort`.
    abort: Option<String>,
    /// Last handled value of the annotation `lossless-upgrade.io/rollback`.
    rollback: Option<String>,
    /// Last handled value of the annotation `lossless-upgrade.io/retry`.
    retry: Option<String>,
}

/// What is not tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RejectedStatus {
    /// The revision.
    pub revision: String,
    /// `spec.images` of that run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::images")]
    pub images: BTreeMap<String, String>,
}

/// A finished run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastStatus {
    /// Revision it came from.
    pub from: String,
    /// Revision it was to go to.
    pub to: String,
    /// When it began.
    #[schemars(schema_with = "schema::time")]
    pub started_at: Timestamp,
    /// When it ended.
    #[schemars(schema_with = "schema::time")]
    pub finished_at: Timestamp,
    /// How it ended: Succeeded, `RolledBack`, Aborted or Blocked.
    #[schemars(schema_with = "schema::word")]
    pub outcome: Outcome,
    /// Pods proven at the new revision.
    #[schemars(schema_with = "schema::count")]
    pub pods: u32,
    /// Why, where it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::word")]
    pub reason: Option<Reason>,
    /// Why, in one or two sentences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Drains that were not over in time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drain_timeouts: Vec<DrainTimeoutStatus>,
}

/// What is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProblemStatus {
    /// The kind of problem.
    #[schemars(schema_with = "schema::word")]
    pub reason: Reason,
    /// One or two sentences.
    pub text: String,
}

impl From<Problem> for ProblemStatus {
    fn from(Problem { reason, text }: Problem) -> Self {
        Self { reason, text }
    }
}

impl From<ProblemStatus> for Problem {
    fn from(ProblemStatus { reason, text }: ProblemStatus) -> Self {
        Self { reason, text }
    }
}

/// The condition of this kind, where it is True.
#[must_use]
pub fn condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True")
}
