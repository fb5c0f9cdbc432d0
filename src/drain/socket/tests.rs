use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

use ::http::Request;
use kube::client::Body;
use serde_json::{Value, json};

use super::*;
use crate::drain::Reading;
use crate::drain::contract::{
    LATER, World, answer, api, given_up, holds, many_at_once, means, number_in, of_many, pod,
};

fn probe(client: Client) -> SocketProbe {
    let settings = CounterSettings {
        image: Some("registry.example/lossless-upgrade:1".to_owned()),
        manager: "lossless-upgrade".to_owned(),
        life: Span::seconds(7200),
    };
    let means = Means { counter: settings, ..means(client) };
    let mut probe = SocketProbe::new(&SocketSpec::default(), &means);
    probe.period = Duration::from_millis(40);
    probe.patience = Duration::from_millis(200);
    probe
}

/// The pod with its first counter running.
fn running() -> Value {
    json!({
        "metadata": {"name": "nginx-0", "uid": "u-1"},
        "spec": {"containers": [], "ephemeralContainers": [{"name": "lu-r7-1"}]},
        "status": {"ephemeralContainerStatuses": [{
            "name": "lu-r7-1", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"running": {}},
        }]},
    })
}

/// Reports of these numbers, each with so many connections.
fn lines(numbers: RangeInclusive<u64>, max: u64) -> String {
    let mut log = String::new();
    for seq in numbers {
        writeln!(log, "lu1 seq={seq} max={max} opened=1 ms=1000").unwrap();
    }
    log
}

/// A client of an API server that shows this pod and says this of its counter's log.
fn shows(pod: &Value, mut log: impl FnMut() -> Option<::http::Response<Body>> + Send + 'static) -> Client {
    let pod = pod.to_string();
    api(move |request: Request<Body>| {
        if request.uri().path().ends_with("/log") {
            assert!(request.uri().query().unwrap().contains("container=lu-r7-1&"), "{}", request.uri());
            log()
        } else {
            answer(200, pod.clone())
        }
    })
}

#[tokio::test]
async fn the_contract_holds() {
    holds("socket", async |world| {
        let mut seq = 0;
        let client = shows(&running(), move || {
            seq += 1;
            match world {
                World::Has(count) => answer(200, lines(1..=seq, count)),
                World::Empty => answer(200, ""),
                World::Garbage => answer(200, format!("{}0\n", lines(seq..=seq, 0))),
                World::CutOff => answer(200, lines(seq * 2..=seq * 2, 0)),
                World::Refuses => answer(400, "container is waiting to start"),
                // A log has no such answer: whatever sends one away from the API server shows no report.
                World::Elsewhere => answer(302, ""),
                World::Endless => answer(200, lines(1..=seq + 40_000, 0)),
                World::Silent if seq > 1 => None,
                World::Silent => answer(200, lines(1..=1, 0)),
            }
        });
        probe(client).reader(&pod())
    })
    .await;
}

#[tokio::test]
async fn many_pods_are_read_at_once() {
    let mut reports = BTreeMap::new();
    let client = api(move |request| {
        let path = request.uri().path();
        let number = number_in(path, "/pods/nginx-").unwrap();
        if !path.ends_with("/log") {
            return answer(200, running().to_string());
        }
        let seq = reports.entry(number).or_default();
        *seq += 1;
        of_many(number).and_then(|count| answer(200, lines(1..=*seq, count)))
    });
    let probe = SocketProbe { patience: ANSWER * 4, ..probe(client) };
    many_at_once("socket", |pod| probe.reader(&pod)).await;
}

