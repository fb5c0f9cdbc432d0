//! An Ingress, as far as the lab plays one: one listener on port 80, in front of the Service and the port that
//! `defaultBackend` names, with the pods themselves as its backends ("direct access").
//!
//! Connections are passed on as for a Service. What the cloud's listener for HTTP does besides is not played: no hosts and
//! paths, and no connections of its own to the pods. It writes no stamps, and nothing on the Service.

use k8s_openapi::api::{
    core::v1::{Service, ServicePort},
    networking::v1::Ingress,
};

use super::Listener;

/// Name of the Service behind it, if it has one.
pub(super) fn behind(ingress: &Ingress) -> Option<&str> {
    Some(&ingress.spec.as_ref()?.default_backend.as_ref()?.service.as_ref()?.name)
}

/// Its listener, with the port of the Service that it sends to.
pub(super) fn listener<'a>(ingress: &Ingress, service: &'a Service) -> Option<(Listener, &'a ServicePort)> {
    let backend = ingress.spec.as_ref()?.default_backend.as_ref()?.service.as_ref()?;
    let number = backend.port.as_ref()?.number?;
    let mut declared = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    Some((Listener::tcp(80), declared.find(|port| port.port == number)?))
}
