use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::drain::contract::{api, means, pod};
use crate::drain::exec::server::{Act, Server, exit, prints, success};

const V5: &str = "v5.channel.k8s.io";

fn nudges(specs: &Value, client: kube::Client, allow_exec: bool) -> Result<Nudges, Refusal> {
    let specs: Vec<NudgeSpec> = serde_json::from_value(specs.clone()).unwrap();
    let means = Means { allow_exec, ..means(client) };
    Nudges::new(&specs, &means)
}

/// A pod that answers each request with this code, or never; and the request lines that it got.
async fn listening(code: Option<u16>) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let there = heard.clone();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let length = client.read(&mut request).await.unwrap_or_default();
            let text = String::from_utf8_lossy(&request[..length]).into_owned();
            there.lock().unwrap().push(text.lines().next().unwrap_or_default().to_owned());
            match code {
                Some(code) => {
                    let answer = format!("HTTP/1.1 {code} X\r\nLocation: /else\r\nContent-Length: 0\r\n\r\n");
                    drop(client.write_all(answer.as_bytes()).await);
                }
                None => open.push(client),
            }
        }
    });
    (port, heard)
}

fn http(port: u16) -> Value {
    json!({"http": {"port": port, "path": "/healthcheck/fail"}})
}

fn exec() -> Value {
    json!({"exec": {"container": "web", "command": ["nginx", "-s", "quit"]}})
}

#[tokio::test]
async fn each_pod_gets_each_nudge_once_and_in_order() {
    let (port, heard) = listening(Some(204)).await;
    let server =
        Server::new(V5, vec![Act::Complains(b"signal process started\n".to_vec()), success()], "u-1", None)
            .await;
    let put = json!({"http": {"method": "PUT", "port": port, "path": "/then"}});
    let nudges = nudges(&json!([http(port), exec(), put]), server.client.clone(), true).unwrap();
    nudges.admit().unwrap();
    assert_eq!(nudges.nudge(&[pod()]).await, Vec::<String>::new());
    assert_eq!(*heard.lock().unwrap(), ["POST /healthcheck/fail HTTP/1.1", "PUT /then HTTP/1.1"]);
    server.closed(1).await;
}

#[tokio::test]
async fn what_failed_is_told_by_pod_and_the_rest_is_tried_all_the_same() {
    let (refuses, heard) = listening(Some(503)).await;
    let (silent, _) = listening(None).await;
    let server = Server::new(V5, vec![exit(2)], "u-1", None).await;
    let specs = json!([http(silent), exec(), http(refuses)]);
    let nudges = nudges(&specs, server.client.clone(), true).unwrap();
    let nudges = Nudges { patience: Duration::from_secs(1), ..nudges };
    let nowhere = PodTarget { name: "nginx-1".to_owned(), ip: None, ..pod() };
    let told = nudges.nudge(&[pod(), nowhere]).await;
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("nginx-0: ") && told[1].starts_with("nginx-1: "), "{told:?}");
    for part in ["no end within", "nginx in web: the command ended with exit status 2", "the answer is 503"] {
        assert!(told[0].contains(part), "{part}: {}", told[0]);
    }
    assert!(told[1].contains("no address"), "{}", told[1]);
    assert_eq!(heard.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (port, heard) = listening(Some(307)).await;
    let nudges = nudges(&json!([http(port)]), api(|_| None), false).unwrap();
    assert!(nudges.nudge(&[pod()]).await[0].contains("307"));
    assert_eq!(heard.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn many_pods_are_nudged_at_once() {
    let server = Server::new(V5, prints("done\n"), "u-1", None).await;
    let nudges = nudges(&json!([exec()]), server.client.clone(), true).unwrap();
    let pods = vec![pod(); 30];
    assert_eq!(nudges.nudge(&pods).await, Vec::<String>::new());
    server.closed(30).await;
}

#[tokio::test]
async fn a_command_needs_leave_and_a_request_does_not() {
    let client = || api(|_| panic!("nothing is asked"));
    nudges(&json!([http(9901)]), client(), false).unwrap().admit().unwrap();
    let forbidden = nudges(&json!([exec()]), client(), false).unwrap();
    assert!(forbidden.admit().unwrap_err().fix.contains("--allow-exec"));
    assert!(forbidden.nudge(&[pod()]).await[0].contains("--allow-exec"));
}

#[test]
fn what_is_no_nudge_and_a_path_that_leads_elsewhere_are_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    for spec in [json!([{}]), json!([{"http": {"port": 1, "path": "/%2e%2e/x"}}])] {
        assert!(nudges(&spec, api(|_| None), true).is_err(), "{spec}");
    }
}
