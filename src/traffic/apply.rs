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
    use k8s_openapi::api::core::v1::{Pod, Service};
    use kube::client::Body;

    use super::*;

    /// What a lever writes.
    trait Written:
        Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned
    {
    }
    impl Written for Service {}
    impl Written for Pod {}

    fn live<K: Written>() -> K {
        let metadata = json!({"name": "web", "uid": "u-1", "resourceVersion": "7"});
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    /// What comes of one write, and the request that was made for it.
    async fn answered<K: Written>(
        change: Value,
        code: u16,
        answer: &Value,
    ) -> (Result<K, kube::Error>, Request<Body>) {
        let (service, handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let client = Client::new(service, "default");
        let server = async {
            let mut handle = pin!(handle);
            let (request, respond) = handle.next_request().await.unwrap();
            let mut response = Response::new(Body::from(serde_json::to_vec(answer).unwrap()));
            *response.status_mut() = StatusCode::from_u16(code).unwrap();
            respond.send_response(response);
            assert!(handle.next_request().await.is_none(), "one write is one request");
            request
        };
        let write = async move { write(client, "shop", &live::<K>(), change, "lossless-upgrade").await };
        tokio::join!(write, server)
    }

    #[test]
    fn the_best_moment_is_late_in_this_second_or_now() {
        for (now, best) in [("10", "10.95"), ("10.3", "10.95"), ("10.95", "10.95"), ("10.99", "10.99")] {
            let at = |second: &str| format!("2026-01-04T16:24:{second}Z").parse::<Timestamp>().unwrap();
            assert_eq!(best_write_moment(at(now)), at(best), "{now}");
        }
    }

    async fn names_object_version_and_manager<K: Written>(plural: &str, change: Value) {
        let stored = json!({"metadata": {"name": "web", "uid": "u-1", "resourceVersion": "8"}});
        let (written, request) = answered::<K>(change.clone(), 200, &stored).await;
        assert_eq!(written.unwrap().meta().resource_version.as_deref(), Some("8"), "as it was stored");
        let (head, body) = request.into_parts();
        assert_eq!(head.method, "PATCH");
        assert_eq!(head.uri.path(), format!("/api/v1/namespaces/shop/{plural}/web"));
        assert_eq!(head.uri.query(), Some("&fieldManager=lossless-upgrade"));
        assert_eq!(head.headers["content-type"], "application/merge-patch+json");
        let body: Value = serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap();
        let mut expected = change;
        (expected["uid"], expected["resourceVersion"]) = (json!("u-1"), json!("7"));
        assert_eq!(body, json!({"metadata": expected}));
    }

    #[tokio::test]
    async fn a_write_names_object_version_and_manager_and_touches_nothing_but_what_is_to_change() {
        for value in [Some("new"), None] {
            names_object_version_and_manager::<Service>("services", annotate("weights", value)).await;
            names_object_version_and_manager::<Pod>("pods", annotate("weight", value)).await;
            names_object_version_and_manager::<Pod>("pods", json!({"labels": {"serving": value}})).await;
        }
    }

    #[test]
    fn what_is_taken_away_is_null_in_the_patch() {
        assert_eq!(annotate("weights", Some("new")), json!({"annotations": {"weights": "new"}}));
        assert_eq!(annotate("weights", None), json!({"annotations": {"weights": null}}));
    }

    async fn refused<K: Written>(code: u16, reason: &str) {
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "no", "reason": reason, "code": code});
        let (answer, _) = answered::<K>(annotate("weights", None), code, &status).await;
        assert!(matches!(answer, Err(kube::Error::Api(status)) if status.code == code), "{code}");
    }

    #[tokio::test]
    async fn who_changed_went_or_is_another_one_is_the_callers_to_look_at_again() {
        for (code, reason) in [(409, "Conflict"), (404, "NotFound"), (422, "Invalid")] {
            refused::<Service>(code, reason).await;
            refused::<Pod>(code, reason).await;
        }
    }
}
