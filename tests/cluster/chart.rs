//! The Helm chart on a real cluster: what it renders is accepted; it carries upgrades with rights in
//! one namespace only, is upgraded itself meanwhile, and leaves nothing when it is removed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use lab::audit::{granted, used};
use lab::error::LabError;
use lab::paths;
use lab::scenario::{App, ScenarioError, Stage, until};
use libtest_mimic::Failed;
use serde_json::json;

use crate::crash::as_undisturbed;
use crate::harness::{apply, as_before, begin, drains, is_in, light, objects, phase};

/// The namespace of the release; the lab keeps its operator's reads in the audit log.
const HOME: &str = "chart";
const RELEASE: &str = "lu";
/// What the chart names its objects in this release.
const NAME: &str = "lu-lossless-upgrade";
/// As kubectl names it.
const CRD: &str = "customresourcedefinition.apiextensions.k8s.io/losslessupgrades.lossless-upgrade.io";
/// Where its operator carries upgrades.
const WATCHED: &str = "charted";

/// Where the chart is.
pub fn folder() -> String {
    paths::workspace().join("deploy/chart").display().to_string()
}

/// The API server takes everything that can be switched on, but what needs the Prometheus operator.
pub fn accepted(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let (cluster, chart) = (stage.cluster(), folder());
        for values in [
            "{}",
            r#"{"tke": {"readVersions": true}, "networkPolicy": {"enabled": true, "metricsFrom": [{"namespaceSelector": {}}], "egress": [{}]}}"#,
            r#"{"watchNamespace": "default", "podDisruptionBudget": {"maxUnavailable": "50%"}, "tolerations": [{"operator": "Exists"}],
                "priorityClassName": "system-cluster-critical", "nodeSelector": {"a": "b"}, "imagePullSecrets": [{"name": "a"}],
                "affinity": {"podAntiAffinity": {}}, "topologySpread": {"whenUnsatisfiable": "DoNotSchedule"}}"#,
        ] {
            let rendered = cluster.helm(&["template", "rendered", &chart, "-n", "default", "--set-json", values])?;
            let file = Path::new(paths::RUN).join("rendered.yaml");
            fs::write(&file, rendered)?;
            let file = file.display().to_string();
            let tried = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict"];
            cluster.kubectl(&[&tried[..], &["-f", &file]].concat())?;
        }
        Ok(())
    }
    .boxed_local()
}

/// From installing to removing, with the operator's pods replaced in mid-run.
pub fn whole_life(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let cluster = stage.cluster();
        for (name, labels) in
            [(HOME, json!({"pod-security.kubernetes.io/enforce": "restricted"})), (WATCHED, json!({}))]
        {
            let metadata = json!({"name": name, "labels": labels});
            apply(stage, "default", &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}))?;
        }
        let watched = format!("watchNamespace={WATCHED}");
        // The CRD is there already, as it is for who has used kustomize before.
        let over = ["--take-ownership", "--force-conflicts"];
        let values = ["--set", "image.tag=lab", "--set", &watched];
        let before = older()?;
        cluster.helm(&[&["install", RELEASE, &before, "-n", HOME], &over[..], &values[..]].concat())?;
        assert!(has_old_words(stage).await?, "the CRD did not come with the chart");

        let app = begin(stage, App { replicas: 2, ..App::nginx(WATCHED) }, |_| {}).await?;
        let run = app
            .run_under(
                &light(),
                Box::pin(async {
                    app.set_image("lab/nginx:v2").await?;
                    drains(stage, WATCHED, 0).await?;
                    let new_pods = ["--set", "podAnnotations.upgraded=yes"];
                    let upgrade = ["upgrade", RELEASE, &folder(), "-n", HOME, "--reuse-values"];
                    cluster.helm(&[&upgrade[..], &new_pods[..]].concat())?;
                    rolled_out(stage).await?;
                    let now = phase(&objects(stage, WATCHED).get("nginx").await?);
                    assert_ne!(now, "Succeeded", "the run was over before the operator was upgraded");
                    is_in(stage, WATCHED, "Succeeded").await.map(drop)
                }),
            )
            .await?;
        as_undisturbed(&run, 2)?;
        as_before(&app, "lab/nginx:v2", &[None]).await?;
        assert!(!has_old_words(stage).await?, "the CRD was not upgraded with the chart");
        rights(stage).await?;

        // As the chart's notes say.
        cluster.kubectl(&["delete", "lu", "--all", "-n", WATCHED, "--timeout=60s"])?;
        cluster.helm(&["uninstall", RELEASE, "-n", HOME, "--wait", "--timeout", "60s"])?;
        until("nothing is left but the CRD", Duration::from_secs(30), async || {
            let left = left(stage)?;
            Ok(if left == [CRD] { Ok(()) } else { Err(format!("{left:?}")) })
        })
        .await?;
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// Something that the CRD says, and that it said otherwise in the chart before.
const WORDS: [&str; 2] = ["What is being done", "What was being done"];

