//! The signature `TC3-HMAC-SHA256` as the one who is asked checks it, by the words of the document
//! (<https://www.tencentcloud.com/document/api/214/30639>): the lab does not know how an operator signs.

use std::{fmt::Write as _, time::Duration};

use http::HeaderMap;
use jiff::Timestamp;
use ring::{digest, hmac};

use super::text;

const ALGORITHM: &str = "TC3-HMAC-SHA256";
const SIGNED: &str = "content-type;host";
/// A signature is good for so long before and after.
const LIFE: Duration = Duration::from_mins(5);

/// Who may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// `SecretId`, which is sent.
    pub id: String,
    /// `SecretKey`, which is not.
    pub key: String,
}

/// Whether this account has signed this question to one of the cloud's services, a `POST` to `/`; else the code of the
/// refusal.
pub(super) fn check(
    account: &Account,
    service: &str,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<(), &'static str> {
    let seconds = text(headers, "x-tc-timestamp");
    let at = seconds.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    let at = at.ok_or("AuthFailure.SignatureFailure")?;
    if now.duration_since(at).unsigned_abs() > LIFE {
        return Err("AuthFailure.SignatureExpire");
    }
    let day = at.strftime("%Y-%m-%d").to_string();
    let scope = format!("{day}/{service}/tc3_request");
    let credential =
        format!("{ALGORITHM} Credential={}/{scope}, SignedHeaders={SIGNED}, Signature=", account.id);
    let given = text(headers, "authorization").strip_prefix(&credential);
    let given = given.ok_or("AuthFailure.SecretIdNotFound")?;
    let (kind, host) = (text(headers, "content-type"), text(headers, "host"));
    let request = format!("POST\n/\n\ncontent-type:{kind}\nhost:{host}\n\n{SIGNED}\n{}", sha256(body));
    let signed = format!("{ALGORITHM}\n{seconds}\n{scope}\n{}", sha256(request.as_bytes()));
    // Each makes the key of the next.
    let of_day = mac(format!("TC3{}", account.key).as_bytes(), &day);
    let of_service = mac(&of_day, service);
    let of_request = mac(&of_service, "tc3_request");
    if given == hex(&mac(&of_request, &signed)) { Ok(()) } else { Err("AuthFailure.SignatureFailure") }
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _never_fails = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const AT: i64 = 1_700_000_000;
    const BODY: &[u8] = br#"{"LoadBalancerId":"lb-12345678"}"#;
    /// By a program that is neither the lab's nor the operator's.
    const SIGNATURE: &str = "866308a230c3d6ff8c240ad93ad1ac12e22d0a857de14cf24d863a7590fb7eb7";

    fn check_at(second: i64, service: &str, id: &str, key: &str, body: &[u8]) -> Result<(), &'static str> {
        let authorization = format!(
            "{ALGORITHM} Credential=AKIDEXAMPLE/2023-11-14/clb/tc3_request, SignedHeaders={SIGNED}, Signature={SIGNATURE}"
        );
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "clb.tencentcloudapi.com"),
            ("content-type", "application/json"),
            ("x-tc-timestamp", "1700000000"),
            ("authorization", authorization.as_str()),
        ] {
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        let account = Account { id: id.to_owned(), key: key.to_owned() };
        check(&account, service, &headers, body, Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn what_others_have_signed_is_accepted_for_five_minutes() {
        for second in [AT - 300, AT, AT + 300] {
            assert_eq!(check_at(second, "clb", "AKIDEXAMPLE", "SECRETEXAMPLE", BODY), Ok(()));
        }
        for second in [AT - 301, AT + 301] {
            let refused = check_at(second, "clb", "AKIDEXAMPLE", "SECRETEXAMPLE", BODY);
            assert_eq!(refused, Err("AuthFailure.SignatureExpire"));
        }
    }

    #[test]
    fn another_key_id_service_or_question_is_refused() {
        let refused = check_at(AT, "clb", "AKIDEXAMPLE", "ANOTHER", BODY);
        assert_eq!(refused, Err("AuthFailure.SignatureFailure"));
        let refused = check_at(AT, "clb", "AKIDEXAMPLE", "SECRETEXAMPLE", b"{}");
        assert_eq!(refused, Err("AuthFailure.SignatureFailure"));
        let refused = check_at(AT, "clb", "ANOTHER", "SECRETEXAMPLE", BODY);
        assert_eq!(refused, Err("AuthFailure.SecretIdNotFound"));
        assert!(check_at(AT, "monitor", "AKIDEXAMPLE", "SECRETEXAMPLE", BODY).is_err());
    }
}
