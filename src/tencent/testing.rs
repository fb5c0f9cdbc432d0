//! A Tencent Cloud on the loopback address, for the tests of all who ask it: it checks each signature by the words of the
//! document, not by the code of `sign`.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use ring::{digest, hmac};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Endpoint;
use super::sign::hex;

pub(crate) const ID: &str = "AKIDEXAMPLE";
pub(crate) const KEY: &str = "SECRETEXAMPLE";
/// A Friday.
pub(crate) const NOW: &str = "2026-11-20T12:00:00.250Z";
pub(crate) const DATE: &str = "Fri, 20 Nov 2026 12:00:00 GMT";

pub(crate) fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// A Secret as the API server answers it.
pub(crate) fn secret(data: &[(&str, &str)]) -> Vec<u8> {
    let data: serde_json::Map<_, _> = data
        .iter()
        .map(|(key, text)| ((*key).to_owned(), json!(ByteString(text.as_bytes().to_vec()))))
        .collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tencent"}, "data": data})
        .to_string()
        .into()
}

/// One question as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) head: String,
    pub(crate) body: Value,
}

impl Asked {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        let mut values =
            lines.filter(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        values.next()
    }
}

/// What it does: the whole answer, or nothing ever.
type Answers = Arc<dyn Fn(Asked) -> Option<Vec<u8>> + Send + Sync>;

pub(crate) fn http(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nDate: {DATE}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

pub(crate) fn ok(response: &Value) -> Vec<u8> {
    http("200 OK", &json!({"Response": response}).to_string())
}

pub(crate) fn refused(code: &str) -> Vec<u8> {
    ok(&json!({"Error": {"Code": code, "Message": format!("{code}: {ID} {KEY}")}, "RequestId": "r"}))
}

/// Answers those who sign rightly.
pub(crate) async fn cloud(answers: impl Fn(Asked) -> Option<Vec<u8>> + Send + Sync + 'static) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let answers: Answers = Arc::new(answers);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(serve(client, answers.clone()));
        }
    });
    endpoint
}

async fn serve(mut client: TcpStream, answers: Answers) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = client.read_u8().await else { return };
        head.push(byte);
    }
    let mut asked = Asked { head: String::from_utf8(head).unwrap(), body: Value::Null };
    let length: usize = asked.header("content-length").unwrap().parse().unwrap();
    let mut body = vec![0; length];
    if client.read_exact(&mut body).await.is_err() {
        return;
    }
    asked.body = serde_json::from_slice(&body).unwrap();
    let answer =
        if signed(&asked, &body) { answers(asked) } else { Some(refused("AuthFailure.SignatureFailure")) };
    match answer {
        Some(bytes) => {
            let _ = client.write_all(&bytes).await;
            let _ = client.shutdown().await;
        }
        None => std::future::pending().await,
    }
}

/// By the document, step by step, for any key length and whatever stands in the headers.
fn signed(asked: &Asked, body: &[u8]) -> bool {
    let sha = |bytes: &[u8]| hex(digest::digest(&digest::SHA256, bytes).as_ref());
    let mac = |key: &[u8], text: &str| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
    };
    let header = |name: &str| asked.header(name).unwrap_or_default();
    let (kind, host, time) = (header("content-type"), header("host"), header("x-tc-timestamp"));
    let service = match header("x-tc-action") {
        "DescribeTargets" => "clb",
        "GetMonitorData" => "monitor",
        other => panic!("nobody knows {other}"),
    };
    let seconds: i64 = time.parse().unwrap();
    let day = Timestamp::from_second(seconds).unwrap().strftime("%F").to_string();
    let request = format!("POST\n/\n\ncontent-type:{kind}\nhost:{host}\n\ncontent-type;host\n{}", sha(body));
    let scope = format!("{day}/{service}/tc3_request");
    let text = format!("TC3-HMAC-SHA256\n{time}\n{scope}\n{}", sha(request.as_bytes()));
    let date = mac(format!("TC3{KEY}").as_bytes(), &day);
    let signature = hex(&mac(&mac(&mac(&date, service), "tc3_request"), &text));
    let expected = format!(
        "TC3-HMAC-SHA256 Credential={ID}/{scope}, SignedHeaders=content-type;host, Signature={signature}"
    );
    asked.head.starts_with("POST / HTTP/1.1\r\n") && header("authorization") == expected
}
