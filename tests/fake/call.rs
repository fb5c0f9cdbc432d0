//! A request as the API server reads it. What the product does not call is not known here.

use std::collections::BTreeMap;

use http::{Method, Request};
use kube::client::Body;
use serde_json::Value;

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    Upgrades,
    StatefulSets,
    Revisions,
    Pods,
    Services,
    Slices,
    Autoscalers,
    Namespaces,
    Events,
    /// The same kind by the way on which people read it.
    CoreEvents,
}

impl Resource {
    const ALL: [Self; 10] = [
        Self::Upgrades,
        Self::StatefulSets,
        Self::Revisions,
        Self::Pods,
        Self::Services,
        Self::Slices,
        Self::Autoscalers,
        Self::Namespaces,
        Self::Events,
        Self::CoreEvents,
    ];

    /// Where its group is served, its name in paths, its `apiVersion` and its `kind`.
    const fn names(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::Upgrades => (
                "/apis/lossless-upgrade.io/v1alpha1",
                "losslessupgrades",
                "lossless-upgrade.io/v1alpha1",
                "LosslessUpgrade",
            ),
            Self::StatefulSets => ("/apis/apps/v1", "statefulsets", "apps/v1", "StatefulSet"),
            Self::Revisions => ("/apis/apps/v1", "controllerrevisions", "apps/v1", "ControllerRevision"),
            Self::Pods => ("/api/v1", "pods", "v1", "Pod"),
            Self::Services => ("/api/v1", "services", "v1", "Service"),
            Self::Slices => {
                ("/apis/discovery.k8s.io/v1", "endpointslices", "discovery.k8s.io/v1", "EndpointSlice")
            }
            Self::Autoscalers => (
                "/apis/autoscaling/v2",
                "horizontalpodautoscalers",
                "autoscaling/v2",
                "HorizontalPodAutoscaler",
            ),
            Self::Namespaces => ("/api/v1", "namespaces", "v1", "Namespace"),
            Self::Events => ("/apis/events.k8s.io/v1", "events", "events.k8s.io/v1", "Event"),
            Self::CoreEvents => ("/api/v1", "events", "v1", "Event"),
        }
    }

    pub const fn plural(self) -> &'static str {
        self.names().1
    }

    pub const fn api_version(self) -> &'static str {
        self.names().2
    }

    pub const fn kind(self) -> &'static str {
        self.names().3
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Replace,
    Patch(PatchKind),
    Delete,
}

impl Verb {
    pub const fn is_write(self) -> bool {
        match self {
            Self::Get | Self::List | Self::Watch => false,
            Self::Create | Self::Replace | Self::Patch(_) | Self::Delete => true,
        }
    }
}

/// How a patch is to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PatchKind {
    Merge,
    Json,
    Strategic,
}

/// A part of an object with an address of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Whole,
    Status,
    EphemeralContainers,
    Log,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    pub verb: Verb,
    pub resource: Resource,
    pub part: Part,
    /// Empty: in all namespaces, or of an object that is in none.
    pub namespace: String,
    /// Empty for a list, and for an object that is to be created.
    pub name: String,
    pub query: BTreeMap<String, String>,
    pub body: Value,
}

impl Call {
    /// Reads a request. An error is a request that the product never made before: the fake has to learn it.
    pub async fn read(request: Request<Body>) -> Result<Self, String> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let unknown = || format!("the fake API server does not know {} {}", head.method, head.uri);
        let query = head.uri.query().unwrap_or_default();
        let query: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .filter(|(key, _)| !key.is_empty())
            .collect();
        let (resource, namespace, rest) = Self::address(&path).ok_or_else(unknown)?;
        let (name, part) = match rest.as_slice() {
            [] => (String::new(), Part::Whole),
            [name] => ((*name).to_owned(), Part::Whole),
            [name, "status"] => ((*name).to_owned(), Part::Status),
            [name, "ephemeralcontainers"] => ((*name).to_owned(), Part::EphemeralContainers),
            [name, "log"] => ((*name).to_owned(), Part::Log),
            _ => return Err(unknown()),
        };
        let is_watch = query.get("watch").is_some_and(|watch| watch == "true");
        let content = head.headers.get("content-type").and_then(|value| value.to_str().ok());
        let verb = match (&head.method, name.is_empty()) {
            (&Method::GET, true) if is_watch => Verb::Watch,
            (&Method::GET, true) => Verb::List,
            (&Method::GET, false) => Verb::Get,
            (&Method::POST, true) => Verb::Create,
            (&Method::PUT, false) => Verb::Replace,
            (&Method::DELETE, false) => Verb::Delete,
            (&Method::PATCH, false) => Verb::Patch(match content {
                Some("application/merge-patch+json") => PatchKind::Merge,
                Some("application/json-patch+json") => PatchKind::Json,
                Some("application/strategic-merge-patch+json") => PatchKind::Strategic,
                Some(_) | None => return Err(unknown()),
            }),
            _ => return Err(unknown()),
        };
        let bytes = body.collect_bytes().await.map_err(|error| format!("{}: {error}", unknown()))?;
        let body = if bytes.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&bytes) };
        let body = body.map_err(|error| format!("{}: {error}", unknown()))?;
        Ok(Self { verb, resource, part, namespace, name, query, body })
    }

    fn address(path: &str) -> Option<(Resource, String, Vec<&str>)> {
        Resource::ALL.into_iter().find_map(|resource| {
            let (group, plural, ..) = resource.names();
            let rest = path.strip_prefix(group)?.strip_prefix('/')?;
            let parts: Vec<&str> = rest.split('/').collect();
            match parts.as_slice() {
                [first, rest @ ..] if *first == plural && rest.len() < 2 => {
                    Some((resource, String::new(), rest.to_vec()))
                }
                ["namespaces", namespace, of, rest @ ..] if *of == plural => {
                    Some((resource, (*namespace).to_owned(), rest.to_vec()))
                }
                _ => None,
            }
        })
    }

    pub fn manager(&self) -> &str {
        self.query.get("fieldManager").map_or("unknown", String::as_str)
    }

    pub fn is_dry(&self) -> bool {
        self.query.get("dryRun").is_some_and(|value| value == "All")
    }

    pub fn number(&self, key: &str) -> Option<u64> {
        self.query.get(key)?.parse().ok()
    }
}
