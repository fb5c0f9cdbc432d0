//! Whom the operator believes, and how it shows who it is.

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;

use super::*;
use crate::drain::contract::answer;

fn secret(data: &Value) -> Vec<u8> {
    let encoded: BTreeMap<_, _> = data
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, text)| (key, k8s_openapi::ByteString(text.as_str().unwrap().into())))
        .collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "p"}, "data": encoded})
        .to_string()
        .into()
}

/// A Prometheus that answers who shows this.
async fn guarded(shown: &'static str) -> u16 {
    let good = counts(2, 10);
    server(move |asked| {
        let header = format!("authorization: {shown}\r\n");
        if asked.head.contains(&header) { good(asked) } else { Some(http("401 Unauthorized", "", "")) }
    })
    .await
}

#[tokio::test]
async fn the_operator_shows_who_it_is_by_a_secret_of_the_objects_namespace() {
    let secrets = |data: Value| {
        api(move |request| {
            assert_eq!(request.uri(), "/api/v1/namespaces/shop/secrets/p");
            answer(200, secret(&data))
        })
    };
    let bearer = json!({"auth": {"bearer": {"secret": "p", "key": "token"}}});
    let read = probe(guarded("Bearer t0ken").await, &bearer, secrets(json!({"token": "t0ken\n"})));
    assert_eq!(reading(&read).await, count(2));
    let basic = json!({"auth": {"basic": {"secret": "p"}}});
    let client = secrets(json!({"username": "me", "password": "pass"}));
    let read = probe(guarded("Basic bWU6cGFzcw==").await, &basic, client);
    assert_eq!(reading(&read).await, count(2));
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_makes_every_reading_unknown_and_is_not_in_the_reason() {
    let bearer = json!({"auth": {"bearer": {"secret": "p", "key": "token"}}});
    for (status, data, said) in [
        (200, json!({"other": "s3cret"}), "has no key `token`"),
        (200, json!({"token": "s3cret\ns3cret"}), "not one line"),
        (200, json!({"token": ""}), "not one line"),
        (403, json!({}), "deploy/secrets"),
        (404, json!({}), "there is no Secret p"),
        (500, json!({}), "was not read"),
    ] {
        let client = api(move |_| {
            match status {
            200 => answer(200, secret(&data)),
            code => {
                answer(code, json!({"kind": "Status", "apiVersion": "v1", "code": code, "message": "no", "reason": "no", "status": "Failure"}).to_string())
            }
        }
        });
        let why = why(reading(&probe(guarded("x").await, &bearer, client)).await);
        assert!(why.contains(said) && !why.contains("s3cret"), "{status}: {why}");
    }
}

#[tokio::test]
async fn a_token_that_was_renewed_is_read_again() {
    let turn = Arc::new(AtomicUsize::new(0));
    let client = api(move |_| {
        let token = ["old", "new"][turn.fetch_add(1, Ordering::Relaxed)];
        answer(200, secret(&json!({"token": token})))
    });
    let bearer = json!({"auth": {"bearer": {"secret": "p", "key": "token"}}});
    let probe = probe(guarded("Bearer new").await, &bearer, client);
    let mut reader = probe.since(&pod(), None);
    assert!(why(reader.read().await).contains("401"));
    assert_eq!(reader.read().await, count(2));
    assert_eq!(reader.read().await, count(2), "and kept");
}

/// A certificate for the loopback address, and who serves with it.
fn certificate() -> (String, TlsAcceptor) {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    (certificate.pem(), TlsAcceptor::from(Arc::new(server)))
}

#[tokio::test]
async fn over_tls_only_who_is_vouched_for_is_believed() {
    let (pem, tls) = certificate();
    let port = secure(Some(tls), counts(4, 10)).await;
    let address = format!("https://127.0.0.1:{port}");
    let trusting = |pem: String| {
        let client = api(move |_| answer(200, secret(&json!({"ca.crt": pem}))));
        made(&json!({"address": address, "ca": {"secret": "p", "key": "ca.crt"}}), client, &address)
    };
    assert_eq!(reading(&trusting(pem.clone())).await, count(4));
    assert!(why(reading(&trusting(certificate().0)).await).contains("does not answer"));
    for text in ["", "none", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(why(reading(&trusting(text.to_owned())).await).contains("no certificates"), "{text}");
    }
    let half = format!("{pem}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert!(why(reading(&trusting(half)).await).contains("no certificates"));
    let unknown = made(&json!({"address": address}), api(|_| None), &address);
    assert!(!why(reading(&unknown).await).is_empty(), "the system vouches for nobody here");
}
