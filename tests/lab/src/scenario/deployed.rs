//! An application that runs, and what can be done with it.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Namespace, Node, Pod, Service},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{App, AppService, Reached, ScenarioError, Stage, until};
use crate::{
    balancer::{Backend, Owner},
    load::Target,
    watcher::is_ready,
};

/// An application on a stage. Dropping it leaves it where it is; the namespace goes with [`Deployed::remove`].
pub struct Deployed<'a> {
    pub(super) stage: &'a Stage,
    app: App,
    /// Where kube-proxy takes connections for it.
    inside: Vec<Target>,
}

impl<'a> Deployed<'a> {
    /// How long anything here is waited for, but an update.
    pub const LIMIT: Duration = Duration::from_mins(2);

    /// How long an update may take: far more than any does.
    pub const UPDATE: Duration = Duration::from_mins(10);

    pub(super) async fn create(stage: &'a Stage, app: App) -> Result<Self, ScenarioError> {
        let mut deployed = Self { stage, app, inside: Vec::new() };
        let client = deployed.client();
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = serde_json::from_value(json!({"metadata": {"name": deployed.app.namespace}}))?;
        if namespaces.get_opt(&deployed.app.namespace).await?.is_none() {
            namespaces.create(&PostParams::default(), &namespace).await?;
        }
        // The token of this account is needed by every pod.
        until("the namespace has its service account", Self::LIMIT, async || {
            let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = deployed.api();
            let found = accounts.get_opt("default").await?;
            Ok(found.map(drop).ok_or_else(|| "none".to_owned()))
        })
        .await?;
        let node = node_address(&deployed.client()).await?;
        for (service, described) in deployed.app.services()?.iter().zip(&deployed.app.services) {
            let created = deployed.api::<Service>().create(&PostParams::default(), service).await?;
            deployed.inside.extend(by_kube_proxy(&created, described.reached, node));
        }
        for ingress in deployed.app.ingresses()? {
            deployed.api().create(&PostParams::default(), &ingress).await?;
        }
        let set = deployed.app.stateful_set()?;
        deployed.api().create(&PostParams::default(), &set).await?;
        deployed.in_rotation().await?;
        Ok(deployed)
    }

