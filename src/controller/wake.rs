//! What makes an object be looked at: watches on the objects, on StatefulSets, and for a run under
//! way on its pods and Services. Events only wake; what is true is read when the object is looked at.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::channel::mpsc;
use futures::{Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::ReconcileRequest;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::utils::WatchStreamExt;
use kube::runtime::{reflector, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::{Context, Guarded};
use crate::runtime::clock::Clock;
use crate::runtime::metrics::Key;
use crate::runtime::ready::Gate;

/// Puts objects into the queue, and remembers since when they wait there.
#[derive(Clone)]
pub struct Waker {
    sender: mpsc::UnboundedSender<ReconcileRequest<Guarded>>,
    clock: Clock,
    waiting: Arc<Mutex<HashMap<Key, Duration>>>,
}

/// A queue and what fills it.
pub fn queue(
    clock: Clock,
) -> (Waker, impl Stream<Item = Result<ReconcileRequest<Guarded>, std::convert::Infallible>>) {
    let (sender, receiver) = mpsc::unbounded();
    (Waker { sender, clock, waiting: Arc::default() }, receiver.map(Ok))
}

impl Waker {
    /// Has the object looked at.
    pub fn wake(&self, key: &Key) {
        let now = self.clock.monotonic();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_insert(now);
        let reference = ObjectRef::<Guarded>::new(&key.name).within(&key.namespace);
        // The receiver is gone only when the controller ends; then nobody is to be woken.
        let _ = self.sender.unbounded_send(reference.into());
    }

    /// When the object was first woken since this was last asked, on the monotonic clock.
    pub fn since(&self, key: &Key) -> Option<Duration> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(key)
    }
}

/// The API of a kind in what the process watches.
pub fn api<K>(context: &Context) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match &context.namespace {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    }
}

/// Starts the watches that always run. The future ends only when one of them did, which is a defect.
pub fn watch(
    context: &Context,
    waker: &Waker,
    end: &CancellationToken,
) -> (Store<Guarded>, impl Future<Output = anyhow::Result<()>> + use<>) {
    let (objects, writer) = store::<Guarded>();
    let stream = reflector(writer, watcher(api::<Guarded>(context), watcher::Config::default()))
        .default_backoff()
        .touched_objects();
    let wake = waker.clone();
    let own = stream.for_each(move |event| {
        match event {
            Ok(object) => wake.wake(&super::session::key(&object)),
            Err(error) => tracing::debug!(%error, "the watch of LosslessUpgrades broke and is begun anew"),
        }
        futures::future::ready(())
    });

    let known = objects.clone();
    let wake = waker.clone();
    let sets = events::<PartialObjectMeta<StatefulSet>>(api(context), watcher::Config::default());
    let sets = sets.for_each(move |set| {
        let namespace = set.namespace().unwrap_or_default();
        for object in known.state() {
            let aims = object.0.as_ref().is_ok_and(|object| object.spec.target_ref.name == set.name_any());
            if aims && object.namespace().as_deref() == Some(namespace.as_str()) {
                wake.wake(&super::session::key(&*object));
            }
        }
        futures::future::ready(())
    });

    let ready = context.ready.clone();
    ready.close(Gate::Caches, "the first list of LosslessUpgrades is not complete");
    let synced = objects.clone();
    let end = end.clone();
    let all = async move {
        let opened = async {
            if synced.wait_until_ready().await.is_ok() {
                ready.open(Gate::Caches);
            }
            std::future::pending::<anyhow::Result<()>>().await
        };
        tokio::select! {
            () = end.cancelled() => std::future::pending().await,
            () = own => anyhow::bail!("the watch of LosslessUpgrades ended"),
            () = sets => anyhow::bail!("the watch of StatefulSets ended"),
            ended = opened => ended,
        }
    };
    (objects, all)
}

/// Wakes `key` at every change of such an object, for as long as it is polled.
pub async fn on_change<K>(api: Api<K>, config: watcher::Config, waker: Waker, key: Key)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Default + Clone + Debug + Eq + std::hash::Hash,
{
    events(api, config)
        .for_each(|_| {
            waker.wake(&key);
            futures::future::ready(())
        })
        .await;
}

/// Every object that appears, changes or goes. A watch that breaks is begun anew with back-off.
fn events<K>(api: Api<K>, config: watcher::Config) -> impl Stream<Item = K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Default,
{
    watcher(api, config).default_backoff().touched_objects().filter_map(|event| async move {
        event.map_err(|error| tracing::debug!(%error, "a watch broke and is begun anew")).ok()
    })
}
