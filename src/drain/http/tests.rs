use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{from_value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::drain::contract::{
    LATER, World, answer, api, given_up, holds, many_at_once, means, number_in, of_many, pod,
};
use crate::web::MOST_BYTES;

/// A server that takes each request and answers it with these bytes; with none it never answers.
async fn server(answer: Option<Vec<u8>>) -> u16 {
    serve(move |_| answer.clone()).await
}

/// A server on every address of this machine, which is told at which one it is asked.
async fn serve(answer: impl Fn(IpAddr) -> Option<Vec<u8>> + Send + 'static) -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let length = client.read(&mut request).await.unwrap_or_default();
            assert!(str::from_utf8(&request[..length]).unwrap().to_lowercase().contains("connection: close"));
            match answer(client.local_addr().unwrap().ip()) {
                Some(answer) => drop(client.write_all(&answer).await),
                None => open.push(client),
            }
        }
    });
    port
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn redirect(to: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 1\r\n\r\n0").into_bytes()
}

/// A body with more blank lines after it than are taken.
fn endless(body: &str) -> String {
    format!("{body}{}", "\n".repeat(MOST_BYTES))
}

/// One that has time, for a reading that nobody should have to wait for.
fn patient(probe: HttpProbe) -> HttpProbe {
    HttpProbe { patience: TOTAL * 4, ..probe }
}

/// A probe of a pod at this port; its client has no API server behind it.
fn probe(port: u16, more: &serde_json::Value, client: Client) -> HttpProbe {
    let mut spec = json!({"port": port, "path": "/status?full=1"});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let now = Arc::new(|| "2026-11-20T12:00:00Z".parse().unwrap());
    let mut probe = HttpProbe::new(&from_value(spec).unwrap(), &Means { now, ..means(client) }).unwrap();
    probe.patience = Duration::from_millis(300);
    probe
}

async fn reading(answer: Option<Vec<u8>>) -> Reading {
    let port = server(answer).await;
    probe(port, &json!({"format": "Number"}), api(|_| None)).reader(&pod()).read().await
}

fn why(reading: Reading) -> String {
    match reading {
        Reading::Unknown { why } => why,
        count @ Reading::Count { .. } => panic!("{count:?}"),
    }
}

/// Settings of a probe, and the body that says a count to it.
type Sample = (serde_json::Value, fn(u64) -> String);

/// One of each format.
fn formats() -> [Sample; 6] {
    [
        (json!({"format": "Number"}), |count| format!("{count}\n")),
        (json!({"format": "Json", "json": {"pointer": "/n"}}), |count| format!("{{\"n\":{count}}}")),
        (json!({"format": "Prometheus", "prometheus": {"metric": "n"}}), |count| {
            format!("# n\nn{{a=\"b\"}} {count}\n")
        }),
        (json!({"format": "NginxStubStatus"}), |count| {
            format!(
                "Active connections: {} \nserver accepts handled requests\n 1 1 1 \nReading: 0 Writing: 1 Waiting: 0 \n",
                count + 1
            )
        }),
        (json!({"format": "HaproxyCsv", "haproxy": {"frontends": ["web"]}}), |count| {
            format!("# pxname,svname,qcur,scur,\nweb,FRONTEND,,{count},\nstats,FRONTEND,,1,\n")
        }),
        (json!({"format": "EnvoyStats"}), |count| {
            json!({"stats": [
                {"name": "listener.0.0.0.0_80.downstream_cx_active", "value": count},
                {"name": "listener.admin.downstream_cx_active", "value": 1},
            ]})
            .to_string()
        }),
    ]
}

