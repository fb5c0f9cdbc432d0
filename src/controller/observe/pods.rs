//! The StatefulSet's pods.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, Probe as KubeletProbe, Service};
use kube::api::ListParams;
use kube::core::Selector;
use kube::{Api, ResourceExt};

use crate::controller::error::Error;
use crate::controller::names::FENCE;
use crate::drain::PodTarget;
use crate::drain::ports::{resolve_fronts, resolve_target_ports};
use crate::drain::socket::{CounterState, counter_state, counters};
use crate::traffic::labels::{POD_NAME, REVISION};
use crate::workflow::observed::{CounterView, ImageView, PodView};
use crate::workflow::ordinals::{Ordinal, ordinal_of};

/// A pod whose Ready condition is as old as the pod itself was never Ready. The kubelet writes both
/// at its first look, in seconds that may differ by one.
const FIRST_LOOK_SECONDS: i64 = 1;

/// A pod is given no more counters than this, over all runs.
const MOST_COUNTERS: usize = 10;

/// The label selector of the StatefulSet's pods.
pub fn selector(set: &StatefulSet) -> Option<String> {
    let selector: Selector = set.spec.as_ref()?.selector.clone().try_into().ok()?;
    Some(selector.to_string())
}

/// The version of the last list of pods that was read.
#[derive(Default)]
pub struct Listed(Option<u64>);

impl Listed {
    /// An old list shows a pod that is good by now as one that is not Ready any more, and a version would be given up
    /// for that. Versions of one kind of object are numbers in order
    /// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>). What is said twice is
    /// believed: an etcd that was put back from a copy stays behind.
    fn takes(&mut self, version: Option<&str>) -> Result<(), Error> {
        let version = version.and_then(|version| version.parse().ok());
        let before = std::mem::replace(&mut self.0, version);
        if version.zip(before).is_some_and(|(version, before)| version < before) {
            return Err(Error::Incomplete(
                "the list of the pods is older than the one before; looking again",
            ));
        }
        Ok(())
    }
}

/// The pods that the StatefulSet owns, by ordinal.
///
/// # Errors
/// A read that failed, or one that went back in time.
pub async fn of(
    client: &kube::Client,
    namespace: &str,
    set: &StatefulSet,
    listed: &mut Listed,
) -> Result<BTreeMap<Ordinal, Pod>, Error> {
    let selector = selector(set).ok_or(Error::Incomplete("the StatefulSet's selector cannot be read"))?;
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let list = api.list(&ListParams::default().labels(&selector)).await;
    let list = list.map_err(Error::api("listing the pods"))?;
    listed.takes(list.metadata.resource_version.as_deref())?;
    let owned =
        |pod: &Pod| pod.owner_references().iter().any(|owner| Some(&owner.uid) == set.metadata.uid.as_ref());
    Ok(by_ordinal(&set.name_any(), list.items.into_iter().filter(owned)))
}

/// The pods that a StatefulSet of this name has left behind when it was deleted without them: made for it, and nobody's
/// now. What a lever on pods wrote is still in them.
///
/// # Errors
/// A read that failed.
pub async fn left_by(
    client: &kube::Client,
    namespace: &str,
    set: &str,
) -> Result<BTreeMap<Ordinal, Pod>, Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let list = api.list(&ListParams::default().labels(POD_NAME)).await;
    Ok(left(set, list.map_err(Error::api("listing the pods"))?.items))
}

fn left(set: &str, pods: Vec<Pod>) -> BTreeMap<Ordinal, Pod> {
    by_ordinal(set, pods.into_iter().filter(|pod| pod.owner_references().is_empty()))
}

fn by_ordinal(set: &str, pods: impl Iterator<Item = Pod>) -> BTreeMap<Ordinal, Pod> {
    let pods = pods.filter_map(|pod| Some((ordinal_of(set, pod.metadata.name.as_deref()?)?, pod)));
    pods.collect()
}

