//! Whether the API server serves our objects, before anything is watched.

use std::fmt::Debug;
use std::time::Duration;

use kube::api::ListParams;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::ready::{Gate, ReadyGate};
use super::telemetry::with_causes;

/// Between two questions; a CRD is served a second or two after it was applied.
const AGAIN: Duration = Duration::from_secs(2);

/// Waits until the objects of `api` can be listed, which is all that a watch needs: the CRD is
/// installed and we may read it. Meanwhile `/readyz` and the log say what is missing.
pub async fn wait<K>(api: Api<K>, ready: &ReadyGate)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let mut told = String::new();
    loop {
        let Err(error) = api.list_metadata(&ListParams::default().limit(1)).await else {
            ready.open(Gate::Crd);
            return;
        };
        let missing = what_is_missing(&error, &K::plural(&()), &K::group(&()));
        if missing != told {
            tracing::warn!("not ready: {missing}");
            told.clone_from(&missing);
        }
        ready.close(Gate::Crd, missing);
        tokio::time::sleep(AGAIN).await;
    }
}

fn what_is_missing(error: &kube::Error, plural: &str, group: &str) -> String {
    match error {
        kube::Error::Api(status) if status.is_not_found() => format!(
            "the CustomResourceDefinition {plural}.{group} is not installed: \
             `lossless-upgrade crd | kubectl apply --server-side -f -`"
        ),
        kube::Error::Api(status) if status.is_forbidden() => format!(
            "not allowed to list {plural}.{group}: {}. Apply the RBAC in deploy/, or give --namespace",
            status.message
        ),
        other => format!("{plural}.{group} cannot be listed: {}", with_causes(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn missing(reason: &str, code: u16) -> String {
        let error = kube::Error::Api(Box::new(Status::failure("the server said so", reason).with_code(code)));
        what_is_missing(&error, "losslessupgrades", "lossless-upgrade.io")
    }

    #[test]
    fn a_missing_crd_is_named_with_the_command_that_installs_it() {
        let text = missing("NotFound", 404);
        assert!(
            text.contains("losslessupgrades.lossless-upgrade.io") && text.contains("kubectl apply"),
            "{text}"
        );
    }

    #[test]
    fn a_missing_right_is_named_with_what_the_server_said() {
        let text = missing("Forbidden", 403);
        assert!(text.contains("RBAC") && text.contains("the server said so"), "{text}");
    }
}
