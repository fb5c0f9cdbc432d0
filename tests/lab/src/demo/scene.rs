//! What there is to see at one moment.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::act::{Act, NEW, UPGRADE_NAME};
use crate::{
    balancer::Backend,
    oracle::LossReport,
    scenario::{Deployed, ScenarioError},
    watcher::is_ready,
};

/// The label by which a `StatefulSet` says which revision a pod is of.
const REVISION: &str = "controller-revision-hash";

/// One moment of an act.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scene {
    pub(super) act: Act,
    pub(super) elapsed: Duration,
    pub(super) pods: Vec<Cell>,
    pub(super) updated: usize,
    pub(super) wanted: usize,
    /// Who acts, or at which point of its procedure the operator is.
    pub(super) phase: String,
    pub(super) message: String,
    pub(super) report: LossReport,
}

/// One pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) ordinal: usize,
    /// Tag of its image.
    pub(super) version: String,
    /// Hash of its revision, as in the name of a `ControllerRevision`.
    pub(super) revision: String,
    pub(super) is_new: bool,
    pub(super) life: Life,
    pub(super) traffic: Traffic,
    pub(super) connections: u64,
}

/// How far a pod is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Starting,
    Ready,
    Ending,
    /// The old one went, and the new one is not there yet.
    Gone,
}

/// What the load balancer sends to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Traffic {
    /// New connections.
    Attached,
    /// No new connections; what is open goes on.
    Detached,
    /// It does not know the pod.
    Unknown,
}

/// Looks at everything once.
pub(super) async fn look(
    act: Act,
    app: &Deployed<'_>,
    report: LossReport,
    elapsed: Duration,
) -> Result<Scene, ScenarioError> {
    let (pods, backends) = tokio::join!(app.pods(), app.backends());
    let wanted = usize::from(app.app().replicas);
    let pods = with_gaps(pods?.iter().map(|pod| cell(pod, &backends)).collect(), wanted);
    let updated = pods.iter().filter(|cell| cell.is_new && cell.life == Life::Ready).count().min(wanted);
    let scene = Scene {
        act,
        elapsed,
        pods,
        updated,
        wanted,
        phase: "StatefulSet controller".to_owned(),
        message: format!("{updated} of {wanted} pods are updated and ready"),
        report,
    };
    match act {
        Act::RollingUpdate | Act::UsualAdvice => Ok(scene),
        Act::LosslessUpgrade => {
            let upgrade = app.upgrade(UPGRADE_NAME).await?;
            let updated = upgrade.updated_replicas.min(wanted);
            Ok(Scene { updated, phase: upgrade.phase, message: upgrade.message, ..scene })
        }
    }
}

fn cell(pod: &Pod, backends: &[Backend]) -> Cell {
    let uid = pod.uid().unwrap_or_default();
    let mine = || backends.iter().filter(|backend| backend.uid == uid);
    let image = pod.spec.iter().flat_map(|spec| &spec.containers).find_map(|c| c.image.as_deref());
    let version = image.and_then(|image| image.rsplit_once(':')).map_or("?", |(_, tag)| tag);
    let hash = pod.labels().get(REVISION).and_then(|name| name.rsplit('-').next());
    Cell {
        ordinal: pod.name_any().rsplit('-').next().and_then(|text| text.parse().ok()).unwrap_or_default(),
        version: version.to_owned(),
        revision: hash.unwrap_or_default().to_owned(),
        is_new: version == NEW,
        life: match (pod.metadata.deletion_timestamp.is_some(), is_ready(pod)) {
            (true, _) => Life::Ending,
            (false, true) => Life::Ready,
            (false, false) => Life::Starting,
        },
        traffic: match mine().map(|backend| backend.weight).max() {
            None => Traffic::Unknown,
            Some(0) => Traffic::Detached,
            Some(_) => Traffic::Attached,
        },
        connections: mine().map(|backend| backend.sessions).sum(),
    }
}

/// In order, with a place kept for a pod that is gone until it comes back.
fn with_gaps(mut cells: Vec<Cell>, wanted: usize) -> Vec<Cell> {
    let gone: Vec<_> =
        (0..wanted).filter(|ordinal| cells.iter().all(|cell| cell.ordinal != *ordinal)).collect();
    cells.extend(gone.into_iter().map(|ordinal| Cell {
        ordinal,
        version: String::new(),
        revision: String::new(),
        is_new: false,
        life: Life::Gone,
        traffic: Traffic::Unknown,
        connections: 0,
    }));
    cells.sort_by_key(|cell| cell.ordinal);
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_is_gone_keeps_its_place() {
        let of = |ordinal| Cell { ordinal, life: Life::Ready, ..with_gaps(Vec::new(), 1).remove(0) };
        let cells = with_gaps(vec![of(0), of(10), of(2)], 3);
        let seen: Vec<_> = cells.iter().map(|cell| (cell.ordinal, cell.life)).collect();
        assert_eq!(seen, [(0, Life::Ready), (1, Life::Gone), (2, Life::Ready), (10, Life::Ready)]);
    }
}
