//! What there is to see at one moment.

use std::time::Duration;

use kube::ResourceExt as _;

use super::act::{Act, NEW, UPGRADE_NAME};
use crate::{
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
    pub(super) message: String,
    pub(super) report: LossReport,
}

/// One pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) name: String,
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
    let cells: Vec<_> = pods?
        .iter()
        .map(|pod| {
            let uid = pod.uid().unwrap_or_default();
            let mine = || backends.iter().filter(|backend| backend.uid == uid);
            let image = pod.spec.iter().flat_map(|spec| &spec.containers).find_map(|c| c.image.as_deref());
            let version = image.and_then(|image| image.rsplit_once(':')).map_or("?", |(_, tag)| tag);
            let hash = pod.labels().get(REVISION).and_then(|name| name.rsplit('-').next());
            Cell {
                name: pod.name_any(),
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
        })
        .collect();
    let wanted = usize::from(app.app().replicas);
    let updated = cells.iter().filter(|cell| cell.is_new && cell.life == Life::Ready).count().min(wanted);
    let message = match act {
        Act::RollingUpdate | Act::UsualAdvice => {
            format!("StatefulSet controller: {updated} of {wanted} pods are updated and ready")
        }
        Act::LosslessUpgrade => {
            let upgrade = app.upgrade(UPGRADE_NAME).await?;
            let updated = upgrade.updated_replicas.min(wanted);
            let message = format!("{}: {}", upgrade.phase, upgrade.message);
            return Ok(Scene { act, elapsed, pods: cells, updated, wanted, message, report });
        }
    };
    Ok(Scene { act, elapsed, pods: cells, updated, wanted, message, report })
}
