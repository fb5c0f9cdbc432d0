//! What the controller knows a Service by, and what it reads and writes of one.

use std::collections::BTreeMap;

use jiff::{
    Timestamp,
    tz::{Offset, TimeZone},
};
use k8s_openapi::api::{
    core::v1::{Pod, Service},
    discovery::v1::EndpointSlice,
    networking::v1::Ingress,
};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{
    ingress::behind,
    owner::{Kind, Owner, SERVICE_LABEL},
};

/// Prefixes of the annotations that the controller honours.
const PREFIXES: [&str; 2] = ["service.cloud.tencent.com/", "kubernetes.io/elb."];
/// What makes a Service one of Huawei's.
const ELB_CLASS: &str = "kubernetes.io/elb.class";
/// On a Service of Tencent's: the id of its balancer.
const BALANCER: &str = "service.kubernetes.io/loadbalance-id";
/// On a Service of Tencent's: the id of the balancer that it is to share, instead of having one of its own.
pub(crate) const EXISTING: &str = "service.kubernetes.io/tke-existed-lbid";
const SYNC_BEGIN: &str = "service.cloud.tencent.com/sync-begin-time";
const SYNC_END: &str = "service.cloud.tencent.com/sync-end-time";
/// On a pod: its weight in balancers of Services, where the Service has none for it.
const POD_WEIGHT: &str = "service.cloud.tencent.com/custom-weight";
/// The same in those of Ingresses. Neither counts for the other.
const POD_WEIGHT_OF_INGRESS: &str = "ingress.cloud.tencent.com/custom-weight";

/// Whose load balancer a Service asks for: one balancer here, that keeps the rules of either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloud {
    /// Weights by lb-rs-weight, and stamps of each synchronisation.
    Tencent,
    /// Weights by elb.custom-backend-weights, and no stamps.
    Huawei,
}

impl Cloud {
    /// By the annotation that Huawei asks of a Service with a dedicated load balancer.
    pub(super) fn of(service: &Service) -> Self {
        let annotations = service.metadata.annotations.as_ref();
        let class = annotations.and_then(|all| all.get(ELB_CLASS));
        if class.is_some() { Self::Huawei } else { Self::Tencent }
    }

    /// The annotation that has the weights.
    pub(super) fn weights(self) -> &'static str {
        match self {
            Self::Tencent => "service.cloud.tencent.com/lb-rs-weight",
            Self::Huawei => "kubernetes.io/elb.custom-backend-weights",
        }
    }

    /// What such a Service has to begin with.
    pub(crate) fn annotation(self) -> (&'static str, &'static str) {
        match self {
            Self::Tencent => ("service.cloud.tencent.com/direct-access", "true"),
            Self::Huawei => (ELB_CLASS, "performance"),
        }
    }
}

/// Which of the two stamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stamp {
    Begin,
    End,
}

/// A Service with its slices, read from the API server itself, not from a cache: so whatever was written before
/// the second of a begin stamp is in what that sync read.
pub(super) struct Read {
    /// In front of the Service, if it is an Ingress's balancer.
    pub(super) ingress: Option<Ingress>,
    pub(super) service: Service,
    pub(super) slices: Vec<EndpointSlice>,
    /// Weights that pods of the namespace have by themselves in balancers of this kind, by uid and as they are written.
    pub(super) pods: BTreeMap<String, String>,
}

/// The id of the balancer that a Service is to share.
pub(super) fn existing(service: &Service) -> Option<String> {
    service.metadata.annotations.as_ref()?.get(EXISTING).cloned()
}

/// The annotation of a pod by which balancers of a kind weigh it.
pub(super) const fn pod_weight(kind: Kind) -> &'static str {
    match kind {
        Kind::Service => POD_WEIGHT,
        Kind::Ingress => POD_WEIGHT_OF_INGRESS,
    }
}

