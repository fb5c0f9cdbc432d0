use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::traffic::Warning;
use crate::traffic::contract::{Cloud, annotated, contract, merges, stamped};
use crate::traffic::sync_stamps::{BEGIN, END};
use crate::traffic::tencent::{DIRECT_ACCESS, MODE, TARGET_GROUPS};

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A Service that the lever likes, with these changes to its spec and these annotations.
fn service(name: &str, spec: &Value, annotations: &[(&str, &str)]) -> Service {
    let mut all = map(&[(DIRECT_ACCESS, "true"), (BEGIN, "2026-01-04T16:24:42+08:00")]);
    all.extend(map(annotations));
    let mut full = json!({"type": "LoadBalancer", "selector": {"app": "web"},
        "ports": [{"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}, {"port": 8080}]});
    for (key, value) in spec.as_object().unwrap() {
        full[key] = value.clone();
    }
    serde_json::from_value(json!({"metadata": {"name": name, "annotations": all}, "spec": full})).unwrap()
}

fn lever(services: &[&str]) -> TkeService {
    let services = services.iter().map(|name| (*name).to_owned()).collect();
    TkeService::new(&TkeServiceSpec { services, ..TkeServiceSpec::default() })
}

const TKE: Cloud<'_> = Cloud {
    follows: stamped,
    fails: &[
        |service| annotated(service, MODE, Some("skip")),
        |service| annotated(service, TARGET_GROUPS, Some("[]")),
        |service| annotated(service, DIRECT_ACCESS, None),
        |service| annotated(service, BEGIN, None),
        |service| annotated(annotated(service, BEGIN, None), END, None),
        |service| annotated(service, BEGIN, Some("soon")),
    ],
};

fn select(lever: &TkeService, all: &[Service]) -> Result<Selection, Vec<Problem>> {
    let (labels, none) = (map(&[("app", "web")]), BTreeMap::new());
    let target =
        Target { set: "web", governing: "web", pod_labels: &labels, pod_annotations: &none, selector: None };
    lever.services(&target, all)
}

#[test]
fn it_keeps_the_contract_whatever_the_annotation_held() {
    let (labels, none) = (map(&[("app", "web")]), BTreeMap::new());
    let target =
        Target { set: "web", governing: "web", pod_labels: &labels, pod_annotations: &none, selector: None };
    let own = r#"{ "defaultWeight": 10, "groups": [ {"key":{"proto":"TCP","port":80}, "statefulSets":
        [{"name":"db","weights":[{"weight":3,"podIndexes":[0]}]}, {"name":"web","weights":[{"weight":0,"podIndexes":[7]},{"weight":30,"podIndexes":[0,1]}]}]} ], "extra": 1.50 }"#;
    let all = [
        service("absent", &json!({}), &[]),
        service("own", &json!({}), &[(WEIGHTS, own)]),
        service("frame", &json!({}), &[(WEIGHTS, r#"{"defaultWeight":10,"groups":[]}"#)]),
        service("empty", &json!({}), &[(WEIGHTS, "{}\n")]),
    ];
    contract(&lever(&[]), target, &all, &TKE);
}

#[test]
fn it_merges_into_whatever_json_the_annotation_held() {
    let (labels, none) = (map(&[("app", "web")]), BTreeMap::new());
    let target =
        Target { set: "web", governing: "web", pod_labels: &labels, pod_annotations: &none, selector: None };
    merges(&lever(&[]), target, &service("s", &json!({}), &[]));
}

#[test]
fn without_names_it_takes_every_load_balancer_that_selects_the_pods() {
    let all = [
        service("public", &json!({}), &[]),
        service("inside", &json!({"type": "ClusterIP"}), &[]),
        service("other", &json!({"selector": {"app": "db"}}), &[]),
        service("also", &json!({}), &[]),
    ];
    let selection = select(&lever(&[]), &all).unwrap();
    assert_eq!(selection, Selection { services: vec!["also".into(), "public".into()], warnings: vec![] });
    let problems = select(&lever(&[]), &all[1..3]).unwrap_err();
    assert_eq!(problems, [Problem::NoService { set: "web".into() }]);
}

#[test]
fn every_service_that_it_cannot_move_is_refused_with_the_reason() {
    for (changes, annotations, reason) in [
        (json!({"selector": {"app": "db"}}), vec![], "does not select the pods of StatefulSet web"),
        (json!({"type": "NodePort"}), vec![], "is of type NodePort"),
        (json!({"ports": []}), vec![], "has no ports"),
        (json!({}), vec![(MODE, "skip")], "leave it alone"),
        (json!({}), vec![(TARGET_GROUPS, "[]")], "cannot be combined"),
        (json!({}), vec![(WEIGHTS, "{")], "it is not JSON"),
        (json!({}), vec![(WEIGHTS, r#"{"groups":[],"groups":[]}"#)], "has the key `groups` twice"),
        (json!({}), vec![(WEIGHTS, r#"{"groups":7}"#)], "groups is not a list"),
    ] {
        let problems = select(&lever(&["s"]), &[service("s", &changes, &annotations)]).unwrap_err();
        let [problem] = &problems[..] else { panic!("{reason}: {problems:?}") };
        assert!(problem.to_string().contains(reason), "{problem}");
        assert!(problem.to_string().contains("Service s"), "{problem}");
    }
    let problems = select(&lever(&["s", "t"]), &[]).unwrap_err();
    let missing = ["s", "t"].map(|name| Problem::Missing { service: name.into() });
    assert_eq!(problems, missing, "all are named, not only the first");
}

#[test]
fn a_weight_on_the_pods_themselves_is_refused() {
    let (labels, weight) = (map(&[("app", "web")]), map(&[(POD_WEIGHT, "50")]));
    let target = Target {
        set: "web",
        governing: "web",
        pod_labels: &labels,
        pod_annotations: &weight,
        selector: None,
    };
    let problems = lever(&[]).services(&target, &[service("s", &json!({}), &[])]).unwrap_err();
    assert!(matches!(&problems[..], [Problem::Conflict { key: POD_WEIGHT, .. }]), "{problems:?}");
}

#[test]
fn what_may_disturb_is_a_warning() {
    let mut bad =
        service("s", &json!({"sessionAffinity": "ClientIP", "publishNotReadyAddresses": true}), &[]);
    bad.metadata.annotations = Some(map(&[(DIRECT_ACCESS, "true")]));
    let expected = [
        Warning::SessionAffinity { service: "s".into() },
        Warning::NotReadyAddresses { service: "s".into() },
        Warning::NoStamps { service: "s".into() },
    ];
    assert_eq!(select(&lever(&["s"]), &[bad]).unwrap().warnings, expected);
}

#[test]
fn a_load_balancer_that_sends_to_nodes_follows_no_weight_of_a_pod() {
    for (annotations, refused) in [(None, true), (Some("false"), true), (Some("true"), false)] {
        let mut one = service("s", &json!({}), &[]);
        one.metadata.annotations = annotations.map(|value| map(&[(DIRECT_ACCESS, value)]));
        let told = select(&lever(&["s"]), &[one]);
        assert_eq!(told.is_err(), refused, "{told:?}");
        let (service, key, value) = ("s".into(), DIRECT_ACCESS, "true");
        assert!(!refused || told.unwrap_err() == [Problem::NeedsAnnotation { service, key, value }]);
    }
}

#[test]
fn a_weight_on_a_pod_that_runs_is_refused_too() {
    let metadata = json!({"name": "web-1", "annotations": {POD_WEIGHT: "50"}});
    let pod = serde_json::from_value(json!({"metadata": metadata})).unwrap();
    let problem = lever(&[]).stands_against(&pod).unwrap();
    assert!(problem.to_string().contains("on pod web-1 cannot be combined"), "{problem}");
}

#[test]
fn ports_of_one_number_and_two_protocols_are_weighed_each() {
    let (labels, none) = (map(&[("app", "web")]), BTreeMap::new());
    let target =
        Target { set: "web", governing: "web", pod_labels: &labels, pod_annotations: &none, selector: None };
    let ports =
        json!({"ports": [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53}]});
    let live = service("dns", &ports, &[]);
    let one: OrdinalSet = [1].into_iter().collect();
    let value = lever(&[]).render(&live, &target, None, &one).unwrap().unwrap();
    for proto in ["TCP", "UDP"] {
        let ours = format!(
            r#"{{"key":{{"proto":"{proto}","port":53}},"statefulSets":[{{"name":"web","weights":[{{"weight":0,"podIndexes":[1]}}]}}]}}"#
        );
        assert_eq!(value.matches(&ours).count(), 1, "{proto}: {value}");
    }
    // Detached on one of the two is not detached.
    let half = value.replace(
        r#""proto":"UDP","port":53},"statefulSets":[{"name":"web","weights":[{"weight":0"#,
        r#""proto":"UDP","port":53},"statefulSets":[{"name":"web","weights":[{"weight":9"#,
    );
    let held = lever(&[]).held(&service("dns", &ports, &[(WEIGHTS, &half)]), &target, None);
    assert!(matches!(held, Held::Foreign { .. }), "{held:?}");
    contract(&lever(&[]), target, &[live], &TKE);
}

#[test]
fn on_a_shared_load_balancer_each_service_is_confirmed_by_its_own_stamps() {
    let wrote = "2026-01-04T08:24:10Z".parse().unwrap();
    let shared = |name: &str, begin: &str, end: &str| {
        let stamp = |second: &str| format!("2026-01-04T16:24:{second}+08:00");
        service(
            name,
            &json!({}),
            &[
                ("service.kubernetes.io/tke-existed-lbid", "lb-1"),
                ("service.kubernetes.io/loadbalance-id", "lb-1"),
                (WEIGHTS, "{}"),
                (BEGIN, &stamp(begin)),
                (END, &stamp(end)),
            ],
        )
    };
    let confirmed = |live: &Service, before: &Service| {
        let record = WriteRecord::of_answer("us", WEIGHTS, before, wrote);
        let now = "2026-01-04T08:24:30Z".parse().unwrap();
        matches!(lever(&[]).confirmed(live, &record, now), Confirmation::Confirmed { .. })
    };
    assert!(confirmed(&shared("a", "11", "12"), &shared("a", "01", "02")));
    assert!(!confirmed(&shared("b", "01", "02"), &shared("b", "01", "02")), "a's synchronisation is not b's");
}

#[test]
fn tencents_api_is_asked_where_the_spec_says_so() {
    let api: ConfirmByApiSpec =
        serde_json::from_value(json!({"region": "ap-guangzhou", "credentials": {"secret": "tencent"}}))
            .unwrap();
    let with = TkeServiceSpec { confirm_by_api: Some(api.clone()), ..TkeServiceSpec::default() };
    assert_eq!(TkeService::new(&with).confirm_by_api(), Some(&api));
    assert_eq!(lever(&[]).confirm_by_api(), None);
}
