//! What everything that asks over HTTP has in common: a client that goes nowhere but where it is sent, an answer that is
//! whole, a clock that is ours, and Secrets (`secret`).

pub(crate) mod secret;

use std::sync::Arc;
use std::time::Duration;

use ::http::header::DATE;
use ::http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

/// Who does not take the connection within this time is not there.
const CONNECT: Duration = Duration::from_secs(2);
/// A reading takes no longer, all in all.
pub(crate) const TOTAL: Duration = Duration::from_secs(5);
/// More than any status page; Prometheus pages of a few thousand series fit.
pub(crate) const MOST_BYTES: usize = 1024 * 1024;
/// How far the clocks of the operator and of who answers may be apart. What is compared between them is compared with so
/// much to spare.
pub(crate) const CLOCKS: Duration = Duration::from_secs(5);

/// A client that trusts these roots for `https`, follows no redirect, heeds no proxy and keeps no connection.
///
/// # Errors
/// TLS cannot be set up.
pub(crate) fn client(roots: RootCertStore) -> Result<reqwest::Client, String> {
    // The provider is named here, so that it does not matter what the process has installed.
    let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|problem| format!("no TLS: {problem}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(CONNECT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .pool_max_idle_per_host(0)
        .build()
        .map_err(|problem| format!("no HTTP client: {}", reason(&problem)))
}

/// The roots of the system that the operator runs on; none where it has none.
pub(crate) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// That the clock of who answers is ours: without it, nobody can say whether something is from before or after
/// something else.
pub(crate) fn same_time(headers: &HeaderMap, now: Timestamp) -> Result<(), String> {
    let theirs = headers.get(DATE).and_then(|date| date.to_str().ok());
    let theirs = theirs.and_then(|date| rfc2822::DateTimeParser::new().parse_timestamp(date).ok());
    let theirs = theirs.ok_or("the answer has no Date, so that its age cannot be told")?;
    let apart = now.duration_since(theirs).unsigned_abs();
    // The header has whole seconds.
    if apart <= CLOCKS + Duration::from_secs(1) {
        Ok(())
    } else {
        Err(format!(
            "its clock and the operator's are {} s apart, so that the age of a sample cannot be told",
            apart.as_secs()
        ))
    }
}

/// The innermost reason: the outer ones only say that a request failed.
pub(crate) fn reason(problem: &dyn std::error::Error) -> String {
    let mut innermost = problem;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// The whole body of a good answer.
///
/// # Errors
/// The status is not 200, or the body is too large or cut off.
pub(crate) async fn whole<B>(answer: Response<B>) -> Result<Vec<u8>, String>
where
    B: BodyExt,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if answer.status() != StatusCode::OK {
        return Err(format!("the answer is {}, not 200", answer.status()));
    }
    let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await.map_err(|problem| {
        if problem.is::<LengthLimitError>() {
            format!("the body is larger than {MOST_BYTES} bytes")
        } else {
            format!("the body is cut off: {}", reason(problem.as_ref()))
        }
    })?;
    Ok(body.to_bytes().to_vec())
}
