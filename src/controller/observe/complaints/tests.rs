use serde_json::{Value, json};

use super::*;
use crate::api::{LosslessUpgradeStatus, record};
use crate::drain::nudge::Nudges;
use crate::traffic::{self, LeverKind};
use crate::workflow::observed::{Held, LeverView, Site as WrittenSite};
use crate::workflow::ordinals::OrdinalSet;
use crate::workflow::state::State;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

fn service(name: &str) -> Service {
    serde_json::from_value(json!({"metadata": {"name": name, "uid": format!("u-{name}")}})).unwrap()
}

fn event(about: &str, note: &str, change: impl FnOnce(&mut Value)) -> Event {
    let mut event = json!({
        "metadata": {}, "type": "Warning", "reason": "SyncFailed", "note": note,
        "regarding": {"kind": "Service", "name": about, "uid": format!("u-{about}")},
        "reportingController": "service-controller", "eventTime": null,
        "deprecatedLastTimestamp": at(10),
    });
    change(&mut event);
    serde_json::from_value(event).unwrap()
}

fn said(events: &[Event]) -> Option<String> {
    newest(events, &[service("web"), service("api")], |_, when| when >= at(0))
}

#[test]
fn the_last_warning_of_the_loadbalancers_controller_is_told_and_no_other() {
    let first = || event("web", "E4004 quota", |_| {});
    let again = event("web", "E4005 parameters", |it| it["deprecatedLastTimestamp"] = json!(at(20)));
    let series = event("api", "E4009 arrears", |it| {
        it["eventTime"] = json!("2026-01-01T00:00:01.000000Z");
        it["series"] = json!({"count": 7, "lastObservedTime": "2026-01-01T00:00:30.000000Z"});
    });
    assert_eq!(said(&[first()]).unwrap(), "event SyncFailed of Service web: E4004 quota");
    assert_eq!(said(&[again.clone(), first()]).unwrap(), "event SyncFailed of Service web: E4005 parameters");
    assert_eq!(said(&[series, again, first()]).unwrap(), "event SyncFailed of Service api: E4009 arrears");
    for (what, other) in [
        ("of another Service", event("other", "x", |_| {})),
        ("of one that had the name", event("web", "x", |it| it["regarding"]["uid"] = json!("u-old"))),
        ("before the step", event("web", "x", |it| it["deprecatedLastTimestamp"] = json!(at(-1)))),
        ("no warning", event("web", "x", |it| it["type"] = json!("Normal"))),
        (
            "of the slices",
            event("web", "x", |it| it["reportingController"] = json!("endpoint-slice-controller")),
        ),
        ("of a policy", event("web", "x", |it| it["reportingController"] = json!("kyverno-admission"))),
        (
            "of the slices, as before",
            event("web", "x", |it| {
                it["reportingController"] = json!("");
                it["deprecatedSource"] = json!({"component": "endpoint-controller"});
            }),
        ),
    ] {
        assert_eq!(said(&[other]), None, "{what}");
    }
}

#[test]
fn a_long_text_is_cut_between_characters() {
    let told = said(&[event("web", &"负载均衡".repeat(MOST), |_| {})]).unwrap();
    assert!(told.len() <= MOST + 50 && told.contains("负载均衡"), "{told}");
}

#[test]
fn what_explains_makes_no_lever_confirmed_and_none_unconfirmed() {
    for (before, after) in [
        (Confirmation::Pending("p".into()), Confirmation::Refused("no (p)".into())),
        (Confirmation::Unknown("u".into()), Confirmation::Refused("no (u)".into())),
        (Confirmation::Doubtful("d".into()), Confirmation::Doubtful("d".into())),
        (Confirmation::Confirmed(at(0)), Confirmation::Confirmed(at(0))),
    ] {
        let lever = LeverView {
            name: "tkeService on Service web".into(),
            held: Held::Ordinals(OrdinalSet::new()),
            confirmed: before.clone(),
            taken: before,
            restored: true,
            site: WrittenSite::Object { fence: None },
        };
        let mut seen = Observed { levers: vec![lever], ..Observed::default() };
        add(&mut seen, "tkeService on Service api", Some("no".into()));
        add(&mut seen, "tkeService on Service web", None);
        add(&mut seen, "tkeService on Service web", Some("no".into()));
        assert_eq!(seen.levers[0].confirmed, after);
        assert_eq!(seen.levers[0].taken, after);
    }
}

/// A run that entered this step at the second 9.
fn run(step: Step) -> State {
    let run = json!({
        "id": "r", "from": "web-1", "to": "web-2", "setUid": "set-1", "startedAt": at(0), "goal": "Upgrade",
        "step": step, "entered": at(9), "batch": "0", "batchKind": "Serving", "surge": 1, "updated": "",
    });
    let run = Some(serde_json::from_value(run).unwrap());
    record::state(&LosslessUpgradeStatus { run, ..LosslessUpgradeStatus::default() })
}

