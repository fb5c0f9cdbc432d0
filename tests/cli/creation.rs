//! The YAML that `create` prints.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use lossless_upgrade::cli::create::view;
use lossless_upgrade::cli::plan::parse;
use lossless_upgrade::traffic::spec::LeverSpec;
use lossless_upgrade::traffic::{self, Target};
use serde_json::{Value, json};

fn set(strategy: &str, change: impl FnOnce(&mut Value)) -> StatefulSet {
    let mut set = json!({
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "serviceName": "peers", "selector": {}, "updateStrategy": {"type": strategy},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web"}]}},
        },
    });
    change(&mut set);
    serde_json::from_value(set).unwrap()
}

fn service(name: &str, spec: &Value) -> Service {
    let annotations = json!({"service.cloud.tencent.com/direct-access": "true"});
    serde_json::from_value(json!({"metadata": {"name": name, "annotations": annotations}, "spec": spec}))
        .unwrap()
}

#[test]
fn what_can_be_worked_out_is_filled_in_and_what_must_be_decided_is_asked() {
    let set = set("RollingUpdate", |set| {
        set["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}}]);
    });
    let services = [
        service("inside", &json!({"type": "ClusterIP", "ports": [{"port": 80}]})),
        service("peers", &json!({"clusterIP": "None"})),
        service(
            "public",
            &json!({"type": "LoadBalancer", "ports": [{"port": 80, "targetPort": 8080}, {"port": 443, "targetPort": "https"}]}),
        ),
    ];
    insta::assert_snapshot!("create", view(&set, &services, None));
    insta::assert_snapshot!("create_without_balancer", view(&set, &services[..1], Some("web-upgrade")));
}

#[test]
fn a_label_of_the_services_own_is_found_for_those_that_no_balancer_serves() {
    let set = set("OnDelete", |set| {
        set["spec"]["selector"] = json!({"matchLabels": {"app": "web"}});
        set["spec"]["template"]["metadata"]["labels"] = json!({"app": "web", "serving": "true"});
    });
    let by = |labels: Value| json!({"type": "ClusterIP", "selector": labels, "ports": [{"port": 80}]});
    let services = [
        service("inside", &by(json!({"app": "web", "serving": "true"}))),
        service("metrics", &by(json!({"app": "web"}))),
        service(
            "public",
            &json!({"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 80}]}),
        ),
    ];
    let yaml = view(&set, &services, None);
    let levers = parse(&yaml).unwrap().spec.traffic.levers;
    let label = levers[0].pod_label.as_ref().unwrap();
    assert_eq!((label.key.as_str(), label.value.as_str()), ("serving", "true"));
    assert_eq!(levers[1].tke_service.as_ref().unwrap().services, ["public"]);
    assert!(yaml.contains("# ignoreServices: [metrics]"), "{yaml}");
}

#[test]
fn a_label_by_which_a_weighed_service_selects_too_is_no_lever_beside_its_weights() {
    let set = set("OnDelete", |set| {
        set["spec"]["selector"] = json!({"matchLabels": {"app": "web"}});
        set["spec"]["template"]["metadata"]["labels"] = json!({"app": "web", "serving": "true"});
    });
    let by = |kind: &str| json!({"type": kind, "selector": {"serving": "true"}, "ports": [{"port": 80}]});
    let services = [service("inside", &by("ClusterIP")), service("public", &by("LoadBalancer"))];
    let yaml = view(&set, &services, None);
    let levers = parse(&yaml).unwrap().spec.traffic.levers;
    assert_eq!(levers.len(), 1, "{yaml}");
    assert_eq!(levers[0].tke_service.as_ref().unwrap().services, ["public"]);
    assert!(yaml.contains("# ignoreServices: [inside]"), "{yaml}");
}

fn of_huawei(name: &str, annotations: &Value) -> Service {
    let spec = json!({"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 80}]});
    serde_json::from_value(json!({"metadata": {"name": name, "annotations": annotations}, "spec": spec}))
        .unwrap()
}

#[test]
fn services_of_huaweis_load_balancers_get_huaweis_lever_with_what_lint_would_ask() {
    let services = [
        of_huawei(
            "adaptive",
            &json!({
                "kubernetes.io/elb.class": "performance", "kubernetes.io/elb.adaptive-weight": "true",
            }),
        ),
        of_huawei("public", &json!({"kubernetes.io/elb.class": "performance", "kubernetes.io/elb.id": "a"})),
        of_huawei("shared", &json!({"kubernetes.io/elb.class": "union"})),
    ];
    let set = set("OnDelete", |set| set["spec"]["selector"] = json!({"matchLabels": {"app": "web"}}));
    let yaml = view(&set, &services, None);
    let levers = parse(&yaml).unwrap().spec.traffic.levers;
    assert_eq!(levers.len(), 1, "{yaml}");
    assert_eq!(levers[0].cce_service.as_ref().unwrap().services, ["adaptive", "public", "shared"]);
    for problem in asked(&levers[0], &services) {
        let key = problem.split(' ').find(|word| word.starts_with("kubernetes.io/elb.")).unwrap();
        assert!(yaml.contains(key.trim_end_matches(':')), "{problem}\n{yaml}");
    }
    insta::assert_snapshot!("create_on_huawei", yaml);
}

/// What the lever itself has against these Services.
fn asked(lever: &LeverSpec, services: &[Service]) -> Vec<String> {
    let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
    let none = BTreeMap::new();
    let target = Target {
        set: "web",
        governing: "peers",
        pod_labels: &labels,
        pod_annotations: &none,
        selector: None,
    };
    let problems = traffic::lever(lever).unwrap().services(&target, services).unwrap_err();
    assert_eq!(problems.len(), 2, "one of each kind");
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn huaweis_balancer_that_knows_no_pods_follows_the_label_where_there_is_one() {
    let set = set("OnDelete", |set| {
        set["spec"]["selector"] = json!({"matchLabels": {"app": "web"}});
        set["spec"]["template"]["metadata"]["labels"] = json!({"app": "web", "serving": "true"});
    });
    let mut shared = of_huawei("shared", &json!({"kubernetes.io/elb.class": "union"}));
    let selector =
        [("app", "web"), ("serving", "true")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    shared.spec.as_mut().unwrap().selector = Some(selector.into());
    let dedicated = of_huawei("public", &json!({"kubernetes.io/elb.class": "performance"}));
    let levers = parse(&view(&set, &[dedicated, shared], None)).unwrap().spec.traffic.levers;
    assert_eq!(levers[0].pod_label.as_ref().unwrap().key, "serving");
    assert_eq!(levers[1].cce_service.as_ref().unwrap().services, ["public"]);
    assert_eq!(levers.len(), 2);
}

#[test]
fn what_is_printed_can_be_applied_as_it_is() {
    for claims in [false, true] {
        for services in
            [vec![], vec![service("public", &json!({"type": "LoadBalancer", "ports": [{"port": 80}]}))]]
        {
            let set = set("OnDelete", |set| {
                if claims {
                    set["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}}]);
                }
                set["spec"]["template"]["spec"]["hostNetwork"] = json!(claims);
            });
            let object = parse(&view(&set, &services, None)).unwrap();
            assert_eq!(object.spec.surge.volumes.is_some(), claims);
            assert_eq!(object.spec.traffic.levers[0].none.is_some(), services.is_empty());
            assert_eq!(object.metadata.namespace.as_deref(), Some("shop"));
        }
    }
}