/// The weights that a pod has by itself, by the balancers that they are for.
pub(super) fn own_weights(pod: &Pod) -> BTreeMap<Kind, String> {
    let annotations = pod.metadata.annotations.as_ref();
    let weight = |kind| Some((kind, annotations?.get(pod_weight(kind))?.clone()));
    [Kind::Service, Kind::Ingress].into_iter().filter_map(weight).collect()
}

impl Read {
    /// None when the owner is gone, or the Service behind it.
    pub(super) async fn live(client: &Client, owner: &Owner) -> kube::Result<Option<Self>> {
        let (ingress, name) = match owner.kind {
            Kind::Service => (None, owner.name.clone()),
            Kind::Ingress => {
                let all: Api<Ingress> = Api::namespaced(client.clone(), &owner.namespace);
                let Some(ingress) = all.get_opt(&owner.name).await? else { return Ok(None) };
                let Some(name) = behind(&ingress).map(str::to_owned) else { return Ok(None) };
                (Some(ingress), name)
            }
        };
        let Some(service) = api(client, owner).get_opt(&name).await? else { return Ok(None) };
        let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), &owner.namespace);
        let of_service = ListParams::default().labels(&format!("{SERVICE_LABEL}={name}"));
        let slices = slices.list(&of_service).await?.items;
        let pods: Api<Pod> = Api::namespaced(client.clone(), &owner.namespace);
        let pods = match Cloud::of(&service) {
            Cloud::Tencent => pods.list(&ListParams::default()).await?.items,
            Cloud::Huawei => Vec::new(),
        };
        let weight = |pod: &Pod| Some((pod.metadata.uid.clone()?, own_weights(pod).remove(&owner.kind)?));
        let pods = pods.iter().filter_map(weight).collect();
        Ok(Some(Self { ingress, service, slices, pods }))
    }

    /// All that a sync depends on: another fingerprint, another sync. The controller's own stamps are no part of it,
    /// nor are annotations of others. White space in an annotation is: a value is compared as it is written.
    pub(super) fn fingerprint(&self) -> Value {
        let annotations = self.service.metadata.annotations.iter().flatten();
        let honoured: Vec<_> = annotations
            .filter(|(key, _)| PREFIXES.iter().any(|prefix| key.starts_with(prefix)))
            .filter(|(key, _)| *key != SYNC_BEGIN && *key != SYNC_END)
            .collect();
        let slices: Vec<_> = self.slices.iter().map(|slice| (&slice.endpoints, &slice.ports)).collect();
        let endpoints = self.slices.iter().flat_map(|slice| &slice.endpoints);
        let uids = endpoints.filter_map(|endpoint| endpoint.target_ref.as_ref()?.uid.as_ref());
        let weights: BTreeMap<_, _> = uids.filter_map(|uid| self.pods.get_key_value(uid)).collect();
        match &self.ingress {
            None => json!([self.service.spec, honoured, slices, weights]),
            // What is written on the Service is for the Service's own balancer.
            Some(ingress) => json!([ingress.spec, self.service.spec, slices, weights]),
        }
    }
}

fn api(client: &Client, owner: &Owner) -> Api<Service> {
    Api::namespaced(client.clone(), &owner.namespace)
}

