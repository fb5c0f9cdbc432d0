//! The pod template, the Services, the budget, the claims, the spec: pure, one function each.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Container, PodSpec, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt as _};

use super::finding::{Check, Finding, Severity};
use crate::api::LosslessUpgrade;
use crate::api::spec::OnTimeout;

/// Kubernetes' own default.
const GRACE: i64 = 30;

fn pod(set: &StatefulSet) -> Option<&PodSpec> {
    set.spec.as_ref()?.template.spec.as_ref()
}

/// Readiness, preStop, grace.
pub fn template(set: &StatefulSet) -> Vec<Finding> {
    let Some(pod) = pod(set) else { return Vec::new() };
    let name = set.name_any();
    let mut findings = Vec::new();
    // What declares ports serves; where nothing does, the first container is taken for the server.
    let declares = |container: &&Container| container.ports.as_ref().is_some_and(|ports| !ports.is_empty());
    let mut serving: Vec<&Container> = pod.containers.iter().filter(declares).collect();
    if serving.is_empty() {
        serving.extend(pod.containers.first());
    }
    let unproven = |container: &&&Container| container.readiness_probe.is_none();
    for container in serving.iter().filter(unproven) {
        findings.push(Finding::own(
            Severity::Error,
            Check::NoReadinessProbe,
            format!("Container {} of StatefulSet {name} has no readiness probe.", container.name),
            "A new pod counts as Ready as soon as its process runs: it gets traffic before it can answer, and a version that never works is not noticed by the canary.",
            "Give it a readinessProbe that asks what clients ask, and fails while it cannot answer.",
        ));
    }
    let hooks = || serving.iter().filter_map(|container| container.lifecycle.as_ref()?.pre_stop.as_ref());
    if hooks().next().is_none() {
        findings.push(Finding::own(
            Severity::Warning,
            Check::NoPreStop,
            format!("The pods of StatefulSet {name} have no preStop hook."),
            "A run drains a pod before it deletes it and needs none. But a pod that somebody else removes (a node drain, an eviction, kubectl delete) is told to stop while the load balancer still sends to it.",
            "Give the container that serves `lifecycle: {preStop: {sleep: {seconds: N}}}`, with N a little longer than the load balancer takes to follow.",
        ));
    }
    let grace = pod.termination_grace_period_seconds.unwrap_or(GRACE);
    let sleep = hooks().filter_map(|hook| Some(hook.sleep.as_ref()?.seconds)).max();
    if grace <= sleep.unwrap_or(0) {
        let than = sleep
            .map_or_else(String::new, |sleep| format!(", no longer than the preStop sleep of {sleep} s"));
        findings.push(Finding::own(
            Severity::Warning,
            Check::GraceTooShort,
            format!("terminationGracePeriodSeconds of StatefulSet {name} is {grace}{than}."),
            "A pod that somebody else removes is killed before it could finish the requests that it has.",
            "Make it longer than the preStop hook and the longest request together.",
        ));
    }
    findings
}

/// Services that select the pods and have ways of their own; those of a lever have been looked at by it.
pub fn services(set: &StatefulSet, services: &[Service], levered: &[String]) -> Vec<Finding> {
    let governing = set.spec.as_ref().and_then(|spec| spec.service_name.clone()).unwrap_or_default();
    let mut findings = Vec::new();
    for service in services.iter().filter(|service| !levered.contains(&service.name_any())) {
        let Some(spec) = &service.spec else { continue };
        let name = service.name_any();
        let headless = spec.cluster_ip.as_deref() == Some("None");
        // Peers have to find each other before they are Ready: that is what the governing one is for.
        let peers = headless && name == governing;
        if spec.publish_not_ready_addresses == Some(true) && !peers {
            findings.push(Finding::own(
                Severity::Warning,
                Check::NotReadyAddresses,
                format!("Service {name} has publishNotReadyAddresses."),
                "Its clients are sent to a new pod before that is Ready, and to one that ends.",
                "Take it off, or keep it for a Service that only peers use and list that in spec.traffic.ignoreServices.",
            ));
        }
        if spec.session_affinity.as_deref() == Some("ClientIP") {
            findings.push(Finding::own(
                Severity::Warning,
                Check::SessionAffinity,
                format!("Service {name} has sessionAffinity ClientIP."),
                "Known clients come back to the pod that they had, also while it is drained, and the drain waits for them.",
                "Take it off, or make its timeoutSeconds shorter than spec.drain.timeout.",
            ));
        }
    }
    findings
}

