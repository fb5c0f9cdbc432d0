//! One effect on the world, by who has recorded it. Each carries uid and resourceVersion of what
//! was looked at, so that it is refused when the world has moved.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Context;
use super::error::Error;
use super::names::{FENCE, FINALIZER, MANAGER, MARKER};
use super::observe::{Look, target};
use super::record::Recorded;
use super::session::Session;
use crate::api::LosslessUpgrade;
use crate::drain::socket::StartError;
use crate::traffic::{Site, WriteRecord, apply, pods};
use crate::workflow::decision::{Effect, Note};
use crate::workflow::observed::Held;
use crate::workflow::ordinals::{Ordinal, OrdinalSet};
use crate::workflow::reasons::Reason;
use crate::workflow::state::State;

/// What an effect works with.
pub struct Scene<'a> {
    /// The process.
    pub context: &'a Context,
    /// The object.
    pub object: &'a LosslessUpgrade,
    /// Its namespace.
    pub namespace: &'a str,
    /// The state that orders the effect.
    pub state: &'a State,
    /// What it was decided on.
    pub look: &'a Look,
}

/// Carries the effect out. Answers with what failed and need not be tried again.
///
/// # Errors
/// When it was refused or its outcome is not known: the next look shows what became of it.
pub async fn act(
    scene: &Scene<'_>,
    effect: &Effect,
    session: &mut Session,
    _: Recorded,
) -> Result<Vec<Note>, Error> {
    let kind = match effect {
        Effect::Scale { replicas, images } => {
            scale(scene, *replicas, *images).await?;
            "statefulset"
        }
        Effect::RestoreTemplate => {
            restore_template(scene).await?;
            "statefulset"
        }
        Effect::SetLevers { detached, again } => {
            set_lever(scene, detached, *again, session).await?;
            "lever"
        }
        Effect::StartCounter { ordinal, .. } => {
            start_counter(scene, *ordinal).await?;
            "counter"
        }
        // No write to the API server.
        Effect::Nudge { pods } => return Ok(nudge(scene, pods).await),
        Effect::Delete { ordinal, uid } => {
            delete(scene, *ordinal, uid).await?;
            "delete"
        }
        Effect::Fence { ordinal, uid, mark } => {
            fence(scene, *ordinal, uid, mark).await?;
            "fence"
        }
        Effect::FenceSet { mark } => {
            fence_set(scene, mark.as_deref()).await?;
            "fence"
        }
        Effect::FenceLever { lever, mark } => {
            fence_lever(scene, lever, mark.as_deref()).await?;
            "fence"
        }
        Effect::RemoveFinalizer => {
            finalizer(scene.context, scene.object, false).await?;
            "finalizer"
        }
    };
    scene.context.metrics.api_write(kind);
    Ok(Vec::new())
}

fn by(manager: &str) -> PatchParams {
    PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() }
}

async fn scale(scene: &Scene<'_>, replicas: u32, images: bool) -> Result<(), Error> {
    let set = scene.look.set.as_ref().ok_or(Error::Incomplete("the StatefulSet is gone"))?;
    let mut spec = json!({"replicas": replicas});
    if images {
        spec["template"] = json!({"spec": template_images(scene.object, set)});
    }
    let patch = json!({"metadata": identity(&set.metadata), "spec": spec});
    let api: Api<StatefulSet> = Api::namespaced(scene.context.client.clone(), scene.namespace);
    // Strategic, so that a container is found by its name and keeps all else.
    let written = api.patch(&set.name_any(), &by(MANAGER), &Patch::Strategic(patch)).await;
    written.map(drop).map_err(Error::api("scaling the StatefulSet"))
}

