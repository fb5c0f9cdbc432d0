use std::collections::BTreeMap;
use std::slice::from_ref;

use proptest::prelude::*;
use proptest::{collection, option};

use super::super::contract::{self, Cloud, contract_on_pods, stamped};
use super::super::pods::{self, Memory};
use super::*;
use crate::traffic::sync_stamps::{BEGIN, END};
use crate::traffic::tencent::DIRECT_ACCESS;
use crate::workflow::ordinals::Ordinal;

const US: &str = "lossless-upgrade";

/// A time of the one minute in which these tests happen.
fn at(second: &str) -> Timestamp {
    format!("2026-01-04T16:24:{second}+08:00").parse().unwrap()
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn lever(ingress_services: &[&str], confirm_after: Option<u64>) -> TkePod {
    TkePod::new(&TkePodSpec {
        ingress_services: ingress_services.iter().map(|name| (*name).to_owned()).collect(),
        confirm_after: confirm_after.map(Span::seconds),
    })
}

/// A pod that is Ready since the first second, with these annotations.
fn pod(ordinal: Ordinal, annotations: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": format!("web-{ordinal}"), "uid": format!("u-{ordinal}"),
            "labels": {"app": "web"}, "annotations": annotations},
        "status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at("01")}]},
    }))
    .unwrap()
}

/// The same, detached by us in this second.
fn detached(ordinal: Ordinal, second: &str) -> Pod {
    let mut live = serde_json::to_value(pod(ordinal, &json!({}))).unwrap();
    let change = lever(&[], None).change(&pod(ordinal, &json!({})), true);
    json_patch::merge(&mut live, &json!({"metadata": change}));
    let fields = json!({"f:metadata": {"f:annotations": {format!("f:{POD_WEIGHT}"): {}}}});
    live["metadata"]["managedFields"] = json!([{"manager": US, "operation": "Update", "apiVersion": "v1",
        "fieldsType": "FieldsV1", "time": at(second), "fieldsV1": fields}]);
    serde_json::from_value(live).unwrap()
}

