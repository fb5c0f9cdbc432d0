//! Which ports of a pod its Services send connections to.

use std::collections::BTreeSet;

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

/// The TCP ports of the pod behind these Services: names are looked up in the pod's containers, a port
/// without a target is its own target. Ports of other protocols have no connections and are left out.
///
/// # Errors
/// A port that cannot be resolved, or none at all: a count on part of the ports would be a partial one.
pub fn resolve_target_ports(pod: &Pod, services: &[Service]) -> Result<BTreeSet<u16>, PortProblem> {
    let mut found = BTreeSet::new();
    for service in services {
        let name = service.metadata.name.clone().unwrap_or_default();
        let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        for port in ports.filter(|port| is_tcp(port.protocol.as_deref())) {
            found.insert(resolve(pod, &name, port)?);
        }
    }
    if found.is_empty() { Err(PortProblem::None) } else { Ok(found) }
}

fn resolve(pod: &Pod, service: &str, port: &ServicePort) -> Result<u16, PortProblem> {
    let number = match &port.target_port {
        None | Some(IntOrString::Int(0)) => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => named(pod, name)
            .ok_or_else(|| PortProblem::NoSuchName { service: service.to_owned(), port: name.clone() })?,
    };
    u16::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| PortProblem::NotAPort { service: service.to_owned(), port: number })
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
    fn nothing_to_count_on_is_a_problem() {
        assert_eq!(resolved(&json!([])), Err(PortProblem::None));
        assert_eq!(resolved(&json!([{"port": 53, "protocol": "UDP"}])), Err(PortProblem::None));
        assert_eq!(resolve_target_ports(&pod(), &[]), Err(PortProblem::None));
    }
}