/// The chart with another CRD.
fn older() -> Result<String, Failed> {
    let copied = Path::new(paths::RUN).join("older-chart");
    copy(Path::new(&folder()), &copied)?;
    let crd = copied.join("files/crd.yaml");
    let text = fs::read_to_string(&crd)?;
    let [now, before] = WORDS;
    assert!(text.contains(now), "the CRD says something else");
    fs::write(&crd, text.replace(now, before))?;
    Ok(copied.display().to_string())
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copied = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &copied)?;
        } else {
            fs::copy(entry.path(), copied)?;
        }
    }
    Ok(())
}

async fn has_old_words(stage: &Stage) -> Result<bool, ScenarioError> {
    let crds: Api<CustomResourceDefinition> = Api::all(stage.cluster().client());
    let crd = crds.get("losslessupgrades.lossless-upgrade.io").await?;
    let columns = crd.spec.versions.into_iter().filter_map(|version| version.additional_printer_columns);
    Ok(columns.flatten().any(|column| column.description.as_deref() == Some(WORDS[1])))
}

/// Waits until the operator has no pod of the chart before.
async fn rolled_out(stage: &Stage) -> Result<(), ScenarioError> {
    let deployments: Api<Deployment> = Api::namespaced(stage.cluster().client(), HOME);
    until("the operator's pods are new", Duration::from_mins(1), async || {
        let found = deployments.get(NAME).await?;
        let status = found.status.unwrap_or_default();
        let is_seen = status.observed_generation >= found.metadata.generation;
        let counts =
            [status.replicas, status.updated_replicas, status.ready_replicas].map(Option::unwrap_or_default);
        Ok(if is_seen && counts == [2; 3] { Ok(()) } else { Err(format!("{counts:?}")) })
    })
    .await
}

/// With its rights bound in one namespace it was refused nothing, and used none that others gave.
async fn rights(stage: &Stage) -> Result<(), Failed> {
    let log = fs::read_to_string(stage.cluster().audit_log())?;
    let used = used(&log, &format!("system:serviceaccount:{HOME}:{NAME}"));
    if !used.refused.is_empty() {
        return Err(format!("refused: {:?}", used.refused).into());
    }
    let granted = granted(&stage.cluster().client(), HOME, NAME).await?;
    match used.rights.keys().find(|right| !granted.contains(right)) {
        Some(right) => Err(format!("{right} is used and not granted").into()),
        None if used.rights.len() < 10 => Err(format!("that was no upgrade: {:?}", used.rights).into()),
        None => Ok(()),
    }
}

/// Whatever of any kind belongs to the release or is in its namespace, but what Kubernetes puts into each.
fn left(stage: &Stage) -> Result<Vec<String>, LabError> {
    let cluster = stage.cluster();
    let listed = cluster.kubectl(&["api-resources", "--verbs=list,delete", "-o", "name"])?;
    let kinds: Vec<_> = listed.lines().filter(|kind| !kind.starts_with("events")).collect();
    let kinds = kinds.join(",");
    let of_release = format!("app.kubernetes.io/instance={RELEASE}");
    let labelled = cluster.kubectl(&["get", &kinds, "-A", "-l", &of_release, "-o", "name"])?;
    let listed = cluster.kubectl(&["api-resources", "--namespaced", "--verbs=list,delete", "-o", "name"])?;
    let kinds: Vec<_> = listed.lines().filter(|kind| !kind.starts_with("events")).collect();
    let at_home = cluster.kubectl(&["get", &kinds.join(","), "-n", HOME, "-o", "name"])?;
    let of_kubernetes = ["configmap/kube-root-ca.crt", "serviceaccount/default"];
    let mut left: Vec<_> = labelled.lines().chain(at_home.lines()).map(str::to_owned).collect();
    left.retain(|name| !of_kubernetes.contains(&name.as_str()));
    left.sort();
    left.dedup();
    Ok(left)
}
