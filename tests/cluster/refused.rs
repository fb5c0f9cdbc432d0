//! Bad input: refused at apply time, or Blocked with the reason and nothing written.

use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture, try_join_all};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use lab::scenario::{ScenarioError, Stage, until};
use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::harness::{apply, objects, phase, shown, upgrade};

fn change(path: &str, value: Value) -> Value {
    upgrade(|spec| {
        let (parent, key) = path.rsplit_once('/').expect("a path");
        spec.pointer_mut(parent).expect("a parent")[key] = value;
    })
}

/// A probe `prometheus` with this member.
fn prometheus(member: &str, value: Value) -> Value {
    let mut probe = json!({
        "address": "http://prometheus:9090",
        "query": "sum(conns{pod='{{pod}}'})",
        "sampledAt": "min(timestamp(conns{pod='{{pod}}'}))",
    });
    probe[member] = value;
    change("/drain/probes", json!([{"prometheus": probe}]))
}

/// The same rules as in the unit tests, on the real API server.
pub fn at_apply(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        stage.apply("default", r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"refused"}}"#)?;
        let cases = [
            ("no lever", change("/traffic/levers", json!([])), "should have at least 1 items"),
            ("an empty item", change("/traffic/levers", json!([{}])), "name exactly one lever"),
            (
                "two in one item",
                change("/traffic/levers", json!([{"tkeService": {}, "none": {}}])),
                "name exactly one lever",
            ),
            (
                "none with company",
                change("/traffic/levers", json!([{"tkeService": {}}, {"none": {}}])),
                "stands alone",
            ),
            (
                "both weights of TKE",
                change("/traffic/levers", json!([{"tkeService": {}}, {"tkePod": {}}])),
                "exclude each other",
            ),
            (
                "an Ingress without a time",
                change("/traffic/levers", json!([{"tkePod": {"ingressServices": ["web"]}}])),
                "need confirmAfter",
            ),
            ("size 0", change("/batches", json!({"size": 0})), "spec.batches.size must be"),
            ("size 0 %", change("/batches", json!({"size": "0%"})), "spec.batches.size must be"),
            ("surge 101 %", change("/surge", json!({"replicas": "101%"})), "spec.surge.replicas must be"),
            ("-3m", change("/traffic/settle", json!("-3m")), "should match"),
            ("1d", change("/traffic/settle", json!("1d")), "should match"),
            (
                "minimum over timeout",
                change("/drain", json!({"minimum": "2m", "timeout": "1m"})),
                "spec.drain.minimum must not be longer",
            ),
            (
                "two probes in one item",
                change(
                    "/drain/probes",
                    json!([{"socket": {}, "http": {"port": 80, "path": "/", "format": "Number"}}]),
                ),
                "exactly one probe",
            ),
            (
                "Json without a pointer",
                change("/drain/probes", json!([{"http": {"port": 80, "path": "/", "format": "Json"}}])),
                "format Json needs",
            ),
            (
                "HaproxyCsv without frontends",
                change("/drain/probes", json!([{"http": {"port": 80, "path": "/", "format": "HaproxyCsv"}}])),
                "format HaproxyCsv needs",
            ),
            ("a query about no pod", prometheus("query", json!("sum(conns)")), "query must say which pod"),
            (
                "an age of no pod",
                prometheus("sampledAt", json!("min(conns)")),
                "sampledAt must say which pod",
            ),
            ("maxAge of an hour", prometheus("maxAge", json!("1h")), "maxAge must be"),
            ("no address", prometheus("address", json!("prometheus:9090")), "should match"),
            ("a way up", prometheus("address", json!("https://p/../x")), "must not contain `..`"),
            (
                "a ca without TLS",
                prometheus("ca", json!({"secret": "s", "key": "k"})),
                "ca is for an address that begins with https://",
            ),
            ("no way of auth", prometheus("auth", json!({})), "exactly one way in auth"),
            (
                "a Deployment",
                change("/targetRef", json!({"kind": "Deployment", "name": "x"})),
                "must be StatefulSet",
            ),
        ];
        for (what, object, message) in cases {
            match apply(stage, "refused", &object) {
                Ok(()) => return Err(format!("{what}: was accepted").into()),
                Err(error) if error.to_string().contains(message) => {}
                Err(error) => return Err(format!("{what}: refused without `{message}`: {error}").into()),
            }
        }
        apply(stage, "refused", &upgrade(|_| {}))?;
        let moved = apply(stage, "refused", &change("/targetRef/name", json!("other")));
        if !moved.is_err_and(|error| error.to_string().contains("cannot be changed")) {
            return Err("the target could be changed".into());
        }
        apply(stage, "refused", &prometheus("maxAge", json!("1m")))?;
        // An explicit null counts as absent on the server.
        apply(stage, "refused", &change("/traffic/levers", json!([{"tkeService": {}, "none": null}])))?;
        Ok(())
    }
    .boxed_local()
}

