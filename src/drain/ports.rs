//! Which ports of a pod its Services send connections to.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerPort, Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Why the ports of a pod are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortProblem {
    /// A target port goes by a name that no container of the pod has.
    #[error(
        "Service {service} sends to the port named `{port}`, which no container of the pod has; declare it, or list the numbers in the probe's `ports`"
    )]
    NoSuchName {
        /// The Service.
        service: String,
        /// The name.
        port: String,
    },
    /// A target port is not a port.
    #[error("Service {service} has the target port {port}, which is no port number")]
    NotAPort {
        /// The Service.
        service: String,
        /// The number.
        port: i32,
    },
    /// Nothing to count on.
    #[error("no Service has a TCP port; list the pod's ports in the probe's `ports`")]
    None,
}

/// A way from a load balancer to a port of the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Front {
    /// Address of the load balancer, where the Service tells just one.
    pub vip: Option<IpAddr>,
    /// Port of the Service.
    pub port: u16,
    /// Port of the pod.
    pub target: u16,
}

/// The TCP ports of the load balancers of these Services, with those of the pod behind them.
///
/// # Errors
/// As [`resolve_target_ports`].
pub fn resolve_fronts(pod: &Pod, services: &[Service]) -> Result<BTreeSet<Front>, PortProblem> {
    let is_balanced = |service: &Service| {
        service.spec.as_ref().is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer"))
    };
    let all = resolved(pod, services)?.into_iter().filter(|(service, _, _)| is_balanced(service));
    let front = |(service, port, target): (&Service, &ServicePort, u16)| {
        let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let ingress = balancer.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
        // Of several addresses nobody knows which the connections of a client came by.
        let vip = match ingress {
            [only] => only.ip.as_ref().and_then(|ip| ip.parse().ok()),
            _ => None,
        };
        Ok(Front { vip, port: number(port.port, &service_name(service))?, target })
    };
    all.map(front).collect()
}

/// The TCP ports of the pod behind these Services: names are looked up in the pod's containers, a port
/// without a target is its own target. Ports of other protocols have no connections and are left out.
///
/// # Errors
/// A port that cannot be resolved, or none at all: a count on part of the ports would be a partial one.
pub fn resolve_target_ports(pod: &Pod, services: &[Service]) -> Result<BTreeSet<u16>, PortProblem> {
    Ok(resolved(pod, services)?.into_iter().map(|(_, _, target)| target).collect())
}

/// Each TCP port of each Service with that of the pod.
fn resolved<'a>(
    pod: &Pod,
    services: &'a [Service],
) -> Result<Vec<(&'a Service, &'a ServicePort, u16)>, PortProblem> {
    let mut found = Vec::new();
    for service in services {
        let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        for port in ports.filter(|port| is_tcp(port.protocol.as_deref())) {
            found.push((service, port, resolve(pod, &service_name(service), port)?));
        }
    }
    if found.is_empty() { Err(PortProblem::None) } else { Ok(found) }
}

fn service_name(service: &Service) -> String {
    service.metadata.name.clone().unwrap_or_default()
}

fn number(port: i32, service: &str) -> Result<u16, PortProblem> {
    let number = u16::try_from(port).ok().filter(|number| *number > 0);
    number.ok_or_else(|| PortProblem::NotAPort { service: service.to_owned(), port })
}

fn resolve(pod: &Pod, service: &str, port: &ServicePort) -> Result<u16, PortProblem> {
    let target = match &port.target_port {
        None | Some(IntOrString::Int(0)) => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => named(pod, name)
            .ok_or_else(|| PortProblem::NoSuchName { service: service.to_owned(), port: name.clone() })?,
    };
    number(target, service)
}

/// The first TCP port of this name, of the containers and then of the sidecars (init containers that
/// stay), in the order in which the endpoint controller looks.
fn named(pod: &Pod, name: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let mut ports =
        spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let matches =
        |port: &&ContainerPort| port.name.as_deref() == Some(name) && is_tcp(port.protocol.as_deref());
    ports.find(matches).map(|port| port.container_port)
}

/// The API server fills in TCP where nothing is written.
fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|protocol| protocol == "TCP")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    fn pod() -> Pod {
        from_value(json!({"spec": {
            "containers": [
                {"name": "app", "ports": [{"name": "web", "containerPort": 8080}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}]},
            ],
            "initContainers": [
                {"name": "once", "ports": [{"name": "mesh", "containerPort": 1}]},
                {"name": "side", "restartPolicy": "Always", "ports": [{"name": "mesh", "containerPort": 15000}]},
            ],
        }}))
        .unwrap()
    }

    fn resolved(ports: &Value) -> Result<Vec<u16>, PortProblem> {
        let service = from_value(json!({"metadata": {"name": "s"}, "spec": {"ports": ports}})).unwrap();
        resolve_target_ports(&pod(), &[service]).map(|ports| ports.into_iter().collect())
    }

    #[test]
    fn names_numbers_and_left_out_targets_resolve_and_repeats_count_once() {
        let ports = json!([
            {"port": 80, "targetPort": "web"}, {"port": 8081, "targetPort": 8080}, {"port": 443},
            {"port": 53, "targetPort": "dns", "protocol": "UDP"}, {"port": 1, "targetPort": "mesh"},
        ]);
        assert_eq!(resolved(&ports), Ok(vec![443, 8080, 15000]));
    }

    #[test]
    fn a_port_that_does_not_resolve_makes_all_unknown() {
        let problem = resolved(&json!([{"port": 80}, {"port": 81, "targetPort": "nope"}])).unwrap_err();
        assert!(problem.to_string().contains("`nope`"), "{problem}");
        assert!(resolved(&json!([{"port": 80, "targetPort": "dns"}])).is_err());
        assert!(resolved(&json!([{"port": 80, "targetPort": 70000}])).is_err());
    }

    #[test]
    fn a_front_is_where_the_service_is_reached_and_where_it_leads() {
        let service = |status: Value| {
            let ports = json!([{"port": 80, "targetPort": "web"}, {"port": 443}]);
            let spec = json!({"type": "LoadBalancer", "ports": ports});
            from_value(json!({"metadata": {"name": "s"}, "spec": spec, "status": status})).unwrap()
        };
        let fronts = |status: Value| {
            let fronts = resolve_fronts(&pod(), &[service(status)]).unwrap();
            fronts.into_iter().map(|Front { vip, port, target }| (vip, port, target)).collect::<Vec<_>>()
        };
        let vip = Some([10, 0, 0, 1].into());
        let balanced = json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}});
        assert_eq!(fronts(balanced), [(vip, 80, 8080), (vip, 443, 443)]);
        let two = json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]}});
        let named = json!({"loadBalancer": {"ingress": [{"hostname": "a.example"}]}});
        for status in [json!({}), named, two] {
            assert_eq!(fronts(status), [(None, 80, 8080), (None, 443, 443)]);
        }
        let inside =
            from_value(json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})).unwrap();
        assert_eq!(resolve_fronts(&pod(), &[inside]), Ok(BTreeSet::new()), "no load balancer");
    }

    #[test]
    fn nothing_to_count_on_is_a_problem() {
        assert_eq!(resolved(&json!([])), Err(PortProblem::None));
        assert_eq!(resolved(&json!([{"port": 53, "protocol": "UDP"}])), Err(PortProblem::None));
        assert_eq!(resolve_target_ports(&pod(), &[]), Err(PortProblem::None));
    }
}
