//! What the operator relies on in an API server. Each check plays on the fake one (`tests/faults.rs`)
//! and on the real one (`tests/cluster/conformance.rs`), so that the fake is as the real one where it
//! matters.

mod deleting;
mod status;
mod versions;
mod watching;
mod writing;

use std::time::Duration;

use futures::future::LocalBoxFuture;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use lossless_upgrade::api::LosslessUpgrade;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A claim, and how it is checked.
pub type Check = (&'static str, fn(Ground) -> LocalBoxFuture<'static, ()>);

/// All of them.
pub const CHECKS: &[Check] = &[
    ("a status under an old version is refused", status::old_version),
    (
        "a status that changes nothing is not stored, and an old version is refused all the same",
        status::unchanged,
    ),
    ("a write of the status leaves the rest alone, and the other way round", status::apart),
    ("the generation moves with the spec only", status::generation),
    ("what is there cannot be created, what is not there is not found", writing::there_or_not),
    ("null in a merge patch takes away, and what is not named stays", writing::merge),
    ("a merge patch under an old version or another identity is refused", writing::merge_identity),
    ("a JSON patch whose test fails changes nothing", writing::json_patch),
    ("a strategic merge patch finds a container by its name", writing::strategic),
    ("an ephemeral container comes once, stays as it is, and a dry run leaves none", writing::ephemeral),
    ("the record of who wrote an annotation moves with each write of that manager", writing::managed_fields),
    ("a strategic merge patch under an old version is refused", versions::strategic),
    ("a JSON patch that tests for an old version is refused", versions::json_patch),
    ("an ephemeral container under an old version of its pod is refused", versions::ephemeral),
    ("a delete of another identity or an old version is refused", deleting::preconditions),
    ("a finalizer holds a deletion until it is taken off", deleting::finalizer),
    ("a list by labels has what has them", watching::labels),
    ("a watch tells what came after its version, in order", watching::in_order),
    ("a watch from a version that is too old is told so", watching::too_old),
];

/// Where a check is played.
#[derive(Clone)]
pub struct Ground {
    pub client: Client,
    pub namespace: String,
}

/// Who writes.
const MANAGER: &str = "lossless-upgrade";
/// Longer than anything takes that is to come.
const PATIENCE: Duration = Duration::from_secs(20);

impl Ground {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned
            + Serialize,
    {
        let object: K = serde_json::from_value(object).expect("an object");
        self.api::<K>().create(&PostParams::default(), &object).await.expect("it is created")
    }

    /// An upgrade of something that is not there, so that nobody has anything to do for it. Where an operator
    /// says so in its status all the same, it has done so before the check goes on.
    async fn upgrade(&self, name: &str) -> LosslessUpgrade {
        let object = json!({
            "apiVersion": "lossless-upgrade.io/v1alpha1", "kind": "LosslessUpgrade", "metadata": {"name": name},
            "spec": {"targetRef": {"name": "nobody"}, "traffic": {"levers": [{"none": {}}]}},
        });
        self.create::<LosslessUpgrade>(object).await;
        let mut last = None;
        loop {
            let object = self.api::<LosslessUpgrade>().get(name).await.expect("it is there");
            if last == object.resource_version() {
                return object;
            }
            last = object.resource_version();
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    /// A Service that no controller looks at.
    async fn service(&self, name: &str, metadata: Value) -> k8s_openapi::api::core::v1::Service {
        let mut object = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 80}]},
        });
        object["metadata"]["name"] = json!(name);
        self.create(object).await
    }

    /// A pod that nobody schedules, so that nobody else writes it.
    async fn pod(&self, name: &str) -> k8s_openapi::api::core::v1::Pod {
        let object = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {
                "schedulerName": "nobody", "automountServiceAccountToken": false,
                "containers": [{"name": "app", "image": "app:1"}],
            },
        });
        self.create(object).await
    }

    /// A StatefulSet of no pods, of which its controller has taken notice.
    async fn set(&self, name: &str) -> k8s_openapi::api::apps::v1::StatefulSet {
        let labels = json!({"app": name});
        let containers = json!([{"name": "app", "image": "app:1"}, {"name": "side", "image": "side:1"}]);
        let object = json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name},
            "spec": {
                "replicas": 0, "serviceName": name, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
            },
        });
        self.create(object).await
    }
}

fn by_us() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

fn annotate(key: &str, value: impl Serialize) -> Patch<Value> {
    Patch::Merge(json!({"metadata": {"annotations": {key: value}}}))
}

/// The code of a refusal.
#[track_caller]
fn code<T: std::fmt::Debug>(answer: kube::Result<T>) -> u16 {
    match answer {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("no refusal of the API server: {other:?}"),
    }
}
