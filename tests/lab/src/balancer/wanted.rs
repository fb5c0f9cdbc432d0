//! What a balancer should do, from its Service, `EndpointSlices`, Ingress and pods alone.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use k8s_openapi::api::{
    core::v1::{Service, ServicePort},
    discovery::v1::{Endpoint, EndpointSlice},
};

use super::weights::{BadAnnotation, BadWeights, Weights, of_pod};
use super::{
    Listener, ingress,
    owner::Kind,
    service::{Cloud, Read, pod_weight},
};

/// The pods of one listener, by uid: a pod that comes back under its old name is another backend.
pub(super) type Members = BTreeMap<String, Member>;

/// One pod behind one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) pod: String,
    pub(super) address: SocketAddr,
    /// 0: no new connections; those that are open go on.
    pub(super) weight: u16,
    /// It is on its way out.
    pub(super) terminating: bool,
}

/// Every listener with its members.
pub(super) type Wanted = BTreeMap<Listener, Members>;

/// Ready pods with the weight that the Service's annotation gives them, or their own, pods on their way out with 0,
/// no others. Behind an Ingress only their own counts.
pub(super) fn wanted(read: &Read) -> Result<Wanted, BadAnnotation> {
    let Read { ingress, service, slices, pods } = read;
    let annotations = service.metadata.annotations.as_ref();
    let annotation = Cloud::of(service).weights();
    let (kind, listeners, given): (Kind, Vec<_>, _) = match ingress {
        None => {
            (Kind::Service, listeners(service).collect(), annotations.and_then(|all| all.get(annotation)))
        }
        Some(ingress) => (Kind::Ingress, ingress::listener(ingress, service).into_iter().collect(), None),
    };
    let weights = match given {
        Some(value) => Weights::parse(value).map_err(|why| BadAnnotation { annotation, why })?,
        None => Weights::default(),
    };
    let mut wanted: Wanted = listeners
        .into_iter()
        .map(|(listener, declared)| (listener, members(listener, declared, slices, &weights)))
        .collect();
    let bad = |why| BadAnnotation { annotation: pod_weight(kind), why };
    for (uid, member) in wanted.values_mut().flatten() {
        let Some(own) = pods.get(uid) else { continue };
        if given.is_some() {
            return Err(bad(BadWeights::Twice));
        }
        let own = of_pod(own).map_err(bad)?;
        if !member.terminating {
            member.weight = own;
        }
    }
    Ok(wanted)
}

/// The ports of a Service as listeners. Of SCTP the lab's balancer knows nothing.
pub(super) fn listeners(service: &Service) -> impl Iterator<Item = (Listener, &ServicePort)> {
    let declared = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    declared.filter_map(|declared| {
        let port = u16::try_from(declared.port).ok()?;
        match declared.protocol.as_deref() {
            None | Some("TCP") => Some((Listener::tcp(port), declared)),
            Some("UDP") => Some((Listener::udp(port), declared)),
            Some(_) => None,
        }
    })
}

fn members(
    listener: Listener,
    declared: &ServicePort,
    slices: &[EndpointSlice],
    weights: &Weights,
) -> Members {
    let name = declared.name.as_deref().unwrap_or_default();
    let mut members = Members::new();
    for slice in slices {
        let resolved = slice.ports.iter().flatten();
        let mut of_name = resolved.filter(|port| port.name.as_deref().unwrap_or_default() == name);
        let Some(target) = of_name.find_map(|port| u16::try_from(port.port?).ok()) else { continue };
        members.extend(slice.endpoints.iter().filter_map(|endpoint| {
            let (uid, mut member) = member(endpoint, target)?;
            member.weight = if member.terminating { 0 } else { weights.of(listener, &member.pod) };
            Some((uid, member))
        }));
    }
    members
}

