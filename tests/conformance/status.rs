//! The status, which is recorded before anything else is done.

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use kube::ResourceExt;
use kube::api::{Patch, PostParams};
use lossless_upgrade::api::LosslessUpgrade;
use serde_json::json;

use super::{Ground, annotate, by_us, code};

fn with_message(mut object: LosslessUpgrade, message: &str) -> LosslessUpgrade {
    let mut status = object.status.take().unwrap_or_default();
    message.clone_into(&mut status.message);
    object.status = Some(status);
    object
}

pub fn old_version(ground: Ground) -> LocalBoxFuture<'static, ()> {
    async move {
        let old = ground.upgrade("old-version").await;
        let api = ground.api::<LosslessUpgrade>();
        api.patch("old-version", &by_us(), &annotate("a", "1")).await.unwrap();
        let answer =
            api.replace_status("old-version", &PostParams::default(), &with_message(old, "old")).await;
        assert_eq!(code(answer), 409);
    }
    .boxed_local()
}

pub fn unchanged(ground: Ground) -> LocalBoxFuture<'static, ()> {
    async move {
        let object = ground.upgrade("unchanged").await;
        let api = ground.api::<LosslessUpgrade>();
        let put = |object| {
            let api = api.clone();
            async move { api.replace_status("unchanged", &PostParams::default(), &object).await }
        };
        let first = put(with_message(object.clone(), "x")).await.unwrap();
        let second = put(first.clone()).await.unwrap();
        assert_eq!(first.resource_version(), second.resource_version());
        let mut old = first.clone();
        old.metadata.resource_version = object.metadata.resource_version;
        assert_eq!(code(put(old).await), 409);
    }
    .boxed_local()
}

pub fn apart(ground: Ground) -> LocalBoxFuture<'static, ()> {
    async move {
        let object = ground.upgrade("apart").await;
        let api = ground.api::<LosslessUpgrade>();
        let mut changed = with_message(object.clone(), "y");
        changed.spec.paused = true;
        changed.annotations_mut().insert("a".into(), "1".into());
        let written = api.replace_status("apart", &PostParams::default(), &changed).await.unwrap();
        assert_eq!(written.status.as_ref().unwrap().message, "y");
        assert_eq!((written.spec.paused, written.annotations().contains_key("a")), (false, false));
        assert_eq!(written.metadata.generation, object.metadata.generation);

        let patch =
            Patch::Merge(json!({"metadata": {"annotations": {"b": "1"}}, "status": {"message": "z"}}));
        let written = api.patch("apart", &by_us(), &patch).await.unwrap();
        assert_eq!(written.status.unwrap().message, "y");
    }
    .boxed_local()
}

pub fn generation(ground: Ground) -> LocalBoxFuture<'static, ()> {
    async move {
        let before = ground.upgrade("generation").await.metadata.generation;
        let api = ground.api::<LosslessUpgrade>();
        let same = api.patch("generation", &by_us(), &annotate("a", "1")).await.unwrap();
        assert_eq!(same.metadata.generation, before);
        let paused = Patch::Merge(json!({"spec": {"paused": true}}));
        let moved = api.patch("generation", &by_us(), &paused).await.unwrap();
        assert_eq!(moved.metadata.generation, before.map(|generation| generation + 1));
    }
    .boxed_local()
}
