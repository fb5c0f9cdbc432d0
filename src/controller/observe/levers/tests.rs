use serde_json::json;

use super::*;
use crate::traffic::Confirmation as Told;
use crate::traffic::spec::LeverSpec;
use crate::workflow::observed::{CounterView, ImageView, PodView};
use crate::workflow::state::Saved;

fn pod(name: &str, ip: Option<&str>) -> Pod {
    let metadata = json!({"name": name, "uid": format!("u-{name}")});
    serde_json::from_value(json!({"metadata": metadata, "status": {"podIP": ip}})).unwrap()
}

fn seen_as(never_ready: bool, terminating: bool) -> PodView {
    PodView {
        name: String::new(),
        uid: String::new(),
        revision: String::new(),
        ready: !never_ready,
        never_ready,
        running: true,
        terminating,
        restarts: 0,
        image: ImageView::Right,
        trouble: None,
        unschedulable: false,
        counter: CounterView::NotNeeded,
        fence: None,
    }
}

#[test]
fn the_cloud_is_asked_about_detached_pods_that_may_have_connections() {
    let pods = BTreeMap::from([
        (0, pod("web-0", Some("10.0.0.1"))),
        (1, pod("web-1", Some("10.0.0.2"))),
        (2, pod("web-2", None)),
        (3, pod("web-3", Some("10.0.0.4"))),
        (4, pod("web-4", Some("10.0.0.5"))),
    ]);
    let view = |ordinal: &Ordinal| (*ordinal, seen_as(*ordinal == 3, *ordinal == 4));
    let seen = Observed { pods: pods.keys().map(view).collect(), ..Observed::default() };
    let state = State { detached: [1, 2, 3, 4].into_iter().collect(), ..State::default() };
    let asked = detached(&state, &pods, &seen);
    assert_eq!(asked, BTreeMap::from([("u-web-1".to_owned(), ("web-1".to_owned(), [10, 0, 0, 2].into()))]));
}

/// What is said of a Service with these detached pods, and whether the cloud is asked.
fn told(api: bool, confirmed: &Told, detached: bool, annotated: bool) -> (Told, bool) {
    let api = api.then(|| json!({"region": "ap-guangzhou", "credentials": {"secret": "tencent"}}));
    let spec = json!({"tkeService": {"confirmByApi": api}});
    let lever = traffic::lever(&serde_json::from_value(spec).unwrap()).unwrap();
    let Site::Services(on) = lever.site() else { panic!("it writes Services") };
    let id = annotated.then_some("lb-1").into_iter().map(|id| ("service.kubernetes.io/loadbalance-id", id));
    let annotations: BTreeMap<_, _> = id.collect();
    let live =
        json!({"metadata": {"name": "nginx", "annotations": annotations}, "spec": {"ports": [{"port": 80}]}});
    let mut clouds = BTreeMap::new();
    let one = ("u".to_owned(), ("web-0".to_owned(), [10, 0, 0, 1].into()));
    let wanted = Wanted { detached: detached.then_some(one).into_iter().collect(), clouds: &mut clouds };
    let live = serde_json::from_value(live).unwrap();
    let told = by_cloud(confirmed.clone(), on, &live, &Session::default(), wanted);
    (told, !clouds.is_empty())
}

#[test]
fn the_cloud_is_asked_when_the_controller_has_confirmed_and_never_instead_of_it() {
    let confirmed = Told::Confirmed { at: Timestamp::UNIX_EPOCH };
    let pending = Told::Pending { why: "no stamp".to_owned() };
    let unknown = Told::Unknown { why: "no stamp".to_owned() };
    assert!(matches!(told(true, &confirmed, true, true), (Told::Pending { .. }, true)));
    for before in [pending, unknown] {
        assert_eq!(told(true, &before, true, true), (before.clone(), false));
    }
    assert_eq!(told(false, &confirmed, true, true), (confirmed.clone(), false), "nobody wants it");
    assert_eq!(told(true, &confirmed, false, true), (confirmed.clone(), false), "nobody is detached");
    let (told, asked) = told(true, &confirmed, true, false);
    assert!(matches!(&told, Told::Unknown { why } if why.contains("loadBalancerId")) && !asked, "{told:?}");
}

