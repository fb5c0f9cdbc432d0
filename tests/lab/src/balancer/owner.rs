//! Whose balancer it is.

use std::fmt;

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice, networking::v1::Ingress};

/// Label by which an `EndpointSlice` says which Service it belongs to.
pub(super) const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// What may ask for a balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A Service of type `LoadBalancer`.
    Service,
    /// An Ingress, in front of a Service of any type.
    Ingress,
}

/// What a balancer is for, by kind, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The kind.
    pub kind: Kind,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}/{}", self.kind, self.namespace, self.name)
    }
}

impl Owner {
    /// A Service.
    #[must_use]
    pub fn service(namespace: &str, name: &str) -> Self {
        Self { kind: Kind::Service, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// An Ingress.
    #[must_use]
    pub fn ingress(namespace: &str, name: &str) -> Self {
        Self { kind: Kind::Ingress, ..Self::service(namespace, name) }
    }

    pub(super) fn of_service(service: &Service) -> Option<Self> {
        let metadata = &service.metadata;
        Some(Self::service(metadata.namespace.as_deref()?, metadata.name.as_deref()?))
    }

    pub(super) fn of_ingress(ingress: &Ingress) -> Option<Self> {
        let metadata = &ingress.metadata;
        Some(Self::ingress(metadata.namespace.as_deref()?, metadata.name.as_deref()?))
    }

    /// The Service whose slice this is.
    pub(super) fn of_slice(slice: &EndpointSlice) -> Option<Self> {
        let name = slice.metadata.labels.as_ref()?.get(SERVICE_LABEL)?;
        Some(Self::service(slice.metadata.namespace.as_deref()?, name))
    }
}
