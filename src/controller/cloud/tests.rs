use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use serde_json::json;

use super::*;
use crate::controller::wake;
use crate::tencent::testing::{ID, KEY, cloud, ok, refused, secret};
use crate::traffic::CloudQuestion;

fn question(pods: &[(&str, u8)]) -> CloudQuestion {
    let spec =
        json!({"region": "ap-guangzhou", "loadBalancerId": "lb-1", "credentials": {"secret": "tencent"}});
    let live: Service = serde_json::from_value(
        json!({"metadata": {"name": "nginx"}, "spec": {"ports": [{"port": 80}, {"port": 443}]}}),
    )
    .unwrap();
    let pod =
        |(name, last): &(&str, u8)| (format!("u-{name}"), ((*name).to_owned(), [10, 0, 0, *last].into()));
    let pods = pods.iter().map(pod).collect();
    CloudQuestion::new(&serde_json::from_value(spec).unwrap(), &live, None, pods).unwrap()
}

fn means(tencent: Endpoint) -> Means {
    let (service, mut handle) =
        tower_test::mock::pair::<http::Request<kube::client::Body>, http::Response<kube::client::Body>>();
    tokio::spawn(async move {
        while let Some((_, send)) = handle.next_request().await {
            send.send_response(http::Response::new(secret(&[("secretId", ID), ("secretKey", KEY)]).into()));
        }
    });
    Means { client: kube::Client::new(service, "shop"), namespace: "shop".into(), tencent }
}

/// The answer about one port, with this weight for each of these pods.
fn weights(port: &serde_json::Value, weights: &[(u8, u32)]) -> Vec<u8> {
    let target = |(last, weight): &(u8, u32)| json!({"PrivateIpAddresses": [format!("10.0.0.{last}")], "Weight": weight});
    let targets: Vec<_> = weights.iter().map(target).collect();
    ok(&json!({"Listeners": [{"ListenerId": "lbl-1", "Protocol": "TCP", "Port": port, "Targets": targets}]}))
}

fn clock() -> Clock {
    Clock::system()
}

async fn asked_once(endpoint: Endpoint) -> CloudAnswer {
    once(&question(&[("web-1", 1), ("web-2", 2)]), &means(endpoint), clock()).await
}

#[tokio::test]
async fn each_port_must_have_weight_0_for_each_pod() {
    let both = cloud(|asked| Some(weights(&asked.body["Port"], &[(1, 0), (2, 0), (3, 10)]))).await;
    assert_eq!(asked_once(both).await, CloudAnswer::Detached);
    let late = cloud(|asked| {
        let weight = if asked.body["Port"] == 443 { 10 } else { 0 };
        Some(weights(&asked.body["Port"], &[(1, 0), (2, weight)]))
    })
    .await;
    let CloudAnswer::Attached { why } = asked_once(late).await else { panic!("it is not detached") };
    assert!(why.contains("has weight 10 for web-2 (10.0.0.2)"), "{why}");
}

#[tokio::test]
async fn whatever_goes_wrong_is_unknown_and_says_what_is_wrong() {
    let absent = cloud(|asked| Some(weights(&asked.body["Port"], &[(1, 0)]))).await;
    let other_port = cloud(|_| Some(weights(&json!(8080), &[(1, 0), (2, 0)]))).await;
    let forbidden = cloud(|_| Some(refused("AuthFailure.UnauthorizedOperation"))).await;
    let throttled = cloud(|_| Some(refused("RequestLimitExceeded"))).await;
    let silent = cloud(|_| None).await;
    for (endpoint, said) in [
        (absent, "web-2: 10.0.0.2 is not among the backends"),
        (other_port, "no listener on port 80/TCP"),
        (forbidden, "allow clb:DescribeTargets"),
        (throttled, "RequestLimitExceeded"),
        (silent, "no whole answer within"),
        (Endpoint::parse("http://127.0.0.1:1").unwrap(), "does not answer"),
    ] {
        let CloudAnswer::Unknown { why } = asked_once(endpoint).await else { panic!("{said}: it is known") };
        assert!(why.contains(said) && !why.contains(KEY), "{why}");
    }
}

#[tokio::test]
async fn what_is_known_holds_for_a_while_without_a_newer_answer_and_not_against_one() {
    let unknown = || CloudAnswer::Unknown { why: "no answer".into() };
    let attached = || CloudAnswer::Attached { why: "weight 10".into() };
    let seconds = Duration::from_secs;
    assert_eq!(after(None, CloudAnswer::Detached), (CloudAnswer::Detached, AGAIN));
    for (detached, answer, holds) in [
        (None, unknown(), unknown()),
        (Some(seconds(59)), unknown(), CloudAnswer::Detached),
        (Some(seconds(60)), unknown(), unknown()),
        (Some(seconds(1)), attached(), attached()),
    ] {
        assert_eq!(after(detached, answer.clone()).0, holds, "{detached:?}, {answer:?}");
    }
}

#[tokio::test]
async fn it_is_asked_until_it_is_detached_and_not_anew_for_fewer_pods() {
    let asked = Arc::new(AtomicUsize::new(0));
    let endpoint = cloud({
        let asked = asked.clone();
        move |question| {
            let weight = if asked.fetch_add(1, Ordering::Relaxed) == 0 { 10 } else { 0 };
            Some(weights(&question.body["Port"], &[(1, 0), (2, weight)]))
        }
    })
    .await;
    let means = means(endpoint);
    let (waker, _queue) = wake::queue(clock());
    let wake = (waker, Key { namespace: "shop".into(), name: "web".into() });
    let written = (LeverKind::TkeService, "nginx".to_owned());
    let both = question(&[("web-1", 1), ("web-2", 2)]);
    let mut asking = Asking::default();
    let at = Timestamp::UNIX_EPOCH;
    assert!(matches!(asking.answer(&written, &both, at), Confirmation::Pending { .. }), "nobody was asked");
    let wanted = BTreeMap::from([(written.clone(), both.clone())]);
    let mut seen = Vec::new();
    for _ in 0..1_000 {
        asking.ask(&wanted, &means, clock(), &wake);
        let answer = asking.answer(&written, &both, at);
        if seen.last() != Some(&answer) {
            seen.push(answer.clone());
        }
        if matches!(answer, Confirmation::Confirmed { .. }) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(seen.last(), Some(&Confirmation::Confirmed { at }));
    let before: Vec<_> = seen[..seen.len() - 1].iter().collect();
    assert!(before.iter().all(|answer| matches!(answer, Confirmation::Pending { .. })), "{before:?}");
    let one = question(&[("web-2", 2)]);
    let questions = asked.load(Ordering::Relaxed);
    asking.ask(&BTreeMap::from([(written.clone(), one.clone())]), &means, clock(), &wake);
    assert_eq!(asking.answer(&written, &one, at), Confirmation::Confirmed { at });
    assert_eq!(asked.load(Ordering::Relaxed), questions);
    let other = question(&[("web-3", 3)]);
    assert!(matches!(asking.answer(&written, &other, at), Confirmation::Pending { .. }), "another pod");
    asking.ask(&BTreeMap::new(), &means, clock(), &wake);
    assert!(matches!(asking.answer(&written, &one, at), Confirmation::Pending { .. }), "forgotten");
}
