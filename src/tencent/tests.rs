use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ::http::{Request, Response as HttpResponse};
use kube::client::Body;
use serde_json::json;

use super::testing::{ID, KEY, cloud, http, now, ok, refused, secret};
use super::*;
use crate::web::MOST_BYTES;
use crate::web::secret::SecretProblem;

/// A client of an API server with this Secret.
fn api_server(status: u16, body: Vec<u8>) -> Client {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, HttpResponse<Body>>();
    tokio::spawn(async move {
        while let Some((request, send)) = handle.next_request().await {
            assert_eq!(request.uri(), "/api/v1/namespaces/shop/secrets/tencent");
            send.send_response(
                HttpResponse::builder().status(status).body(Body::from(body.clone())).unwrap(),
            );
        }
    });
    Client::new(service, "default")
}

fn credentials() -> CredentialsSpec {
    CredentialsSpec { secret: "tencent".to_owned() }
}

async fn with(endpoint: &Endpoint, data: &[(&str, &str)]) -> Result<Api, Problem> {
    let client = api_server(200, secret(data));
    let mut api = Api::of(endpoint, "ap-guangzhou", &credentials(), client, "shop").await?;
    api.patience = Duration::from_secs(1);
    Ok(api)
}

async fn targets(endpoint: &Endpoint, data: &[(&str, &str)]) -> Result<clb::Listeners, Problem> {
    with(endpoint, data).await?.targets("lb-1", 80, now()).await
}

#[tokio::test]
async fn a_question_is_signed_and_says_what_when_where_and_of_which_version() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let endpoint = cloud({
        let seen = seen.clone();
        move |asked| {
            seen.lock().unwrap().push(asked);
            Some(ok(&json!({"Listeners": [], "RequestId": "r"})))
        }
    })
    .await;
    let lasting = [("secretId", ID), ("secretKey", KEY)];
    assert!(targets(&endpoint, &lasting).await.is_ok());
    let passing = [("secretId", "AKIDEXAMPLE\n"), ("secretKey", "SECRETEXAMPLE\r\n"), ("token", "t0ken")];
    assert!(
        targets(&endpoint, &passing).await.is_ok(),
        "line feeds at the end of files are no part of a key"
    );
    let seen = seen.lock().unwrap();
    for asked in seen.iter() {
        for (name, value) in [
            ("X-TC-Action", "DescribeTargets"),
            ("X-TC-Version", "2018-03-17"),
            ("X-TC-Region", "ap-guangzhou"),
            ("X-TC-Timestamp", "1795176000"),
            ("Content-Type", "application/json"),
            ("Connection", "close"),
        ] {
            assert_eq!(asked.header(name), Some(value), "{name}");
        }
        assert_eq!(asked.body, json!({"LoadBalancerId": "lb-1", "Port": 80}));
        assert!(!asked.head.contains(KEY), "the key stays here");
    }
    let tokens: Vec<_> = seen.iter().map(|asked| asked.header("X-TC-Token")).collect();
    assert_eq!(tokens, [None, Some("t0ken")]);
}

#[tokio::test]
async fn a_refusal_is_told_by_its_code_and_nothing_secret_is_in_it() {
    let data = [("secretId", ID), ("secretKey", KEY)];
    for (code, expected) in [
        ("RequestLimitExceeded", Code::Throttled),
        ("AuthFailure.UnauthorizedOperation", Code::Unauthorized),
        ("InvalidParameter.DimensionGroupError", Code::Dimensions),
        ("InternalError", Code::Theirs("InternalError".to_owned())),
    ] {
        let endpoint = cloud(move |_| Some(refused(code))).await;
        let problem = targets(&endpoint, &data).await.unwrap_err();
        assert_eq!(problem, Problem::Refused { action: Action::DescribeTargets, code: expected });
        let told = format!("{problem} {problem:?}");
        assert!(!told.contains(KEY) && !told.contains(ID), "{told}");
    }
    let endpoint = cloud(|_| Some(ok(&json!({"Listeners": []})))).await;
    let wrong = targets(&endpoint, &[("secretId", ID), ("secretKey", "another")]).await.unwrap_err();
    assert!(wrong.to_string().contains("AuthFailure.SignatureFailure: correct secretId"), "{wrong}");
}

#[tokio::test]
async fn silence_half_an_answer_and_another_server_are_problems_and_a_redirect_is_not_followed() {
    let data = [("secretId", ID), ("secretKey", KEY)];
    let asked = Arc::new(AtomicUsize::new(0));
    for (answer, said) in [
        (None, "no whole answer within 1 s"),
        (Some(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"Response\"".to_vec()), "cut off"),
        (Some(http("200 OK", "{\"Response\"")), "cut off"),
        (Some(http("200 OK", "<html>")), "not of the documented form"),
        (Some(http("200 OK", "{\"Response\":{\"Listeners\":0}}")), "not of the documented form"),
        (Some(http("200 OK", &" ".repeat(MOST_BYTES + 1))), "larger"),
        (Some(http("503 Busy", "")), "503"),
        (Some(http("302 Found\r\nLocation: http://127.0.0.1:1/", "")), "302"),
    ] {
        let asked = asked.clone();
        let endpoint = cloud(move |_| {
            asked.fetch_add(1, Ordering::Relaxed);
            answer.clone()
        })
        .await;
        let problem = targets(&endpoint, &data).await.unwrap_err().to_string();
        assert!(problem.contains(said), "{said}: {problem}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 8, "each was asked once");
    let nobody = Endpoint::parse("http://127.0.0.1:1").unwrap();
    assert!(matches!(targets(&nobody, &data).await, Err(Problem::NoAnswer { .. })));
}

#[tokio::test]
async fn a_secret_that_lacks_something_is_told_and_nobody_is_asked() {
    let nobody = Endpoint::parse("http://127.0.0.1:1").unwrap();
    for (data, said) in [
        (&[("secretId", ID)][..], "has no key `secretKey`"),
        (&[("secretKey", KEY)], "has no key `secretId`"),
        (&[("secretId", ID), ("secretKey", "a\nb")], "`secretKey` of the Secret tencent is not one line"),
        (&[("secretId", ID), ("secretKey", KEY), ("token", "")], "`token` of the Secret tencent is not"),
    ] {
        let problem = with(&nobody, data).await.err().unwrap().to_string();
        assert!(problem.contains(said) && problem.contains("correct"), "{problem}");
    }
    let status = json!({"kind": "Status", "apiVersion": "v1", "code": 403, "message": "no", "reason": "Forbidden", "status": "Failure"});
    let client = api_server(403, status.to_string().into());
    let problem = Api::of(&nobody, "ap-guangzhou", &credentials(), client, "shop").await.err().unwrap();
    assert_eq!(problem, Problem::Secret(SecretProblem::Forbidden { secret: "tencent".to_owned() }));
    assert!(problem.to_string().contains("deploy/secrets/rbac.yaml"));
}

#[test]
fn an_image_without_roots_trusts_those_that_are_built_in() {
    assert!(!roots().is_empty());
    assert!(webpki_roots::TLS_SERVER_ROOTS.len() > 50);
}