/// A Service that the lever likes, stamped in these seconds.
fn service(name: &str, begin: &str, end: &str) -> Service {
    let stamp = |second: &str| format!("2026-01-04T16:24:{second}+08:00");
    let annotations = json!({DIRECT_ACCESS: "true", BEGIN: stamp(begin), END: stamp(end)});
    let spec = json!({"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 80}]});
    serde_json::from_value(json!({"metadata": {"name": name, "annotations": annotations}, "spec": spec}))
        .unwrap()
}

fn annotated(service: Service, key: &str, value: &str) -> Service {
    contract::annotated(service, key, Some(value))
}

fn behind_an_ingress(name: &str) -> Service {
    let mut service = service(name, "00", "00");
    service.metadata.annotations = None;
    service.spec.as_mut().unwrap().type_ = Some("ClusterIP".to_owned());
    service
}

/// What a process says that remembers `memory`. Each pod that is Ready is in the slices.
fn judge(lever: &TkePod, pods: &[Pod], services: &[Service], memory: &Memory, now: &str) -> Confirmation {
    let endpoint =
        |pod: &Pod| json!({"addresses": ["10.1.0.9"], "targetRef": {"kind": "Pod", "uid": pod.metadata.uid}});
    let endpoints: Vec<Value> = pods.iter().map(endpoint).collect();
    let slice = |service: &Service| {
        serde_json::from_value(
            json!({"metadata": {"labels": {"kubernetes.io/service-name": service.name_any()}},
            "addressType": "IPv4", "endpoints": endpoints}),
        )
        .unwrap()
    };
    let slices: Vec<_> = services.iter().map(slice).collect();
    pods::confirmed(lever, &all(pods), services, &slices, memory, (US, at(now)))
}

fn all(pods: &[Pod]) -> BTreeMap<Ordinal, Pod> {
    let ordinal = |pod: &Pod| pod.name_any().rsplit('-').next().unwrap().parse().unwrap();
    pods.iter().map(|pod| (ordinal(pod), pod.clone())).collect()
}

fn select(
    lever: &TkePod,
    template: &[(&str, &str)],
    services: &[Service],
) -> Result<Selection, Vec<Problem>> {
    let (labels, annotations) = (map(&[("app", "web")]), map(template));
    let target = Target {
        set: "web",
        governing: "web",
        pod_labels: &labels,
        pod_annotations: &annotations,
        selector: None,
    };
    lever.services(&target, services)
}

#[test]
fn it_keeps_the_contract_of_levers_on_pods_whatever_weights_they_came_with() {
    let all = [
        json!({"a": "b"}),
        json!({POD_WEIGHT: "50"}),
        json!({POD_WEIGHT_OF_INGRESS: "7", "a": "b"}),
        json!({POD_WEIGHT: "50", POD_WEIGHT_OF_INGRESS: "100"}),
        json!({POD_WEIGHT: "", POD_WEIGHT_OF_INGRESS: "\"\""}),
    ];
    // Neither as somebody else would have it nor as we write it.
    let foreign = [
        json!({POD_WEIGHT: "0"}),
        json!({POD_WEIGHT: "0", POD_WEIGHT_OF_INGRESS: "0"}),
        json!({POD_WEIGHT: "5", WEIGHTS[0].1: "", POD_WEIGHT_OF_INGRESS: "0", WEIGHTS[1].1: ""}),
        json!({WEIGHTS[0].1: "50", POD_WEIGHT_OF_INGRESS: "0", WEIGHTS[1].1: ""}),
    ];
    let cloud = Cloud {
        follows: stamped,
        fails: &[
            |service| contract::annotated(service, tencent::MODE, Some("skip")),
            |service| contract::annotated(service, tencent::TARGET_GROUPS, Some("[]")),
            |service| contract::annotated(service, SERVICE_WEIGHTS, Some("{}")),
            |service| contract::annotated(service, DIRECT_ACCESS, None),
            |service| contract::annotated(service, BEGIN, None),
            |service| contract::annotated(contract::annotated(service, BEGIN, None), END, None),
        ],
    };
    let pods = |all: &[Value]| all.iter().map(|annotations| pod(0, annotations)).collect::<Vec<_>>();
    let service = service("s", "02", "03");
    contract_on_pods(&lever(&[], None), &pods(&all), &pods(&foreign), &service, &cloud);
}

/// No value, a weight, or nonsense in quotation marks and backslashes; but not 0, which is ours alone.
const WHATEVER: &str = r#"([1-9"][0-9"\\]?)?"#;

proptest! {
    #[test]
    fn whatever_annotations_there_were_they_come_back_and_all_others_stay(
        weights in (option::of(WHATEVER), option::of(WHATEVER)),
        others in collection::btree_map("[a-z]{1,6}", "[ -~]{0,8}", 1..4),
        orders in collection::vec(any::<bool>(), 1..6),
    ) {
        let mut annotations = serde_json::to_value(&others).unwrap();
        for (key, weight) in [(POD_WEIGHT, weights.0), (POD_WEIGHT_OF_INGRESS, weights.1)] {
            if let Some(weight) = weight {
                annotations[key] = json!(weight);
            }
        }
        let lever = lever(&[], None);
        let before = serde_json::to_value(pod(0, &annotations)).unwrap();
        let mut live = before.clone();
        let as_pod = |live: &Value| serde_json::from_value::<Pod>(live.clone()).unwrap();
        for detach in orders.into_iter().chain([false]) {
            let change = lever.change(&as_pod(&live), detach);
            json_patch::merge(&mut live, &json!({"metadata": change}));
            let held = if detach { PodHeld::Detached } else { PodHeld::Attached };
            prop_assert_eq!(lever.held(&as_pod(&live)), held);
            for (key, value) in &others {
                prop_assert_eq!(&live["metadata"]["annotations"][key], value);
            }
        }
        prop_assert_eq!(live, before);
    }
}

#[test]
fn an_empty_weight_comes_back_empty_and_one_that_was_not_there_is_taken_away() {
    let lever = lever(&[], None);
    let mut live = serde_json::to_value(pod(0, &json!({POD_WEIGHT: ""}))).unwrap();
    let as_pod = |live: &Value| serde_json::from_value::<Pod>(live.clone()).unwrap();
    for detach in [true, true, false] {
        let change = lever.change(&as_pod(&live), detach);
        json_patch::merge(&mut live, &json!({"metadata": change}));
    }
    assert_eq!(live["metadata"]["annotations"], json!({POD_WEIGHT: ""}));
    // As operators before this one keep them: a run goes on over an upgrade of the operator, and back.
    let kept = json!({POD_WEIGHT: "0", WEIGHTS[0].1: "50", POD_WEIGHT_OF_INGRESS: "0", WEIGHTS[1].1: ""});
    assert_eq!(lever.change(&pod(0, &json!({POD_WEIGHT: "50"})), true)["annotations"], kept);
    let change = lever.change(&pod(0, &kept), false);
    let expected =
        json!({POD_WEIGHT: "50", WEIGHTS[0].1: null, POD_WEIGHT_OF_INGRESS: null, WEIGHTS[1].1: null});
    assert_eq!(change["annotations"], expected);
}

#[test]
fn it_covers_every_load_balancer_that_selects_the_pods_and_what_is_named_behind_an_ingress() {
    let mut other = service("other", "02", "03");
    other.spec.as_mut().unwrap().selector = Some(map(&[("app", "db")]));
    let services = [
        service("b", "02", "03"),
        service("a", "02", "03"),
        behind_an_ingress("web"),
        behind_an_ingress("in"),
        other,
    ];
    let selection = select(&lever(&["web"], Some(30)), &[(POD_WEIGHT, "50")], &services).unwrap();
    assert_eq!(selection.services, ["a", "b", "web"]);
    assert_eq!(selection.warnings, [Warning::LivePodWeight { key: POD_WEIGHT }]);
}

#[test]
fn what_may_disturb_is_a_warning_behind_an_ingress_too() {
    let mut early = behind_an_ingress("web");
    early.spec.as_mut().unwrap().publish_not_ready_addresses = Some(true);
    let mut plain = service("a", "02", "03");
    plain.metadata.annotations = Some(map(&[(DIRECT_ACCESS, "true")]));
    let expected = [
        Warning::NoStamps { service: "a".into() },
        Warning::NotReadyAddresses { service: "web".into() },
        Warning::LivePodWeight { key: POD_WEIGHT },
    ];
    assert_eq!(select(&lever(&["web"], None), &[], &[early, plain]).unwrap().warnings, expected);
}

#[test]
fn every_service_whose_balancer_would_not_follow_a_pod_is_refused_with_the_reason() {
    let fine = || service("s", "02", "03");
    let mut indirect = fine();
    indirect.metadata.annotations = None;
    let mut going = fine();
    going.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-04T16:24:42Z")).unwrap();
    for (service, reason) in [
        (indirect, "needs the annotation service.cloud.tencent.com/direct-access: true"),
        (annotated(fine(), tencent::MODE, "skip"), "leave it alone"),
        (
            annotated(fine(), tencent::TARGET_GROUPS, "[]"),
            "cannot be combined with service.cloud.tencent.com/custom-weight",
        ),
        (annotated(fine(), SERVICE_WEIGHTS, "{}"), "lb-rs-weight on Service s cannot be combined"),
        (going, "is being deleted"),
    ] {
        // Once, also where an Ingress is in front of it beside its own load balancer.
        for ingress in [vec![], vec!["s"]] {
            let problems = select(&lever(&ingress, Some(9)), &[], from_ref(&service)).unwrap_err();
            let [problem] = &problems[..] else { panic!("{reason}: {problems:?}") };
            assert!(problem.to_string().contains(reason), "{problem}");
        }
    }
    let mut going = behind_an_ingress("s");
    going.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-04T16:24:42Z")).unwrap();
    let weighed = annotated(behind_an_ingress("s"), SERVICE_WEIGHTS, "{}");
    for (ingress, template, services, reason) in [
        (vec!["s"], vec![], vec![weighed], "lb-rs-weight on Service s cannot be combined"),
        (vec!["s"], vec![], vec![going], "is being deleted"),
        (vec![], vec![], vec![behind_an_ingress("s")], "nothing would follow the weight of a pod"),
        (vec!["gone"], vec![], vec![fine()], "Service gone does not exist"),
        (vec![], vec![(POD_WEIGHT_OF_INGRESS, "0")], vec![fine()], "with the value 0, so a new pod"),
    ] {
        let problems = select(&lever(&ingress, Some(9)), &template, &services).unwrap_err();
        assert!(problems[0].to_string().contains(reason), "{problems:?}");
    }
}

#[test]
fn a_detach_is_confirmed_when_every_service_has_synchronised_after_it() {
    let (lever, nothing) = (lever(&[], None), Memory::default());
    let pods = [detached(0, "10"), pod(1, &json!({}))];
    let shared = |begin: &str, end: &str| {
        annotated(service("b", begin, end), "service.kubernetes.io/tke-existed-lbid", "lb-1")
    };
    let told = |a: (&str, &str), b: (&str, &str)| {
        let a = annotated(service("a", a.0, a.1), "service.kubernetes.io/tke-existed-lbid", "lb-1");
        judge(&lever, &pods, &[a, shared(b.0, b.1)], &nothing, "20")
    };
    assert!(matches!(told(("11", "12"), ("11", "12")), Confirmation::Confirmed { .. }));
    // One load balancer, two Services: each is synchronised by itself, and each has to be.
    assert!(matches!(told(("11", "12"), ("08", "09")), Confirmation::Pending { .. }));
    assert!(matches!(told(("08", "09"), ("11", "12")), Confirmation::Pending { .. }));
    assert!(matches!(told(("11", "10"), ("11", "12")), Confirmation::Pending { .. }), "under way");
    assert!(matches!(told(("10", "12"), ("11", "12")), Confirmation::Doubtful { .. }), "perhaps read before");
}

#[test]
fn weights_that_come_onto_a_service_in_mid_run_make_it_unknown_who_counts() {
    let weighed = annotated(service("s", "11", "12"), SERVICE_WEIGHTS, "{}");
    let confirmation = judge(&lever(&[], None), &[detached(0, "10")], &[weighed], &Memory::default(), "20");
    assert!(matches!(confirmation, Confirmation::Unknown { why } if why.contains("remove it")));
}

#[test]
fn a_synchronisation_within_one_second_is_believed_by_who_saw_what_was_there_before() {
    let (lever, pods) = (lever(&[], None), [detached(0, "10")]);
    let after = [service("s", "11", "11")];
    assert!(matches!(judge(&lever, &pods, &after, &Memory::default(), "20"), Confirmation::Doubtful { .. }));
    for (begin, end, believed) in
        [("05", "06", true), ("06", "06", false), ("09", "06", false), ("10", "11", false)]
    {
        let mut memory = Memory::default();
        memory.saw(&lever, &all(&pods), &[service("s", begin, end)], (US, at("10.4")));
        let told = judge(&lever, &pods, &after, &memory, "20");
        assert_eq!(matches!(told, Confirmation::Confirmed { .. }), believed, "{begin} {end}: {told:?}");
        // Another hold: what was remembered of the one before says nothing.
        memory.saw(&lever, &all(&[detached(1, "10")]), &after, (US, at("12")));
        let told = judge(&lever, &[detached(1, "10")], &after, &memory, "20");
        assert!(!matches!(told, Confirmation::Confirmed { .. }), "{told:?}");
    }
}

#[test]
fn a_pod_in_doubt_is_attached_for_a_moment_and_it_is_the_last_one() {
    let pods = all(&[detached(0, "10"), detached(1, "12"), pod(2, &json!({})), detached(3, "11")]);
    let lever = lever(&[], None);
    let (pod, detach) = pods::again(&lever, &pods, US).unwrap();
    assert_eq!((pod.name_any().as_str(), detach), ("web-1", false));
    // One that nobody knows the time of comes first.
    let (pod, _) = pods::again(&lever, &pods, "another").unwrap();
    assert_eq!(lever.detached_at(pod, "another"), None);
}

#[test]
fn a_pod_that_is_to_get_connections_is_waited_for_until_its_balancer_had_time_to_see_it() {
    let lever = lever(&[], None);
    let is = |told: Confirmation| match told {
        Confirmation::Confirmed { .. } => true,
        Confirmation::Pending { .. } => false,
        other => panic!("{other:?}"),
    };
    let has_new = |begin: &str, now: &str| is(lever.taken(&service("s", begin, "12"), at("10"), at(now)));
    assert!(has_new("11", "20") && has_new("10", "20"));
    assert!(!has_new("09", "20") && !has_new("09", "59"), "no synchronisation since it is Ready");
    let long_after = at("10") + SignedDuration::from_mins(1);
    assert!(is(lever.taken(&service("s", "09", "12"), at("10"), long_after)), "no write would bring one");
    // One that became Ready says nothing of those that are out: whoever restarts again and again would keep them.
    let is_in = |memory: &Memory, begin: &str| {
        is(judge(&lever, &[pod(0, &json!({}))], &[service("s", begin, "12")], memory, "20"))
    };
    assert!(is_in(&Memory::default(), "09"));
    let mut memory = Memory::default();
    memory.saw(&lever, &all(&[detached(0, "08")]), &[], (US, at("09")));
    memory.saw(&lever, &all(&[pod(0, &json!({}))]), &[], (US, at("10")));
    assert!(!is_in(&memory, "09"), "its weight was put back since");
    assert!(is_in(&memory, "10"));
}

#[test]
fn behind_an_ingress_and_without_stamps_it_counts_by_the_clock() {
    let (pods, behind) = ([detached(0, "10")], [behind_an_ingress("web")]);
    let by = |after: Option<u64>, now: &str| {
        judge(&lever(&["web"], after), &pods, &behind, &Memory::default(), now)
    };
    assert!(matches!(by(Some(5), "15.9"), Confirmation::Pending { .. }));
    assert!(matches!(by(Some(5), "16"), Confirmation::Confirmed { .. }));
    assert!(matches!(by(None, "59"), Confirmation::Unknown { why } if why.contains("confirmAfter")));
    // In front of both: the stamps of one do not speak for the other.
    let both = [service("web", "11", "12")];
    let told = |now: &str| judge(&lever(&["web"], Some(9)), &pods, &both, &Memory::default(), now);
    assert!(matches!(told("13"), Confirmation::Pending { .. }));
    assert!(matches!(told("21"), Confirmation::Confirmed { .. }));
}

#[test]
fn weights_on_pods_stand_against_weights_on_a_service() {
    let problem = tencent::weighed_twice(&pod(3, &json!({POD_WEIGHT: "50"}))).unwrap();
    assert!(problem.to_string().contains("custom-weight on pod web-3 cannot be combined"), "{problem}");
    assert_eq!(tencent::weighed_twice(&pod(3, &json!({}))), None);
}

#[test]
fn what_was_seen_of_a_batch_holds_for_the_rest_of_it_when_one_pod_has_gone() {
    let (lever, after) = (lever(&[], None), [service("s", "11", "11")]);
    let (both, rest) = ([detached(0, "10"), detached(1, "10")], [detached(1, "10")]);
    let mut memory = Memory::default();
    memory.saw(&lever, &all(&both), &[service("s", "05", "06")], (US, at("10.4")));
    memory.saw(&lever, &all(&rest), &after, (US, at("13")));
    assert!(matches!(judge(&lever, &rest, &after, &memory, "20"), Confirmation::Confirmed { .. }));
}

#[test]
fn what_was_seen_before_somebody_changed_a_pod_says_nothing_of_the_next_write() {
    let (lever, after) = (lever(&[], None), [service("s", "14", "14")]);
    let before = || [service("s", "05", "06")];
    let mut memory = Memory::default();
    memory.saw(&lever, &all(&[detached(0, "10")]), &before(), (US, at("10.4")));
    let changed =
        pod(0, &json!({POD_WEIGHT: "5", WEIGHTS[0].1: "", POD_WEIGHT_OF_INGRESS: "0", WEIGHTS[1].1: ""}));
    memory.saw(&lever, &all(&[changed]), &before(), (US, at("11.4")));
    let again = [detached(0, "12")];
    // The synchronisation that began with that change is under way.
    memory.saw(&lever, &all(&again), &[service("s", "11", "06")], (US, at("12.4")));
    assert!(!matches!(judge(&lever, &again, &after, &memory, "20"), Confirmation::Confirmed { .. }));
}

#[test]
fn a_service_behind_an_ingress_must_select_the_pods() {
    let mut other = behind_an_ingress("other");
    other.spec.as_mut().unwrap().selector = Some(map(&[("app", "db")]));
    let all = [service("front", "00", "01"), other];
    let problems = select(&lever(&["other"], Some(5)), &[], &all).unwrap_err();
    assert!(problems.contains(&Problem::DoesNotSelect { service: "other".into(), set: "web".into() }));
}

#[test]
fn a_service_reaches_the_pods_that_it_selects_if_the_lever_is_for_it() {
    let lever = lever(&["inside"], Some(5));
    let of = |selector: &[(&str, &str)], mut service: Service| {
        service.spec.as_mut().unwrap().selector = Some(map(selector));
        lever.reaches(&service, &pod(0, &json!({})))
    };
    let app = [("app", "web")];
    assert!(of(&app, service("front", "00", "01")) && of(&app, behind_an_ingress("inside")));
    assert!(!of(&app, behind_an_ingress("other")), "no lever is for it");
    assert!(!of(&[("app", "db")], service("front", "00", "01")));
    assert!(!of(&[("app", "web"), ("tier", "x")], service("front", "00", "01")));
    assert!(!of(&[], service("front", "00", "01")), "it selects nobody");
}

#[test]
fn what_it_is_recorded_by_is_what_older_records_say() {
    assert_eq!(lever(&[], None).saved(), ("custom-weight", None));
}
