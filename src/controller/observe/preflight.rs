//! What stands against beginning a run, and what it would have to put back. Nothing is written.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::levers::of_cloud;
use super::{Eye, Look, lever_title, pods, services, target, versions};
use crate::api::LosslessUpgrade;
use crate::controller::cloud;
use crate::controller::error::Error;
use crate::controller::names::MANAGER;
use crate::traffic::{self, CloudAnswer, CloudQuestion, OnPods, Site, cover, pods as of_pods};
use crate::workflow::observed::Observed;
use crate::workflow::ordinals::{Ordinal, OrdinalSet};
use crate::workflow::plan::Plan;
use crate::workflow::reasons::{Problem, Reason};
use crate::workflow::state::{SavedLever, State};

/// Whether a run may be wanted at all: else nothing more is read, so that an object at rest costs
/// next to nothing.
pub fn may_begin(plan: &Plan, seen: &Observed) -> bool {
    let Some(set) = &seen.set else { return false };
    let Some(revision) = &set.update_revision else { return false };
    !seen.deleting && (seen.pods.values().any(|pod| pod.revision != *revision) || !set.runs(&plan.images))
}

/// Looks at all that stands against a run.
pub async fn look(
    eye: Eye<'_>,
    object: &LosslessUpgrade,
    look: &mut Look,
    seen: &mut Observed,
) -> Result<(), Error> {
    let (client, namespace) = (eye.client, &object.namespace().unwrap_or_default());
    seen.problems.extend(taken(eye, object));
    levers(client, object, namespace, look, seen).await?;
    seen.problems.extend(autoscaled(client, namespace, &object.spec.target_ref.name).await?);
    seen.templates = templates(client, namespace, look).await?;
    let warnings = look.set.as_ref().map(warnings).unwrap_or_default();
    look.warnings.extend(warnings);
    if seen.problems.is_empty() {
        seen.problems.extend(admitted(eye, namespace, look).await);
    }
    Ok(())
}

/// Of several objects on one target the oldest counts, and by name where they are as old.
fn taken(eye: Eye<'_>, object: &LosslessUpgrade) -> Option<Problem> {
    let age = |object: &LosslessUpgrade| {
        (object.metadata.creation_timestamp.as_ref().map(|at| at.0), object.name_any())
    };
    let others = eye.objects.state();
    let mut others = others.iter().filter_map(|other| other.0.as_ref().ok());
    let first = others.find(|other| {
        other.namespace() == object.namespace()
            && other.name_any() != object.name_any()
            && other.spec.target_ref.name == object.spec.target_ref.name
            && age(other) < age(object)
    })?;
    let text = format!(
        "LosslessUpgrade {} has the same target {}. Delete one of the two",
        first.name_any(),
        object.spec.target_ref.name
    );
    Some(Problem::new(Reason::TargetTaken, text))
}

async fn levers(
    client: &kube::Client,
    object: &LosslessUpgrade,
    namespace: &str,
    look: &mut Look,
    seen: &mut Observed,
) -> Result<(), Error> {
    let all = services(client, namespace).await?;
    let none = BTreeMap::new();
    let target = target(&object.spec.target_ref.name, look.set.as_ref(), &none);
    let mut covered = Vec::new();
    for (lever, services) in &mut look.levers {
        // One pod is enough to say it.
        let against = look.pods.values().find_map(|pod| lever.stands_against(pod));
        seen.problems.extend(against.as_ref().map(unusable));
        match versions::check(client, lever.as_ref()).await {
            Ok(warnings) => look.warnings.extend(warnings.iter().map(ToString::to_string)),
            Err(problems) => seen.problems.extend(problems.iter().map(unusable)),
        }
        match lever.services(&target, &all) {
            Err(problems) => seen.problems.extend(problems.iter().map(unusable)),
            Ok(selection) => {
                look.warnings.extend(selection.warnings.iter().map(ToString::to_string));
                let selected = |service: &&Service| selection.services.contains(&service.name_any());
                services.extend(all.iter().filter(selected).cloned());
                match lever.site() {
                    Site::Nothing => {}
                    Site::Services(on) => {
                        seen.levers_before.extend(services.iter().map(|service| SavedLever {
                            lever: lever.kind().to_string(),
                            name: service.name_any(),
                            before: on.value(service).map(str::to_owned),
                        }));
                    }
                    Site::Pods(on) => {
                        let (name, value) = on.saved();
                        let saved = SavedLever {
                            lever: lever.kind().to_string(),
                            name: name.to_owned(),
                            before: value.map(str::to_owned),
                        };
                        seen.problems.extend(detached_already(on, &look.pods, seen, &saved));
                        seen.levers_before.push(saved);
                    }
                }
                seen.problems.extend(covered_twice(&covered, &selection.services));
                covered.extend(selection.services);
            }
        }
    }
    let moves = look.levers.iter().any(|(lever, _)| !matches!(lever.site(), Site::Nothing));
    let uncovered = cover::uncovered(&target, &all, &covered, &object.spec.traffic.ignore_services);
    if moves && !uncovered.is_empty() && seen.problems.is_empty() {
        let text = format!(
            "These Services also send connections to the pods, and no lever covers them: {}. Add them to the lever, or to spec.traffic.ignoreServices if losing their requests is acceptable",
            uncovered.join(", ")
        );
        seen.problems.push(Problem::new(Reason::ServiceNotCovered, text));
    }
    Ok(())
}

