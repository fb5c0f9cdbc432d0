//! Lists and watches.

use futures::future::LocalBoxFuture;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, WatchEvent, WatchParams};
use lossless_upgrade::api::LosslessUpgrade;
use serde_json::json;

use super::{Ground, PATIENCE, annotate, by_us};

pub fn labels(ground: Ground) -> LocalBoxFuture<'static, ()> {
    async move {
        for (name, labels) in [
            ("labels-both", json!({"check": "labels", "app": "a"})),
            ("labels-one", json!({"check": "labels", "app": "b"})),
            ("labels-none", json!({})),
        ] {
            ground.service(name, json!({"labels": labels})).await;
        }
        let by_both = ListParams::default().labels("app=a,check=labels");
        let list = ground.api::<Service>().list(&by_both).await.unwrap();
        assert_eq!(list.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["labels-both"]);
        let by_one_of_two = ListParams::default().labels("app in (b,c)");
        let list = ground.api::<Service>().list(&by_one_of_two).await.unwrap();
        assert_eq!(list.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["labels-one"]);
        assert!(list.metadata.resource_version.is_some());
    }
    .boxed_local()
}

pub fn in_order(ground: Ground) -> LocalBoxFuture<'static, ()> {
    async move {
        let pod = ground.pod("in-order").await;
        let api = ground.api::<Pod>();
        let one = api.patch("in-order", &by_us(), &annotate("a", "1")).await.unwrap();
        let two = api.patch("in-order", &by_us(), &annotate("a", "2")).await.unwrap();
        let from = pod.resource_version().unwrap();
        let only = WatchParams::default().fields("metadata.name=in-order");
        let events = api.watch(&only, &from).await.unwrap();
        api.delete("in-order", &DeleteParams::default()).await.unwrap();
        let mut events = std::pin::pin!(events);
        let mut told = Vec::new();
        while told.last() != Some(&("deleted", None)) {
            match tokio::time::timeout(PATIENCE, events.next()).await.expect("in time") {
                Some(Ok(WatchEvent::Modified(pod))) if pod.metadata.deletion_timestamp.is_some() => {
                    told.push(("ending", None));
                }
                Some(Ok(WatchEvent::Modified(pod))) => told.push(("modified", pod.resource_version())),
                Some(Ok(WatchEvent::Deleted(_))) => told.push(("deleted", None)),
                Some(Ok(WatchEvent::Bookmark(_))) => {}
                other => panic!("{other:?}"),
            }
        }
        let modified = |pod: &Pod| ("modified", pod.resource_version());
        assert_eq!(told, [modified(&one), modified(&two), ("ending", None), ("deleted", None)]);
    }
    .boxed_local()
}

pub fn too_old(ground: Ground) -> LocalBoxFuture<'static, ()> {
    async move {
        // From before the server knew this kind: of the built-in ones a young server has forgotten nothing.
        let events = ground.api::<LosslessUpgrade>().watch(&WatchParams::default(), "1").await.unwrap();
        let mut events = std::pin::pin!(events);
        match tokio::time::timeout(PATIENCE, events.next()).await.expect("in time") {
            Some(Ok(WatchEvent::Error(status))) => assert_eq!(status.code, 410),
            other => panic!("{other:?}"),
        }
    }
    .boxed_local()
}
