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

use kube::CustomResourceExt;

pub use spec::{LosslessUpgrade, LosslessUpgradeSpec};
pub use status::LosslessUpgradeStatus;

/// The CRD as YAML: what `crds/` holds and `lossless-upgrade crd` prints.
///
/// # Errors
/// Only when the schema cannot be written as YAML, which a test rules out.
pub fn crd_yaml() -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(&LosslessUpgrade::crd())
}