fn unusable(problem: &traffic::Problem) -> Problem {
    Problem::new(Reason::LeverUnusable, problem.to_string())
}

/// A pod without its label leaves the load balancer at once, where a weight of 0 would have kept its connections.
fn covered_twice(before: &[String], now: &[String]) -> Option<Problem> {
    let twice = now.iter().find(|name| before.contains(name))?;
    let text = format!(
        "Two levers cover Service {twice}, and what takes effect first may cut the connections that the other one keeps. Name the Services of one of them without it; podLabel covers whatever selects by its label, so there take the label out of its selector"
    );
    Some(Problem::new(Reason::LeverUnusable, text))
}

/// A pod that is detached before the run: whether it is to serve after it, nobody can tell.
fn detached_already(
    lever: &dyn OnPods,
    pods: &BTreeMap<Ordinal, Pod>,
    seen: &Observed,
    saved: &SavedLever,
) -> Option<Problem> {
    let held = match of_pods::held(lever, pods, &OrdinalSet::new()) {
        traffic::Held::Ordinals(held) if held.is_empty() => return None,
        traffic::Held::Ordinals(held) => format!("{} keeps away {}", lever_title(saved), seen.names(&held)),
        traffic::Held::Foreign { what } => what,
        traffic::Held::Unreadable { why } => why,
    };
    Some(Problem::new(Reason::LeverUnusable, traffic::Problem::NotAttached { held }.to_string()))
}

/// What may disturb a run, from the StatefulSet alone.
fn warnings(set: &StatefulSet) -> Vec<String> {
    let name = set.name_any();
    let mut warnings = Vec::new();
    let managers = set.metadata.managed_fields.iter().flatten();
    let owner = managers.filter(|entry| entry.manager.as_deref() != Some(MANAGER)).find(|entry| {
        let owned = entry.fields_v1.as_ref().and_then(|owned| owned.0.pointer("/f:spec/f:replicas"));
        // What only ever created or scaled it does not put the number back; what applies does.
        owned.is_some() && (entry.operation.as_deref() == Some("Apply") || is_client_side_apply(entry))
    });
    if let Some(manager) = owner.and_then(|entry| entry.manager.as_deref()) {
        warnings.push(format!(
            "{manager} owns spec.replicas of StatefulSet {name}: applying a manifest with `replicas` in mid-run takes the surge away undrained. Do not apply it until the run is over"
        ));
    }
    let spec = set.spec.as_ref();
    if spec.and_then(|spec| spec.pod_management_policy.as_deref()) != Some("Parallel") {
        warnings.push(format!(
            "StatefulSet {name} starts its pods in order (podManagementPolicy OrderedReady): batches have one pod, and a pod that is not Ready holds up all others"
        ));
    }
    warnings
}

fn is_client_side_apply(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some("kubectl-client-side-apply")
}

/// The Services of the namespace that send connections to the StatefulSet's pods, by name.
///
/// # Errors
/// A read that failed.
pub async fn selecting(
    client: &kube::Client,
    namespace: &str,
    set: &StatefulSet,
) -> Result<Vec<Service>, Error> {
    let none = BTreeMap::new();
    let name = set.name_any();
    let target = target(&name, Some(set), &none);
    let mut found = services(client, namespace).await?;
    found.retain(|service| cover::selects(&target, service));
    found.sort_by_key(ResourceExt::name_any);
    Ok(found)
}

async fn autoscaled(client: &kube::Client, namespace: &str, set: &str) -> Result<Option<Problem>, Error> {
    let api: Api<HorizontalPodAutoscaler> = Api::namespaced(client.clone(), namespace);
    let list =
        api.list(&ListParams::default()).await.map_err(Error::api("listing the HorizontalPodAutoscalers"))?;
    let owner = list.items.into_iter().find(|scaler| {
        let aim = scaler.spec.as_ref().map(|spec| &spec.scale_target_ref);
        aim.is_some_and(|aim| aim.kind == "StatefulSet" && aim.name == set)
    });
    Ok(owner.map(|owner| {
        let text = format!(
            "HorizontalPodAutoscaler {} owns the replicas of StatefulSet {set} and would take the surge away. Delete it for the length of the run, or aim it elsewhere",
            owner.name_any()
        );
        Problem::new(Reason::AutoscalerOwnsReplicas, text)
    }))
}

