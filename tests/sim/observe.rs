//! The world as it can be seen from outside.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use lossless_upgrade::workflow::observed::{CounterView, DrainView, ImageView, Observed, PodView, SetView};
use lossless_upgrade::workflow::state::SavedLever;

use super::balancer::Written;
use super::cluster::{Manner, Pod, revision};
use super::world::{Probe, World};

impl World {
    pub(super) fn drains(&self) -> BTreeMap<String, DrainView> {
        let at = Duration::from_secs(self.now.unsigned_abs());
        self.memory.windows.iter().map(|(uid, window)| (uid.clone(), window.view(at))).collect()
    }

    /// Everything as it can be seen.
    pub fn observe(&self) -> Observed {
        let set = self.cluster.set.as_ref().map(|set| SetView {
            name: "web".into(),
            uid: set.uid.clone(),
            replicas: set.replicas,
            first: self.cluster.first,
            update_revision: self.cluster.update_revision(),
            on_delete: set.on_delete,
            ordered_ready: set.ordered_ready,
            claims: false,
            images: BTreeMap::from([("web".to_owned(), set.image.clone())]),
            deleting: set.deleting,
            fence: set.fence.clone(),
        });
        let since = |index| self.memory.confirmed.get(&index).copied().unwrap_or(self.time());
        Observed {
            deleting: self.deleting,
            namespace_terminating: self.namespace_terminating,
            set,
            pods: self
                .cluster
                .pods
                .iter()
                .map(|(ordinal, pod)| (*ordinal, self.pod(*ordinal, pod)))
                .collect(),
            levers: self
                .balancers
                .iter()
                .enumerate()
                .map(|(index, one)| one.view(since(index), self))
                .collect(),
            drains: self.drains(),
            problems: Vec::new(),
            // As the shell does: only looked at while no run is under way.
            levers_before: self
                .balancers
                .iter()
                .filter(|_| self.state.run.is_none())
                .map(|one| match one.written {
                    Written::Service => {
                        SavedLever { lever: "tkeService".into(), name: one.name.clone(), before: None }
                    }
                    Written::Pods(_) => SavedLever {
                        lever: "podLabel".into(),
                        name: one.name.clone(),
                        before: Some("true".into()),
                    },
                })
                .collect(),
            templates: self
                .cluster
                .pods
                .values()
                .filter(|_| self.state.run.is_none())
                .map(|pod| (revision(&pod.image), pod.image.clone()))
                .collect(),
            actions: self.actions.clone(),
            yields_until: None,
            process: format!("operator-{}", self.processes),
            known_since: self
                .memory
                .known
                .as_ref()
                .filter(|_| self.doubts_clocks)
                .map_or_else(Timestamp::default, |(_, since)| *since),
        }
    }

    fn pod(&self, ordinal: u32, pod: &Pod) -> PodView {
        let manner = self.cluster.manners.get(&pod.image).copied().unwrap_or(Manner::Good);
        PodView {
            name: format!("web-{ordinal}"),
            uid: pod.uid.clone(),
            revision: revision(&pod.image),
            ready: pod.ready,
            never_ready: !pod.ever_ready,
            running: pod.running,
            terminating: pod.terminating.is_some(),
            restarts: pod.restarts,
            image: if pod.running { ImageView::Right } else { ImageView::Unknown },
            trouble: (manner == Manner::Crashes).then(|| "CrashLoopBackOff".to_owned()),
            unschedulable: manner == Manner::FindsNoRoom,
            counter: match (self.probe, pod.counter) {
                (Probe::Http, _) => CounterView::NotNeeded,
                (Probe::Refused, _) => CounterView::Refused("pod security forbids it".into()),
                (Probe::Counter | Probe::Silent, None) => CounterView::Absent,
                (Probe::Counter | Probe::Silent, Some(_)) => CounterView::Present,
            },
            fence: pod.fence.clone(),
        }
    }
}
