//! What is deployed, as the tests say it.

use std::time::Duration;

use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Service, networking::v1::Ingress};
use serde_json::{Value, json};

use crate::balancer::{Cloud, EXISTING};

/// Who replaces the pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateStrategy {
    /// The `StatefulSet` controller.
    RollingUpdate,
    /// Somebody else.
    OnDelete,
}

/// How clients reach a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// Through the lab's load balancer.
    LoadBalancer,
    /// Through the lab's load balancer too, by an Ingress with the Service's name in front of it.
    Ingress,
    /// By its cluster IP, through kube-proxy.
    ClusterIp,
    /// By a port of the node, through kube-proxy.
    NodePort,
}

/// The label that a Service may select by, beside the application's.
const SERVING: (&str, &str) = ("serving", "true");

/// A Service in front of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppService {
    /// Its name.
    pub name: String,
    /// Its ports for TCP, each to the same port of the pods.
    pub ports: Vec<u16>,
    /// Its ports for UDP, on which the pods do not listen: the balancer sends nothing there.
    pub udp: Vec<u16>,
    /// Id of the balancer that it shares with others, if it is to have none of its own.
    pub existing: Option<String>,
    /// The lb-rs-weight that its owner has put on it, if any.
    pub weights: Option<String>,
    /// How clients reach it.
    pub reached: Reached,
    /// Whose balancer it asks for.
    pub cloud: Cloud,
    /// It selects only pods that have the label `serving=true`.
    pub by_label: bool,
}

impl AppService {
    /// One of type `LoadBalancer` without weights.
    #[must_use]
    pub fn new(name: &str, ports: &[u16]) -> Self {
        Self {
            name: name.to_owned(),
            ports: ports.to_vec(),
            udp: Vec::new(),
            existing: None,
            weights: None,
            reached: Reached::LoadBalancer,
            cloud: Cloud::Tencent,
            by_label: false,
        }
    }

    /// One with port 80, which is where an Ingress listens, that only an Ingress is in front of.
    #[must_use]
    pub fn behind_ingress(name: &str) -> Self {
        Self { reached: Reached::Ingress, ..Self::new(name, &[80]) }
    }

    /// One with port 80 that selects by the label `serving=true`.
    #[must_use]
    pub fn by_label(name: &str, reached: Reached) -> Self {
        Self { reached, by_label: true, ..Self::new(name, &[80]) }
    }
}

/// How the kubelet finds out whether a pod serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadyBy {
    /// It answers on `/healthz`.
    Http,
    /// It takes a connection.
    Tcp,
}

/// A server behind the load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Namespace, of its own.
    pub namespace: String,
    /// Name of the `StatefulSet` and of its container.
    pub name: String,
    /// Image to begin with.
    pub image: String,
    /// Image of a second container, `sidecar`, that runs beside the server and serves nobody.
    pub sidecar: Option<String>,
    /// How its readiness is probed, on its first port.
    pub ready_by: ReadyBy,
    /// Number of pods.
    pub replicas: u16,
    /// Ordinal of the first one.
    pub first: u16,
    /// Whether they come and go one after the other, each when the one before it is Ready or gone.
    pub in_order: bool,
    /// `terminationGracePeriodSeconds`.
    pub grace: Duration,
    /// Length of a preStop sleep.
    pub pre_stop: Option<Duration>,
    /// Who replaces the pods.
    pub strategy: UpdateStrategy,
    /// What is in front of it.
    pub services: Vec<AppService>,
}