#[tokio::test]
async fn a_reading_that_is_given_up_leaves_the_next_one_alone() {
    given_up("socket", 3, async |hush| {
        let mut seq = 0;
        let client = api(move |request| match (hush.falls(), request.uri().path().ends_with("/log")) {
            (true, _) => None,
            (false, false) => answer(200, running().to_string()),
            (false, true) => {
                seq += 1;
                answer(200, lines(1..=seq, LATER))
            }
        });
        SocketProbe { patience: ANSWER, ..probe(client) }.reader(&pod())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_was_too_long_is_asked_for_in_fewer_lines_and_no_part_of_it_counts() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    let client = api(move |request| {
        let Some(query) = request.uri().query().filter(|_| request.uri().path().ends_with("/log")) else {
            return answer(200, running().to_string());
        };
        let mut seen = seen.lock().unwrap();
        assert!(query.contains("limitBytes=1048576"), "{query}");
        seen.push(number_in(query, "tailLines=").unwrap());
        // As the kubelet does: the end is missing.
        let newest = if seen.len() == 1 { 40_000 } else { seen.len() as u64 };
        let log = lines(1..=newest, 3);
        answer(200, &log.as_bytes()[..log.len().min(1024 * 1024)])
    });
    let probe = SocketProbe { patience: ANSWER, ..probe(client) };
    let mut reader = probe.reader(&pod());
    tokio::time::advance(probe.period * 10).await;
    let Reading::Unknown { why } = reader.read().await else { panic!("it was cut off") };
    assert!(why.contains("not within 1048576 bytes"), "{why}");
    assert_eq!(reader.read().await, Reading::Count { connections: 3, new_per_second: Some(1.0) });
    let asked = asked.lock().unwrap();
    assert!(asked[0] >= 15 && asked[1] < asked[0], "{asked:?}");
}

#[tokio::test]
async fn a_reading_is_the_most_of_all_reports_since_the_last_and_their_rate() {
    let log = Arc::new(Mutex::new(vec![
        "",
        "lu1 seq=1 max=3 opened=4 ms=1000\nlu1 seq=2 max=1 opened=2 ms=2000\n",
    ]));
    let client = shows(&running(), move || {
        let mut log = log.lock().unwrap();
        answer(200, if log.len() > 1 { log.remove(0) } else { log[0] })
    });
    let mut reader = probe(client).reader(&pod());
    let first = reader.read().await;
    assert_eq!(first, Reading::Count { connections: 3, new_per_second: Some(2.0) });
    let Reading::Unknown { why } = reader.read().await else { panic!("nothing new was reported") };
    assert!(why.contains("stale") && why.contains("number 2"), "{why}");
}

#[tokio::test]
async fn a_counter_that_does_not_run_and_a_replaced_pod_are_unknown_with_the_reason() {
    let mut ended = running();
    ended["status"]["ephemeralContainerStatuses"][0]["state"] =
        json!({"terminated": {"exitCode": 1, "reason": "Error"}});
    let mut replaced = running();
    replaced["metadata"]["uid"] = json!("u-2");
    let mut none = running();
    none["spec"]["ephemeralContainers"] = json!([]);
    for (shown, part) in [(ended, "exit code 1"), (replaced, "another pod"), (none, "no drain counter")] {
        let client = shows(&shown, || panic!("no log is asked for"));
        let Reading::Unknown { why } = probe(client).reader(&pod()).read().await else { panic!("{part}") };
        assert!(why.contains(part), "{why}");
    }
}

#[tokio::test]
async fn the_counter_is_asked_for_in_exactly_this_pod_within_the_restricted_standard() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seen_there = seen.clone();
    let client = api(move |request| {
        seen_there.lock().unwrap().push(request);
        answer(200, running().to_string())
    });
    let probe = probe(client);
    probe.admit(&pod()).await.unwrap();
    probe.start(&pod(), "55", 2).await.unwrap();

    let mut seen = std::mem::take(&mut *seen.lock().unwrap()).into_iter();
    let mut next = async || {
        let request = seen.next().unwrap();
        assert_eq!(request.uri().path(), "/api/v1/namespaces/shop/pods/nginx-0/ephemeralcontainers");
        assert_eq!(request.headers()["content-type"], "application/strategic-merge-patch+json");
        let query = request.uri().query().unwrap().to_owned();
        let body: Value =
            serde_json::from_slice(&request.into_body().collect_bytes().await.unwrap()).unwrap();
        (query, body)
    };
    let (query, body) = next().await;
    assert!(query.contains("dryRun=All"), "{query}");
    assert_eq!(body["metadata"], json!({"uid": "u-1"}));
    assert_eq!(body["spec"]["ephemeralContainers"][0]["name"], "lu-r7-0");

    let (query, body) = next().await;
    assert!(!query.contains("dryRun") && query.contains("fieldManager=lossless-upgrade"), "{query}");
    let expected = json!({
        "metadata": {"uid": "u-1", "resourceVersion": "55"},
        "spec": {"ephemeralContainers": [{
            "name": "lu-r7-2",
            "image": "registry.example/lossless-upgrade:1",
            "imagePullPolicy": "IfNotPresent",
            "command": ["/lossless-upgrade", "drain-counter", "--ports", "80,8443", "--period", "40ms", "--life", "2h"],
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }]},
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn what_cannot_be_counted_is_refused_before_anything_is_asked() {
    let mut no_image = probe(api(|_| panic!("nothing is asked")));
    no_image.settings.image = None;
    assert!(no_image.admit(&pod()).await.unwrap_err().fix.contains("--counter-image"));

    let probe = probe(api(|_| panic!("nothing is asked")));
    let host = PodTarget { host_network: true, ..pod() };
    assert!(probe.admit(&host).await.unwrap_err().what.contains("network of its node"));
    let portless = PodTarget { ports: BTreeSet::new(), ..pod() };
    let refused = probe.start(&portless, "1", 1).await;
    assert!(matches!(refused, Err(StartError::Refused(Refusal { passing: false, .. }))), "{refused:?}");
}

#[tokio::test]
async fn the_servers_no_becomes_what_is_wrong_and_what_to_do() {
    let refusal = async |code: u16, message: &str| {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message, "reason": "X"});
        let probe = probe(api(move |_| answer(code, status.to_string())));
        probe.admit(&pod()).await.unwrap_err()
    };
    let security =
        refusal(403, "pods \"nginx-0\" is forbidden: violates PodSecurity \"restricted:latest\": x").await;
    assert!(security.what.contains("pod security of namespace shop") && !security.passing, "{security}");
    let rights =
        refusal(403, "User \"u\" cannot patch resource \"pods/ephemeralcontainers\" in API group").await;
    assert!(rights.fix.contains("pods/ephemeralcontainers"), "{rights}");
    let quota = refusal(403, "pods \"x\" is forbidden: exceeded quota: q").await;
    assert!(quota.fix.contains("quota"), "{quota}");
    let webhook = refusal(400, "admission webhook \"w\" denied the request: no").await;
    assert!(webhook.what.contains("denied the request") && !webhook.passing, "{webhook}");
    let invalid = refusal(422, "spec.ephemeralContainers[0].image: Required value").await;
    assert!(invalid.what.contains("Required value") && !invalid.passing, "{invalid}");
    for (code, message) in [
        (404, "not found"),
        (409, "modified"),
        (429, "slow down"),
        (500, "no"),
        (422, "metadata.uid: Invalid value"),
    ] {
        assert!(refusal(code, message).await.passing, "{code}");
    }
}
