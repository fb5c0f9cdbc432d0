//! What a run costs in writes, from the API server's audit log and from every version of the object.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use lab::scenario::Stage;
use libtest_mimic::Failed;
use lossless_upgrade::api::status::LosslessUpgradeStatus;
use lossless_upgrade::controller::report::without_live;
use serde_json::Value;

use crate::harness::objects;

/// The installed operator's account, as the API server knows it.
pub const OPERATOR: &str = "system:serviceaccount:lossless-upgrade-system:lossless-upgrade";

/// Every version of the object's status since the journal was opened.
pub struct Journal {
    namespace: &'static str,
    versions: Arc<Mutex<Vec<LosslessUpgradeStatus>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Journal {
    /// Begins to write down.
    pub fn open(stage: &Stage, namespace: &'static str) -> Self {
        let versions = Arc::new(Mutex::new(Vec::new()));
        let kept = versions.clone();
        let stream = watcher(objects(stage, namespace), watcher::Config::default()).applied_objects();
        let task = tokio::spawn(stream.for_each(move |object| {
            if let Ok(object) = object {
                kept.lock().unwrap().extend(object.status);
            }
            futures::future::ready(())
        }));
        Self { namespace, versions, task }
    }

    /// Checks the promises: on the world at most four writes a pod (lever twice, counter, delete) and
    /// one for each further Service; on the status one for each step, live numbers apart. A doubt about a
    /// stamp costs the lever one write more: how many there were the record says, at most one for each move.
    pub async fn close(
        self,
        stage: &Stage,
        pods: usize,
        surge: usize,
        services: usize,
    ) -> Result<(), Failed> {
        self.task.abort();
        let writes = world_writes(stage, self.namespace).await?;
        let count = |what: &str| writes.get(what).copied().unwrap_or_default();
        let all = pods + surge;
        println!("    writes on the world: {writes:?}");
        let doubts = doubts(&self.versions.lock().unwrap(), services);
        println!("    of the lever's writes {doubts} were to end a doubt");
        if doubts > 2 * all * services {
            return Err(format!("{doubts} doubts in {} moves", 2 * all * services).into());
        }
        let levers = count("patch services");
        let counters = count("patch pods/ephemeralcontainers");
        let deletes = count("delete pods");
        let most = [
            (
                "patch services, counters and deletes",
                levers + counters + deletes,
                4 * all + 2 * all * (services - 1) + doubts,
            ),
            ("patch pods/ephemeralcontainers", counters, all),
            ("delete pods", deletes, pods),
            ("patch statefulsets", count("patch statefulsets"), 2),
            ("patch pods", count("patch pods"), 0),
        ];
        for (what, times, most) in most {
            if times > most {
                return Err(format!("{times} times {what}, at most {most} allowed: {writes:?}").into());
            }
        }
        let known = levers + counters + deletes + count("patch statefulsets");
        if known != writes.values().sum::<usize>() {
            return Err(format!("writes that nobody expects: {writes:?}").into());
        }
        steps(&self.versions.lock().unwrap())
    }
}

/// Writes of levers beyond one for each Service in a step.
fn doubts(versions: &[LosslessUpgradeStatus], services: usize) -> usize {
    let mut steps = BTreeMap::new();
    for run in versions.iter().filter_map(|status| status.run.as_ref()) {
        let most = steps.entry((run.id.clone(), run.entered)).or_insert(0);
        *most = (*most).max(usize::try_from(run.lever_writes).unwrap_or(usize::MAX));
    }
    steps.into_values().map(|writes| writes.saturating_sub(services)).sum()
}

/// Each version of the status begins a step, or has just newer numbers.
fn steps(versions: &[LosslessUpgradeStatus]) -> Result<(), Failed> {
    let step = |status: &LosslessUpgradeStatus| {
        let run = status.run.as_ref().map(|run| (run.id.clone(), run.step, run.entered, run.batch.clone()));
        (status.phase, run)
    };
    let (mut begun, mut live, mut rest) = (0, 0, 0);
    for pair in versions.windows(2) {
        let [before, after] = pair else { continue };
        if step(before) != step(after) {
            begun += 1;
        } else if without_live(before) == without_live(after) {
            live += 1;
        } else if before.run.is_none() && after.run.is_none() {
            rest += 1;
        } else {
            return Err(format!("the status was written within a step:\n{before:#?}\n{after:#?}").into());
        }
    }
    println!(
        "    status written {begun} times for a new step, {live} times for live numbers, {rest} times at rest"
    );
    match (begun, rest) {
        (0, _) => Err("no step was seen: the journal proves nothing".into()),
        // At rest a new template makes it not Ready, and that is all.
        (_, 0..=2) => Ok(()),
        (_, rest) => Err(format!("written {rest} times while nothing was to be done").into()),
    }
}

/// What the API server answered to the deletions of pods in a namespace, by its own log. Those of the
/// kubelet are left out: it takes away what others have deleted.
pub async fn deletions(stage: &Stage, namespace: &str) -> Result<Vec<u64>, Failed> {
    let log = tokio::fs::read_to_string(stage.cluster().audit_log()).await?;
    let mut answers = Vec::new();
    for line in log.lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let of_pod = (text("/verb"), text("/objectRef/resource"), text("/objectRef/namespace"))
            == ("delete", "pods", namespace);
        let by_kubelet = text("/user/username").starts_with("system:node:");
        if of_pod && !by_kubelet && text("/stage") == "ResponseComplete" {
            answers.extend(event.pointer("/responseStatus/code").and_then(Value::as_u64));
        }
    }
    Ok(answers)
}

/// The operator's writes in a namespace by verb and resource, its object's own status apart.
async fn world_writes(stage: &Stage, namespace: &str) -> Result<BTreeMap<String, usize>, Failed> {
    let text = tokio::fs::read_to_string(stage.cluster().audit_log()).await?;
    let mut writes = BTreeMap::new();
    for line in text.lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let verb = text("/verb");
        let ours = text("/user/username") == OPERATOR && text("/objectRef/namespace") == namespace;
        let write = !matches!(verb, "get" | "list" | "watch") && text("/stage") == "ResponseComplete";
        let done =
            event.pointer("/responseStatus/code").and_then(Value::as_u64).is_some_and(|code| code < 300);
        let resource = text("/objectRef/resource");
        if !ours
            || !write
            || !done
            || text("/requestURI").contains("dryRun=All")
            || matches!(resource, "losslessupgrades" | "events")
        {
            continue;
        }
        let sub = text("/objectRef/subresource");
        let name =
            if sub.is_empty() { format!("{verb} {resource}") } else { format!("{verb} {resource}/{sub}") };
        *writes.entry(name).or_default() += 1;
    }
    Ok(writes)
}
