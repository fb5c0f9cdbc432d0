//! Who else writes the StatefulSet and would put back what a run changes, with the exact exception that
//! each of them needs.

use std::fmt::Write as _;

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt;

use super::finding::{Check, Finding, Severity};
use crate::api::LosslessUpgrade;

/// What a run writes into other people's objects.
const MEANS: &str = "A run adds its surge by spec.replicas and moves traffic by an annotation of the Services. Who syncs these back in mid-run ends the surge pods with connections on them, or attaches a pod that is drained; the run notices and mends it, but those connections are lost.";

/// Finds them by their marks and by what they own.
pub fn find(object: &LosslessUpgrade, set: &StatefulSet, levered: &[String]) -> Vec<Finding> {
    let name = set.name_any();
    let mut findings = Vec::new();
    if is_of_argo(set) {
        findings.push(Finding::own(
            Severity::Warning,
            Check::ArgoCd,
            format!("StatefulSet {name} is managed by Argo CD."),
            MEANS,
            argo(object, &name, levered),
        ));
    }
    if let Some(owner) = flux(set) {
        findings.push(Finding::own(
            Severity::Warning,
            Check::Flux,
            format!("StatefulSet {name} is managed by Flux ({owner})."),
            MEANS,
            format!(
                "Leave `spec.replicas` out of the manifest of StatefulSet {name}: Flux puts back only the fields that a manifest names.{} For a HelmRelease, add under spec.driftDetection.ignore:\n  - paths: [/spec/replicas{}]\n    target: {{kind: StatefulSet, name: {name}}}",
                image_hint(object),
                if object.spec.images.is_empty() { "" } else { ", /spec/template/spec/containers" },
            ),
        ));
    }
    let label = set.labels().get("app.kubernetes.io/managed-by");
    if label.is_some_and(|value| value == "Helm") && flux(set).is_none() {
        findings.push(Finding::own(
            Severity::Note,
            Check::Helm,
            format!("StatefulSet {name} belongs to a Helm release."),
            "`helm upgrade` in mid-run writes spec.replicas where the chart's value has changed since the last release, or with --force.",
            "Change images by the chart as you do now; do not change the chart's replicas in mid-run. The policy in deploy/policy has the API server refuse it.",
        ));
    }
    findings
}

fn is_of_argo(set: &StatefulSet) -> bool {
    let managers = || set.metadata.managed_fields.iter().flatten();
    set.annotations().contains_key("argocd.argoproj.io/tracking-id")
        || set.labels().contains_key("argocd.argoproj.io/instance")
        || managers().any(|entry| entry.manager.as_deref() == Some("argocd-controller"))
}

fn flux(set: &StatefulSet) -> Option<String> {
    let named = |kind: &str, key: &str| set.labels().get(key).map(|name| format!("{kind} {name}"));
    named("Kustomization", "kustomize.toolkit.fluxcd.io/name")
        .or_else(|| named("HelmRelease", "helm.toolkit.fluxcd.io/name"))
}

fn image_hint(object: &LosslessUpgrade) -> &'static str {
    if object.spec.images.is_empty() {
        ""
    } else {
        " spec.images of this object writes the images of the template: leave them out of the manifest too, or drop spec.images and change the images there."
    }
}

/// The exception in the Application, as it is written there.
fn argo(object: &LosslessUpgrade, set: &str, levered: &[String]) -> String {
    let mut text = String::from("Add to the Application:\n  spec:\n    ignoreDifferences:\n");
    let _ = writeln!(
        text,
        "      - {{group: apps, kind: StatefulSet, name: {set}, jsonPointers: [/spec/replicas]}}"
    );
    if !object.spec.images.is_empty() {
        let images = object.spec.images.keys().map(|container| {
            format!("'.spec.template.spec.containers[] | select(.name == \"{container}\") | .image'")
        });
        let images: Vec<String> = images.collect();
        let _ = writeln!(
            text,
            "      - group: apps\n        kind: StatefulSet\n        name: {set}\n        jqPathExpressions: [{}]",
            images.join(", ")
        );
    }
    for service in levered {
        let _ = writeln!(
            text,
            "      - kind: Service\n        name: {service}\n        jsonPointers: [/metadata/annotations/service.cloud.tencent.com~1lb-rs-weight]"
        );
    }
    text += "    syncPolicy:\n      syncOptions: [RespectIgnoreDifferences=true]";
    text
}