/// The spec's images as containers and init containers of a pod template.
fn template_images(object: &LosslessUpgrade, set: &StatefulSet) -> Value {
    let pod = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let init = |name: &str| {
        pod.is_some_and(|pod| pod.init_containers.iter().flatten().any(|container| container.name == name))
    };
    let list = |of_init: bool| -> Vec<Value> {
        let images = object.spec.images.iter().filter(|(name, _)| init(name) == of_init);
        images.map(|(name, image)| json!({"name": name, "image": image})).collect()
    };
    let mut spec = json!({"containers": list(false)});
    let inits = list(true);
    if !inits.is_empty() {
        spec["initContainers"] = inits.into();
    }
    spec
}

/// The whole template, exactly as the revision had it: nothing that the failed one added may stay.
async fn restore_template(scene: &Scene<'_>) -> Result<(), Error> {
    let set = scene.look.set.as_ref().ok_or(Error::Incomplete("the StatefulSet is gone"))?;
    let template = scene.state.saved.as_ref().and_then(|saved| saved.template.as_deref());
    let template: Value =
        template.and_then(|text| serde_json::from_str(text).ok()).ok_or(Error::Incomplete(
            "status.saved.template is missing or not JSON, so the old version cannot be put back",
        ))?;
    let patch = json!([
        {"op": "test", "path": "/metadata/uid", "value": set.metadata.uid},
        {"op": "test", "path": "/metadata/resourceVersion", "value": set.metadata.resource_version},
        {"op": "replace", "path": "/spec/template", "value": template},
    ]);
    let patch: kube::core::params::Patch<StatefulSet> = Patch::Json(
        serde_json::from_value(patch)
            .map_err(|_| Error::Incomplete("the patch of the template is not a patch"))?,
    );
    let api: Api<StatefulSet> = Api::namespaced(scene.context.client.clone(), scene.namespace);
    let written = api.patch(&set.name_any(), &by(MANAGER), &patch).await;
    written.map(drop).map_err(Error::api("putting the old template back"))
}

/// Writes the first Service or pod that is not as wanted; the next look goes on to the next one.
async fn set_lever(
    scene: &Scene<'_>,
    detached: &OrdinalSet,
    again: bool,
    session: &mut Session,
) -> Result<(), Error> {
    let none = std::collections::BTreeMap::new();
    let name = &scene.object.spec.target_ref.name;
    let target = target(name, scene.look.set.as_ref(), &none);
    let client = &scene.context.client;
    let mut views = scene.look.seen.levers.iter();
    for (lever, services) in &scene.look.levers {
        let lever = match lever.site() {
            Site::Nothing => continue,
            Site::Services(lever) => lever,
            Site::Pods(lever) => {
                let title = lever.kind().title(lever.saved().0);
                let Some(view) = views.find(|view| view.name == title) else { continue };
                let doubtful = view.is_doubtful();
                let pods = &scene.look.pods;
                let due = if again {
                    doubtful.then(|| pods::again(lever, pods, MANAGER)).flatten()
                } else {
                    pods::next(lever, pods, detached)
                };
                let Some((live, detach)) = due else { continue };
                let change = lever.change(live, detach);
                let answer = apply::write(client.clone(), scene.namespace, live, change, MANAGER).await;
                return answer.map(drop).map_err(Error::api("writing a pod's lever"));
            }
        };
        for live in services {
            // A Service that is gone has a view and no object.
            let title = lever.kind().title(&live.name_any());
            let Some(view) = views.find(|view| view.name == title) else { continue };
            let right = view.held == Held::Ordinals(detached.clone());
            let skip =
                if again { !view.is_doubtful() } else { right && (!detached.is_empty() || view.restored) };
            if skip {
                continue;
            }
            let saved = scene.state.saved.iter().flat_map(|saved| &saved.levers);
            let mut saved = saved.filter(|saved| saved.lever == lever.kind().to_string());
            let before =
                saved.find(|saved| saved.name == live.name_any()).and_then(|saved| saved.before.as_deref());
            let value =
                if again { lever.again(live) } else { lever.render(live, &target, before, detached)? };
            let change = apply::annotate(lever.key(), value.as_deref());
            let answer = apply::write(client.clone(), scene.namespace, live, change, MANAGER).await;
            let answer = answer.map_err(Error::api("writing a lever"))?;
            let record = WriteRecord::of_answer(MANAGER, lever.key(), &answer, scene.context.clock.now());
            session.writes.insert((lever.kind(), live.name_any()), record);
            return Ok(());
        }
    }
    Ok(())
}