    /// What it is.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Where it is.
    #[must_use]
    pub fn stage(&self) -> &'a Stage {
        self.stage
    }

    fn client(&self) -> Client {
        self.stage.cluster().client()
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client(), &self.app.namespace)
    }

    /// The `StatefulSet` as it is now.
    ///
    /// # Errors
    /// When the API server does not give it.
    pub async fn stateful_set(&self) -> Result<StatefulSet, ScenarioError> {
        Ok(self.api::<StatefulSet>().get(&self.app.name).await?)
    }

    /// Its pods as they are now, by name.
    ///
    /// # Errors
    /// When the API server does not give them.
    pub async fn pods(&self) -> Result<Vec<Pod>, ScenarioError> {
        let selector = ListParams::default().labels(&format!("app={}", self.app.name));
        let mut pods = self.api::<Pod>().list(&selector).await?.items;
        pods.sort_by_key(ResourceExt::name_any);
        Ok(pods)
    }

    /// One of its Services as it is now.
    ///
    /// # Errors
    /// When the API server does not give it.
    pub async fn service(&self, name: &str) -> Result<Service, ScenarioError> {
        Ok(self.api::<Service>().get(name).await?)
    }

    /// All its listeners for TCP, for a load. Those of a Service that has no address yet are not among them.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        let mut targets = self.inside.clone();
        for service in &self.app.services {
            let Some(owner) = self.owner(service) else { continue };
            let Some(address) = self.stage.balancer().address(&owner) else { continue };
            targets.extend(service.ports.iter().map(|port| Target {
                name: format!("{}:{port}", service.name),
                address: SocketAddr::new(address, *port),
            }));
        }
        targets
    }

    /// Whose balancer is in front of a Service, if one is.
    fn owner(&self, service: &AppService) -> Option<Owner> {
        let (namespace, name) = (&self.app.namespace, &service.name);
        match service.reached {
            Reached::LoadBalancer => Some(Owner::service(namespace, name)),
            Reached::Ingress => Some(Owner::ingress(namespace, name)),
            Reached::ClusterIp | Reached::NodePort => None,
        }
    }

    /// What the load balancer has for this application now.
    pub async fn backends(&self) -> Vec<Backend> {
        let mut backends = self.stage.balancer().backends().await;
        backends.retain(|backend| backend.owner.namespace == self.app.namespace);
        backends
    }

    /// Waits until all pods that the `StatefulSet` asks for are Ready and get connections from every listener.
    ///
    /// # Errors
    /// When that takes longer than [`Self::LIMIT`].
    pub async fn in_rotation(&self) -> Result<(), ScenarioError> {
        let balanced = self.app.services.iter().filter(|service| self.owner(service).is_some());
        let listeners: usize = balanced.map(|service| service.ports.len() + service.udp.len()).sum();
        until("all pods are in rotation", Self::LIMIT, async || {
            let pods = self.pods().await?;
            let ready: BTreeSet<_> =
                pods.iter().filter(|pod| is_ready(pod)).filter_map(ResourceExt::uid).collect();
            let wanted = self.replicas().await?;
            let mut backends = self.backends().await;
            backends.retain(|backend| backend.weight > 0 && ready.contains(&backend.uid));
            let all = ready.len() == wanted && backends.len() == wanted * listeners;
            Ok(if all {
                Ok(())
            } else {
                Err(format!("{} of {wanted} pods ready, {} in rotation", ready.len(), backends.len()))
            })
        })
        .await?;
        until("kube-proxy takes connections", Self::LIMIT, async || {
            for target in &self.inside {
                let connected = tokio::net::TcpStream::connect(target.address).await;
                if let Err(error) = connected {
                    return Ok(Err(format!("{}: {error}", target.name)));
                }
            }
            Ok(Ok(()))
        })
        .await
    }

    async fn replicas(&self) -> Result<usize, ScenarioError> {
        let replicas = self.stateful_set().await?.spec.and_then(|spec| spec.replicas).unwrap_or(1);
        Ok(usize::try_from(replicas).unwrap_or_default())
    }

    /// Puts another image of the server into the `StatefulSet`'s template, as `kubectl set image` does.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn set_image(&self, image: &str) -> Result<(), ScenarioError> {
        self.set_image_of(&self.app.name, image).await
    }

    /// The same for any container.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn set_image_of(&self, container: &str, image: &str) -> Result<(), ScenarioError> {
        let containers = json!([{"name": container, "image": image}]);
        let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        self.api::<StatefulSet>()
            .patch(&self.app.name, &PatchParams::default(), &Patch::Strategic(patch))
            .await?;
        Ok(())
    }

    /// Waits until all pods run the template's newest revision and are Ready.
    ///
    /// # Errors
    /// When that takes longer than [`Self::UPDATE`].
    pub async fn rolled_out(&self) -> Result<(), ScenarioError> {
        until("all pods run the new revision", Self::UPDATE, async || {
            let set = self.stateful_set().await?;
            let left = progress(&set).map(|(updated, wanted)| format!("{updated} of {wanted} pods updated"));
            Ok(left.map_or(Ok(()), Err))
        })
        .await
    }

    /// Deletes the namespace and waits until the pods are gone.
    ///
    /// # Errors
    /// When that takes longer than [`Self::LIMIT`].
    pub async fn remove(self) -> Result<(), ScenarioError> {
        let namespaces: Api<Namespace> = Api::all(self.client());
        namespaces.delete(&self.app.namespace, &DeleteParams::default()).await?;
        until("the namespace is gone", Self::LIMIT, async || {
            let left = namespaces.get_opt(&self.app.namespace).await?;
            Ok(left.map_or(Ok(()), |_| Err("still there".to_owned())))
        })
        .await
    }
}

/// The address of the only node.
async fn node_address(client: &Client) -> Result<Option<IpAddr>, ScenarioError> {
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
    let status = nodes.items.into_iter().next().and_then(|node| node.status);
    let addresses = status.and_then(|status| status.addresses).into_iter().flatten();
    let mut internal = addresses.filter(|address| address.type_ == "InternalIP");
    Ok(internal.find_map(|address| address.address.parse().ok()))
}

/// Where kube-proxy takes connections for a Service as it was created.
fn by_kube_proxy(service: &Service, reached: Reached, node: Option<IpAddr>) -> Vec<Target> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let cluster = spec.cluster_ip.as_deref().and_then(|ip| ip.parse().ok());
    let ports = spec.ports.iter().flatten();
    ports
        .filter_map(|port| {
            let (address, listens) = match reached {
                Reached::LoadBalancer | Reached::Ingress => return None,
                Reached::ClusterIp => (cluster?, port.port),
                Reached::NodePort => (node?, port.node_port?),
            };
            let name = format!("{}:{}", service.name_any(), port.port);
            Some(Target { name, address: SocketAddr::new(address, u16::try_from(listens).ok()?) })
        })
        .collect()
}

/// Updated and wanted pods while a roll-out is under way; None when it is complete.
fn progress(set: &StatefulSet) -> Option<(i32, i32)> {
    let (spec, status) = (set.spec.as_ref()?, set.status.as_ref());
    let wanted = spec.replicas.unwrap_or(1);
    let Some(status) = status else { return Some((0, wanted)) };
    let updated = status.updated_replicas.unwrap_or(0);
    let is_seen = status.observed_generation >= set.metadata.generation;
    let is_complete = [Some(status.replicas), status.updated_replicas, status.ready_replicas]
        .iter()
        .all(|count| count.unwrap_or(0) == wanted);
    if is_seen && is_complete { None } else { Some((updated, wanted)) }
}
