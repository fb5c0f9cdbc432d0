//! The controller's eyes: it finds the Services that want a balancer, and tells their syncs that something changed.

use std::{collections::BTreeMap, pin::pin, sync::Arc};

use futures::{Stream, StreamExt as _, stream::select};
use k8s_openapi::api::{
    core::v1::{Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event},
    },
};

use super::{
    Shared, Transport,
    front::Front,
    service::{ServiceName, existing, weight_of},
    sync, wanted,
};

/// What was seen of a Service.
enum Seen {
    /// A part of the one with this id, or one of its own.
    WantsBalancer(Option<String>),
    WantsNone,
    EndpointsChanged,
}

/// Runs until it is aborted, and all syncs with it.
pub(super) async fn run(shared: Arc<Shared>) {
    tokio::join!(services(Arc::clone(&shared)), pods(shared));
}

/// A pod whose own weight changes may be a backend of any Service of its namespace: those that it is none of find
/// nothing new.
async fn pods(shared: Arc<Shared>) {
    let pods: Api<Pod> = Api::all(shared.client.clone());
    let mut seen = pin!(watcher::watcher(pods, watcher::Config::default()).default_backoff());
    let mut weights: BTreeMap<String, String> = BTreeMap::new();
    while let Some(event) = seen.next().await {
        let Ok(Event::Apply(pod) | Event::InitApply(pod)) = event else { continue };
        let Some(uid) = &pod.metadata.uid else { continue };
        let (before, now) = (weights.remove(uid), weight_of(&pod));
        if before.as_ref() != now.as_ref().map(|(_, weight)| weight) {
            let namespace = pod.metadata.namespace.clone().unwrap_or_default();
            let near: Vec<_> = shared.fronts().values().cloned().collect();
            near.iter()
                .filter(|front| front.name.namespace == namespace)
                .for_each(|front| front.changed.notify_one());
        }
        weights.extend(now);
    }
}

async fn services(shared: Arc<Shared>) {
    let mut syncs = BTreeMap::new();
    let mut seen = pin!(events(&shared));
    while let Some((name, seen)) = seen.next().await {
        let known = shared.fronts().get(&name).cloned();
        match seen {
            Seen::WantsBalancer(existing) => {
                // A controller that was stopped has left it running.
                let front = known.unwrap_or_else(|| {
                    let mut fronts = shared.fronts();
                    let front = Front::new(name.clone(), existing, &fronts, &shared.directory);
                    Arc::clone(fronts.entry(name.clone()).or_insert(Arc::new(front)))
                });
                front.changed.notify_one();
                syncs.entry(name).or_insert_with(|| sync::start(Arc::clone(&shared), front));
            }
            Seen::EndpointsChanged => known.iter().for_each(|front| front.changed.notify_one()),
            Seen::WantsNone => {
                syncs.remove(&name);
                shared.fronts().remove(&name);
            }
        }
    }
}

fn events(shared: &Shared) -> impl Stream<Item = (ServiceName, Seen)> + use<> {
    let services: Api<Service> = Api::all(shared.client.clone());
    let slices: Api<EndpointSlice> = Api::all(shared.client.clone());
    let services = watcher::watcher(services, watcher::Config::default()).default_backoff();
    let slices = watcher::watcher(slices, watcher::Config::default()).default_backoff();
    // Errors are tried again by the back-off; there is nobody to tell.
    let services = services.filter_map(async |event| of_service(event.ok()?));
    let slices = slices.filter_map(async |event| of_slice(event.ok()?));
    select(services, slices)
}

fn of_service(event: Event<Service>) -> Option<(ServiceName, Seen)> {
    match event {
        Event::Apply(service) | Event::InitApply(service) => {
            let kind = service.spec.as_ref().and_then(|spec| spec.type_.as_deref());
            let mut listeners = wanted::listeners(&service);
            // HAProxy does not run without one that it carries.
            let carried = listeners.any(|(listener, _)| listener.transport == Transport::Tcp);
            let wants = kind == Some("LoadBalancer") && carried;
            let seen = if wants { Seen::WantsBalancer(existing(&service)) } else { Seen::WantsNone };
            Some((ServiceName::of(&service)?, seen))
        }
        Event::Delete(service) => Some((ServiceName::of(&service)?, Seen::WantsNone)),
        Event::Init | Event::InitDone => None,
    }
}

fn of_slice(event: Event<EndpointSlice>) -> Option<(ServiceName, Seen)> {
    match event {
        Event::Apply(slice) | Event::InitApply(slice) | Event::Delete(slice) => {
            Some((ServiceName::of_slice(&slice)?, Seen::EndpointsChanged))
        }
        Event::Init | Event::InitDone => None,
    }
}
