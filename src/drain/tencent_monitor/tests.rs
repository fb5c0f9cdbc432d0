use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, from_value, json};

use super::*;
use crate::drain::contract::{
    LATER, World, answer, api, given_up, holds, many_at_once, means, number_in, of_many, pod,
};
use crate::tencent::testing::{Asked, DATE, ID, KEY, cloud, http, now, ok, refused, secret};
use crate::web::MOST_BYTES;

fn secrets() -> Client {
    api(|request| {
        assert_eq!(request.uri(), "/api/v1/namespaces/shop/secrets/tencent");
        answer(200, secret(&[("secretId", ID), ("secretKey", KEY)]))
    })
}

fn made(endpoint: Endpoint, more: &Value, now: Now) -> TencentMonitorProbe {
    let mut spec = json!({"region": "ap-guangzhou", "credentials": {"secret": "tencent"}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let means = Means { now, tencent: endpoint, ..means(secrets()) };
    TencentMonitorProbe::new(&from_value(spec).unwrap(), &means)
}

fn probe(endpoint: Endpoint, more: &Value) -> TencentMonitorProbe {
    made(endpoint, more, Arc::new(now))
}

/// An answer about each backend that was asked about: minutes before now, and their counts.
fn minutes(asked: &Asked, minutes: &[(i64, u64)]) -> Vec<u8> {
    let stamps: Vec<_> = minutes.iter().map(|(before, _)| now().as_second() - before * MINUTE).collect();
    let counts: Vec<_> = minutes.iter().map(|(_, count)| count).collect();
    let instances = asked.body["Instances"].as_array().unwrap();
    let point = |instance: &Value| json!({"Dimensions": instance["Dimensions"], "Timestamps": stamps, "MaxValues": counts, "Values": null});
    let points: Vec<_> = instances.iter().map(point).collect();
    ok(&json!({"Period": 60, "MetricName": "ConNum", "DataPoints": points, "RequestId": "r"}))
}

/// The five minutes that are known of one that has so many connections.
fn known(asked: &Asked, count: u64) -> Vec<u8> {
    minutes(asked, &[(6, count), (5, count), (4, count), (3, count), (2, count)])
}

/// Of a pod that is out for ten minutes.
fn long_out(probe: &TencentMonitorProbe) -> MonitorReader {
    probe.from(&pod(), now().as_second() - 10 * MINUTE)
}

fn why(reading: Reading) -> String {
    match reading {
        Reading::Unknown { why } => why,
        count @ Reading::Count { .. } => panic!("{count:?}"),
    }
}

const fn count(connections: u64) -> Reading {
    Reading::Count { connections, new_per_second: None }
}

#[tokio::test]
async fn the_contract_holds() {
    holds("tencentMonitor", async |world| {
        let sent = AtomicBool::new(false);
        let endpoint = cloud(move |asked| match world {
            World::Has(count) => Some(known(&asked, count)),
            World::Empty => Some(http("200 OK", "")),
            World::Garbage => Some(http("200 OK", "<html>0</html>")),
            World::CutOff => Some(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"Resp".to_vec()),
            World::Refuses => Some(http("503 Busy", "0")),
            // Whoever comes again, as it is told to, gets an answer.
            World::Elsewhere if sent.swap(true, Ordering::Relaxed) => Some(known(&asked, 0)),
            World::Elsewhere => Some(http("307 Temporary Redirect\r\nLocation: /", "")),
            World::Endless => {
                let answer = String::from_utf8(known(&asked, 0)).unwrap();
                let (_, body) = answer.split_once("\r\n\r\n").unwrap();
                Some(http("200 OK", &format!("{body}{}", " ".repeat(MOST_BYTES))))
            }
            World::Silent => None,
        })
        .await;
        let reader: Box<dyn Reader> = Box::new(long_out(&probe(endpoint, &json!({}))));
        reader
    })
    .await;
}

#[tokio::test]
async fn the_question_is_about_the_pod_behind_each_listener_and_the_last_quarter_of_an_hour() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let endpoint = cloud({
        let seen = seen.clone();
        move |asked| {
            let answer = known(&asked, 2);
            seen.lock().unwrap().push(asked);
            Some(answer)
        }
    })
    .await;
    let front = |vip: Option<[u8; 4]>, port| Front { vip: vip.map(Into::into), port, target: 8080 };
    let pod = PodTarget { fronts: [front(Some([1, 2, 3, 4]), 80), front(None, 443)].into(), ..pod() };
    let named = probe(endpoint.clone(), &json!({"vip": "5.6.7.8", "vpcId": "vpc-1", "network": "Private"}));
    assert_eq!(named.from(&pod, 0).read().await, count(4), "of both listeners");
    let asked = seen.lock().unwrap().pop().unwrap();
    assert_eq!(asked.header("X-TC-Action"), Some("GetMonitorData"));
    assert_eq!(asked.header("X-TC-Version"), Some("2018-07-24"));
    assert_eq!(asked.body["Namespace"], "QCE/LB_PRIVATE");
    assert_eq!(asked.body["StartTime"], "2026-11-20T11:45:00+00:00");
    let dimensions = asked.body["Instances"][0]["Dimensions"].to_string();
    for part in ["5.6.7.8", "vpc-1", "\"443\"", "\"8080\"", "127.0.0.1"] {
        assert!(asked.body["Instances"].to_string().contains(part), "{part}: {dimensions}");
    }
    let unnamed = probe(endpoint, &json!({}));
    assert!(why(unnamed.from(&pod, 0).read().await).contains("name it in the probe's `vip`"));
}

#[tokio::test]
async fn minutes_from_before_the_pod_was_out_answer_the_preflight_and_no_drain() {
    let probe = probe(cloud(|asked| Some(known(&asked, 0))).await, &json!({}));
    assert_eq!(probe.admit(&pod()).await, Ok(()));
    assert_eq!(probe.first_reader(&pod()).read().await, count(0));
    assert!(why(probe.reader(&pod()).read().await).contains("no minute yet"));
}

#[tokio::test]
async fn a_pod_that_is_out_is_quiet_when_three_whole_minutes_after_that_are() {
    let clock = Arc::new(AtomicI64::new(0));
    let at = {
        let clock = clock.clone();
        move || now() + SignedDuration::from_secs(clock.load(Ordering::Relaxed))
    };
    let endpoint = cloud({
        let clock = clock.clone();
        move |asked| {
            // Each minute comes two minutes after its stamp, and until minute 2 the pod has a connection.
            let passed = clock.load(Ordering::Relaxed) / MINUTE;
            let all: Vec<_> = (-5..=passed - 2).map(|minute| (-minute, u64::from(minute < 2))).collect();
            let date =
                (now() + SignedDuration::from_secs(passed * MINUTE)).strftime("%a, %d %b %Y %H:%M:%S GMT");
            let answer = String::from_utf8(minutes(&asked, &all)).unwrap();
            Some(answer.replace(DATE, &date.to_string()).into_bytes())
        }
    })
    .await;
    let probe = made(endpoint, &json!({"threshold": 0}), Arc::new(at));
    let mut reader = probe.reader(&pod());
    let mut told = Vec::new();
    for minute in 0..=7 {
        clock.store(minute * MINUTE, Ordering::Relaxed);
        told.push(match reader.read().await {
            Reading::Count { connections, .. } => connections.to_string(),
            Reading::Unknown { .. } => "?".to_owned(),
        });
    }
    // The minute with the stamp 1 may have begun before it was out; the first one that counts has the stamp 2.
    assert_eq!(told, ["?", "?", "?", "?", "?", "?", "0", "0"]);
}

#[tokio::test]
async fn one_pod_is_asked_about_once_a_minute_and_a_failure_too_whoever_hurries() {
    for fails in [false, true] {
        let asked = Arc::new(AtomicUsize::new(0));
        let clock = Arc::new(AtomicI64::new(0));
        let endpoint = cloud({
            let asked = asked.clone();
            move |question| {
                asked.fetch_add(1, Ordering::Relaxed);
                Some(if fails { refused("RequestLimitExceeded") } else { known(&question, 0) })
            }
        })
        .await;
        let at = {
            let clock = clock.clone();
            move || now() + SignedDuration::from_millis(clock.load(Ordering::Relaxed))
        };
        let mut reader = made(endpoint, &json!({}), Arc::new(at)).from(&pod(), 0);
        for second in 0..59 {
            clock.store(second * 1000, Ordering::Relaxed);
            let reading = reader.read().await;
            assert!(!fails || why(reading).contains("RequestLimitExceeded"));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        clock.store(60_000, Ordering::Relaxed);
        reader.read().await;
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        clock.store(-3_600_000, Ordering::Relaxed);
        reader.read().await;
        assert_eq!(asked.load(Ordering::Relaxed), 3, "a clock that was put back does not silence it");
    }
}

#[tokio::test]
async fn what_was_known_grows_old_without_another_answer() {
    let clock = Arc::new(AtomicI64::new(0));
    let at = {
        let clock = clock.clone();
        move || now() + SignedDuration::from_secs(clock.load(Ordering::Relaxed))
    };
    let endpoint = cloud(|asked| Some(minutes(&asked, &[(6, 0), (5, 0), (4, 0)]))).await;
    let mut reader = made(endpoint, &json!({"maxAge": "5m"}), Arc::new(at)).from(&pod(), 0);
    assert_eq!(reader.read().await, count(0));
    clock.store(59, Ordering::Relaxed);
    assert_eq!(reader.read().await, count(0), "4 minutes and 59 seconds");
    clock.store(61, Ordering::Relaxed);
    assert!(matches!(reader.read().await, Reading::Unknown { .. }));
}

#[tokio::test]
async fn no_dimensions_are_no_zero_and_another_clock_is_no_answer() {
    for on_no_data in ["Unknown", "Zero"] {
        let probe = probe(
            cloud(|_| Some(refused("InvalidParameter.DimensionGroupError"))).await,
            &json!({"onNoData": on_no_data}),
        );
        let told = why(long_out(&probe).read().await);
        assert!(told.contains("not usable here") && !told.contains(KEY), "{told}");
        assert!(probe.admit(&pod()).await.unwrap_err().to_string().contains("not usable here"));
    }
    for (date, said) in [("Fri, 20 Nov 2026 12:00:07 GMT", "6 s apart"), ("yesterday", "no Date")] {
        let endpoint = cloud(move |asked| {
            Some(String::from_utf8(known(&asked, 0)).unwrap().replace(DATE, date).into_bytes())
        });
        let told = why(long_out(&probe(endpoint.await, &json!({}))).read().await);
        assert!(told.contains(said), "{told}");
    }
}

#[tokio::test]
async fn no_data_is_zero_only_where_that_is_said_and_never_in_the_preflight() {
    let silent = || cloud(|asked| Some(minutes(&asked, &[])));
    let unknown = probe(silent().await, &json!({}));
    assert!(matches!(long_out(&unknown).read().await, Reading::Unknown { .. }));
    let zero = probe(silent().await, &json!({"onNoData": "Zero"}));
    assert_eq!(long_out(&zero).read().await, count(0));
    let refused = zero.admit(&pod()).await.unwrap_err().to_string();
    assert!(refused.contains("shows no minute of it"), "{refused}");
    assert!(why(zero.reader(&pod()).read().await).contains("no minute yet"));
}

#[tokio::test]
async fn a_pod_that_cannot_be_told_apart_is_refused_before_anybody_is_asked() {
    let nobody = || Endpoint::parse("http://127.0.0.1:1").unwrap();
    let refused =
        async |pod: PodTarget| probe(nobody(), &json!({})).admit(&pod).await.unwrap_err().to_string();
    assert!(refused(PodTarget { ip: None, ..pod() }).await.contains("no address"));
    assert!(refused(PodTarget { fronts: BTreeSet::new(), ..pod() }).await.contains("0 TCP listeners"));
    let vip = Some([1, 2, 3, 4].into());
    let many = (1..=11).map(|port| Front { vip, port, target: 80 }).collect();
    assert!(refused(PodTarget { fronts: many, ..pod() }).await.contains("11 TCP listeners"));
    let two = [[1, 2, 3, 4], [10, 0, 0, 1]].map(|vip| Front { vip: Some(vip.into()), port: 80, target: 80 });
    let one_vip = probe(nobody(), &json!({"vip": "1.2.3.4"}));
    let collapsed = one_vip.admit(&PodTarget { fronts: two.into(), ..pod() }).await.unwrap_err();
    assert!(collapsed.to_string().contains("several load balancers"), "{collapsed}");
}

#[tokio::test]
async fn many_pods_are_asked_about_at_once_and_those_that_were_too_many_spread() {
    let endpoint = cloud(|asked| {
        let number = number_in(&asked.body.to_string(), "\"127.0.0.").unwrap();
        of_many(number).map(|count| known(&asked, count))
    });
    let probe = probe(endpoint.await, &json!({}));
    many_at_once("tencentMonitor", |pod| Box::new(probe.from(&pod, 0))).await;
    let reader = |ordinal: u32| probe.from(&PodTarget { ordinal, ..pod() }, 0);
    let due: BTreeSet<_> = (1..=20).map(|ordinal| reader(ordinal).next(now(), true)).collect();
    assert_eq!(due.len(), 20);
}

#[tokio::test]
async fn a_reading_that_is_given_up_leaves_the_next_one_alone() {
    given_up("tencentMonitor", 1, async |hush| {
        let endpoint = cloud(move |asked| (!hush.falls()).then(|| known(&asked, LATER))).await;
        let reader: Box<dyn Reader> = Box::new(long_out(&probe(endpoint, &json!({}))));
        reader
    })
    .await;
}
