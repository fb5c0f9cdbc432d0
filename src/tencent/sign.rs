//! The signature `TC3-HMAC-SHA256` of a request
//! (<https://www.tencentcloud.com/document/api/214/30639>): the key never leaves the operator.

use std::fmt::Write as _;

use jiff::Timestamp;
use ring::{digest, hmac};

/// The one that is sent, and signed.
pub(super) const CONTENT_TYPE: &str = "application/json";
const ALGORITHM: &str = "TC3-HMAC-SHA256";
/// The headers that are signed.
const SIGNED: &str = "content-type;host";

/// What is signed of a request.
pub(super) struct Request<'a> {
    pub(super) service: &'a str,
    pub(super) host: &'a str,
    pub(super) body: &'a str,
    pub(super) at: Timestamp,
}

/// The value of the header `Authorization`.
pub(super) fn authorization(id: &str, key: &str, request: &Request<'_>) -> String {
    let scope = scope(request);
    let signature = signature(key, request, CONTENT_TYPE);
    format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={SIGNED}, Signature={signature}")
}

/// Day by UTC, service, and a word that ends both.
fn scope(Request { service, at, .. }: &Request<'_>) -> String {
    format!("{}/{service}/tc3_request", at.strftime("%Y-%m-%d"))
}

fn signature(key: &str, request: &Request<'_>, content_type: &str) -> String {
    let scope = scope(request);
    let canonical = canonical(request, content_type);
    let text = format!("{ALGORITHM}\n{}\n{scope}\n{}", request.at.as_second(), sha256(&canonical));
    let start = format!("TC3{key}").into_bytes();
    // Day, service and word one after the other: each makes the key of the next.
    let key = scope.split('/').fold(start, |key, part| mac(&key, part));
    hex(&mac(&key, &text))
}

/// POST to `/` without a query.
fn canonical(Request { host, body, .. }: &Request<'_>, content_type: &str) -> String {
    format!("POST\n/\n\ncontent-type:{content_type}\nhost:{host}\n\n{SIGNED}\n{}", sha256(body))
}

fn sha256(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_vendors_own_example_comes_out() {
        let request = Request {
            service: "cvm",
            host: "cvm.tencentcloudapi.com",
            body: r#"{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}"#,
            at: at(1_551_113_065),
        };
        let content_type = "application/json; charset=utf-8";
        assert_eq!(
            sha256(&canonical(&request, content_type)),
            "5ffe6a04c0664d6b969fab9a13bdab201d63ee709638e2749d62a09ca18d7031"
        );
        assert_eq!(
            signature("Gu5t9xGARNpq86cd98joQYCN3*******", &request, content_type),
            "2230eefd229f582d8b1b891af7107b91597240707d778ab3738f756258d7652c"
        );
    }

    #[test]
    fn what_is_sent_is_signed_as_others_sign_it() {
        for (service, body, expected) in [
            (
                "clb",
                r#"{"LoadBalancerId":"lb-12345678"}"#,
                "866308a230c3d6ff8c240ad93ad1ac12e22d0a857de14cf24d863a7590fb7eb7",
            ),
            (
                "monitor",
                r#"{"Namespace":"QCE/LB_PUBLIC","MetricName":"ConNum"}"#,
                "bca239e25813d338291dd79b35972daafdf357f70e83ea853d419964a142d530",
            ),
        ] {
            let host = format!("{service}.tencentcloudapi.com");
            let request = Request { service, host: &host, body, at: at(1_700_000_000) };
            assert_eq!(
                authorization("AKIDEXAMPLE", "SECRETEXAMPLE", &request),
                format!(
                    "TC3-HMAC-SHA256 Credential=AKIDEXAMPLE/2023-11-14/{service}/tc3_request, SignedHeaders=content-type;host, Signature={expected}"
                )
            );
        }
    }
}
