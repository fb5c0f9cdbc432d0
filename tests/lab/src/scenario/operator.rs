//! The operator under test: installed as its users install it, and read as they read it.

use std::{collections::BTreeMap, io::Write as _, process::Stdio, time::Duration};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams},
};
use serde::Deserialize;
use serde_json::json;

use super::{Deployed, ScenarioError, Stage, until};
use crate::{error::LabError, paths};

/// Where the shipped manifests put it.
pub(crate) const NAMESPACE: &str = "lossless-upgrade-system";
pub(super) const NAME: &str = "lossless-upgrade";
/// Group and version of its API.
const API: (&str, &str) = ("lossless-upgrade.io", "v1alpha1");

/// What a `LosslessUpgrade` says of itself; an object that has no status yet says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Upgrade {
    /// What is being done.
    pub phase: String,
    /// The same in a sentence.
    pub message: String,
    /// Pods at the wanted revision.
    pub updated_replicas: usize,
    /// What of the `StatefulSet` it has seen.
    target: Option<SeenTarget>,
    /// A run is under way.
    run: Option<serde_json::Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SeenTarget {
    update_revision: String,
}

impl Upgrade {
    /// Whether it will do nothing more by itself for the revision that the `StatefulSet` asks for.
    fn has_ended(&self, revision: Option<&str>) -> bool {
        let seen = self.target.as_ref().map(|target| target.update_revision.as_str());
        let is_final = matches!(self.phase.as_str(), "Succeeded" | "RolledBack" | "Aborted" | "Blocked");
        is_final && self.run.is_none() && seen.is_some() && seen == revision
    }
}

/// Time by phase, in what the operator counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OperatorTime {
    /// Seconds in each phase, by its name.
    pub phases: BTreeMap<String, f64>,
    /// Seconds between when acts were due and when they were made.
    pub late: f64,
}

impl OperatorTime {
    /// The sum of some phases.
    #[must_use]
    pub fn of(&self, phases: &[&str]) -> Duration {
        let seconds = phases.iter().filter_map(|phase| self.phases.get(*phase)).sum::<f64>();
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }
}

impl Stage {
    /// Installs the operator from the shipped manifests, with the lab's image, and waits until all of it is ready.
    /// The sandbox must have been entered with `Need::Operator`.
    ///
    /// # Errors
    /// When the manifests are refused, or it is not ready within [`Deployed::LIMIT`].
    pub async fn install_operator(&self) -> Result<(), ScenarioError> {
        let overlay = paths::workspace().join("tests/lab/operator");
        self.cluster().kubectl(&["apply", "--server-side", "-k", &overlay.to_string_lossy()])?;
        self.operator_is_ready().await
    }

    /// Sets the number of the operator's pods, and waits until there are just so many and all are ready.
    ///
    /// # Errors
    /// When that takes longer than [`Deployed::LIMIT`].
    pub async fn scale_operator(&self, replicas: u32) -> Result<(), ScenarioError> {
        let deployments: Api<Deployment> = Api::namespaced(self.cluster().client(), NAMESPACE);
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        deployments.patch(NAME, &PatchParams::default(), &patch).await?;
        self.operator_is_ready().await
    }

    async fn operator_is_ready(&self) -> Result<(), ScenarioError> {
        let deployments: Api<Deployment> = Api::namespaced(self.cluster().client(), NAMESPACE);
        until("the operator has its pods, all ready", Deployed::LIMIT, async || {
            let found = deployments.get(NAME).await?;
            let status = found.status.unwrap_or_default();
            let is_seen = status.observed_generation >= found.metadata.generation;
            let wanted = found.spec.and_then(|spec| spec.replicas).unwrap_or(1);
            let [have, ready] = [status.replicas, status.ready_replicas].map(Option::unwrap_or_default);
            let all = is_seen && have == wanted && ready == wanted;
            Ok(if all { Ok(()) } else { Err(format!("{ready} of {have} ready, {wanted} wanted")) })
        })
        .await
    }