/// What keeps node drains in bounds.
pub fn budgets(set: &StatefulSet, budgets: &[PodDisruptionBudget]) -> Vec<Finding> {
    let none = BTreeMap::new();
    let template = set.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    let labels = template.and_then(|meta| meta.labels.as_ref()).unwrap_or(&none);
    let selects = |budget: &&PodDisruptionBudget| {
        let selector = budget.spec.as_ref().and_then(|spec| spec.selector.clone());
        selector
            .and_then(|selector| Selector::try_from(selector).ok())
            .is_some_and(|selector| selector.matches(labels))
    };
    let ours: Vec<&PodDisruptionBudget> = budgets.iter().filter(selects).collect();
    if ours.is_empty() {
        return vec![Finding::own(
            Severity::Note,
            Check::NoBudget,
            format!("No PodDisruptionBudget selects the pods of StatefulSet {}.", set.name_any()),
            "Two nodes that are drained in mid-run may take two pods at once, undrained. A run itself deletes and does not evict: it keeps its own count.",
            "Make one with maxUnavailable 1.",
        )];
    }
    let is = |value: Option<&IntOrString>, number: i32, text: &str| match value {
        Some(IntOrString::Int(value)) => *value == number,
        Some(IntOrString::String(value)) => value == text,
        None => false,
    };
    let allows_none = |budget: &&&PodDisruptionBudget| {
        let spec = budget.spec.as_ref();
        is(spec.and_then(|spec| spec.max_unavailable.as_ref()), 0, "0%")
            || is(spec.and_then(|spec| spec.min_available.as_ref()), -1, "100%")
    };
    ours.iter()
        .filter(allows_none)
        .map(|budget| {
            Finding::own(
                Severity::Note,
                Check::BudgetAllowsNone,
                format!("PodDisruptionBudget {} allows no eviction at all.", budget.name_any()),
                "It does not hold a run, which deletes the pods that it has drained. But it holds every node drain for ever.",
                "Allow one, with maxUnavailable 1.",
            )
        })
        .collect()
}

/// What becomes of the surge's volume claims.
pub fn claims(set: &StatefulSet) -> Vec<Finding> {
    let Some(spec) = &set.spec else { return Vec::new() };
    if spec.volume_claim_templates.as_ref().is_none_or(Vec::is_empty) {
        return Vec::new();
    }
    let policy = spec.persistent_volume_claim_retention_policy.as_ref();
    let name = set.name_any();
    if policy.and_then(|policy| policy.when_scaled.as_deref()) == Some("Delete") {
        return vec![Finding::own(
            Severity::Note,
            Check::ClaimsAreDeleted,
            format!(
                "StatefulSet {name} deletes the claims of pods that are scaled away (whenScaled: Delete)."
            ),
            "The claims of the surge go with it, so each run's surge begins empty. Replicas that you take away lose their data too.",
            "Nothing, if that is what you want.",
        )];
    }
    vec![Finding::own(
        Severity::Warning,
        Check::SurgeClaimsStay,
        format!("StatefulSet {name} keeps the claims of pods that are scaled away (whenScaled: Retain)."),
        "The claims of the surge stay after a run and cost what they cost; the next run's surge comes up with that old data.",
        "Set persistentVolumeClaimRetentionPolicy.whenScaled to Delete, or spec.surge.replicas to 0.",
    )]
}

/// What the object itself allows.
pub fn spec(object: &LosslessUpgrade) -> Vec<Finding> {
    let mut findings = Vec::new();
    if object.spec.drain.on_timeout == OnTimeout::Proceed {
        findings.push(Finding::own(
            Severity::Warning,
            Check::ProceedsWithConnections,
            format!("spec.drain.onTimeout is Proceed: after {} a pod is replaced with the connections that it has.", object.spec.drain.timeout),
            "The requests on them are lost. The history says when that happened.",
            "Use Pause, or a timeout that is longer than your longest request.",
        ));
    }
    if object.spec.drain.probes.iter().all(|probe| probe.socket.is_none()) {
        findings.push(Finding::own(
            Severity::Note,
            Check::NewConnectionsAreNotSeen,
            "The probe socket is not in spec.drain.probes.".to_owned(),
            "No other probe sees requests that begin and end between two readings, so drain.maxNewPerSecond has no effect: clients that a lever does not reach lose what they have under way when the pod goes.",
            "Add the probe socket, or see that every client comes through a lever.",
        ));
    }
    if object.spec.traffic.levers.iter().any(|lever| lever.none.is_some()) {
        findings.push(Finding::own(
            Severity::Warning,
            Check::NothingIsMoved,
            "The lever is `none`: new connections go to a pod until it is deleted.",
            "Requests are lost, unless the clients find their own way round a pod that goes.",
            "Name a lever in spec.traffic.levers; `kubectl lu create STATEFULSET` says which can be worked out.",
        ));
    }
    findings
}
