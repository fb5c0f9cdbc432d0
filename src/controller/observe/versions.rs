//! Whether the cluster is new enough for a lever.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;

use crate::traffic::{ByVersion, Lever, Problem, VersionOf, Warning};

/// Reads the versions that the lever depends on, and has it judge them: no other run costs a request more.
///
/// # Errors
/// A version that is too old. One that is not told is no proof against the lever, and a warning.
pub async fn check(client: &kube::Client, lever: &dyn Lever) -> Result<Vec<Warning>, Vec<Problem>> {
    let (mut warnings, mut problems) = (Vec::new(), Vec::new());
    for ByVersion { of, judge } in lever.by_version() {
        let told = tell(client, of).await;
        match judge(told.as_deref().map_err(String::as_str)) {
            Ok(warning) => warnings.extend(warning),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(warnings) } else { Err(problems) }
}

/// The text of a version, or why there is none. The API server's own may be read by whoever is logged in
/// (`system:public-info-viewer`); a `ConfigMap` only by who was given the right.
async fn tell(client: &kube::Client, of: VersionOf) -> Result<String, String> {
    match of {
        VersionOf::ApiServer => {
            client.apiserver_version().await.map(|info| info.git_version).map_err(|error| error.to_string())
        }
        VersionOf::ConfigMap { namespace, name, key, right } => {
            let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
            match api.get(name).await {
                Ok(found) => {
                    let version = found.data.and_then(|mut data| data.remove(key));
                    version.ok_or_else(|| format!("ConfigMap {name} in {namespace} has no {key}"))
                }
                Err(kube::Error::Api(status)) if status.is_forbidden() => Err(format!(
                    "the right to read ConfigMap {name} in {namespace} is missing ({right} gives it to the operator)"
                )),
                Err(kube::Error::Api(status)) if status.is_not_found() => {
                    Err(format!("there is no ConfigMap {name} in {namespace}"))
                }
                Err(error) => Err(error.to_string()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::traffic;

    const OF_SERVICES: &str = "/api/v1/namespaces/kube-system/configmaps/tke-service-controller-config";
    const OF_INGRESSES: &str = "/api/v1/namespaces/kube-system/configmaps/tke-ingress-controller-config";

    type Judged = Result<Vec<Warning>, Vec<Problem>>;

    /// What is said of the lever in a cluster that answers so to each path, and what it was asked for.
    async fn told(lever: Value, answer: impl Fn(&str) -> Value + Send + 'static) -> (Judged, Vec<String>) {
        let (service, mut handle) =
            tower_test::mock::pair::<http::Request<kube::client::Body>, http::Response<kube::client::Body>>();
        let client = kube::Client::new(service, "shop");
        let server = tokio::spawn(async move {
            let mut asked = Vec::new();
            while let Some((request, send)) = handle.next_request().await {
                let path = request.uri().path().to_owned();
                let answer = answer(&path);
                asked.push(path);
                let status = answer["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(200);
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

    fn config(data: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": data})
    }

    fn refusal(code: u16, reason: &str) -> Value {
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "no", "reason": reason, "code": code})
    }

    /// The one warning of a lever that is let through.
    fn warning(told: &Judged) -> String {
        match told.as_deref() {
            Ok([warning]) => warning.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_cluster_that_is_too_old_for_a_lever_is_refused_and_one_that_does_not_tell_is_warned_of() {
        let huawei = || json!({"cceService": {}});
        let asked = vec!["/version".to_owned()];
        assert_eq!(told(huawei(), |_| version("v1.29.15-r60-29.0.62")).await, (Ok(Vec::new()), asked));
        let (old, _) = told(huawei(), |_| version("v1.27.3-r0-27.0.10")).await;
        assert!(
            matches!(old.as_ref().map_err(Vec::as_slice),
                Err([Problem::ReleaseTooOld { found, .. }]) if found == "v1.27.3-r0-27.0.10"),
            "{old:?}"
        );
        let (other, _) = told(huawei(), |_| version("v1.34.4")).await;
        assert!(warning(&other).contains("names no release of Huawei CCE"));
        let (refused, _) = told(huawei(), |_| refusal(403, "Forbidden")).await;
        assert!(warning(&refused).contains("which it does not tell"));
    }

    #[tokio::test]
    async fn a_controller_of_tke_that_is_too_old_is_refused_and_one_that_is_new_enough_needs_no_word() {
        let pods = || json!({"tkePod": {}});
        let asked = vec![OF_SERVICES.to_owned()];
        let new = told(pods(), |_| config(&json!({"VERSION": "v2.4.0"}))).await;
        assert_eq!(new, (Ok(Vec::new()), asked));
        let (old, _) = told(pods(), |_| config(&json!({"VERSION": "v2.3.9"}))).await;
        let problems = old.unwrap_err();
        let [problem] = problems.as_slice() else { panic!("{problems:?}") };
        let expected = "TKE's Service controller is v2.3.9, by ConfigMap tke-service-controller-config in kube-system, and reads the annotation service.cloud.tencent.com/custom-weight from v2.4.0 on. Upgrade it";
        assert!(problem.to_string().starts_with(expected), "{problem}");
    }

    #[tokio::test]
    async fn what_an_ingress_needs_is_asked_only_where_a_service_is_behind_one() {
        let behind = || json!({"tkePod": {"ingressServices": ["web"], "confirmAfter": "5s"}});
        let both = vec![OF_SERVICES.to_owned(), OF_INGRESSES.to_owned()];
        let versions = |ingress: &'static str| {
            move |path: &str| {
                config(&json!({"VERSION": if path == OF_INGRESSES { ingress } else { "v2.4.0" }}))
            }
        };
        assert_eq!(told(behind(), versions("v2.6.0")).await, (Ok(Vec::new()), both.clone()));
        let (old, asked) = told(behind(), versions("v2.5.0")).await;
        assert!(
            matches!(
                old.as_ref().map_err(Vec::as_slice),
                Err([Problem::ControllerTooOld { controller: "Ingress", .. }])
            ),
            "{old:?}"
        );
        assert_eq!(asked, both);
        let half = |path: &str| {
            if path == OF_INGRESSES {
                refusal(404, "NotFound")
            } else {
                config(&json!({"VERSION": "v2.3.9"}))
            }
        };
        let (old, _) = told(behind(), half).await;
        assert_eq!(old.map_err(|problems| problems.len()), Err(1), "what is not known does not hide what is");
    }

    #[tokio::test]
    async fn what_a_controller_of_tke_does_not_tell_is_no_proof_against_it_and_a_warning_that_says_why() {
        for (answer, why) in [
            (
                refusal(403, "Forbidden"),
                "the right to read ConfigMap tke-service-controller-config in kube-system is missing (deploy/tke/rbac.yaml gives",
            ),
            (refusal(404, "NotFound"), "there is no ConfigMap tke-service-controller-config in kube-system"),
            (refusal(500, "InternalError"), "InternalError"),
            (json!("no object"), ""),
            (
                config(&json!({"version": "v1.0.0"})),
                "ConfigMap tke-service-controller-config in kube-system has no VERSION",
            ),
            (config(&Value::Null), "has no VERSION"),
            (config(&json!({"VERSION": "latest"})), "`latest` is none"),
        ] {
            let (told, _) = told(json!({"tkePod": {}}), move |_| answer.clone()).await;
            let warning = warning(&told);
            for said in [why, "from v2.4.0 on", "Look yourself: kubectl -n kube-system get configmap"] {
                assert!(warning.contains(said), "{said} in {warning}");
            }
        }
    }

    #[tokio::test]
    async fn no_other_lever_asks_for_a_version() {
        for lever in [json!({"tkeService": {}}), json!({"podLabel": {"key": "x"}}), json!({"none": {}})] {
            let told = told(lever, |_| version("v1.27.3-r0-27.0.10")).await;
            assert_eq!(told, (Ok(Vec::new()), Vec::new()));
        }
    }
}
