//! `pause`, `resume`, `abort`, `rollback`, `retry`: the user's words to the operator.

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::Answer;
use super::code::CliError;
use super::fetch::Cluster;
use super::get::halted;
use crate::api::LosslessUpgrade;
use crate::controller::names::{ABORT, RETRY, ROLLBACK};
use crate::workflow::state::Phase;

/// Field manager of these writes.
const MANAGER: &str = "kubectl-lu";

/// A word that is said once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// End the run.
    Abort,
    /// Go back.
    Rollback,
    /// Go on, or try again.
    Retry,
}

/// Sets or takes back `spec.paused`.
///
/// # Errors
/// No such object, or the write was refused.
pub async fn pause(cluster: &Cluster, name: &str, paused: bool) -> Result<Answer, CliError> {
    let object = cluster.upgrade(name).await?;
    let (done, already) = if paused { ("paused", "already paused") } else { ("resumed", "not paused") };
    if object.spec.paused == paused {
        return Ok(Answer::done(format!("losslessupgrade/{name} {already}\n")));
    }
    write(cluster, name, &json!({"spec": {"paused": paused}})).await?;
    Ok(Answer::done(format!("losslessupgrade/{name} {done}{}\n", hint(&object, paused))))
}

/// What a pause means just now.
fn hint(object: &LosslessUpgrade, paused: bool) -> &'static str {
    let status = object.status.as_ref();
    let detached = status.is_some_and(|status| !status.detached.is_empty());
    match (paused, detached) {
        (true, true) => {
            "; what is detached stays so, and its connections are not waited for until you resume"
        }
        (true, false) | (false, _) => "",
    }
}

/// Says a word. It is refused here where it would have no effect, so that a script notices.
///
/// # Errors
/// There is nothing that it could act on, no such object, or the write was refused.
pub async fn say(cluster: &Cluster, name: &str, word: Word) -> Result<Answer, CliError> {
    let object = cluster.upgrade(name).await?;
    if let Some(why) = pointless(&object, word) {
        return Err(CliError::Senseless(format!("losslessupgrade/{name}: {why}")));
    }
    let (key, done) = match word {
        Word::Abort => (ABORT, "is told to abort"),
        Word::Rollback => (ROLLBACK, "is told to roll back"),
        Word::Retry => (RETRY, "is told to retry"),
    };
    write(cluster, name, &json!({"metadata": {"annotations": {key: value(cluster.clock.now())}}})).await?;
    Ok(Answer::done(format!("losslessupgrade/{name} {done}; `kubectl lu status {name} -w` follows it\n")))
}

/// A value that was never there before: each counts once.
fn value(now: Timestamp) -> String {
    now.to_string()
}

async fn write(cluster: &Cluster, name: &str, patch: &Value) -> Result<(), CliError> {
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let done = cluster.upgrades().patch_metadata(name, &params, &Patch::Merge(patch)).await;
    done.map(drop).map_err(CliError::api(format!("writing LosslessUpgrade {name}")))
}

/// Why a word would have no effect; none: it has one.
pub fn pointless(object: &LosslessUpgrade, word: Word) -> Option<String> {
    let status = object.status.clone().unwrap_or_default();
    let running = status.run.is_some();
    match word {
        Word::Abort if !running => Some("no run is under way, so there is nothing to abort".into()),
        Word::Rollback if !running => Some(
            "no run is under way, so there is nothing to roll back. Set the template that you want in the StatefulSet (`kubectl rollout undo statefulset` does), or spec.images; the pods go there by a run".into(),
        ),
        Word::Rollback if status.phase == Phase::RollingBack => Some("it is rolling back already".into()),
        Word::Abort if status.phase == Phase::Aborting => Some("it is aborting already".into()),
        Word::Retry if running && !halted(&status) => {
            Some("the run goes on by itself, so there is nothing to retry; `kubectl lu explain` says what it waits for".into())
        }
        Word::Retry if matches!(status.phase, Phase::Idle | Phase::Succeeded) => {
            Some("nothing was given up, so there is nothing to retry".into())
        }
        Word::Abort | Word::Rollback | Word::Retry => None,
    }
}