/// Writes one of the two stamps, as the cloud does: whole seconds, in the time of Shanghai.
pub(super) async fn stamp(client: &Client, owner: &Owner, which: Stamp, at: Timestamp) -> kube::Result<()> {
    let annotation = match which {
        Stamp::Begin => SYNC_BEGIN,
        Stamp::End => SYNC_END,
    };
    let patch = json!({"metadata": {"annotations": {annotation: render(at)}}});
    api(client, owner).patch(&owner.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

fn render(at: Timestamp) -> String {
    at.to_zoned(TimeZone::fixed(Offset::constant(8))).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// Says where the balancer listens. `ipMode: Proxy` keeps kube-proxy from sending the node's own connections to
/// this address straight to the pods, past the balancer.
pub(super) async fn publish(client: &Client, owner: &Owner, address: std::net::IpAddr) -> kube::Result<()> {
    let balancer = |address: Value| json!({"status": {"loadBalancer": {"ingress": [address]}}});
    let parameters = PatchParams::default();
    match owner.kind {
        Kind::Service => {
            let patch = Patch::Merge(balancer(json!({"ip": address, "ipMode": "Proxy"})));
            api(client, owner).patch_status(&owner.name, &parameters, &patch).await?;
        }
        Kind::Ingress => {
            let patch = Patch::Merge(balancer(json!({"ip": address})));
            let ingresses: Api<Ingress> = Api::namespaced(client.clone(), &owner.namespace);
            ingresses.patch_status(&owner.name, &parameters, &patch).await?;
        }
    }
    Ok(())
}

/// Says which balancer it is, as Tencent's controller does.
pub(super) async fn identify(client: &Client, owner: &Owner, id: &str) -> kube::Result<()> {
    let patch = json!({"metadata": {"annotations": {BALANCER: id}}});
    api(client, owner).patch(&owner.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(annotations: &Value) -> Read {
        let metadata = json!({"name": "front", "namespace": "shop", "annotations": annotations});
        let service = serde_json::from_value(json!({"metadata": metadata, "spec": {}})).unwrap();
        Read { ingress: None, service, slices: Vec::new(), pods: BTreeMap::new() }
    }

    #[test]
    fn stamps_are_in_whole_seconds_of_shanghai() {
        let at: Timestamp = "2026-01-04T08:24:42.9Z".parse().unwrap();
        assert_eq!(render(at), "2026-01-04T16:24:42+08:00");
    }

    #[test]
    fn stamps_and_foreign_annotations_cause_no_sync_but_white_space_does() {
        let weights = |value: &str| json!({"service.cloud.tencent.com/lb-rs-weight": value});
        let before = read(&weights("{}")).fingerprint();
        let mut stamped = weights("{}");
        stamped[SYNC_BEGIN] = json!("2026-01-04T16:24:42+08:00");
        stamped["example.com/note"] = json!("hello");
        assert_eq!(read(&stamped).fingerprint(), before);
        assert_ne!(read(&weights("{} ")).fingerprint(), before);
    }

    #[test]
    fn what_is_written_on_the_service_is_nothing_to_the_balancer_of_an_ingress() {
        let of_ingress = |weights: &str| {
            let service = read(&json!({"service.cloud.tencent.com/lb-rs-weight": weights}));
            Read { ingress: Some(Ingress::default()), ..service }.fingerprint()
        };
        assert_eq!(of_ingress("{}"), of_ingress("{} "));
    }

    #[test]
    fn a_pod_has_a_weight_of_its_own_for_each_kind_of_balancer() {
        let own = |annotations: Value| {
            own_weights(&serde_json::from_value(json!({"metadata": {"annotations": annotations}})).unwrap())
        };
        assert_eq!(own(json!({POD_WEIGHT_OF_INGRESS: "0"})), [(Kind::Ingress, "0".to_owned())].into());
        assert_eq!(own(json!({POD_WEIGHT: "0"})), [(Kind::Service, "0".to_owned())].into());
        assert_eq!(own(json!({})), BTreeMap::new());
    }

    #[test]
    fn a_weight_of_a_pod_causes_a_sync_where_the_pod_is_a_backend_and_nowhere_else() {
        let mut read = read(&json!({}));
        let endpoints = json!([{"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "uid": "u-1"}}]);
        read.slices =
            vec![serde_json::from_value(json!({"addressType": "IPv4", "endpoints": endpoints})).unwrap()];
        let before = read.fingerprint();
        read.pods.insert("u-2".to_owned(), "0".to_owned());
        assert_eq!(read.fingerprint(), before);
        read.pods.insert("u-1".to_owned(), "0".to_owned());
        assert_ne!(read.fingerprint(), before);
    }
}
