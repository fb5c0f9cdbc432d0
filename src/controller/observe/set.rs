//! The StatefulSet.

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt;

use crate::controller::error::Error;
use crate::controller::names::FENCE;
use crate::workflow::observed::SetView;
use crate::workflow::ordinals::Ordinal;

/// How much longer than the drain a drain counter lives: it also runs while the surge is proven.
pub const COUNTER_SPARE: Duration = Duration::from_hours(2);

/// The StatefulSet as the procedure sees it.
///
/// # Errors
/// It has no spec or no uid.
pub fn view(set: &StatefulSet) -> Result<SetView, Error> {
    let spec = set.spec.as_ref().ok_or(Error::Incomplete("the StatefulSet has no spec"))?;
    let status = set.status.as_ref();
    let generation = set.metadata.generation;
    // While the status lags the spec its update revision is that of the template before.
    let current = status.is_some_and(|status| status.observed_generation == generation);
    let pod = spec.template.spec.as_ref();
    let containers =
        pod.into_iter().flat_map(|pod| pod.containers.iter().chain(pod.init_containers.iter().flatten()));
    Ok(SetView {
        name: set.name_any(),
        uid: set.metadata.uid.clone().ok_or(Error::Incomplete("the StatefulSet has no uid"))?,
        replicas: count(spec.replicas.unwrap_or(1)),
        first: first(set),
        update_revision: status.filter(|_| current).and_then(|status| status.update_revision.clone()),
        on_delete: spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref())
            == Some("OnDelete"),
        ordered_ready: spec.pod_management_policy.as_deref() != Some("Parallel"),
        claims: spec.volume_claim_templates.as_ref().is_some_and(|claims| !claims.is_empty()),
        images: containers
            .filter_map(|container| Some((container.name.clone(), container.image.clone()?)))
            .collect(),
        deleting: set.metadata.deletion_timestamp.is_some(),
        fence: set.annotations().get(FENCE).cloned(),
    })
}

/// The ordinal of its first pod.
#[must_use]
pub fn first(set: &StatefulSet) -> Ordinal {
    set.spec.as_ref().and_then(|spec| spec.ordinals.as_ref()?.start).map_or(0, count)
}

fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or_default()
}