/// A pod as the procedure sees it. `run` is given where a probe counts from inside the pod.
pub fn view(pod: &Pod, set: Option<&StatefulSet>, run: Option<&str>) -> PodView {
    let status = pod.status.as_ref();
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let condition = |kind: &str| {
        status.and_then(|status| status.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind))
    };
    let ready = condition("Ready");
    let scheduled = condition("PodScheduled").filter(|scheduled| scheduled.status == "False");
    let containers = || containers(pod);
    PodView {
        name: pod.name_any(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        revision: pod.labels().get(REVISION).cloned().unwrap_or_default(),
        ready: !terminating && ready.is_some_and(|ready| ready.status == "True"),
        never_ready: never_ready(pod, ready),
        running: containers()
            .any(|container| container.state.as_ref().is_some_and(|state| state.running.is_some())),
        terminating,
        restarts: containers()
            .map(|container| u32::try_from(container.restart_count).unwrap_or_default())
            .sum(),
        image: image(pod, set),
        trouble: scheduled
            .and_then(|scheduled| scheduled.message.clone())
            .or_else(|| containers().find_map(trouble)),
        unschedulable: scheduled
            .is_some_and(|scheduled| scheduled.reason.as_deref() == Some("Unschedulable")),
        counter: run.map_or(CounterView::NotNeeded, |run| counter(pod, run)),
        fence: pod.annotations().get(FENCE).cloned(),
    }
}

/// The containers of the application, sidecars among them; ephemeral ones are ours or a person's.
fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.iter().flat_map(|status| {
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten())
    })
}

fn never_ready(pod: &Pod, ready: Option<&PodCondition>) -> bool {
    let Some(ready) = ready else { return true };
    let start = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    // Not started: then the scheduler has written the condition, or nobody.
    let Some(start) = start else { return ready.status != "True" };
    let changed = ready.last_transition_time.as_ref();
    ready.status != "True"
        && changed.is_some_and(|changed| changed.0.as_second() - start.0.as_second() <= FIRST_LOOK_SECONDS)
}

fn trouble(container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting
        .reason
        .as_deref()
        .filter(|reason| *reason != "ContainerCreating" && *reason != "PodInitializing")?;
    let message = waiting.message.as_deref().unwrap_or_default();
    Some(format!("{} {reason} {message}", container.name).trim_end().to_owned())
}

/// A pod's own spec says what its kubelet runs: each new version is a new pod. The spec is compared
/// with the template where it is of this revision, unless admission rewrote it, which shows as a
/// container that runs what its own spec says. The running image is compared by repository: the
/// runtime may name an image by another tag of the same digest.
fn image(pod: &Pod, set: Option<&StatefulSet>) -> ImageView {
    let wanted: BTreeMap<&str, &str> = pod
        .spec
        .iter()
        .flat_map(|spec| spec.containers.iter())
        .filter_map(|container| Some((container.name.as_str(), container.image.as_deref()?)))
        .collect();
    let known = set.is_some() && !wanted.is_empty();
    let statuses: BTreeMap<&str, &ContainerStatus> =
        containers(pod).map(|status| (status.name.as_str(), status)).collect();
    for (name, image) in &wanted {
        let Some(status) = statuses.get(name).filter(|status| known && !status.image_id.is_empty()) else {
            return ImageView::Unknown;
        };
        if !status.image.starts_with("sha256:") && repository(&status.image) != repository(image) {
            return ImageView::Wrong(format!("{} in container {name} instead of {image}", status.image));
        }
    }
    if wanted.is_empty() { ImageView::Unknown } else { ImageView::Right }
}

/// The repository of an image reference, with Docker's defaults written out.
fn repository(image: &str) -> String {
    let image = image.split('@').next().unwrap_or(image);
    let (path, last) = image.rsplit_once('/').unwrap_or(("", image));
    let last = last.split(':').next().unwrap_or(last);
    let path = if path.is_empty() { "library" } else { path };
    let registry = path.split('/').next().unwrap_or_default();
    let host = registry.contains('.') || registry.contains(':') || registry == "localhost";
    if host { format!("{path}/{last}") } else { format!("docker.io/{path}/{last}") }
}

fn counter(pod: &Pod, run: &str) -> CounterView {
    let state = counter_state(pod, run);
    let there = counters(pod);
    match &state {
        CounterState::Absent | CounterState::Ended { .. } if there >= MOST_COUNTERS => {
            CounterView::Refused(format!(
                "{there} drain counters of earlier runs are in it already, and none can be taken out of a pod: mend what kept them from counting, then replace the pod by hand, or use the http probe"
            ))
        }
        CounterState::Starting { .. } | CounterState::Running { .. } => CounterView::Present,
        CounterState::Ended { why, .. } if state.next().is_none() => {
            CounterView::Refused(format!("it ended again and again: {why}"))
        }
        CounterState::Absent | CounterState::Ended { .. } => CounterView::Absent,
        CounterState::Failing { why, .. } => CounterView::Refused(why.clone()),
    }
}

