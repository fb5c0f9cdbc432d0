//! Whether the cluster is new enough for a lever.

use crate::traffic::{Lever, Problem, Warning};

/// Asks the API server for its version, where the lever depends on it: no other run costs a request more. Whoever is
/// logged in may read it (`system:public-info-viewer`); where it is not told, that is no proof against the lever.
pub async fn check(client: &kube::Client, lever: &dyn Lever) -> Result<Option<Warning>, Problem> {
    let Some(judge) = lever.by_version() else { return Ok(None) };
    let version = match client.apiserver_version().await {
        Ok(info) => info.git_version,
        Err(error) => format!("which it does not tell ({error})"),
    };
    judge(&version)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::traffic;

    /// What is said of the lever in a cluster that answers with this, and how often it was asked.
    async fn told(lever: Value, answer: Value) -> (Result<Option<Warning>, Problem>, Vec<String>) {
        let (service, mut handle) =
            tower_test::mock::pair::<http::Request<kube::client::Body>, http::Response<kube::client::Body>>();
        let client = kube::Client::new(service, "shop");
        let server = tokio::spawn(async move {
            let mut asked = Vec::new();
            while let Some((request, send)) = handle.next_request().await {
                asked.push(request.uri().path().to_owned());
                let status = if answer["code"] == 403 { 403 } else { 200 };
                let body = kube::client::Body::from(answer.to_string().into_bytes());
                send.send_response(http::Response::builder().status(status).body(body).unwrap());
            }
            asked
        });
        let lever = traffic::lever(&serde_json::from_value(lever).unwrap()).unwrap();
        let told = check(&client, lever.as_ref()).await;
        drop(client);
        (told, server.await.unwrap())
    }

    fn version(git: &str) -> Value {
        json!({
            "major": "1", "minor": "29", "gitVersion": git, "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "", "goVersion": "", "compiler": "gc", "platform": "linux/amd64",
        })
    }

    #[tokio::test]
    async fn a_cluster_that_is_too_old_for_a_lever_is_refused_and_one_that_does_not_tell_is_warned_of() {
        let huawei = || json!({"cceService": {}});
        let asked = vec!["/version".to_owned()];
        assert_eq!(told(huawei(), version("v1.29.15-r60-29.0.62")).await, (Ok(None), asked.clone()));
        let (old, _) = told(huawei(), version("v1.27.3-r0-27.0.10")).await;
        assert!(
            matches!(&old, Err(Problem::ReleaseTooOld { found, .. }) if found == "v1.27.3-r0-27.0.10"),
            "{old:?}"
        );
        let (other, _) = told(huawei(), version("v1.34.4")).await;
        assert!(matches!(&other, Ok(Some(Warning::ReleaseUnknown { .. }))), "{other:?}");
        let forbidden = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "no", "reason": "Forbidden", "code": 403});
        let (refused, _) = told(huawei(), forbidden).await;
        let Ok(Some(warning)) = refused else { panic!("{refused:?}") };
        assert!(warning.to_string().contains("which it does not tell"), "{warning}");
    }

    #[tokio::test]
    async fn no_other_lever_asks_for_the_version() {
        for lever in [
            json!({"tkeService": {}}),
            json!({"tkePod": {}}),
            json!({"podLabel": {"key": "x"}}),
            json!({"none": {}}),
        ] {
            assert_eq!(told(lever, version("v1.27.3-r0-27.0.10")).await, (Ok(None), Vec::new()));
        }
    }
}