/// The pod templates of the StatefulSet's revisions, as JSON text without the patch directive that
/// the StatefulSet controller stores with them.
async fn templates(
    client: &kube::Client,
    namespace: &str,
    look: &Look,
) -> Result<BTreeMap<String, String>, Error> {
    let Some(set) = &look.set else { return Ok(BTreeMap::new()) };
    let Some(selector) = pods::selector(set) else { return Ok(BTreeMap::new()) };
    let api: Api<ControllerRevision> = Api::namespaced(client.clone(), namespace);
    let list = api.list(&ListParams::default().labels(&selector)).await;
    let revisions = list.map_err(Error::api("listing the ControllerRevisions"))?.items.into_iter();
    Ok(revisions
        .filter(|revision| {
            revision.owner_references().iter().any(|owner| Some(&owner.uid) == set.metadata.uid.as_ref())
        })
        .filter_map(|revision| {
            let mut template = revision.data.as_ref()?.0.pointer("/spec/template")?.clone();
            template.as_object_mut()?.remove("$patch");
            Some((revision.name_any(), template.to_string()))
        })
        .collect())
}

/// Whether the probes may work on a pod, as a dry run, whether the cloud knows it where it is to be asked, and whether it
/// may be nudged.
async fn admitted(eye: Eye<'_>, namespace: &str, look: &Look) -> Option<Problem> {
    let (ordinal, pod) = look.pods.iter().find(|(_, pod)| pods::view(pod, None, None).ready)?;
    let target = look.pod_target(*ordinal, pod, &State::default());
    for probe in &look.probes {
        if let Err(refusal) = probe.admit(&target).await {
            let text = format!("The {} probe cannot be used on {}: {refusal}", probe.kind(), pod.name_any());
            return Some(Problem::new(Reason::ProbeUnusable, text));
        }
    }
    if let Some(problem) = known_to_cloud(eye, namespace, look, pod).await {
        return Some(problem);
    }
    let refusal = look.nudges.admit().err()?;
    Some(Problem::new(Reason::ProbeUnusable, refusal.to_string()))
}

/// What a cloud cannot say of a pod that serves it could not say of one that is detached.
async fn known_to_cloud(eye: Eye<'_>, namespace: &str, look: &Look, pod: &Pod) -> Option<Problem> {
    for (lever, services) in &look.levers {
        let Site::Services(on) = lever.site() else { continue };
        let Some(spec) = on.confirm_by_api() else { continue };
        for service in services {
            let question = CloudQuestion::new(spec, service, None, of_cloud(pod).into_iter().collect());
            let answer = match &question {
                Ok(question) => cloud::once(question, &eye.cloud(namespace), eye.clock).await,
                Err(why) => CloudAnswer::Unknown { why: why.clone() },
            };
            match answer {
                CloudAnswer::Detached | CloudAnswer::Attached { .. } => {}
                CloudAnswer::Unknown { why } => {
                    let title = lever.kind().title(&service.name_any());
                    let text = format!("confirmByApi of {title} cannot be used: {why}");
                    return Some(Problem::new(Reason::LeverUnusable, text));
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(manager: &str, operation: &str, policy: &str) -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "managedFields": [
                {"manager": manager, "operation": operation, "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
                 "fieldsV1": {"f:spec": {"f:replicas": {}}}},
            ]},
            "spec": {"podManagementPolicy": policy, "selector": {}, "template": {}, "serviceName": "web"},
        }))
        .unwrap()
    }

    #[test]
    fn a_service_that_two_levers_cover_is_refused_by_its_name() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(covered_twice(&names(&["front"]), &names(&["inside"])).is_none());
        let refused = covered_twice(&names(&["front", "game"]), &names(&["inside", "game"])).unwrap();
        assert_eq!(refused.reason, Reason::LeverUnusable);
        assert!(refused.text.contains("Service game, "), "{}", refused.text);
    }

    #[test]
    fn who_would_put_the_replicas_back_is_named_before_the_run() {
        for (manager, operation, warned) in [
            ("argocd-controller", "Apply", true),
            ("kubectl-client-side-apply", "Update", true),
            ("kubectl-scale", "Update", false),
            (MANAGER, "Update", false),
        ] {
            let warnings = warnings(&set(manager, operation, "Parallel"));
            assert_eq!(warnings.iter().any(|text| text.contains("owns spec.replicas")), warned, "{manager}");
        }
    }

    #[test]
    fn a_set_that_starts_its_pods_in_order_is_warned_of() {
        assert!(warnings(&set("x", "Update", "OrderedReady"))[0].contains("OrderedReady"));
        assert!(warnings(&set("x", "Update", "Parallel")).is_empty());
    }
}