struct Obstacle {
    namespace: &'static str,
    set: Value,
    /// The Services, and what else stands beside them.
    services: Vec<Value>,
    object: Value,
    reason: &'static str,
}

fn set(replicas: u32, strategy: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "nginx"},
        "spec": {
            "serviceName": "peers", "replicas": replicas, "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": strategy}, "selector": {"matchLabels": {"app": "nginx"}},
            "template": {
                "metadata": {"labels": {"app": "nginx"}},
                "spec": {"containers": [{"name": "nginx", "image": "lab/nginx:v1", "imagePullPolicy": "Never"}]},
            },
        },
    })
}

/// Its pods have weights of their own.
fn weighed() -> Value {
    let mut set = set(1, "OnDelete");
    let weight = json!({"service.cloud.tencent.com/custom-weight": "50"});
    set["spec"]["template"]["metadata"]["annotations"] = weight;
    set
}

/// Its pods have the label that `front` is to select by too.
fn labelled() -> Value {
    let mut set = set(1, "OnDelete");
    set["spec"]["template"]["metadata"]["labels"]["serving"] = json!("true");
    set
}

fn service(name: &str, kind: &str, app: &str, weights: Option<&str>) -> Value {
    let mut annotations = json!({"service.cloud.tencent.com/direct-access": "true"});
    if let Some(weights) = weights {
        annotations["service.cloud.tencent.com/lb-rs-weight"] = json!(weights);
    }
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "annotations": annotations},
        "spec": {"type": kind, "selector": {"app": app}, "ports": [{"port": 80}]},
    })
}

fn obstacles() -> Vec<Obstacle> {
    let wanted = |change: fn(&mut Value)| {
        upgrade(|spec| {
            spec["images"] = json!({"nginx": "lab/nginx:v2"});
            change(spec);
        })
    };
    let front = || service("nginx", "LoadBalancer", "nginx", None);
    let indirect = || {
        let mut nodes = front();
        nodes["metadata"]["annotations"] = json!(null);
        nodes
    };
    let by_label = || {
        let mut front = front();
        front["spec"]["selector"]["serving"] = json!("true");
        front
    };
    let make =
        |namespace, reason, set, services, object| Obstacle { namespace, set, services, object, reason };
    vec![
        make("no-set", "StatefulSetMissing", Value::Null, vec![front()], wanted(|_| {})),
        make("rolling", "NotOnDelete", set(1, "RollingUpdate"), vec![front()], wanted(|_| {})),
        make(
            "not-selecting",
            "LeverUnusable",
            set(1, "OnDelete"),
            vec![front(), service("other", "LoadBalancer", "other", None)],
            wanted(|spec| spec["traffic"]["levers"] = json!([{"tkeService": {"services": ["other"]}}])),
        ),
        make(
            "uncovered",
            "ServiceNotCovered",
            set(1, "OnDelete"),
            vec![front(), service("inside", "ClusterIP", "nginx", None)],
            wanted(|_| {}),
        ),
        make(
            "not-json",
            "LeverUnusable",
            set(1, "OnDelete"),
            vec![service("nginx", "LoadBalancer", "nginx", Some("{weights"))],
            wanted(|_| {}),
        ),
        make("indirect", "LeverUnusable", set(1, "OnDelete"), vec![indirect()], wanted(|_| {})),
        make(
            "indirect-for-pods",
            "LeverUnusable",
            set(1, "OnDelete"),
            vec![indirect()],
            wanted(|spec| spec["traffic"]["levers"] = json!([{"tkePod": {}}])),
        ),
        make(
            "covered-twice",
            "LeverUnusable",
            labelled(),
            vec![by_label()],
            wanted(|spec| {
                let label = json!({"key": "serving", "value": "true"});
                spec["traffic"]["levers"] = json!([{"tkeService": {}}, {"podLabel": label}]);
            }),
        ),
        make("weighed-twice", "LeverUnusable", weighed(), vec![front()], wanted(|_| {})),
        make(
            "lonely",
            "NoCapacity",
            set(1, "OnDelete"),
            vec![front()],
            wanted(|spec| spec["surge"] = json!({"replicas": 0})),
        ),
        make(
            "no-container",
            "NoSuchContainer",
            set(1, "OnDelete"),
            vec![front()],
            wanted(|spec| spec["images"] = json!({"sidecar": "lab/nginx:v2"})),
        ),
        make(
            "autoscaled",
            "AutoscalerOwnsReplicas",
            set(1, "OnDelete"),
            vec![front(), autoscaler()],
            wanted(|_| {}),
        ),
        make("pod-security", "ProbeUnusable", set(1, "OnDelete"), vec![front()], wanted(|_| {})),
    ]
}