/// What a look at the second 13 makes of a lever that is confirmed on a Service which was synchronised in these seconds,
/// where its controller complained at the second 11; whether it is still remembered as confirmed, and how many requests
/// that took.
async fn heard(step: Step, lever: &Value, (begin, end): (i64, i64)) -> (Confirmation, bool, usize) {
    let (api, mut handle) =
        tower_test::mock::pair::<http::Request<kube::client::Body>, http::Response<kube::client::Body>>();
    let client = kube::Client::new(api, "shop");
    let server = tokio::spawn(async move {
        let complaint = event("web", "E4009 arrears", |it| it["deprecatedLastTimestamp"] = json!(at(11)));
        let list = json!({"apiVersion": "events.k8s.io/v1", "kind": "EventList", "metadata": {}, "items": [complaint]});
        let mut requests = 0;
        while let Some((_, send)) = handle.next_request().await {
            requests += 1;
            let body = kube::client::Body::from(list.to_string().into_bytes());
            send.send_response(http::Response::new(body));
        }
        requests
    });
    let lever = traffic::lever(&serde_json::from_value(lever.clone()).unwrap()).unwrap();
    let name = match lever.site() {
        Site::Pods(on) => on.saved().0.to_owned(),
        Site::Services(_) | Site::Nothing => "web".to_owned(),
    };
    let key = (lever.kind(), name.clone());
    let mut seen =
        Observed { levers: vec![view(&key, Confirmation::Confirmed(at(13)))], ..Observed::default() };
    let mut session = Session::default();
    session.confirmed.insert(key.clone(), (None, at(13)));
    let mut service = service("web");
    service.spec = serde_json::from_value(json!({"type": "LoadBalancer"})).unwrap();
    service.metadata.annotations = serde_json::from_value(json!({
        "service.cloud.tencent.com/sync-begin-time": at(begin),
        "service.cloud.tencent.com/sync-end-time": at(end),
    }))
    .unwrap();
    let look = Look {
        seen: Observed::default(),
        set: None,
        pods: [].into(),
        levers: vec![(lever, vec![service])],
        probes: Vec::new(),
        nudges: Nudges::default(),
        clouds: [].into(),
        warnings: Vec::new(),
    };
    let state = run(step);
    let question = Question { client: &client, namespace: "shop", name: "web", state: &state, now: at(13) };
    hear(&question, &mut session, &look, &mut seen).await;
    drop(client);
    let told = seen.levers.remove(0).confirmed;
    (told, session.confirmed.contains_key(&key), server.await.unwrap())
}

fn view((kind, name): &(LeverKind, String), confirmed: Confirmation) -> LeverView {
    LeverView {
        name: kind.title(name),
        held: Held::Ordinals(OrdinalSet::new()),
        confirmed,
        taken: Confirmation::Confirmed(at(0)),
        restored: false,
        site: WrittenSite::Pods,
    }
}

#[tokio::test]
async fn a_detach_is_not_confirmed_by_a_synchronisation_of_which_its_controller_complained() {
    for lever in [json!({"tkeService": {}}), json!({"tkePod": {}})] {
        for stamps in [(10, 12), (11, 11), (9, 10)] {
            let (told, remembered, requests) = heard(Step::Detach, &lever, stamps).await;
            let Confirmation::Refused(why) = told else { panic!("{lever} {stamps:?}: {told:?}") };
            assert!(why.starts_with("event SyncFailed of Service web: E4009 arrears"), "{why}");
            assert!(!remembered, "it has to settle anew");
            assert_eq!(requests, 1);
        }
        // Tried again since, and that one was confirmed.
        let told = heard(Step::Detach, &lever, (12, 13)).await;
        assert_eq!(told, (Confirmation::Confirmed(at(13)), true, 1), "{lever}");
    }
}

#[tokio::test]
async fn nobody_asks_for_complaints_where_none_could_take_a_confirmation_back() {
    let believed = (Confirmation::Confirmed(at(13)), true, 0);
    for step in [Step::Drain, Step::Replace, Step::Attach, Step::Soak] {
        assert_eq!(heard(step, &json!({"tkeService": {}}), (10, 12)).await, believed, "{step:?}");
    }
    let api = json!({"region": "ap-guangzhou", "credentials": {"secret": "tencent"}});
    for lever in [
        // What was asked of the load balancer itself, of slices, and of the clock.
        json!({"tkeService": {"confirmByApi": api}}),
        json!({"podLabel": {"key": "serving"}}),
        json!({"cceService": {}}),
    ] {
        assert_eq!(heard(Step::Detach, &lever, (10, 12)).await, believed, "{lever}");
    }
}
