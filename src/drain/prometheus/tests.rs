mod access;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use proptest::prelude::*;
use reqwest::Url;
use serde_json::{Value, from_value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::drain::contract::{
    self, LATER, World, api, given_up, holds, many_at_once, number_in, of_many, pod,
};
use crate::web::MOST_BYTES;

/// A Friday.
const NOW: &str = "2026-11-20T12:00:00.250Z";
const DATE_NOW: &str = "Fri, 20 Nov 2026 12:00:00 GMT";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_millisecond(now().as_millisecond() - seconds * 1000).unwrap()
}

fn unix(moment: Timestamp) -> String {
    let milliseconds = moment.as_millisecond();
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

/// A question as it came: its first line and headers, and the members of its query.
struct Asked {
    head: String,
    members: BTreeMap<String, String>,
}

impl Asked {
    fn age(&self) -> bool {
        self.members["query"].starts_with("min(timestamp")
    }
}

/// What to answer; with nothing it never answers.
type Answers = Arc<dyn Fn(Asked) -> Option<Vec<u8>> + Send + Sync>;

async fn serve(mut client: impl AsyncRead + AsyncWrite + Unpin, answers: &Answers) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = client.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap();
    let url = Url::parse(&format!("http://x{target}")).unwrap();
    match answers(Asked { members: url.query_pairs().into_owned().collect(), head }) {
        Some(bytes) => {
            let _ = client.write_all(&bytes).await;
            let _ = client.shutdown().await;
        }
        None => std::future::pending().await,
    }
}

async fn server(answers: impl Fn(Asked) -> Option<Vec<u8>> + Send + Sync + 'static) -> u16 {
    secure(None, answers).await
}

async fn secure(
    tls: Option<TlsAcceptor>,
    answers: impl Fn(Asked) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers: Answers = Arc::new(answers);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (tls, answers) = (tls.clone(), answers.clone());
            tokio::spawn(async move {
                match tls {
                    None => serve(client, &answers).await,
                    Some(tls) => {
                        if let Ok(client) = tls.accept(client).await {
                            serve(client, &answers).await;
                        }
                    }
                }
            });
        }
    });
    port
}

fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len()).into_bytes()
}

fn ok(body: &str) -> Vec<u8> {
    http("200 OK", &format!("Date: {DATE_NOW}\r\n"), body)
}

fn result(asked: &Asked, values: &[&str]) -> Vec<u8> {
    let time: f64 = asked.members["time"].parse().unwrap();
    let series: Vec<_> = values.iter().map(|value| json!({"metric": {}, "value": [time, value]})).collect();
    ok(&json!({"status": "success", "data": {"resultType": "vector", "result": series}}).to_string())
}

/// A Prometheus with a sample of some seconds ago.
fn counts(count: u64, seconds: i64) -> impl Fn(Asked) -> Option<Vec<u8>> + Send + Sync + 'static {
    move |asked| {
        let value = if asked.age() { unix(ago(seconds)) } else { count.to_string() };
        Some(result(&asked, &[&value]))
    }
}

fn means(client: Client, allow: &str) -> Means {
    Means {
        now: Arc::new(now),
        prometheus_allow: Allowed::parse(&[allow.to_owned()]).unwrap(),
        ..contract::means(client)
    }
}