fn autoscaler() -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "nginx"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "nginx"},
            "minReplicas": 1, "maxReplicas": 3,
        },
    })
}

/// Everything of a namespace that a run could write.
async fn written(
    stage: &Stage,
    namespace: &str,
) -> Result<Vec<(String, Option<i64>, String)>, ScenarioError> {
    let client = stage.cluster().client();
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let pods: Api<Pod> = Api::namespaced(client, namespace);
    let all = ListParams::default();
    let mut found: Vec<_> = sets
        .list(&all)
        .await?
        .iter()
        .map(|set| (set.name_any(), set.metadata.generation, String::new()))
        .collect();
    for service in services.list(&all).await? {
        let weights =
            service.annotations().get("service.cloud.tencent.com/lb-rs-weight").cloned().unwrap_or_default();
        found.push((service.name_any(), None, weights));
    }
    for pod in pods.list(&all).await? {
        let counters =
            pod.spec.as_ref().and_then(|spec| spec.ephemeral_containers.as_ref()).map_or(0, Vec::len);
        found.push((pod.name_any(), None, format!("{:?} {counters}", pod.uid())));
    }
    Ok(found)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

async fn meets(stage: &Stage, obstacle: Obstacle) -> Result<(), ScenarioError> {
    let Obstacle { namespace, set, services, object, reason } = obstacle;
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    stage.apply("default", &space.to_string())?;
    for service in services {
        apply(stage, namespace, &service)?;
    }
    if !set.is_null() {
        apply(stage, namespace, &set)?;
        let pods: Api<Pod> = Api::namespaced(stage.cluster().client(), namespace);
        until("the pod is ready", Duration::from_mins(1), async || {
            let pods = pods.list(&ListParams::default()).await?;
            let ready = !pods.items.is_empty() && pods.iter().all(is_ready);
            Ok(if ready { Ok(()) } else { Err(format!("{} pods", pods.items.len())) })
        })
        .await?;
    }
    if reason == "ProbeUnusable" {
        // From here on the namespace takes no pod that is not restricted, and the application is not.
        stage.cluster().kubectl(&[
            "label",
            "namespace",
            namespace,
            "pod-security.kubernetes.io/enforce=restricted",
        ])?;
    }
    let before = written(stage, namespace).await?;
    apply(stage, namespace, &object)?;
    let api = objects(stage, namespace);
    until(&format!("{namespace} is blocked by {reason}"), Duration::from_mins(1), async || {
        let object = api.get("nginx").await?;
        let problem = object.status.as_ref().and_then(|status| status.problem.as_ref());
        let right =
            phase(&object) == "Blocked" && problem.is_some_and(|problem| problem.reason.as_str() == reason);
        Ok(if right { Ok(()) } else { Err(format!("{} ({problem:?})", shown(&object))) })
    })
    .await?;
    assert_eq!(written(stage, namespace).await?, before, "{namespace}: something was written");
    Ok(())
}

/// Each obstacle in a namespace of its own, all at once.
pub fn blocked(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        try_join_all(obstacles().into_iter().map(|obstacle| meets(stage, obstacle))).await?;
        second_on_one_target(stage).await?;
        Ok(())
    }
    .boxed_local()
}

/// The older of two objects on one target works, the younger is blocked.
async fn second_on_one_target(stage: &Stage) -> Result<(), ScenarioError> {
    let mut second = upgrade(|spec| spec["images"] = json!({"nginx": "lab/nginx:v2"}));
    second["metadata"]["name"] = json!("second");
    apply(stage, "lonely", &second)?;
    let api = objects(stage, "lonely");
    until("the second object is blocked", Duration::from_secs(30), async || {
        let object = api.get("second").await?;
        let problem = object.status.as_ref().and_then(|status| status.problem.as_ref());
        let taken = problem.is_some_and(|problem| problem.reason.as_str() == "TargetTaken");
        Ok(if taken { Ok(()) } else { Err(shown(&object)) })
    })
    .await
}
