//! Writes that carry the version of what was looked at, each as the operator makes it: one that comes late is
//! refused. The newest one is known only where nobody else writes: a StatefulSet's controller does, so that
//! the proof that nothing else was wrong with the refused patch is the same one without a version.

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::Patch;
use serde_json::{Value, json};

use super::{Ground, annotate, by_us, code};

/// As the replicas and the images are written.
pub fn strategic(ground: Ground) -> LocalBoxFuture<'static, ()> {
    async move {
        let old = ground.set("late-strategic").await;
        let api = ground.api::<StatefulSet>();
        api.patch("late-strategic", &by_us(), &annotate("moved", "1")).await.unwrap();
        let patch = |version: Option<String>| {
            let metadata = json!({"uid": old.metadata.uid, "resourceVersion": version});
            let containers = json!([{"name": "side", "image": "side:2"}]);
            let spec = json!({"template": {"spec": {"containers": containers}}});
            Patch::Strategic(json!({"metadata": metadata, "spec": spec}))
        };
        let late = patch(old.resource_version());
        assert_eq!(code(api.patch("late-strategic", &by_us(), &late).await), 409);
        assert_eq!(images(&api.get("late-strategic").await.unwrap()), ["app:1", "side:1"]);
        let written = api.patch("late-strategic", &by_us(), &patch(None)).await.unwrap();
        assert_eq!(images(&written), ["app:1", "side:2"]);
    }
    .boxed_local()
}

/// As the whole template is put back.
pub fn json_patch(ground: Ground) -> LocalBoxFuture<'static, ()> {
    async move {
        let old = ground.set("late-json").await;
        let api = ground.api::<StatefulSet>();
        api.patch("late-json", &by_us(), &annotate("moved", "1")).await.unwrap();
        let patch = |version: Option<String>| -> Patch<Value> {
            let mut template = json!(old.spec.as_ref().unwrap().template);
            template["spec"]["containers"][0]["image"] = json!("app:2");
            let mut operations = json!([
                {"op": "test", "path": "/metadata/uid", "value": old.metadata.uid},
                {"op": "replace", "path": "/spec/template", "value": template},
            ]);
            let test = version
                .map(|version| json!({"op": "test", "path": "/metadata/resourceVersion", "value": version}));
            operations.as_array_mut().unwrap().splice(1..1, test);
            Patch::Json(serde_json::from_value(operations).unwrap())
        };
        let late = patch(old.resource_version());
        assert_eq!(code(api.patch("late-json", &by_us(), &late).await), 422);
        assert_eq!(images(&api.get("late-json").await.unwrap()), ["app:1", "side:1"]);
        let written = api.patch("late-json", &by_us(), &patch(None)).await.unwrap();
        assert_eq!(images(&written), ["app:2", "side:1"]);
    }
    .boxed_local()
}

/// As a drain counter is started. Nobody else writes this pod.
pub fn ephemeral(ground: Ground) -> LocalBoxFuture<'static, ()> {
    async move {
        let old = ground.pod("late-ephemeral").await;
        let api = ground.api::<Pod>();
        let new = api.patch("late-ephemeral", &by_us(), &annotate("moved", "1")).await.unwrap();
        let add = |pod: &Pod| {
            let metadata = json!({"uid": pod.metadata.uid, "resourceVersion": pod.resource_version()});
            let spec = json!({"ephemeralContainers": [{"name": "counter", "image": "c:1"}]});
            let (api, patch) = (api.clone(), Patch::Strategic(json!({"metadata": metadata, "spec": spec})));
            async move { api.patch_ephemeral_containers("late-ephemeral", &by_us(), &patch).await }
        };
        let count = |pod: &Pod| pod.spec.as_ref().unwrap().ephemeral_containers.as_ref().map_or(0, Vec::len);
        assert_eq!(code(add(&old).await), 409);
        assert_eq!(count(&api.get("late-ephemeral").await.unwrap()), 0);
        assert_eq!(count(&add(&new).await.unwrap()), 1);
    }
    .boxed_local()
}

/// The images of a template, in the order of their names.
fn images(set: &StatefulSet) -> Vec<String> {
    let pod = set.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
    let mut images: Vec<_> = pod.containers.iter().filter_map(|one| one.image.clone()).collect();
    images.sort();
    images
}