async fn start_counter(scene: &Scene<'_>, ordinal: Ordinal) -> Result<(), Error> {
    let Some(pod) = scene.look.pods.get(&ordinal) else { return Ok(()) };
    let Some(probe) = scene.look.probes.iter().find_map(|probe| probe.counter()) else { return Ok(()) };
    let target = scene.look.pod_target(ordinal, pod, scene.state);
    let Some(n) = crate::drain::socket::counter_state(pod, &target.run).next() else { return Ok(()) };
    let version = pod.metadata.resource_version.as_deref().unwrap_or_default();
    match probe.start(&target, version, n).await {
        Ok(()) => Ok(()),
        Err(StartError::Refused(refusal)) => Err(refusal.into()),
        Err(StartError::Api(error)) => Err(Error::api("starting a drain counter")(error)),
    }
}

/// Whatever comes of it, the drain goes on.
async fn nudge(scene: &Scene<'_>, pods: &[(Ordinal, String)]) -> Vec<Note> {
    let live = pods.iter().filter_map(|(ordinal, uid)| {
        let pod = scene.look.pods.get(ordinal).filter(|pod| pod.metadata.uid.as_ref() == Some(uid))?;
        Some(scene.look.pod_target(*ordinal, pod, scene.state))
    });
    let failures = scene.look.nudges.nudge(&live.collect::<Vec<_>>()).await;
    let note = |text| Note {
        reason: Reason::NudgeFailed,
        text: format!("{text}. It is not done again, and the drain goes on"),
        warning: true,
    };
    failures.into_iter().map(note).collect()
}

async fn delete(scene: &Scene<'_>, ordinal: Ordinal, uid: &str) -> Result<(), Error> {
    let Some(pod) = scene.look.pods.get(&ordinal) else { return Ok(()) };
    let parameters = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: pod.metadata.resource_version.clone(),
        }),
        ..DeleteParams::default()
    };
    let api: Api<Pod> = Api::namespaced(scene.context.client.clone(), scene.namespace);
    match api.delete(&pod.name_any(), &parameters).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(Error::api("deleting a pod")(error)),
    }
}

async fn fence(scene: &Scene<'_>, ordinal: Ordinal, uid: &str, mark: &str) -> Result<(), Error> {
    let Some(pod) = scene.look.pods.get(&ordinal) else { return Ok(()) };
    let patch = json!({"metadata": {"uid": uid, "annotations": {FENCE: mark}}});
    let api: Api<Pod> = Api::namespaced(scene.context.client.clone(), scene.namespace);
    let written = api.patch(&pod.name_any(), &by(MARKER), &Patch::Merge(patch)).await;
    written.map(drop).map_err(Error::api("marking a pod"))
}

async fn fence_set(scene: &Scene<'_>, mark: Option<&str>) -> Result<(), Error> {
    let set = scene.look.set.as_ref().ok_or(Error::Incomplete("the StatefulSet is gone"))?;
    set_mark(scene, set, mark).await.map_err(Error::api("marking the StatefulSet"))
}

async fn fence_lever(scene: &Scene<'_>, title: &str, mark: Option<&str>) -> Result<(), Error> {
    let mut all = scene.look.levers.iter().flat_map(|(lever, services)| {
        services.iter().map(move |service| (lever.kind().title(&service.name_any()), service))
    });
    let Some((_, service)) = all.find(|(name, _)| name == title) else { return Ok(()) };
    set_mark(scene, service, mark).await.map_err(Error::api("marking a Service"))
}