    /// Applies objects to a namespace, as `kubectl apply -f` does.
    ///
    /// # Errors
    /// When kubectl cannot be run or the API server refuses: with kubectl's own words.
    pub fn apply(&self, namespace: &str, yaml: &str) -> Result<(), ScenarioError> {
        let shown = || "kubectl apply -f -".to_owned();
        let failed = |source| LabError::Spawn { program: shown(), source };
        let mut kubectl = self
            .cluster()
            .command("kubectl")
            .args(["apply", "--namespace", namespace, "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(mut input) = kubectl.stdin.take() {
            input.write_all(yaml.as_bytes()).map_err(failed)?;
        }
        let output = kubectl.wait_with_output().map_err(failed)?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(LabError::Command { command: shown(), status: output.status, output: text }.into())
    }

    /// The time that the operator counted for one object. Only the leader has any, so all pods' counts are added.
    ///
    /// # Errors
    /// When a pod's metrics cannot be read.
    pub async fn operator_time(&self, namespace: &str, name: &str) -> Result<OperatorTime, ScenarioError> {
        let client = self.cluster().client();
        let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
        let of_operator = ListParams::default().labels("app.kubernetes.io/component=operator");
        let mut time = OperatorTime::default();
        for pod in pods.list(&of_operator).await? {
            let text = metrics(&client, &pod.name_any()).await?;
            add(&mut time, &text, namespace, name);
        }
        Ok(time)
    }
}

impl Deployed<'_> {
    /// What the `LosslessUpgrade` of this name says.
    ///
    /// # Errors
    /// When the API server does not give it.
    pub async fn upgrade(&self, name: &str) -> Result<Upgrade, ScenarioError> {
        let (group, version) = API;
        let kind = kube::core::GroupVersionKind::gvk(group, version, "LosslessUpgrade");
        let resource = ApiResource::from_gvk_with_plural(&kind, "losslessupgrades");
        let client = self.stage.cluster().client();
        let api: Api<DynamicObject> = Api::namespaced_with(client, &self.app().namespace, &resource);
        let mut object = api.get(name).await?;
        let status = object.data.get_mut("status").map(serde_json::Value::take).unwrap_or_default();
        Ok(if status.is_null() { Upgrade::default() } else { serde_json::from_value(status)? })
    }

    /// Waits until the `LosslessUpgrade` of this name has ended its work for the newest revision, well or not.
    ///
    /// # Errors
    /// When that takes longer than [`Self::UPDATE`].
    pub async fn upgraded(&self, name: &str) -> Result<Upgrade, ScenarioError> {
        until("the upgrade has ended", Self::UPDATE, async || {
            let set = self.stateful_set().await?;
            let is_seen =
                set.status.as_ref().and_then(|status| status.observed_generation) >= set.metadata.generation;
            let revision = set.status.and_then(|status| status.update_revision);
            let upgrade = self.upgrade(name).await?;
            let has_ended = is_seen && upgrade.has_ended(revision.as_deref());
            Ok(if has_ended { Ok(upgrade) } else { Err(format!("{}: {}", upgrade.phase, upgrade.message)) })
        })
        .await
    }
}

async fn metrics(client: &Client, pod: &str) -> Result<String, ScenarioError> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}:8080/proxy/metrics");
    let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
    Ok(client.request_text(request).await?)
}

/// Adds what a text of metrics says of one object. Its lines are `name{label="value",...} number`.
fn add(time: &mut OperatorTime, text: &str, namespace: &str, name: &str) {
    for line in text.lines() {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let (Some((metric, labels)), Ok(value)) = (series.split_once('{'), value.parse::<f64>()) else {
            continue;
        };
        // No value of these has a comma or a quotation mark: all are names of objects or phases.
        let label = |wanted: &str| {
            let mut pairs = labels.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('='));
            pairs.find(|(label, _)| *label == wanted).map(|(_, value)| value.trim_matches('"'))
        };
        if label("namespace") != Some(namespace) || label("name") != Some(name) {
            continue;
        }
        match (metric, label("phase")) {
            ("lossless_upgrade_phase_seconds_total", Some(phase)) => {
                *time.phases.entry(phase.to_owned()).or_default() += value;
            }
            ("lossless_upgrade_late_seconds_total", None) => time.late += value,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_other_objects_are_not_counted() {
        let text = "# TYPE lossless_upgrade_late_seconds_total counter\n\
            lossless_upgrade_late_seconds_total{namespace=\"c\",name=\"other\"} 9\n\
            lossless_upgrade_late_seconds_total{namespace=\"c\",name=\"nginx\"} 0.5\n\
            lossless_upgrade_phase_seconds_total{namespace=\"c\",name=\"nginx\",phase=\"Drain\"} 12\n\
            lossless_upgrade_phase_seconds_total{namespace=\"c\",name=\"nginx\",phase=\"Detach\"} 3.5\n\
            lossless_upgrade_phase_seconds_total{namespace=\"d\",name=\"nginx\",phase=\"Drain\"} 99\n";
        let mut time = OperatorTime::default();
        add(&mut time, text, "c", "nginx");
        assert_eq!(time.of(&["Drain", "Detach", "Soak"]), Duration::from_secs_f64(15.5));
        assert!((time.late - 0.5).abs() < f64::EPSILON);
    }

    #[test]
    fn an_upgrade_has_ended_only_for_the_revision_that_it_has_seen() {
        let upgrade = |phase: &str, run: bool| -> Upgrade {
            let run = run.then(|| json!({"id": "x"}));
            serde_json::from_value(json!({
                "phase": phase, "run": run, "target": {"updateRevision": "nginx-2", "observedGeneration": 2},
            }))
            .unwrap()
        };
        assert!(upgrade("Succeeded", false).has_ended(Some("nginx-2")));
        assert!(!upgrade("Succeeded", false).has_ended(Some("nginx-3")));
        assert!(!upgrade("Succeeded", true).has_ended(Some("nginx-2")));
        assert!(!upgrade("Drain", false).has_ended(Some("nginx-2")));
        assert!(!Upgrade::default().has_ended(None));
    }
}
