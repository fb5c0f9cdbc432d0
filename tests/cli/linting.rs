//! Every check of `lint` finds what it is for, and nothing else.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Node, Pod, ResourceQuota, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use lossless_upgrade::cli::lint::finding::{Check, Finding, Rule, Severity, view};
use lossless_upgrade::cli::lint::{checks, owners, room};
use lossless_upgrade::cli::plan::documents;
use lossless_upgrade::cli::text::{Paint, Screen};
use lossless_upgrade::workflow::reasons::Reason;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::fixtures::object;
use crate::sim::plans::{one_by_one, with_image};
use crate::sim::world::World;

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A StatefulSet that nothing is to be said of; `change` makes it what the test needs.
fn set(change: impl FnOnce(&mut Value)) -> StatefulSet {
    let mut set = json!({
        "metadata": {"name": "web", "labels": {}, "annotations": {}},
        "spec": {
            "serviceName": "peers", "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "terminationGracePeriodSeconds": 30,
                    "containers": [{
                        "name": "web", "ports": [{"containerPort": 80}], "readinessProbe": {"httpGet": {"port": 80}},
                        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
                        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}},
                    }, {"name": "sidecar"}],
                },
            },
        },
    });
    change(&mut set);
    read(set)
}

fn container(change: impl FnOnce(&mut Value)) -> StatefulSet {
    set(|set| change(&mut set["spec"]["template"]["spec"]["containers"][0]))
}

fn found(findings: &[Finding]) -> Vec<Check> {
    let own = |finding: &Finding| match finding.rule {
        Rule::Own(check) => check,
        Rule::Run(reason) => panic!("{reason} is the operator's"),
    };
    findings.iter().map(own).collect()
}

#[test]
fn a_container_that_serves_needs_a_readiness_probe_and_a_sidecar_does_not() {
    assert_eq!(found(&checks::template(&set(|_| {}))), []);
    let without = container(|one| one["readinessProbe"] = Value::Null);
    let findings = checks::template(&without);
    assert_eq!(found(&findings), [Check::NoReadinessProbe]);
    assert_eq!(findings[0].severity, Severity::Error);
    // Ports are often not declared: then the first container is taken for the server.
    let bare = container(|one| (one["readinessProbe"], one["ports"]) = (Value::Null, Value::Null));
    assert_eq!(found(&checks::template(&bare)), [Check::NoReadinessProbe]);
}

