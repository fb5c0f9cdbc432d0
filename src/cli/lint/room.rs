//! Whether the surge finds room: in the namespace's quotas, and on the nodes.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, ResourceQuota};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;

use super::finding::{Check, Finding, Severity};

/// What counts on a node and in most quotas.
const RESOURCES: [&str; 2] = ["cpu", "memory"];

/// Quotas that the surge would exceed.
pub fn quota(set: &StatefulSet, surge: u32, quotas: &[ResourceQuota]) -> Vec<Finding> {
    let Some(pod) = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()) else { return Vec::new() };
    let mut findings = Vec::new();
    for quota in quotas {
        let Some(status) = &quota.status else { continue };
        let (Some(hard), Some(used)) = (&status.hard, &status.used) else { continue };
        for (key, limit) in hard {
            let Some(each) = asked(pod, key) else { continue };
            let used = used.get(key).and_then(amount).unwrap_or_default();
            let Some(limit) = amount(limit) else { continue };
            let needed = each * f64::from(surge);
            if used + needed > limit {
                findings.push(Finding::own(
                    Severity::Error,
                    Check::QuotaTooSmall,
                    format!(
                        "ResourceQuota {} has {used} of {limit} used in {key}, and {surge} surge pods of StatefulSet {} ask for {needed}.",
                        quota.name_any(),
                        set.name_any()
                    ),
                    "The surge pods are not created; the run gives up and is Blocked, nothing is touched.",
                    "Raise the quota, or set spec.surge.replicas to 0 and let capacity fall by one batch.",
                ));
            }
        }
    }
    findings
}

/// What one pod takes of a quota's resource; none: the quota is about something else.
fn asked(pod: &PodSpec, key: &str) -> Option<f64> {
    match key {
        "pods" | "count/pods" => Some(1.0),
        "cpu" | "requests.cpu" => Some(sum(pod, "cpu", Bound::Request)),
        "memory" | "requests.memory" => Some(sum(pod, "memory", Bound::Request)),
        "limits.cpu" => Some(sum(pod, "cpu", Bound::Limit)),
        "limits.memory" => Some(sum(pod, "memory", Bound::Limit)),
        _ => None,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    Request,
    Limit,
}

/// The sum of a pod's containers. A request that is left out is the limit, as the API server has it.
fn sum(pod: &PodSpec, resource: &str, bound: Bound) -> f64 {
    let each = pod.containers.iter().filter_map(|container| {
        let resources = container.resources.as_ref()?;
        let limit = || resources.limits.as_ref()?.get(resource);
        let found = match bound {
            Bound::Request => resources.requests.as_ref().and_then(|map| map.get(resource)).or_else(limit),
            Bound::Limit => limit(),
        };
        found.and_then(amount)
    });
    each.sum()
}

/// Whether the nodes have room for the surge, by requests and by the number of pods. Taints and affinity
/// are left to the scheduler.
pub fn nodes(set: &StatefulSet, surge: u32, nodes: &[Node], pods: &[Pod]) -> Vec<Finding> {
    let Some(pod) = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()) else { return Vec::new() };
    let none = BTreeMap::new();
    let selector = pod.node_selector.as_ref().unwrap_or(&none);
    let usable = |node: &&Node| {
        let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default();
        !cordoned && selector.iter().all(|(key, value)| node.labels().get(key) == Some(value))
    };
    let room: u32 =
        nodes.iter().filter(usable).map(|node| fits(pod, node, pods)).fold(0, u32::saturating_add);
    if room >= surge {
        return Vec::new();
    }
    vec![Finding::own(
        Severity::Warning,
        Check::NoRoom,
        format!(
            "The nodes have room for {room} more pods of StatefulSet {}, by their requests, and the surge has {surge}.",
            set.name_any()
        ),
        "Without a cluster autoscaler the surge pods stay Pending; the run gives up after verify.timeout and is Blocked, nothing is touched.",
        "Make room, or set spec.surge.replicas to 0 and let capacity fall by one batch.",
    )]
}

/// How many more of these pods a node takes.
fn fits(pod: &PodSpec, node: &Node, pods: &[Pod]) -> u32 {
    let on = |one: &&Pod| {
        let there = one.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == node.metadata.name.as_ref();
        let phase = one.status.as_ref().and_then(|status| status.phase.as_deref());
        there && !matches!(phase, Some("Succeeded" | "Failed"))
    };
    let here: Vec<&PodSpec> = pods.iter().filter(on).filter_map(|one| one.spec.as_ref()).collect();
    let allocatable =
        |resource: &str| node.status.as_ref()?.allocatable.as_ref()?.get(resource).and_then(amount);
    let count = u32::try_from(here.len()).unwrap_or(u32::MAX);
    let mut room = allocatable("pods").map_or(u32::MAX, whole).saturating_sub(count);
    for resource in RESOURCES {
        let each = sum(pod, resource, Bound::Request);
        if let Some(all) = allocatable(resource).filter(|_| each > 0.0) {
            let used: f64 = here.iter().map(|one| sum(one, resource, Bound::Request)).sum();
            room = room.min(whole((all - used) / each));
        }
    }
    room
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped before")]
fn whole(number: f64) -> u32 {
    number.clamp(0.0, f64::from(u32::MAX)) as u32
}

/// A quantity as a number; none where it is none.
pub fn amount(quantity: &Quantity) -> Option<f64> {
    let text = quantity.0.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    let factor = match unit {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024_f64.powi(2),
        "Gi" => 1024_f64.powi(3),
        "Ti" => 1024_f64.powi(4),
        "Pi" => 1024_f64.powi(5),
        "Ei" => 1024_f64.powi(6),
        // A power of ten: `1e3`.
        _ => return text.parse().ok(),
    };
    Some(number * factor)
}