fn member(endpoint: &Endpoint, port: u16) -> Option<(String, Member)> {
    let is_ready = endpoint.conditions.as_ref().is_none_or(|conditions| conditions.ready.unwrap_or(true));
    if !is_ready && !is_terminating(endpoint) {
        return None;
    }
    let pod = endpoint.target_ref.as_ref()?;
    let ip: IpAddr = endpoint.addresses.first()?.parse().ok()?;
    let address = SocketAddr::new(ip, port);
    let member = Member { pod: pod.name.clone()?, address, weight: 0, terminating: is_terminating(endpoint) };
    Some((pod.uid.clone()?, member))
}

fn is_terminating(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().is_some_and(|conditions| conditions.terminating == Some(true))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn wanted(service: &Service, slices: &[EndpointSlice]) -> Result<Wanted, BadAnnotation> {
        let (service, slices) = (service.clone(), slices.to_vec());
        super::wanted(&Read { ingress: None, service, slices, pods: BTreeMap::new() })
    }

    fn service(weights: Option<&str>) -> Service {
        let annotations = weights.map(|value| json!({Cloud::Tencent.weights(): value}));
        serde_json::from_value(json!({
            "metadata": {"name": "front", "annotations": annotations},
            "spec": {"ports": [
                {"name": "http", "port": 80, "targetPort": "web"},
                {"name": "admin", "port": 9000, "targetPort": 9001, "protocol": "TCP"},
                {"name": "dns", "port": 53, "protocol": "UDP"},
            ]},
        }))
        .unwrap()
    }

    fn endpoint(pod: &str, conditions: &Value) -> Value {
        let ordinal = pod.chars().last().unwrap();
        json!({
            "addresses": [format!("10.0.0.{ordinal}")],
            "targetRef": {"kind": "Pod", "name": pod, "uid": format!("uid-{ordinal}")},
            "conditions": conditions,
        })
    }

    fn slice(endpoints: &[Value]) -> EndpointSlice {
        serde_json::from_value(json!({
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [
                {"name": "http", "port": 8080},
                {"name": "admin", "port": 9001},
                {"name": "dns", "port": 5353, "protocol": "UDP"},
            ],
        }))
        .unwrap()
    }

    #[test]
    fn each_port_is_a_listener_on_the_resolved_target_port() {
        let slices = [slice(&[endpoint("web-1", &json!({"ready": true}))])];
        let wanted = wanted(&service(None), &slices).unwrap();
        let listeners: Vec<_> = wanted.keys().map(Listener::to_string).collect();
        assert_eq!(listeners, ["53/UDP", "80/TCP", "9000/TCP"]);
        assert_eq!(wanted[&Listener::udp(53)]["uid-1"].address, "10.0.0.1:5353".parse().unwrap());
        assert_eq!(wanted[&Listener::tcp(80)]["uid-1"].address, "10.0.0.1:8080".parse().unwrap());
        assert_eq!(wanted[&Listener::tcp(9000)]["uid-1"].address, "10.0.0.1:9001".parse().unwrap());
        assert_eq!(wanted[&Listener::tcp(80)]["uid-1"].weight, 10);
    }

    #[test]
    fn a_pod_on_its_way_out_has_weight_0_and_one_that_is_not_ready_is_not_there() {
        let slices = [slice(&[
            endpoint("web-1", &json!({"ready": false, "serving": true, "terminating": true})),
            endpoint("web-2", &json!({"ready": false})),
            endpoint("web-3", &json!({"ready": true})),
        ])];
        let wanted = wanted(&service(None), &slices).unwrap();
        let weights: Vec<_> =
            wanted[&Listener::tcp(80)].values().map(|member| (member.pod.as_str(), member.weight)).collect();
        assert_eq!(weights, [("web-1", 0), ("web-3", 10)]);
    }

    #[test]
    fn the_members_of_all_slices_count_and_the_annotation_weighs_them() {
        let ready = json!({"ready": true});
        let slices = [slice(&[endpoint("web-1", &ready)]), slice(&[endpoint("web-2", &ready)])];
        let weights = r#"{"defaultWeight":7,"groups":[{"key":{"proto":"TCP","port":80},"statefulSets":[{"name":"web","weights":[{"weight":0,"podIndexes":[2]}]}]}]}"#;
        let wanted = wanted(&service(Some(weights)), &slices).unwrap();
        assert_eq!(
            (wanted[&Listener::tcp(80)]["uid-1"].weight, wanted[&Listener::tcp(80)]["uid-2"].weight),
            (7, 0)
        );
        assert_eq!(wanted[&Listener::tcp(9000)]["uid-2"].weight, 7);
    }

    #[test]
    fn each_cloud_has_its_own_annotation_and_leaves_the_others() {
        let slices = [slice(&[endpoint("web-1", &json!({"ready": true}))])];
        let seven = json!(r#"{"defaultWeight":7}"#);
        let weight = |annotations: Value| {
            let mut service = service(None);
            service.metadata.annotations = serde_json::from_value(annotations).unwrap();
            wanted(&service, &slices).unwrap()[&Listener::tcp(80)]["uid-1"].weight
        };
        let (ours, theirs) = (Cloud::Huawei.weights(), Cloud::Tencent.weights());
        let (class, value) = Cloud::Huawei.annotation();
        assert_eq!(weight(json!({class: value, ours: seven})), 7);
        assert_eq!(weight(json!({class: value, theirs: seven})), 10);
        assert_eq!(weight(json!({ours: seven})), 10);
    }

    #[test]
    fn an_annotation_that_is_not_json_is_an_error_for_the_whole_service() {
        assert!(wanted(&service(Some("{")), &[]).is_err());
    }

    #[test]
    fn a_pods_own_weight_counts_where_the_service_says_nothing() {
        let slices = vec![slice(&[
            endpoint("web-1", &json!({"ready": true})),
            endpoint("web-2", &json!({"ready": true})),
            endpoint("web-3", &json!({"ready": false, "terminating": true})),
        ])];
        let weighed = |service: Service, own: &str| {
            let pods = [("uid-1", own), ("uid-3", "7")].map(|(uid, own)| (uid.to_owned(), own.to_owned()));
            super::wanted(&Read { ingress: None, service, slices: slices.clone(), pods: pods.into() })
        };
        let wanted = weighed(service(None), "0").unwrap();
        let weights: Vec<_> = wanted[&Listener::tcp(9000)].values().map(|member| member.weight).collect();
        assert_eq!(weights, [0, 10, 0]);
        assert!(weighed(service(None), "ten").unwrap_err().to_string().contains("`ten` is not a weight"));
        let both = weighed(service(Some("{}")), "0").unwrap_err().to_string();
        assert!(both.contains("beside those of the Service"), "{both}");
    }

    #[test]
    fn an_ingress_has_one_listener_for_the_port_behind_it_and_knows_no_weights_but_those_of_pods() {
        let ready = json!({"ready": true});
        let read = |port: u16| {
            let backend = json!({"service": {"name": "front", "port": {"number": port}}});
            let ingress = serde_json::from_value(json!({"spec": {"defaultBackend": backend}})).unwrap();
            let slices = vec![slice(&[endpoint("web-1", &ready), endpoint("web-2", &ready)])];
            let pods = [("uid-1".to_owned(), "0".to_owned())].into();
            let service = service(Some(r#"{"defaultWeight":7}"#));
            super::wanted(&Read { ingress: Some(ingress), service, slices, pods }).unwrap()
        };
        let wanted = read(9000);
        assert_eq!(wanted.keys().copied().collect::<Vec<_>>(), [Listener::tcp(80)]);
        let members: Vec<_> =
            wanted[&Listener::tcp(80)].values().map(|one| (one.address.to_string(), one.weight)).collect();
        assert_eq!(members, [("10.0.0.1:9001".to_owned(), 0), ("10.0.0.2:9001".to_owned(), 10)]);
        assert_eq!(read(9999), Wanted::new());
    }
}