#[test]
fn a_pod_that_somebody_else_takes_needs_a_pre_stop_and_a_grace_that_is_longer() {
    let without = container(|one| one["lifecycle"] = Value::Null);
    assert_eq!(found(&checks::template(&without)), [Check::NoPreStop]);
    let short = set(|set| set["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(5));
    assert_eq!(found(&checks::template(&short)), [Check::GraceTooShort]);
    let default = set(|set| set["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = Value::Null);
    assert_eq!(found(&checks::template(&default)), []);
    let long = container(|one| one["lifecycle"]["preStop"]["sleep"]["seconds"] = json!(30));
    assert_eq!(found(&checks::template(&long)), [Check::GraceTooShort]);
}

#[test]
fn services_that_send_to_pods_that_are_not_ready_or_keep_clients_are_named() {
    let service =
        |name: &str, spec: Value| -> Service { read(json!({"metadata": {"name": name}, "spec": spec})) };
    let all = [
        service("early", json!({"publishNotReadyAddresses": true})),
        service("sticky", json!({"sessionAffinity": "ClientIP"})),
        service("good", json!({"sessionAffinity": "None"})),
        // Peers find each other by it.
        service("peers", json!({"clusterIP": "None", "publishNotReadyAddresses": true})),
        // Its lever has looked at it.
        service("levered", json!({"sessionAffinity": "ClientIP"})),
    ];
    let findings = checks::services(&set(|_| {}), &all, &["levered".to_owned()]);
    assert_eq!(found(&findings), [Check::NotReadyAddresses, Check::SessionAffinity]);
    assert!(findings[0].what.contains("early") && findings[1].what.contains("sticky"));
}

#[test]
fn a_budget_is_missed_where_none_selects_the_pods_and_one_that_allows_nothing_is_named() {
    let budget = |label: &str, spec: Value| -> PodDisruptionBudget {
        let mut spec = spec;
        spec["selector"] = json!({"matchLabels": {"app": label}});
        read(json!({"metadata": {"name": "b"}, "spec": spec}))
    };
    let check = |budgets: &[PodDisruptionBudget]| found(&checks::budgets(&set(|_| {}), budgets));
    assert_eq!(check(&[]), [Check::NoBudget]);
    assert_eq!(check(&[budget("other", json!({"maxUnavailable": 1}))]), [Check::NoBudget]);
    assert_eq!(check(&[budget("web", json!({"maxUnavailable": 1}))]), []);
    for spec in
        [json!({"maxUnavailable": 0}), json!({"maxUnavailable": "0%"}), json!({"minAvailable": "100%"})]
    {
        assert_eq!(check(&[budget("web", spec)]), [Check::BudgetAllowsNone]);
    }
}

#[test]
fn what_becomes_of_the_surges_claims_is_said_where_there_are_claims() {
    let with = |policy: Value| {
        set(|set| {
            set["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}}]);
            set["spec"]["persistentVolumeClaimRetentionPolicy"] = policy;
        })
    };
    assert_eq!(found(&checks::claims(&set(|_| {}))), []);
    assert_eq!(found(&checks::claims(&with(Value::Null))), [Check::SurgeClaimsStay]);
    assert_eq!(found(&checks::claims(&with(json!({"whenScaled": "Retain"})))), [Check::SurgeClaimsStay]);
    assert_eq!(found(&checks::claims(&with(json!({"whenScaled": "Delete"})))), [Check::ClaimsAreDeleted]);
}

#[test]
fn an_object_that_may_lose_requests_by_its_own_spec_is_told_so() {
    let mut plan = one_by_one();
    assert_eq!(found(&checks::spec(&object(&World::new(3, plan.clone())))), []);
    plan.drain.on_timeout = lossless_upgrade::workflow::plan::OnTimeout::Proceed;
    let mut object = object(&World::new(3, plan));
    assert_eq!(found(&checks::spec(&object)), [Check::ProceedsWithConnections]);
    object.spec.traffic.levers = read(json!([{"none": {}}]));
    assert_eq!(found(&checks::spec(&object)), [Check::ProceedsWithConnections, Check::NothingIsMoved]);
    object.spec.drain = read(json!({"probes": [{"http": {"port": 80, "path": "/", "format": "Number"}}]}));
    assert_eq!(found(&checks::spec(&object)), [Check::NewConnectionsAreNotSeen, Check::NothingIsMoved]);
}

#[test]
fn who_syncs_the_replicas_back_is_named_with_the_exact_exception() {
    let object = object(&World::new(3, with_image("v1")));
    let find = |set: &StatefulSet| owners::find(&object, set, &["public".to_owned()]);
    assert_eq!(find(&set(|_| {})), []);
    let argo = [
        set(|set| {
            set["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"] = json!("shop:apps/StatefulSet");
        }),
        set(|set| set["metadata"]["managedFields"] = json!([{"manager": "argocd-controller"}])),
    ];
    for set in argo {
        let findings = find(&set);
        assert_eq!(found(&findings), [Check::ArgoCd]);
        let fix = findings[0].fix.as_ref().unwrap();
        let yaml = fix.split_once('\n').unwrap().1;
        let application = documents(yaml).unwrap().remove(0);
        let ignored = application["spec"]["ignoreDifferences"].as_array().unwrap();
        assert_eq!(ignored[0]["jsonPointers"], json!(["/spec/replicas"]));
        assert!(ignored[1]["jqPathExpressions"][0].as_str().unwrap().contains("\"web\""), "{fix}");
        assert_eq!(ignored[2]["name"], json!("public"));
        assert_eq!(
            application["spec"]["syncPolicy"]["syncOptions"],
            json!(["RespectIgnoreDifferences=true"])
        );
    }
    let labelled = |key: &str, value: &str| set(|set| set["metadata"]["labels"][key] = json!(value));
    assert_eq!(found(&find(&labelled("kustomize.toolkit.fluxcd.io/name", "apps"))), [Check::Flux]);
    assert_eq!(found(&find(&labelled("helm.toolkit.fluxcd.io/name", "apps"))), [Check::Flux]);
    assert_eq!(found(&find(&labelled("app.kubernetes.io/managed-by", "Helm"))), [Check::Helm]);
}

#[test]
fn a_quota_without_room_for_the_surge_is_an_error_and_one_about_something_else_is_not() {
    let quota = |key: &str, hard: &str, used: &str| -> ResourceQuota {
        read(json!({"metadata": {"name": "q"}, "status": {"hard": {key: hard}, "used": {key: used}}}))
    };
    for (key, hard, used, surge, short) in [
        ("pods", "10", "9", 1, false),
        ("pods", "10", "9", 2, true),
        ("count/pods", "3", "3", 1, true),
        ("requests.cpu", "2", "1500m", 1, false),
        ("requests.cpu", "2", "1600m", 1, true),
        ("requests.memory", "4Gi", "3500Mi", 1, true),
        ("limits.memory", "1Mi", "1Mi", 1, false),
        ("services", "1", "1", 1, false),
    ] {
        let findings = room::quota(&set(|_| {}), surge, &[quota(key, hard, used)]);
        let expected: &[Check] = if short { &[Check::QuotaTooSmall] } else { &[] };
        assert_eq!(found(&findings), expected, "{key} {used} of {hard}, surge {surge}");
    }
}

#[test]
fn nodes_without_room_for_the_surge_are_warned_of() {
    let node = |name: &str, change: fn(&mut Value)| -> Node {
        let mut node = json!({
            "metadata": {"name": name, "labels": {"disk": "fast"}},
            "status": {"allocatable": {"cpu": "2", "memory": "8Gi", "pods": "10"}},
        });
        change(&mut node);
        read(node)
    };
    let pod = |node: &str, phase: &str| -> Pod {
        read(json!({
            "metadata": {"name": "other"}, "status": {"phase": phase},
            "spec": {"nodeName": node, "containers": [{"name": "a", "resources": {"requests": {"cpu": "1600m"}}}]},
        }))
    };
    let short = |set: &StatefulSet, surge, nodes: &[Node], pods: &[Pod]| {
        !room::nodes(set, surge, nodes, pods).is_empty()
    };
    let plain = set(|_| {});
    let roomy = node("a", |_| {});
    assert!(!short(&plain, 4, std::slice::from_ref(&roomy), &[]));
    assert!(short(&plain, 5, std::slice::from_ref(&roomy), &[]));
    assert!(short(&plain, 1, std::slice::from_ref(&roomy), &[pod("a", "Running")]));
    assert!(!short(&plain, 1, std::slice::from_ref(&roomy), &[pod("a", "Succeeded"), pod("b", "Running")]));
    assert!(short(&plain, 1, &[node("a", |node| node["spec"]["unschedulable"] = json!(true))], &[]));
    assert!(short(&plain, 1, &[node("a", |node| node["status"]["allocatable"]["pods"] = json!("0"))], &[]));
    let picky = set(|set| set["spec"]["template"]["spec"]["nodeSelector"] = json!({"disk": "slow"}));
    assert!(short(&picky, 1, &[roomy], &[]));
}

#[test]
fn quantities_are_read_as_kubernetes_writes_them() {
    for (text, number) in [
        ("1", 1.0),
        ("250m", 0.25),
        ("1Ki", 1024.0),
        ("2M", 2e6),
        ("1.5Gi", 1.5 * 1024.0 * 1024.0 * 1024.0),
        ("1e3", 1e3),
    ] {
        let read = room::amount(&Quantity(text.to_owned())).unwrap();
        assert!((read - number).abs() < 1e-6, "{text}: {read}");
    }
    assert_eq!(room::amount(&Quantity("much".to_owned())), None);
}

#[test]
fn the_findings_are_told_with_what_they_mean_and_how_to_mend_them() {
    let object = object(&World::new(3, one_by_one()));
    let argo = set(|set| set["metadata"]["labels"]["argocd.argoproj.io/instance"] = json!("shop"));
    let mut findings = vec![Finding::said(
        Severity::Error,
        Reason::NotOnDelete,
        "StatefulSet web has another update strategy than OnDelete, so Kubernetes replaces its pods itself. Set spec.updateStrategy.type to OnDelete",
    )];
    findings.extend(checks::template(&container(|one| one["readinessProbe"] = Value::Null)));
    findings.extend(owners::find(&object, &argo, &["public".to_owned()]));
    findings.extend(checks::budgets(&argo, &[]));
    let paint = Paint { colour: false, screen: Some(Screen { width: 80, height: 24 }) };
    insta::assert_snapshot!("lint", view(&object, &findings, paint));
    insta::assert_snapshot!("lint_clean", view(&object, &[], paint));
}
