//! What Tencent's API is asked beside the stamps of TKE's controller: the weight that the load balancer itself has for
//! the detached pods.
//!
//! Only detached pods are asked about. That an attached one gets connections again is not asked: what weight it is to
//! have may be anybody's, and a pod that gets none loses none.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use super::annotation;
use crate::tencent::clb::{Listeners, Standing, Transport};
use crate::tencent::spec::ConfirmByApiSpec;

/// Written by TKE on each Service: the id of its CLB (TKE 457/51258).
const ID: &str = "service.kubernetes.io/loadbalance-id";

/// A question about one Service and the pods that it is to send nothing to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudQuestion {
    /// Where, and who asks.
    pub spec: ConfirmByApiSpec,
    /// Id of the load balancer.
    pub load_balancer: String,
    /// The Service's ports.
    pub ports: BTreeSet<(u16, Transport)>,
    /// The lever's value that the answer is about.
    value: Option<String>,
    /// The pods by uid: name and address.
    pods: BTreeMap<String, (String, IpAddr)>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloudAnswer {
    /// No listener of these ports sends a new connection to the pods.
    Detached,
    /// One still does.
    Attached {
        /// Which one to which pod.
        why: String,
    },
    /// It cannot be told: never detached.
    Unknown {
        /// What is wrong, and what to do.
        why: String,
    },
}

impl CloudQuestion {
    /// A question about the Service as it is.
    ///
    /// # Errors
    /// What is missing to ask it.
    pub fn new(
        spec: &ConfirmByApiSpec,
        live: &Service,
        value: Option<String>,
        pods: BTreeMap<String, (String, IpAddr)>,
    ) -> Result<Self, String> {
        let name = live.name_any();
        let id = spec.load_balancer_id.as_deref().or_else(|| annotation(live, ID));
        let id = id.filter(|id| !id.is_empty()).ok_or_else(|| {
            format!("Service {name} has no annotation {ID}, by which its load balancer is known; name it in the lever's `confirmByApi.loadBalancerId`")
        })?;
        let ports = live.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        let ports = ports.map(|port| {
            let transport = match port.protocol.as_deref() {
                None | Some("TCP") => Some(Transport::Tcp),
                Some("UDP") => Some(Transport::Udp),
                Some(_) => None,
            };
            u16::try_from(port.port).ok().zip(transport)
        });
        let ports: Option<BTreeSet<_>> = ports.collect();
        let ports = ports.filter(|ports| !ports.is_empty()).ok_or_else(|| {
            format!("Service {name} has no port, or one that is neither TCP nor UDP, of which Tencent's API says nothing")
        })?;
        Ok(Self { spec: spec.clone(), load_balancer: id.to_owned(), ports, value, pods })
    }

