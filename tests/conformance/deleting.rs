//! Deletions, of which each must hit what was looked at and nothing else.

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, Preconditions};
use serde_json::json;

use super::{Ground, annotate, by_us, code};

pub fn preconditions(ground: Ground) -> LocalBoxFuture<'static, ()> {
    async move {
        let old = ground.pod("preconditions").await;
        let api = ground.api::<Pod>();
        let new = api.patch("preconditions", &by_us(), &annotate("fence", "1")).await.unwrap();
        let delete = |uid: Option<&str>, pod: &Pod| {
            let (uid, resource_version) = (uid.map(str::to_owned), pod.resource_version());
            let preconditions = Some(Preconditions { uid, resource_version });
            let (api, parameters) = (api.clone(), DeleteParams { preconditions, ..DeleteParams::default() });
            async move { api.delete("preconditions", &parameters).await.map(drop) }
        };
        let uid = new.metadata.uid.as_deref();
        assert_eq!(code(delete(Some("another"), &new).await), 409);
        assert_eq!(code(delete(uid, &old).await), 409);
        assert!(api.get("preconditions").await.unwrap().metadata.deletion_timestamp.is_none());
        delete(uid, &new).await.unwrap();
        assert_eq!(code(api.get("preconditions").await), 404);
    }
    .boxed_local()
}

pub fn finalizer(ground: Ground) -> LocalBoxFuture<'static, ()> {
    async move {
        ground.service("finalizer", json!({"finalizers": ["example.com/hold"]})).await;
        let api = ground.api::<Service>();
        for _ in 0..2 {
            api.delete("finalizer", &DeleteParams::default()).await.unwrap();
            assert!(api.get("finalizer").await.unwrap().metadata.deletion_timestamp.is_some());
        }
        let let_go = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        api.patch("finalizer", &by_us(), &let_go).await.unwrap();
        assert_eq!(code(api.get("finalizer").await), 404);
    }
    .boxed_local()
}