impl App {
    /// Four pods of `lab/nginx:v1` with a readiness probe and 10 s of grace, behind one Service `nginx` with port 80.
    #[must_use]
    pub fn nginx(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: "nginx".to_owned(),
            image: "lab/nginx:v1".to_owned(),
            sidecar: None,
            ready_by: ReadyBy::Http,
            replicas: 4,
            first: 0,
            in_order: false,
            grace: Duration::from_secs(10),
            pre_stop: None,
            strategy: UpdateStrategy::RollingUpdate,
            services: vec![AppService::new("nginx", &[80])],
        }
    }

    /// Two pods of `lab/redis:v1`.
    #[must_use]
    pub fn redis(namespace: &str) -> Self {
        Self { ready_by: ReadyBy::Tcp, ..Self::two_of("redis", 6379, namespace) }
    }

    /// Two pods of `lab/mosquitto:v1`.
    #[must_use]
    pub fn mosquitto(namespace: &str) -> Self {
        Self { ready_by: ReadyBy::Tcp, ..Self::two_of("mosquitto", 1883, namespace) }
    }

    /// Two pods of `lab/haproxy:v1`, whose status page is on port 8404.
    #[must_use]
    pub fn haproxy(namespace: &str) -> Self {
        Self::two_of("haproxy", 80, namespace)
    }

    fn two_of(name: &str, port: u16, namespace: &str) -> Self {
        Self {
            name: name.to_owned(),
            image: format!("lab/{name}:v1"),
            replicas: 2,
            services: vec![AppService::new(name, &[port])],
            ..Self::nginx(namespace)
        }
    }

    /// All ports that any Service has, once each.
    fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<_> = self.services.iter().flat_map(|service| service.ports.clone()).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    pub(super) fn stateful_set(&self) -> serde_json::Result<StatefulSet> {
        let ports = self.ports();
        let probe = ports.first().map(|port| {
            let mut probe = json!({"periodSeconds": 1, "failureThreshold": 2});
            match self.ready_by {
                ReadyBy::Http => probe["httpGet"] = json!({"path": "/healthz", "port": port}),
                ReadyBy::Tcp => probe["tcpSocket"] = json!({"port": port}),
            }
            probe
        });
        let sleep = self.pre_stop.map(|time| json!({"preStop": {"sleep": {"seconds": time.as_secs()}}}));
        let declared: Vec<_> = ports.iter().map(|port| json!({"containerPort": port})).collect();
        let labels = json!({"app": self.name});
        let mut of_pods = labels.clone();
        if self.services.iter().any(|service| service.by_label) {
            of_pods[SERVING.0] = json!(SERVING.1);
        }
        let mut containers = vec![json!({
            "name": self.name,
            "image": self.image,
            "imagePullPolicy": "Never",
            "ports": declared,
            "readinessProbe": probe,
            "lifecycle": sleep,
        })];
        // `lab-app` without its server: it waits, and crashes where its image says so.
        containers.extend(self.sidecar.as_ref().map(|image| {
            let waits = json!([{"name": "NEVER_READY", "value": "1"}]);
            json!({"name": "sidecar", "image": image, "imagePullPolicy": "Never", "env": waits})
        }));
        let strategy = match self.strategy {
            UpdateStrategy::RollingUpdate => "RollingUpdate",
            UpdateStrategy::OnDelete => "OnDelete",
        };
        serde_json::from_value(json!({
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {
                "serviceName": self.name,
                "replicas": self.replicas,
                "ordinals": {"start": self.first},
                "podManagementPolicy": if self.in_order { "OrderedReady" } else { "Parallel" },
                "updateStrategy": {"type": strategy},
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": of_pods},
                    "spec": {
                        "terminationGracePeriodSeconds": self.grace.as_secs(),
                        "containers": containers,
                    },
                },
            },
        }))
    }

    pub(super) fn services(&self) -> serde_json::Result<Vec<Service>> {
        self.services.iter().map(|service| serde_json::from_value(self.service(service))).collect()
    }

    pub(super) fn ingresses(&self) -> serde_json::Result<Vec<Ingress>> {
        let behind = self.services.iter().filter(|service| service.reached == Reached::Ingress);
        let ingress = |service: &AppService| {
            let backend =
                json!({"service": {"name": service.name, "port": {"number": service.ports.first()}}});
            serde_json::from_value(json!({
                "metadata": {"name": service.name, "namespace": self.namespace},
                "spec": {"defaultBackend": backend},
            }))
        };
        behind.map(ingress).collect()
    }

    fn service(&self, service: &AppService) -> Value {
        let port = |port: &u16| json!({"name": format!("p{port}"), "port": port, "targetPort": port});
        let (key, value) = service.cloud.annotation();
        let mut annotations = json!({key: value});
        if let Some(weights) = &service.weights {
            annotations["service.cloud.tencent.com/lb-rs-weight"] = json!(weights);
        }
        if let Some(id) = &service.existing {
            annotations[EXISTING] = json!(id);
        }
        let mut selector = json!({"app": self.name});
        if service.by_label {
            selector[SERVING.0] = json!(SERVING.1);
        }
        let udp = |port: &u16| json!({"name": format!("u{port}"), "port": port, "protocol": "UDP"});
        let ports: Vec<_> = service.ports.iter().map(port).chain(service.udp.iter().map(udp)).collect();
        let spec = match service.reached {
            // The balancer goes to the pods themselves.
            Reached::LoadBalancer => json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false,
                "selector": selector, "ports": ports}),
            Reached::ClusterIp | Reached::Ingress => {
                json!({"type": "ClusterIP", "selector": selector, "ports": ports})
            }
            Reached::NodePort => json!({"type": "NodePort", "selector": selector, "ports": ports}),
        };
        let annotations = (service.reached == Reached::LoadBalancer).then_some(annotations);
        json!({
            "metadata": {"name": service.name, "namespace": self.namespace, "annotations": annotations},
            "spec": spec,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_what_was_asked_for() {
        let app = App {
            first: 5,
            pre_stop: Some(Duration::from_secs(5)),
            services: vec![AppService::new("a", &[80, 8080]), AppService::new("b", &[80])],
            ..App::nginx("shop")
        };
        let set = app.stateful_set().unwrap().spec.unwrap();
        assert_eq!(set.ordinals.unwrap().start, Some(5));
        let pod = set.template.spec.unwrap();
        assert_eq!(pod.termination_grace_period_seconds, Some(10));
        let container = &pod.containers[0];
        let ports: Vec<_> = container.ports.iter().flatten().map(|port| port.container_port).collect();
        assert_eq!(ports, [80, 8080]);
        let sleep = container.lifecycle.clone().unwrap().pre_stop.unwrap().sleep.unwrap();
        assert_eq!(sleep.seconds, 5);
        assert_eq!(app.services().unwrap().len(), 2);
    }
}