fn made(more: &Value, client: Client, allow: &str) -> PrometheusProbe {
    let mut spec = json!({
        "query": r#"sum(conns{pod="{{pod}}"})"#,
        "sampledAt": r#"min(timestamp(conns{pod="{{pod}}"}))"#,
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut probe = PrometheusProbe::new(&from_value(spec).unwrap(), &means(client, allow));
    probe.patience = Duration::from_secs(1);
    probe
}

/// A probe of a Prometheus at this port that may be asked.
fn probe(port: u16, more: &Value, client: Client) -> PrometheusProbe {
    let address = format!("http://127.0.0.1:{port}");
    let mut more = more.clone();
    more["address"] = json!(address);
    made(&more, client, &address)
}

fn plain(port: u16) -> PrometheusProbe {
    probe(port, &json!({}), api(|_| None))
}

/// What is read of a pod that is counted for a minute.
async fn reading(probe: &PrometheusProbe) -> Reading {
    probe.since(&pod(), Some(ago(60))).read().await
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
async fn the_contract_holds_whichever_of_the_two_questions_goes_wrong() {
    for age_goes_wrong in [true, false] {
        holds(&format!("prometheus {age_goes_wrong}"), async |world| {
            let good = counts(if let World::Has(count) = world { count } else { 0 }, 10);
            let elsewhere = server(counts(0, 10)).await;
            let port = server(move |asked| {
                if asked.age() != age_goes_wrong {
                    return good(asked);
                }
                match world {
                    World::Has(_) => good(asked),
                    World::Empty => Some(ok("")),
                    World::Garbage => Some(ok("<html>0</html>\n")),
                    World::CutOff => {
                        Some(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"status\"".to_vec())
                    }
                    World::Refuses => Some(http("503 Busy", "", "0")),
                    World::Elsewhere => {
                        let path = asked.head.split(' ').nth(1).unwrap();
                        let headers =
                            format!("Date: {DATE_NOW}\r\nLocation: http://127.0.0.1:{elsewhere}{path}\r\n");
                        Some(http("307 Temporary Redirect", &headers, ""))
                    }
                    World::Endless => {
                        let answer = String::from_utf8(good(asked).unwrap()).unwrap();
                        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
                        Some(ok(&format!("{body}{}", " ".repeat(MOST_BYTES))))
                    }
                    World::Silent => None,
                }
            });
            let reader: Box<dyn Reader> = Box::new(plain(port.await).since(&pod(), Some(ago(60))));
            reader
        })
        .await;
    }
}

#[tokio::test]
async fn both_questions_are_about_one_moment_and_the_pod_and_the_age_is_asked_first() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let answers = counts(3, 10);
    let port = server({
        let seen = seen.clone();
        move |asked| {
            let (head, members) = (asked.head.clone(), asked.members.clone());
            seen.lock().unwrap().push((head, members));
            answers(asked)
        }
    })
    .await;
    let address = format!("http://127.0.0.1:{port}");
    let probe = made(&json!({"address": format!("{address}/team/")}), api(|_| None), &address);
    assert_eq!(reading(&probe).await, count(3));
    let seen = seen.lock().unwrap();
    let queries: Vec<_> = seen.iter().map(|(_, members)| members["query"].as_str()).collect();
    assert_eq!(queries, [r#"min(timestamp(conns{pod="nginx-0"}))"#, r#"sum(conns{pod="nginx-0"})"#]);
    for (head, members) in seen.iter() {
        assert!(head.starts_with("GET /team/api/v1/query?query="), "{head}");
        assert!(head.to_lowercase().contains("connection: close"), "{head}");
        assert_eq!(members["time"], unix(now()));
    }
}

#[tokio::test]
async fn an_answer_that_is_not_200_or_too_large_is_unknown_and_a_redirect_is_not_followed() {
    let asked = Arc::new(AtomicUsize::new(0));
    let elsewhere = server({
        let (asked, answers) = (asked.clone(), counts(0, 10));
        move |question| {
            asked.fetch_add(1, Ordering::Relaxed);
            answers(question)
        }
    })
    .await;
    for status in ["302 Found", "307 Temporary Redirect", "401 Unauthorized", "422 No", "204 No Content"] {
        let location = format!("Date: {DATE_NOW}\r\nLocation: http://127.0.0.1:{elsewhere}/api/v1/query\r\n");
        let port = server(move |_| Some(http(status, &location, ""))).await;
        let why = why(reading(&plain(port)).await);
        assert!(why.contains(&status[..3]), "{why}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    let port = server(|_| Some(ok(&" ".repeat(MOST_BYTES + 1)))).await;
    assert!(why(reading(&plain(port)).await).contains("larger"));
}

#[tokio::test]
async fn results_that_are_not_one_number_are_unknown() {
    for (values, said) in [
        (&["0", "0"][..], "2 series"),
        (&["NaN"], "not finite"),
        (&["+Inf"], "not finite"),
        (&["-1"], "negative"),
        (&[], "query has no result"),
    ] {
        let good = counts(0, 10);
        let port =
            server(move |asked| if asked.age() { good(asked) } else { Some(result(&asked, values)) }).await;
        let why = why(reading(&plain(port)).await);
        assert!(why.contains(said), "{why}");
    }
}

#[tokio::test]
async fn no_data_is_zero_only_where_that_is_said_and_a_scrape_is_shown() {
    let zero = json!({"onNoData": "Zero"});
    let good = counts(0, 10);
    let port = server(move |asked| if asked.age() { good(asked) } else { Some(result(&asked, &[])) }).await;
    assert_eq!(reading(&probe(port, &zero, api(|_| None))).await, count(0));
    let old = counts(0, 121);
    let port = server(move |asked| if asked.age() { old(asked) } else { Some(result(&asked, &[])) }).await;
    assert!(why(reading(&probe(port, &zero, api(|_| None))).await).contains("maxAge"));
    let port = server(|asked| Some(result(&asked, &[]))).await;
    assert!(why(reading(&probe(port, &zero, api(|_| None))).await).contains("sampledAt has no result"));
}

#[tokio::test]
async fn a_sample_from_before_the_count_began_answers_the_preflight_and_no_drain() {
    let port = server(counts(0, 1)).await;
    let probe = plain(port);
    assert_eq!(probe.admit(&pod()).await, Ok(()));
    assert_eq!(probe.first_reader(&pod()).read().await, count(0));
    assert!(why(probe.reader(&pod()).read().await).contains("not scraped yet"));
    for (begun, known) in [(7, true), (6, true), (5, false)] {
        let read = probe.since(&pod(), Some(ago(begun))).read().await;
        assert_eq!(read == count(0), known, "{begun} s ago: {read:?}");
    }
}

#[tokio::test]
async fn a_clock_that_is_not_ours_makes_every_answer_unknown() {
    for (date, said) in [
        ("Date: Fri, 20 Nov 2026 12:00:07 GMT\r\n", "6 s apart"),
        ("Date: Fri, 20 Nov 2026 11:59:53 GMT\r\n", "7 s apart"),
        ("Date: yesterday\r\n", "no Date"),
        ("", "no Date"),
    ] {
        let good = counts(0, 10);
        let port = server(move |asked| {
            let answer = String::from_utf8(good(asked).unwrap()).unwrap();
            Some(answer.replace(&format!("Date: {DATE_NOW}\r\n"), date).into_bytes())
        })
        .await;
        let why = why(reading(&plain(port)).await);
        assert!(why.contains(said), "{date}: {why}");
    }
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_never_asked_and_the_refusal_says_what_to_set() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    for allow in ["", "https://127.0.0.1", "http://127.0.0.1:1"] {
        let probe = made(&json!({"address": address}), api(|_| None), allow);
        let refused = probe.admit(&pod()).await.unwrap_err().to_string();
        assert!(refused.contains(&format!("--prometheus-allow={address}")), "{refused}");
        assert!(why(reading(&probe).await).contains("not allowed"));
    }
    assert!(listener.accept().now_or_never().is_none(), "nobody knocked");
}

#[tokio::test]
async fn what_is_wrong_with_the_spec_is_refused_at_admit() {
    for (member, value, said) in [
        ("query", r#"conns{pod="{{pods}}"}"#, "query: `{{pods}}` is not known"),
        ("sampledAt", "min(timestamp(conns))", "sampledAt: it does not say which pod"),
        ("address", "http://user@127.0.0.1", "is not the address of a Prometheus"),
    ] {
        let mut spec = json!({"address": "http://127.0.0.1"});
        spec[member] = json!(value);
        let refused = made(&spec, api(|_| None), "http://127.0.0.1").admit(&pod()).await.unwrap_err();
        assert!(refused.to_string().contains(said), "{refused}");
    }
    let nowhere = PodTarget { ip: None, ..pod() };
    let probe = made(
        &json!({"address": "http://127.0.0.1", "query": "a{i='{{podIP}}'}"}),
        api(|_| None),
        "http://127.0.0.1",
    );
    assert!(probe.admit(&nowhere).await.unwrap_err().what.contains("query: the pod has no address"));
}

#[tokio::test]
async fn many_pods_are_read_at_once() {
    let port = server(|asked| {
        let count = of_many(number_in(&asked.members["query"], "nginx-").unwrap())?;
        let value = if asked.age() { unix(ago(10)) } else { count.to_string() };
        Some(result(&asked, &[&value]))
    });
    let probe = PrometheusProbe { patience: TOTAL * 4, ..plain(port.await) };
    many_at_once("prometheus", |pod| Box::new(probe.since(&pod, None))).await;
}

#[tokio::test]
async fn a_reading_that_is_given_up_leaves_the_next_one_alone() {
    given_up("prometheus", 2, async |hush| {
        let good = counts(LATER, 10);
        let port = server(move |asked| if hush.falls() { None } else { good(asked) }).await;
        let probe = PrometheusProbe { patience: TOTAL, ..plain(port) };
        let reader: Box<dyn Reader> = Box::new(probe.since(&pod(), None));
        reader
    })
    .await;
}

#[test]
fn the_time_of_the_question_is_no_age() {
    let asked = now();
    let seconds = milliseconds(asked) / 1000.0;
    let verdict = |sampled: f64| fresh(sampled, asked, None, Duration::from_mins(2));
    assert!(verdict(seconds).unwrap_err().contains("put timestamp() around the series"));
    assert!(verdict(seconds + 0.01).unwrap_err().contains("to come"));
    assert!(verdict(seconds - 120.01).unwrap_err().contains("120 s old"));
    assert_eq!(verdict(seconds - 0.01), Ok(()));
    assert_eq!(verdict(seconds - 120.0), Ok(()));
    assert!(verdict(0.0).is_err() && verdict(-1e300).is_err() && verdict(1e300).is_err());
}

proptest! {
    #[test]
    fn what_is_taken_for_fresh_is_within_the_age_and_after_the_beginning(
        age in -10_000_i64..200_000, begun in 0_i64..200_000, longest in 1_u64..150,
    ) {
        let at = |before: i64| Timestamp::from_millisecond(now().as_millisecond() - before).unwrap();
        let sampled = milliseconds(at(age)) / 1000.0;
        let known = fresh(sampled, now(), Some(at(begun)), Duration::from_secs(longest)).is_ok();
        let longest = i64::try_from(longest).unwrap() * 1000;
        prop_assert!(!known || (age > 0 && age <= longest && age <= begun - 5000));
        prop_assert!(known || !(age >= 2 && age <= longest - 2 && age <= begun - 5002));
    }
}