/// New connections a second that the kubelet's own probes make.
pub fn explained_per_second(pod: &Pod) -> f64 {
    let containers =
        pod.spec.iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    containers
        .flat_map(|container| {
            [&container.readiness_probe, &container.liveness_probe, &container.startup_probe]
        })
        .filter_map(Option::as_ref)
        .filter(|probe| probe.exec.is_none())
        .map(|probe: &KubeletProbe| 1.0 / f64::from(probe.period_seconds.unwrap_or(10).max(1)))
        .sum()
}

/// A pod as the probes need it. Ports that cannot be resolved are none, which the probe refuses.
pub fn target(ordinal: Ordinal, pod: &Pod, services: &[Service], run: String) -> PodTarget {
    PodTarget {
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        ip: pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()?.parse().ok()),
        ordinal,
        run,
        ports: resolve_target_ports(pod, services).unwrap_or_default(),
        fronts: resolve_fronts(pod, services).unwrap_or_default(),
        host_network: pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or_default(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web-0", "uid": "u", "labels": {"controller-revision-hash": "web-1"}},
            "spec": {"containers": [{"name": "web", "image": "nginx:1.25",
                "readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 2}}]},
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_list_of_pods_that_is_older_than_the_one_before_is_believed_when_it_is_read_again() {
        let mut listed = Listed::default();
        let takes = ["9", "10", "10", "9", "9", "11"].map(|version| listed.takes(Some(version)).is_ok());
        assert_eq!(takes, [true, true, true, false, true, true]);
        assert!(listed.takes(Some("not a number")).is_ok() && listed.takes(Some("1")).is_ok());
    }

    #[test]
    fn what_a_statefulset_has_left_behind_are_the_pods_of_its_name_that_are_nobodys() {
        let named = |name: &str, owner: Option<&str>| {
            let owners: Vec<_> = owner
                .iter()
                .map(|uid| json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": uid}))
                .collect();
            serde_json::from_value(json!({"metadata": {"name": name, "ownerReferences": owners}})).unwrap()
        };
        let all = vec![
            named("web-0", None),
            named("web-1", Some("u-old")),
            named("web-b-2", None),
            named("web-12", None),
        ];
        assert_eq!(left("web", all).into_keys().collect::<Vec<_>>(), [0, 12]);
    }

    fn ready(status: &str, since: &str) -> serde_json::Value {
        json!({
            "startTime": "2026-01-01T00:00:00Z",
            "conditions": [{"type": "Ready", "status": status, "lastTransitionTime": since}],
        })
    }

    #[test]
    fn a_pod_whose_readiness_never_changed_was_never_ready() {
        let view = |status| super::view(&pod(&status), None, None);
        assert!(view(json!({})).never_ready);
        assert!(view(ready("False", "2026-01-01T00:00:01Z")).never_ready);
        assert!(!view(ready("False", "2026-01-01T00:00:09Z")).never_ready);
        assert!(!view(ready("True", "2026-01-01T00:00:09Z")).never_ready);
    }

    #[test]
    fn a_pod_on_its_way_out_is_not_ready() {
        let mut going = pod(&ready("True", "2026-01-01T00:00:09Z"));
        going.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:01:00Z")).unwrap();
        let view = super::view(&going, None, None);
        assert!(!view.ready && view.terminating);
    }

    #[test]
    fn image_references_are_compared_by_repository_with_the_defaults_written_out() {
        for (one, other) in [
            ("nginx:1.25", "docker.io/library/nginx:1.25"),
            ("nginx@sha256:00", "nginx:1"),
            ("team/app:1", "docker.io/team/app:2"),
            ("registry.example:5000/app:1", "registry.example:5000/app:1"),
        ] {
            assert_eq!(repository(one), repository(other), "{one} {other}");
        }
        assert_ne!(repository("registry.example/app"), repository("app"));
    }

    #[test]
    fn the_kubelets_own_probes_are_explained() {
        assert!((explained_per_second(&pod(&json!({}))) - 0.5).abs() < 1e-9);
    }
}
