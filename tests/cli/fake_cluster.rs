//! The fake API server on a port of its own, for the program as it is: no operator and no kubelet, the
//! test itself puts there what is to be seen.

use std::path::PathBuf;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use jiff::Timestamp;
use lossless_upgrade::api::LosslessUpgrade;
use lossless_upgrade::controller::observe::{Allowed, Endpoint};
use lossless_upgrade::controller::{self, Context};
use lossless_upgrade::runtime::clock::Clock;
use lossless_upgrade::runtime::metrics::Metrics;
use lossless_upgrade::runtime::ready::ReadyGate;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::cli::fixtures::Moment;
use crate::fake::call::{Part, Resource};
use crate::fake::fault::Plan;
use crate::fake::server::Server;
use crate::fake::store::{Author, Key};

/// A cluster with one object on one StatefulSet.
pub struct FakeCluster {
    server: Server,
    pub kubeconfig: PathBuf,
    end: CancellationToken,
    _runtime: tokio::runtime::Runtime,
}

impl Drop for FakeCluster {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

const NAMESPACE: &str = "shop";

fn key(resource: Resource, name: &str) -> Key {
    Key::new(resource, NAMESPACE, name)
}

async fn pass(State(client): State<kube::Client>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
    let request = http::Request::from_parts(head, kube::client::Body::from(body.to_vec()));
    let answer = client.send(request).await.expect("the fake answers");
    answer.map(axum::body::Body::new)
}

impl FakeCluster {
    /// Begins with what there is at the moment. `name` is that of the kubeconfig.
    pub fn start(name: &str, moment: &Moment) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (server, address) = runtime.block_on(async {
            let server = Server::new(moment.now, Plan::Nothing);
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let front = Router::new().fallback(pass).with_state(server.client(1));
            tokio::spawn(async move { axum::serve(listener, front).await });
            (server, address)
        });
        let kubeconfig = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.kubeconfig"));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": format!("http://{address}")}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "me", "namespace": NAMESPACE}}],
            "users": [{"name": "me", "user": {}}],
        });
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        let cluster = Self { server, kubeconfig, end: CancellationToken::new(), _runtime: runtime };
        cluster.put(moment);
        cluster
    }

    /// The operator begins to work in it.
    pub fn operate(&self) {
        let (server, end) = (self.server.clone(), self.end.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let context = Context {
                    client: server.client(2),
                    namespace: Some(NAMESPACE.to_owned()),
                    process: "operator".to_owned(),
                    counter_image: Some("lossless-upgrade:dev".to_owned()),
                    prometheus_allow: Allowed::default(),
                    tencent: Endpoint::parse(Endpoint::DEFAULT).unwrap(),
                    allow_exec: false,
                    clock: Clock::system(),
                    metrics: Metrics::new().unwrap(),
                    ready: ReadyGate::default(),
                };
                Box::pin(controller::run(context, end)).await
            })
        });
    }

    fn create(&self, resource: Resource, name: &str, object: Value) -> Value {
        self.server.with(|store, at| {
            let author = Author { manager: "test", at };
            store.create(&key(resource, name), object, author).map(|object| Value::clone(&object)).unwrap()
        })
    }

    /// All that there is at this moment, in the place of what was there.
    pub fn put(&self, moment: &Moment) {
        let exists = self.server.with(|store, _| store.get(&key(Resource::Upgrades, "web")).is_ok());
        if !exists {
            self.create(Resource::StatefulSets, "web", stateful_set(moment));
        }
        self.put_set(moment);
        let mut object = serde_json::to_value(&moment.object).unwrap();
        self.put_pods(moment, &mut object);
        if !exists {
            object["metadata"]["finalizers"] = json!(["lossless-upgrade.io/restore"]);
            self.create(Resource::Upgrades, "web", object.clone());
        }
        self.put_events(moment);
        self.server.with(|store, at| {
            let author = Author { manager: "test", at };
            let live = store.get(&key(Resource::Upgrades, "web")).unwrap().clone();
            let mut new = Value::clone(&live);
            new["status"] = object["status"].take();
            store.replace(&key(Resource::Upgrades, "web"), Part::Status, new, author).unwrap();
        });
    }

    fn put_set(&self, moment: &Moment) {
        self.server.with(|store, at| {
            let author = Author { manager: "test", at };
            let live = store.get(&key(Resource::StatefulSets, "web")).unwrap().clone();
            let mut new = Value::clone(&live);
            new["status"] = stateful_set(moment)["status"].take();
            store.replace(&key(Resource::StatefulSets, "web"), Part::Status, new, author).unwrap();
        });
    }

    fn put_pods(&self, moment: &Moment, object: &mut Value) {
        let set = self.server.with(|store, _| {
            store.get(&key(Resource::StatefulSets, "web")).unwrap()["metadata"]["uid"].clone()
        });
        let had: Vec<String> = self.server.with(|store, _| {
            store
                .list(Resource::Pods, NAMESPACE)
                .filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
                .collect()
        });
        self.server.with(|store, at| {
            for name in had {
                store.remove(&key(Resource::Pods, &name), Author { manager: "test", at });
            }
        });
        for (ordinal, shown) in &moment.pods {
            let ready = if shown.pod.ready { "True" } else { "False" };
            let made = self.create(Resource::Pods, &shown.pod.name, json!({
                "metadata": {
                    "labels": {"app": "web", "controller-revision-hash": shown.pod.revision},
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": set}],
                },
                "spec": {"containers": [{"name": "web", "image": "v1"}]},
                "status": {
                    "conditions": [{"type": "Ready", "status": ready}],
                    "containerStatuses": [{"name": "web", "image": "v1", "imageID": "x", "ready": shown.pod.ready, "restartCount": shown.pod.restarts}],
                },
            }));
            for record in
                object.pointer_mut("/status/pods").and_then(Value::as_array_mut).into_iter().flatten()
            {
                if record["ordinal"] == json!(ordinal) {
                    record["uid"] = made["metadata"]["uid"].clone();
                }
            }
        }
    }

    fn put_events(&self, moment: &Moment) {
        let uid = self
            .server
            .with(|store, _| store.get(&key(Resource::Upgrades, "web")).unwrap()["metadata"]["uid"].clone());
        for (number, told) in moment.events.iter().rev().enumerate() {
            let name = format!("web.{}.{number}", told.reason.to_lowercase());
            let there = self.server.with(|store, _| store.get(&key(Resource::CoreEvents, &name)).is_ok());
            if there {
                continue;
            }
            self.create(
                Resource::CoreEvents,
                &name,
                json!({
                    "involvedObject": {"kind": "LosslessUpgrade", "name": "web", "uid": uid},
                    "reason": told.reason, "message": told.text, "eventTime": micro(told.at),
                    "type": if told.warning { "Warning" } else { "Normal" },
                }),
            );
        }
    }

    /// The user edits the spec.
    pub fn edit(&self, change: impl FnOnce(&mut Value)) {
        self.server.with(|store, at| {
            let author = Author { manager: "kubectl", at };
            let mut object = Value::clone(store.get(&key(Resource::Upgrades, "web")).unwrap());
            change(&mut object["spec"]);
            store.replace(&key(Resource::Upgrades, "web"), Part::Whole, object, author).unwrap();
        });
    }

    /// What the object is now.
    pub fn object(&self) -> LosslessUpgrade {
        let live = self.server.with(|store, _| store.get(&key(Resource::Upgrades, "web")).unwrap().clone());
        serde_json::from_value(Value::clone(&live)).unwrap()
    }

    /// The requests that were made until now.
    pub fn requests(&self) -> usize {
        self.server.calls().len()
    }

    /// Nothing was asked that a real API server would not know.
    pub fn was_understood(&self) {
        assert_eq!(self.server.unknown(), Vec::<String>::new());
    }
}

fn micro(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.000000Z").to_string()
}

fn stateful_set(moment: &Moment) -> Value {
    let target = moment.object.status.as_ref().and_then(|status| status.target.as_ref());
    let revision = target.map(|target| target.update_revision.clone());
    json!({
        "spec": {
            "replicas": 3, "serviceName": "web", "updateStrategy": {"type": "OnDelete"}, "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "v1"}]}},
        },
        "status": {"replicas": 3, "observedGeneration": 1, "updateRevision": revision},
    })
}
