//! The controller's eyes: it finds the Services and Ingresses that want a balancer, and tells their syncs that something changed.

use std::{collections::BTreeMap, pin::pin, sync::Arc};

use futures::{Stream, StreamExt as _, stream::select};
use k8s_openapi::api::{
    core::v1::{Pod, Service},
    discovery::v1::EndpointSlice,
    networking::v1::Ingress,
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
    ingress::behind,
    owner::{Kind, Owner},
    service::{existing, own_weights},
    sync, wanted,
};

/// What was seen of a Service or an Ingress.
enum Seen {
    /// A part of the one with this id, or one of its own.
    WantsBalancer(Option<String>),
    WantsNone,
    EndpointsChanged,
}

/// Runs until it is aborted, and all syncs with it.
pub(super) async fn run(shared: Arc<Shared>) {
    tokio::join!(owners(Arc::clone(&shared)), pods(shared));
}

/// A pod whose own weight changes may be a backend of any balancer of its namespace: those that it is none of find
/// nothing new.
async fn pods(shared: Arc<Shared>) {
    let pods: Api<Pod> = Api::all(shared.client.clone());
    let mut seen = pin!(watcher::watcher(pods, watcher::Config::default()).default_backoff());
    let mut weights = BTreeMap::new();
    while let Some(event) = seen.next().await {
        let Ok(Event::Apply(pod) | Event::InitApply(pod)) = event else { continue };
        let Some(uid) = &pod.metadata.uid else { continue };
        let (before, now) = (weights.remove(uid).unwrap_or_default(), own_weights(&pod));
        if before != now {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            notify(&shared, |owner| owner.namespace == namespace);
        }
        weights.insert(uid.clone(), now);
    }
}

fn notify(shared: &Shared, is_near: impl Fn(&Owner) -> bool) {
    let fronts = shared.fronts();
    fronts.values().filter(|front| is_near(&front.owner)).for_each(|front| front.changed.notify_one());
}

async fn owners(shared: Arc<Shared>) {
    let mut syncs = BTreeMap::new();
    let mut seen = pin!(events(&shared));
    while let Some((owner, seen)) = seen.next().await {
        match seen {
            Seen::WantsBalancer(existing) => {
                // A controller that was stopped has left it running.
                let known = shared.fronts().get(&owner).cloned();
                let front = known.unwrap_or_else(|| {
                    let mut fronts = shared.fronts();
                    let front = Front::new(owner.clone(), existing, &fronts, &shared.directory);
                    Arc::clone(fronts.entry(owner.clone()).or_insert(Arc::new(front)))
                });
                front.changed.notify_one();
                syncs.entry(owner).or_insert_with(|| sync::start(Arc::clone(&shared), front));
            }
            // Any Ingress of the namespace may be in front of it.
            Seen::EndpointsChanged => notify(&shared, |other| {
                *other == owner || (other.kind == Kind::Ingress && other.namespace == owner.namespace)
            }),
            Seen::WantsNone => {
                syncs.remove(&owner);
                shared.fronts().remove(&owner);
            }
        }
    }
}

fn events(shared: &Shared) -> impl Stream<Item = (Owner, Seen)> + use<> {
    let services: Api<Service> = Api::all(shared.client.clone());
    let slices: Api<EndpointSlice> = Api::all(shared.client.clone());
    let services = watcher::watcher(services, watcher::Config::default()).default_backoff();
    let slices = watcher::watcher(slices, watcher::Config::default()).default_backoff();
    // Errors are tried again by the back-off; there is nobody to tell.
    let services = services.filter_map(async |event| of_service(event.ok()?));
    let slices = slices.filter_map(async |event| of_slice(event.ok()?));
    let ingresses: Api<Ingress> = Api::all(shared.client.clone());
    let ingresses = watcher::watcher(ingresses, watcher::Config::default()).default_backoff();
    let ingresses = ingresses.filter_map(async |event| of_ingress(event.ok()?));
    select(select(services, ingresses), slices)
}

fn of_service(event: Event<Service>) -> Option<(Owner, Seen)> {
    match event {
        Event::Apply(service) | Event::InitApply(service) => {
            let kind = service.spec.as_ref().and_then(|spec| spec.type_.as_deref());
            let mut listeners = wanted::listeners(&service);
            // HAProxy does not run without one that it carries.
            let carried = listeners.any(|(listener, _)| listener.transport == Transport::Tcp);
            let wants = kind == Some("LoadBalancer") && carried;
            let seen = if wants { Seen::WantsBalancer(existing(&service)) } else { Seen::WantsNone };
            Some((Owner::of_service(&service)?, seen))
        }
        Event::Delete(service) => Some((Owner::of_service(&service)?, Seen::WantsNone)),
        Event::Init | Event::InitDone => None,
    }
}

fn of_ingress(event: Event<Ingress>) -> Option<(Owner, Seen)> {
    match event {
        Event::Apply(ingress) | Event::InitApply(ingress) => {
            let wants = behind(&ingress).is_some();
            let seen = if wants { Seen::WantsBalancer(None) } else { Seen::WantsNone };
            Some((Owner::of_ingress(&ingress)?, seen))
        }
        Event::Delete(ingress) => Some((Owner::of_ingress(&ingress)?, Seen::WantsNone)),
        Event::Init | Event::InitDone => None,
    }
}

fn of_slice(event: Event<EndpointSlice>) -> Option<(Owner, Seen)> {
    match event {
        Event::Apply(slice) | Event::InitApply(slice) | Event::Delete(slice) => {
            Some((Owner::of_slice(&slice)?, Seen::EndpointsChanged))
        }
        Event::Init | Event::InitDone => None,
    }
}