#[test]
fn a_lever_that_came_into_the_spec_in_mid_run_is_left_to_the_next_one() {
    let lever = |spec: serde_json::Value| {
        traffic::lever(&serde_json::from_value::<LeverSpec>(spec).unwrap()).unwrap()
    };
    let label = |key: &str| lever(json!({"podLabel": {"key": key}}));
    let saved =
        |lever: &str, name: &str| SavedLever { lever: lever.to_owned(), name: name.to_owned(), before: None };
    let levers = vec![saved("podLabel", "serving"), saved("tkeService", "web")];
    let state = State { saved: Some(Saved { replicas: 1, levers, template: None }), ..State::default() };
    assert!(is_of_run(&state, label("serving").as_ref()));
    assert!(!is_of_run(&state, label("other").as_ref()), "its pods would stay without the label");
    assert!(is_of_run(&state, lever(json!({"tkeService": {}})).as_ref()));
    assert!(!is_of_run(&state, lever(json!({"cceService": {}})).as_ref()));
}

#[test]
fn a_lever_that_leaves_the_spec_in_mid_run_stays_with_the_run_until_it_is_put_back() {
    let saved = |lever: &str, name: &str| SavedLever {
        lever: lever.to_owned(),
        name: name.to_owned(),
        before: Some("{}".to_owned()),
    };
    let levers = vec![saved("podLabel", "serving"), saved("tkeService", "web"), saved("tkeService", "api")];
    let state = State { saved: Some(Saved { replicas: 1, levers, template: None }), ..State::default() };
    let left = |specs: serde_json::Value| {
        let specs: Vec<LeverSpec> = serde_json::from_value(specs).unwrap();
        let left = left_behind(&state, &traffic::levers(&specs).unwrap());
        left.iter().map(|lever| lever.kind().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(left(json!([{"tkeService": {}}, {"podLabel": {"key": "serving"}}])), [""; 0]);
    assert_eq!(left(json!([{"tkeService": {}}])), ["podLabel"], "taken out");
    assert_eq!(left(json!([{"podLabel": {"key": "other"}}])), ["podLabel", "tkeService"], "replaced");
    assert_eq!(left_behind(&State::default(), &[]).len(), 0, "nothing was written");
}

#[test]
fn what_comes_in_mid_run_and_keeps_a_weight_from_being_followed_makes_every_stamp_unknown() {
    let told = |annotation: (&str, Option<&str>), of_pod: Option<(&str, &str)>| {
        let lever = traffic::lever(&serde_json::from_value(json!({"tkeService": {}})).unwrap()).unwrap();
        let Site::Services(on) = lever.site() else { panic!("it writes Services") };
        let mut annotations = json!({
            "service.cloud.tencent.com/direct-access": "true", on.key(): "{}",
            "service.cloud.tencent.com/sync-begin-time": "2026-01-04T16:24:42+08:00",
            "service.cloud.tencent.com/sync-end-time": "2026-01-04T16:24:43+08:00",
        });
        annotations[annotation.0] = json!(annotation.1);
        if annotation.1.is_none() {
            annotations.as_object_mut().unwrap().remove(annotation.0);
        }
        let wrote: Timestamp = "2026-01-04T08:24:40Z".parse().unwrap();
        let fields = json!({"f:metadata": {"f:annotations": {format!("f:{}", on.key()): {}}}});
        let managed = json!([{"manager": MANAGER, "operation": "Update", "apiVersion": "v1",
            "fieldsType": "FieldsV1", "time": wrote, "fieldsV1": fields}]);
        let metadata = json!({"name": "nginx", "annotations": annotations, "managedFields": managed});
        let live: Service = serde_json::from_value(json!({"metadata": metadata})).unwrap();
        let mut one = pod("web-0", None);
        one.metadata.annotations = of_pod.map(|(key, value)| [(key.to_owned(), value.to_owned())].into());
        let now = "2026-01-04T08:25:00Z".parse().unwrap();
        in_force(on, &live, [&one].into_iter(), &WriteRecord::unknown(MANAGER), now)
    };
    assert!(matches!(told(("other", Some("1")), None), Told::Confirmed { .. }));
    for (annotation, of_pod, reason) in [
        (("service.cloud.tencent.com/direct-access", None), None, "needs the annotation"),
        (("service.cloud.tencent.com/mode", Some("skip")), None, "service.cloud.tencent.com/mode"),
        (("service.cloud.tencent.com/target-groups", Some("[]")), None, "cannot be combined"),
        (("other", None), Some(("service.cloud.tencent.com/custom-weight", "50")), "on pod web-0"),
    ] {
        match told(annotation, of_pod) {
            Told::Unknown { why } => assert!(why.contains(reason), "{why}"),
            other => panic!("{annotation:?} {of_pod:?}: {other:?}"),
        }
    }
}