/// Moves the version of what was looked at, and of nothing newer.
async fn set_mark<K>(scene: &Scene<'_>, live: &K, mark: Option<&str>) -> Result<(), kube::Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let mut metadata = identity(live.meta());
    metadata["annotations"] = json!({FENCE: mark});
    let api: Api<K> = Api::namespaced(scene.context.client.clone(), scene.namespace);
    api.patch(&live.name_any(), &by(MARKER), &Patch::Merge(json!({"metadata": metadata}))).await.map(drop)
}

/// Takes the finalizer on or off.
///
/// # Errors
/// Those of the API server; a 404 means that the object is gone, as wanted.
pub async fn finalizer(context: &Context, object: &LosslessUpgrade, on: bool) -> Result<(), Error> {
    let mut finalizers: Vec<&str> =
        object.finalizers().iter().map(String::as_str).filter(|name| *name != FINALIZER).collect();
    if on {
        finalizers.push(FINALIZER);
    }
    let mut metadata = identity(&object.metadata);
    metadata["finalizers"] = json!(finalizers);
    let patch = json!({"metadata": metadata});
    let api: Api<LosslessUpgrade> =
        Api::namespaced(context.client.clone(), object.namespace().as_deref().unwrap_or_default());
    match api.patch(&object.name_any(), &by(MANAGER), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other.map(drop).map_err(Error::api("writing the finalizer")),
    }
}

/// uid and version of what was looked at.
fn identity(metadata: &ObjectMeta) -> Value {
    json!({"uid": metadata.uid, "resourceVersion": metadata.resource_version})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::drain::contract;
    use crate::drain::nudge::Nudges;
    use crate::drain::spec::nudge::NudgeSpec;
    use crate::runtime::clock::Clock;
    use crate::runtime::metrics::Metrics;
    use crate::runtime::ready::ReadyGate;
    use crate::workflow::observed::Observed;

    #[tokio::test]
    async fn a_nudge_that_fails_is_told_and_another_pod_of_the_name_is_let_be() {
        let (service, _api) =
            tower_test::mock::pair::<http::Request<kube::client::Body>, http::Response<kube::client::Body>>();
        let client = kube::Client::new(service, "shop");
        let pod = |uid: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "web-0", "namespace": "shop", "uid": uid}}))
                .unwrap()
        };
        let means = contract::means(client.clone());
        let spec: NudgeSpec = serde_json::from_value(json!({"http": {"port": 9901, "path": "/"}})).unwrap();
        let look = Look {
            seen: Observed::default(),
            set: None,
            pods: BTreeMap::from([(0, pod("u-0")), (1, pod("another"))]),
            levers: Vec::new(),
            probes: Vec::new(),
            nudges: Nudges::new(&[spec], &means).unwrap(),
            clouds: BTreeMap::new(),
            warnings: Vec::new(),
        };
        let context = Context {
            prometheus_allow: means.prometheus_allow,
            tencent: means.tencent,
            client,
            namespace: None,
            process: String::new(),
            counter_image: None,
            allow_exec: false,
            clock: Clock::system(),
            metrics: Metrics::new().unwrap(),
            ready: ReadyGate::default(),
        };
        let object = serde_json::from_value(json!({
            "apiVersion": "lossless-upgrade.io/v1alpha1", "kind": "LosslessUpgrade", "metadata": {"name": "web"},
            "spec": {"targetRef": {"name": "web"}, "traffic": {"levers": [{"none": {}}]}},
        }));
        let scene = Scene {
            context: &context,
            object: &object.unwrap(),
            namespace: "shop",
            state: &State::default(),
            look: &look,
        };
        let told = nudge(&scene, &[(0, "u-0".to_owned()), (1, "u-1".to_owned())]).await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((told[0].reason, told[0].warning), (Reason::NudgeFailed, true));
        assert!(told[0].text.starts_with("web-0: POST :9901/: the pod has no address"), "{}", told[0].text);
    }
}
