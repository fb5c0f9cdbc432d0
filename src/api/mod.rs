//! What users write and read: the kind `LosslessUpgrade`. No logic but conversions.
//!
//! | file | what is in it |
//! |---|---|
//! | `spec.rs` | what users write |
//! | `status.rs` | what they read, and all that the operator remembers |
//! | `plan.rs` | spec to `workflow::plan` |
//! | `record.rs` | status to `workflow::state` and back |
//! | `schema.rs` | how our own types look to the API server |

pub mod plan;
pub mod record;
pub mod schema;
pub mod spec;
pub mod status;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSON;
use kube::CustomResourceExt;
use serde_json::json;

pub use spec::{LosslessUpgrade, LosslessUpgradeSpec};
pub use status::LosslessUpgradeStatus;

/// The CRD as YAML: what `crds/` holds and `lossless-upgrade crd` prints.
///
/// # Errors
/// Only when the schema cannot be written as YAML, which a test rules out.
pub fn crd_yaml() -> Result<String, serde_saphyr::ser::Error> {
    let mut crd = LosslessUpgrade::crd();
    let schemas = crd.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut());
    for schema in schemas.filter_map(|schema| schema.open_api_v3_schema.as_mut()) {
        if let Some(status) = schema.properties.as_mut().and_then(|all| all.get_mut("status")) {
            // No generation is seen yet: else kstatus takes a new object for one that is current.
            status.default = Some(JSON(json!({"observedGeneration": -1})));
        }
    }
    serde_saphyr::to_string(&crd)
}