    /// Whether an answer to the other one answers this one too: that a pod has gone since changes nothing for the rest.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        let Self { spec, load_balancer, ports, value, pods } = self;
        *spec == other.spec
            && *load_balancer == other.load_balancer
            && *ports == other.ports
            && *value == other.value
            && pods.iter().all(|(uid, pod)| other.pods.get(uid) == Some(pod))
    }

    /// What the listeners of one of its ports say. `None`: nothing against it.
    #[must_use]
    pub fn against(&self, (port, transport): (u16, Transport), listeners: &Listeners) -> Option<CloudAnswer> {
        let id = &self.load_balancer;
        self.pods.values().find_map(|(name, ip)| match listeners.standing(port, transport, *ip) {
            Ok(Standing::Detached) => None,
            Ok(Standing::Attached { by, weight }) => Some(CloudAnswer::Attached {
                why: format!(
                    "{by} of load balancer {id} has weight {weight} for {name} ({ip}) by Tencent's API"
                ),
            }),
            Err(doubt) => Some(CloudAnswer::Unknown {
                why: format!(
                    "{name}: {doubt} of load balancer {id} by Tencent's API, which confirms nothing"
                ),
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::tencent::clb::parse;

    fn service(annotations: &Value, ports: &Value) -> Service {
        serde_json::from_value(
            json!({"metadata": {"name": "nginx", "annotations": annotations}, "spec": {"ports": ports}}),
        )
        .unwrap()
    }

    fn spec(id: Option<&str>) -> ConfirmByApiSpec {
        serde_json::from_value(
            json!({"region": "ap-guangzhou", "loadBalancerId": id, "credentials": {"secret": "tencent"}}),
        )
        .unwrap()
    }

    fn pods(names: &[&str]) -> BTreeMap<String, (String, IpAddr)> {
        let pod = |name: &&str| {
            let last: u8 = name.rsplit('-').next().unwrap().parse().unwrap();
            (format!("u-{name}"), ((*name).to_owned(), IpAddr::from([10, 0, 0, last])))
        };
        names.iter().map(pod).collect()
    }

    fn asked(names: &[&str]) -> CloudQuestion {
        let live = service(&json!({ID: "lb-1"}), &json!([{"port": 80}]));
        CloudQuestion::new(&spec(None), &live, None, pods(names)).unwrap()
    }

    fn listeners(weights: &[(&str, u32)]) -> Listeners {
        let targets: Vec<_> = weights
            .iter()
            .map(|(ip, weight)| json!({"PrivateIpAddresses": [ip], "Weight": weight}))
            .collect();
        let listener = json!({"ListenerId": "lbl-1", "Protocol": "TCP", "Port": 80, "Targets": targets});
        parse(json!({"Response": {"Listeners": [listener]}}).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn the_balancer_is_the_one_on_the_service_unless_it_is_named() {
        let ports = json!([{"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]);
        let live = service(&json!({ID: "lb-1"}), &ports);
        let question = CloudQuestion::new(&spec(None), &live, None, pods(&[])).unwrap();
        assert_eq!(question.load_balancer, "lb-1");
        assert_eq!(question.ports, BTreeSet::from([(53, Transport::Udp), (80, Transport::Tcp)]));
        let question = CloudQuestion::new(&spec(Some("lb-2")), &live, None, pods(&[])).unwrap();
        assert_eq!(question.load_balancer, "lb-2");
    }

    #[test]
    fn a_service_that_cannot_be_asked_about_says_why() {
        let tcp = json!([{"port": 80}]);
        for (annotations, ports, said) in [
            (json!({}), &tcp, "confirmByApi.loadBalancerId"),
            (json!({ID: ""}), &tcp, "confirmByApi.loadBalancerId"),
            (json!({ID: "lb-1"}), &json!([]), "no port"),
            (
                json!({ID: "lb-1"}),
                &json!([{"port": 80}, {"port": 81, "protocol": "SCTP"}]),
                "neither TCP nor UDP",
            ),
        ] {
            let why =
                CloudQuestion::new(&spec(None), &service(&annotations, ports), None, pods(&[])).unwrap_err();
            assert!(why.contains(said), "{why}");
        }
    }

    #[test]
    fn one_pod_with_a_weight_or_in_doubt_stands_against_all() {
        let question = asked(&["web-1", "web-2"]);
        let against = |weights: &[(&str, u32)]| question.against((80, Transport::Tcp), &listeners(weights));
        assert_eq!(against(&[("10.0.0.1", 0), ("10.0.0.2", 0), ("10.0.0.3", 10)]), None);
        let Some(CloudAnswer::Attached { why }) = against(&[("10.0.0.1", 0), ("10.0.0.2", 10)]) else {
            panic!()
        };
        assert!(why.contains("listener lbl-1 of load balancer lb-1 has weight 10 for web-2"), "{why}");
        let Some(CloudAnswer::Unknown { why }) = against(&[("10.0.0.1", 0)]) else { panic!() };
        assert!(why.contains("web-2: 10.0.0.2 is not among the backends of listener lbl-1"), "{why}");
    }

    #[test]
    fn an_answer_holds_for_fewer_pods_and_for_nothing_else() {
        let both = asked(&["web-1", "web-2"]);
        assert!(asked(&["web-2"]).is_within(&both) && both.is_within(&both));
        assert!(!asked(&["web-1", "web-3"]).is_within(&both));
        let value = CloudQuestion { value: Some("{}".to_owned()), ..both.clone() };
        let moved = CloudQuestion {
            pods: BTreeMap::from([("u-web-1".into(), ("web-1".into(), [10, 0, 0, 9].into()))]),
            ..both.clone()
        };
        let elsewhere = CloudQuestion { load_balancer: "lb-2".into(), ..both.clone() };
        for other in [value, moved, elsewhere] {
            assert!(!other.is_within(&both), "{other:?}");
        }
    }
}
