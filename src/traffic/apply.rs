//! The one place where traffic is moved: the write of a lever's object.

use std::fmt::Debug;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Merges `change` into the metadata of an object, if it is still the object and the version that
/// `live` is. Returns it as the API server stored it: make the
/// [`WriteRecord`](super::WriteRecord) of it.
///
/// # Errors
/// Those of the API server. 409: the object changed; 422: it is another object of that name; for
/// both look again. 404: it is gone. No answer: the write may have been made, look again.
pub async fn write<K>(
    client: Client,
    namespace: &str,
    live: &K,
    mut change: Value,
    manager: &str,
) -> Result<K, kube::Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    change["uid"] = json!(live.meta().uid);
    change["resourceVersion"] = json!(live.meta().resource_version);
    let parameters = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
    let objects: Api<K> = Api::namespaced(client, namespace);
    let patch = Patch::Merge(json!({"metadata": change}));
    objects.patch(&live.name_any(), &parameters, &patch).await
}

/// Sets the annotation, or takes it away: null does that in a merge patch.
#[must_use]
pub fn annotate(key: &str, value: Option<&str>) -> Value {
    json!({"annotations": {key: value}})
}

/// Where in a second to write.
const LATE: SignedDuration = SignedDuration::from_millis(950);

/// The next instant late in a second, or now when it is late. The stamps that confirm a write have
/// seconds only, and those of its own second prove nothing: the later in it, the sooner it is over.
#[must_use]
pub fn best_write_moment(now: Timestamp) -> Timestamp {
    let into = SignedDuration::from_nanos(i64::from(now.subsec_nanosecond()));
    now.checked_add((LATE - into).max(SignedDuration::ZERO)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use axum::http::{Request, Response, StatusCode};
    use k8s_openapi::api::core::v1::Service;
    use kube::client::Body;

    use super::*;

    fn live() -> Service {
        let metadata = json!({"name": "web", "uid": "u-1", "resourceVersion": "7"});
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    #[test]
    fn the_best_moment_is_late_in_this_second_or_now() {
        for (now, best) in [("10", "10.95"), ("10.3", "10.95"), ("10.95", "10.95"), ("10.99", "10.99")] {
            let at = |second: &str| format!("2026-01-04T16:24:{second}Z").parse::<Timestamp>().unwrap();
            assert_eq!(best_write_moment(at(now)), at(best), "{now}");
        }
    }

    #[tokio::test]
    async fn a_write_names_object_version_and_manager_and_touches_one_annotation() {
        for (value, sent) in [(Some("new"), json!("new")), (None, Value::Null)] {
            let (service, handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
            let client = Client::new(service, "default");
            let server = async {
                let (request, respond) = pin!(handle).next_request().await.unwrap();
                let (head, body) = request.into_parts();
                assert_eq!(head.method, "PATCH");
                assert_eq!(head.uri.path(), "/api/v1/namespaces/shop/services/web");
                assert_eq!(head.uri.query(), Some("&fieldManager=lossless-upgrade"));
                assert_eq!(head.headers["content-type"], "application/merge-patch+json");
                let body: Value = serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap();
                let expected = json!({"metadata":
                    {"uid": "u-1", "resourceVersion": "7", "annotations": {"weights": sent}}});
                assert_eq!(body, expected);
                let answer = serde_json::to_vec(&live()).unwrap();
                respond.send_response(Response::new(Body::from(answer)));
            };
            let live = live();
            let write = write(client, "shop", &live, annotate("weights", value), "lossless-upgrade");
            let (answer, ()) = tokio::join!(write, server);
            assert_eq!(answer.unwrap().metadata.resource_version.as_deref(), Some("7"));
        }
    }

    #[tokio::test]
    async fn a_stale_version_is_the_callers_to_look_again() {
        let (service, handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let client = Client::new(service, "default");
        let server = async {
            let (_, respond) = pin!(handle).next_request().await.unwrap();
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "the object has been modified", "reason": "Conflict", "code": 409});
            let mut answer = Response::new(Body::from(serde_json::to_vec(&status).unwrap()));
            *answer.status_mut() = StatusCode::CONFLICT;
            respond.send_response(answer);
        };
        let live = live();
        let (answer, ()) =
            tokio::join!(write(client, "shop", &live, annotate("weights", None), "me"), server);
        assert!(matches!(answer, Err(kube::Error::Api(status)) if status.code == 409));
    }
}
