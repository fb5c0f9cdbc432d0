//! The operator's own client asks once: what becomes of a refusal is for the operator to say, and kube's own
//! retries would hold a write until it may be wrong. The client finds its cluster in its surroundings, so that
//! who asks is a process of its own: this test once more, told by a variable what to ask.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use lossless_upgrade::runtime::client::connect;
use lossless_upgrade::runtime::metrics::Metrics;
use serde_json::json;

/// What the process that asks is to ask.
const ASKS: &str = "LOSSLESS_UPGRADE_TEST_ASKS";
/// The test, as the process that asks is told to play it.
const NAME: &str = "client::what_is_refused_is_not_asked_again_by_the_client_itself";

#[test]
fn what_is_refused_is_not_asked_again_by_the_client_itself() {
    if let Some(what) = std::env::var_os(ASKS) {
        return ask(what == "write");
    }
    for code in [429, 503, 504] {
        for what in ["read", "write"] {
            let (port, asked) = refuses(code);
            let kubeconfig = Path::new(env!("CARGO_TARGET_TMPDIR"))
                .join(format!("asks-{}-{code}-{what}", std::process::id()));
            std::fs::write(&kubeconfig, config(port)).unwrap();
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", NAME, "--nocapture"]).env_clear();
            let output = command.env(ASKS, what).env("KUBECONFIG", &kubeconfig).output().unwrap();
            std::fs::remove_file(&kubeconfig).unwrap();
            assert_eq!(asked.load(Ordering::SeqCst), 1, "a {what} that is answered with {code}: {output:?}");
            assert!(output.status.success(), "{output:?}");
        }
    }
}

fn ask(writes: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(async {
        let api: Api<Pod> = Api::namespaced(connect(&Metrics::new().unwrap()).await.unwrap(), "shop");
        if writes {
            api.patch("web-0", &PatchParams::default(), &Patch::Merge(json!({}))).await
        } else {
            api.get("web-0").await
        }
    });
    assert!(matches!(answer, Err(kube::Error::Api(_))), "{answer:?}");
}

/// A server that refuses everything with this code: its port, and how often it was asked.
fn refuses(code: u16) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, asked) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let counts = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            refuse(&stream.unwrap(), code, &counts);
        }
    });
    (port, asked)
}

fn refuse(mut stream: &TcpStream, code: u16, asked: &AtomicUsize) {
    let mut reader = BufReader::new(stream);
    let (mut length, mut line) = (0, String::new());
    while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).unwrap();
    asked.fetch_add(1, Ordering::SeqCst);
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}).to_string();
    let head = "content-type: application/json\r\nconnection: close";
    write!(stream, "HTTP/1.1 {code} No\r\n{head}\r\ncontent-length: {}\r\n\r\n{status}", status.len())
        .unwrap();
}

fn config(port: u16) -> String {
    let cluster = json!({"name": "c", "cluster": {"server": format!("http://127.0.0.1:{port}")}});
    let context = json!({"name": "x", "context": {"cluster": "c", "user": "u"}});
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x", "clusters": [cluster],
        "contexts": [context], "users": [{"name": "u", "user": {}}],
    })
    .to_string()
}
