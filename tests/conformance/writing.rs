//! Writes on the world.

use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use lossless_upgrade::traffic::sync_stamps::written;
use serde_json::{Value, json};

use super::{Ground, MANAGER, annotate, by_us, code};

pub fn there_or_not(ground: Ground) -> LocalBoxFuture<'static, ()> {
    async move {
        let service = ground.service("there", json!({})).await;
        let api = ground.api::<Service>();
        let mut again = service;
        again.metadata.resource_version = None;
        assert_eq!(code(api.create(&PostParams::default(), &again).await), 409);
        assert_eq!(code(api.get("not-there").await), 404);
        assert_eq!(code(api.patch("not-there", &by_us(), &annotate("a", "1")).await), 404);
        assert_eq!(code(api.delete("not-there", &DeleteParams::default()).await.map(drop)), 404);
    }
    .boxed_local()
}

pub fn merge(ground: Ground) -> LocalBoxFuture<'static, ()> {
    async move {
        ground.service("merge", json!({"annotations": {"a": "1", "b": "2"}})).await;
        let written =
            ground.api::<Service>().patch("merge", &by_us(), &annotate("a", None::<()>)).await.unwrap();
        assert_eq!(written.annotations().iter().collect::<Vec<_>>(), [(&"b".to_owned(), &"2".to_owned())]);
    }
    .boxed_local()
}

pub fn merge_identity(ground: Ground) -> LocalBoxFuture<'static, ()> {
    async move {
        let service = ground.service("identity", json!({})).await;
        let api = ground.api::<Service>();
        let patch = |uid: &Option<String>, version: &Option<String>| {
            let metadata = json!({"uid": uid, "resourceVersion": version, "annotations": {"a": version}});
            Patch::Merge(json!({"metadata": metadata}))
        };
        let (uid, version) = (service.metadata.uid, service.metadata.resource_version);
        let newer = api.patch("identity", &by_us(), &patch(&uid, &version)).await.unwrap();
        assert_eq!(code(api.patch("identity", &by_us(), &patch(&uid, &version)).await), 409);
        let other = Some("00000000-0000-0000-0000-000000000000".to_owned());
        let newer = newer.metadata.resource_version;
        assert_eq!(code(api.patch("identity", &by_us(), &patch(&other, &newer)).await), 422);
    }
    .boxed_local()
}

pub fn json_patch(ground: Ground) -> LocalBoxFuture<'static, ()> {
    async move {
        let set = ground.set("json-patch").await;
        let api = ground.api::<StatefulSet>();
        let patch = |uid: Option<&str>| -> Patch<Value> {
            let operations = json!([
                {"op": "test", "path": "/metadata/uid", "value": uid},
                {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "app:2"},
            ]);
            Patch::Json(serde_json::from_value(operations).unwrap())
        };
        assert_eq!(code(api.patch("json-patch", &by_us(), &patch(Some("another"))).await), 422);
        let image = |set: &StatefulSet| {
            set.spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0].image.clone().unwrap()
        };
        assert_eq!(image(&api.get("json-patch").await.unwrap()), "app:1");
        let written = api.patch("json-patch", &by_us(), &patch(set.metadata.uid.as_deref())).await.unwrap();
        assert_eq!(image(&written), "app:2");
    }
    .boxed_local()
}

pub fn strategic(ground: Ground) -> LocalBoxFuture<'static, ()> {
    async move {
        ground.set("strategic").await;
        let containers = json!([{"name": "side", "image": "side:2"}]);
        let template = json!({"spec": {"containers": containers}});
        let patch = Patch::Strategic(json!({"spec": {"template": template}}));
        let written = ground.api::<StatefulSet>().patch("strategic", &by_us(), &patch).await.unwrap();
        let containers = written.spec.unwrap().template.spec.unwrap().containers;
        let mut images: Vec<_> = containers.into_iter().filter_map(|one| one.image).collect();
        images.sort();
        assert_eq!(images, ["app:1", "side:2"]);
    }
    .boxed_local()
}

pub fn ephemeral(ground: Ground) -> LocalBoxFuture<'static, ()> {
    async move {
        let pod = ground.pod("ephemeral").await;
        let api = ground.api::<Pod>();
        let patch = |image: &str, uid: Option<&str>| {
            let spec = json!({"ephemeralContainers": [{"name": "counter", "image": image}]});
            Patch::Strategic(json!({"metadata": {"uid": uid}, "spec": spec}))
        };
        let add = |image: &'static str, uid: Option<String>, dry_run: bool| {
            let api = api.clone();
            async move {
                let parameters = PatchParams { dry_run, ..by_us() };
                api.patch_ephemeral_containers("ephemeral", &parameters, &patch(image, uid.as_deref())).await
            }
        };
        let count = |pod: &Pod| pod.spec.as_ref().unwrap().ephemeral_containers.as_ref().map_or(0, Vec::len);
        let uid = pod.metadata.uid.clone();
        assert_eq!(count(&add("c:1", uid.clone(), true).await.unwrap()), 1);
        assert_eq!(count(&api.get("ephemeral").await.unwrap()), 0);
        assert_eq!(code(add("c:1", Some("another".into()), false).await), 422);
        let first = add("c:1", uid.clone(), false).await.unwrap();
        let again = add("c:1", uid.clone(), false).await.unwrap();
        assert_eq!((count(&first), count(&again)), (1, 1));
        assert_eq!(first.resource_version(), again.resource_version());
        assert_eq!(code(add("c:2", uid, false).await), 422);
    }
    .boxed_local()
}

/// By it a write is told from the ones before, also after a crash.
pub fn managed_fields(ground: Ground) -> LocalBoxFuture<'static, ()> {
    async move {
        ground.service("managed", json!({"annotations": {"other": "0"}})).await;
        let api = ground.api::<Service>();
        let write = |manager: &'static str, key: &'static str, value: Option<&'static str>| {
            let api = api.clone();
            async move {
                // The record has seconds.
                tokio::time::sleep(Duration::from_millis(1100)).await;
                let parameters =
                    PatchParams { field_manager: Some(manager.into()), ..PatchParams::default() };
                let answer = api.patch("managed", &parameters, &annotate(key, value)).await.unwrap();
                written(&answer.metadata, "lever", MANAGER)
            }
        };
        let first = write(MANAGER, "lever", Some("1")).await.expect("a record");
        assert_eq!(write(MANAGER, "lever", Some("1")).await, Some(first), "a write that changes nothing");
        assert_eq!(write("another", "other", Some("1")).await, Some(first), "a write of somebody else");
        let second = write(MANAGER, "lever", Some("2")).await.expect("a record");
        assert!(second > first, "a write that changes the value: {first}, {second}");
        let beside = write(MANAGER, "mark", Some("1")).await.expect("a record");
        assert!(beside > second, "a write of the same manager beside it: {second}, {beside}");
        assert_eq!(write("another", "lever", Some("3")).await, None, "somebody else changed the value");
        assert!(write(MANAGER, "lever", Some("2")).await > Some(beside), "ours again");
        assert_eq!(write(MANAGER, "lever", None).await, None, "taken away");
    }
    .boxed_local()
}
