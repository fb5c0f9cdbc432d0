//! The YAML that `create` prints.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use lossless_upgrade::cli::create::view;
use lossless_upgrade::cli::plan::parse;
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
