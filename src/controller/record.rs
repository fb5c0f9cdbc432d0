//! The status, written before anything else. Only who has written it may act.

use kube::Api;
use kube::api::PostParams;

use super::error::Error;
use super::names::MANAGER;
use crate::api::LosslessUpgrade;

/// Proof that the state which orders an effect is in the object's status, at the object's newest
/// version: the write was refused otherwise. So neither an old process nor an old look can act.
#[derive(Debug)]
pub struct Recorded(());

/// Writes the status of `object`, also when nothing in it changed: then the API server stores
/// nothing and still refuses an old version.
///
/// # Errors
/// 409 when the object changed since it was read: look again.
pub async fn record(api: &Api<LosslessUpgrade>, object: &LosslessUpgrade) -> Result<Recorded, Error> {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    api.replace_status(name, &parameters, object).await.map_err(Error::api("writing the status"))?;
    Ok(Recorded(()))
}