#[tokio::test]
async fn the_contract_holds_for_each_format_through_the_pod() {
    for (settings, body) in formats() {
        holds(&settings.to_string(), async |world| {
            let elsewhere = format!("http://127.0.0.1:{}/", server(Some(ok(&body(0)))).await);
            let bytes = match world {
                World::Has(count) => Some(ok(&body(count))),
                World::Empty => Some(ok("")),
                World::Garbage => Some(ok("<html>0</html>\n")),
                World::CutOff => Some(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n0".to_vec()),
                World::Refuses => Some(b"HTTP/1.1 503 Busy\r\nContent-Length: 1\r\n\r\n0".to_vec()),
                World::Elsewhere => Some(redirect(&elsewhere)),
                World::Endless => Some(ok(&endless(&body(0)))),
                World::Silent => None,
            };
            probe(server(bytes).await, &settings, api(|_| None)).reader(&pod())
        })
        .await;
    }
}

#[tokio::test]
async fn the_contract_holds_for_each_format_through_the_api_server() {
    for (mut settings, body) in formats() {
        settings["via"] = json!("ApiServer");
        holds(&settings.to_string(), async |world| {
            let client = api(move |request| {
                assert_eq!(
                    request.uri().to_string(),
                    "/api/v1/namespaces/shop/pods/nginx-0:8081/proxy/status?full=1"
                );
                match world {
                    World::Has(count) => answer(200, body(count)),
                    World::Empty => answer(200, ""),
                    World::Garbage => answer(200, "<html>0</html>\n"),
                    World::CutOff => answer(200, "{\"n\":"),
                    World::Refuses => answer(503, "0"),
                    // The client of the API server follows nobody, so where to is of no matter.
                    World::Elsewhere => answer(302, body(0)),
                    World::Endless => answer(200, endless(&body(0))),
                    World::Silent => None,
                }
            });
            probe(8081, &settings, client).reader(&pod())
        })
        .await;
    }
}

#[tokio::test]
async fn many_pods_are_read_at_once_either_way() {
    let port = serve(|ip| {
        let number = number_in(&ip.to_string(), "127.0.0.").unwrap();
        of_many(number).map(|count| ok(&count.to_string()))
    });
    let straight = patient(probe(port.await, &json!({"format": "Number"}), api(|_| None)));
    many_at_once("http", |pod| straight.reader(&pod)).await;
    let client = api(|request| {
        let number = number_in(request.uri().path(), "/pods/nginx-").unwrap();
        of_many(number).and_then(|count| answer(200, count.to_string()))
    });
    let proxied = patient(probe(8081, &json!({"format": "Number", "via": "ApiServer"}), client));
    many_at_once("http through the API server", |pod| proxied.reader(&pod)).await;
}

#[tokio::test]
async fn a_reading_that_is_given_up_leaves_the_next_one_alone_either_way() {
    let later = || LATER.to_string();
    given_up("http", 1, async |hush| {
        let port = serve(move |_| (!hush.falls()).then(|| ok(&later()))).await;
        patient(probe(port, &json!({"format": "Number"}), api(|_| None))).reader(&pod())
    })
    .await;
    given_up("http through the API server", 1, async |hush| {
        let client = api(move |_| if hush.falls() { None } else { answer(200, later()) });
        patient(probe(8081, &json!({"format": "Number", "via": "ApiServer"}), client)).reader(&pod())
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_is_not_200_is_unknown_and_a_redirect_is_not_followed() {
    let elsewhere = server(Some(ok("0"))).await;
    let redirect = redirect(&format!("http://127.0.0.1:{elsewhere}/"));
    assert!(why(reading(Some(redirect)).await).contains("302"));
    assert!(
        why(reading(Some(b"HTTP/1.1 500 No\r\nContent-Length: 1\r\n\r\n0".to_vec())).await).contains("500")
    );
    assert!(why(reading(Some(b"HTTP/1.1 204 No\r\n\r\n".to_vec())).await).contains("204"));
}

#[tokio::test]
async fn a_body_that_is_too_large_or_not_a_number_is_unknown() {
    assert!(why(reading(Some(ok(&"0".repeat(MOST_BYTES + 1)))).await).contains("larger"));
    assert!(why(reading(Some(ok("NaN"))).await).contains("not finite"));
    assert!(why(reading(Some(ok("-1"))).await).contains("negative"));
    assert!(why(reading(None).await).contains("within"));
}

#[tokio::test]
async fn a_pod_that_refuses_or_has_no_address_is_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let probe = probe(port, &json!({"format": "Number"}), api(|_| None));
    assert!(why(probe.reader(&pod()).read().await).contains("does not answer"));
    let nowhere = PodTarget { ip: None, ..pod() };
    assert!(why(probe.reader(&nowhere).read().await).contains("no address"));
    assert!(probe.admit(&pod()).await.unwrap_err().what.contains("nginx-0"));
}

#[test]
fn a_path_that_could_lead_to_another_object_is_refused() {
    for path in ["/", "/status", "/stub?a=b&c=d", "/stats;csv"] {
        assert_eq!(safe(path), Ok(path));
    }
    for path in ["", "status", "/../x", "/a/..", "/%2e%2E/x", "/a%2fb", "/a#b", "/a b", "/a\\b", "/\n", "/ä"]
    {
        assert!(safe(path).is_err(), "{path}");
    }
}
