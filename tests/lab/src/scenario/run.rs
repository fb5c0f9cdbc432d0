//! One update under load, and what it cost.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::{Deployed, ScenarioError};
use crate::{
    balancer::{Applied, Change, Serving, serving},
    clock,
    load::{Load, LoadPlan, Profile},
    oracle::LossReport,
    watcher::{Deletion, Moment, Step},
};

/// How long the load runs before the update begins, so that all kinds of requests are under way.
const WARM_UP: Duration = Duration::from_secs(3);

/// How long it runs on after the end, so that what the update broke at its end is seen as well.
const AFTERMATH: Duration = Duration::from_secs(3);

/// What an update did and cost.
#[derive(Clone, Debug)]
pub struct Run {
    /// What became of the load, from before the update until after it.
    pub report: LossReport,
    /// From the begin of the update to its end.
    pub took: Duration,
    /// The pods that were deleted meanwhile, with what they had open.
    pub deletions: Vec<Deletion>,
    /// What the pods did meanwhile.
    pub moments: Vec<Moment>,
    /// What the load balancer did meanwhile.
    pub applied: Vec<Applied>,
    /// How many pods served at the begin and after each change, by the load balancer's own record.
    pub serving: Vec<Serving>,
}

/// Where the time of an update went, pod after pod, as the witness saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeSpent {
    /// Pods were ending.
    pub ending: Duration,
    /// Pods were starting.
    pub starting: Duration,
}

impl Deployed<'_> {
    /// Plays `update` under load. The load runs for some seconds before and after it, and every request that it
    /// began is waited for.
    ///
    /// # Errors
    /// Those of the update itself.
    pub async fn run_under(
        &self,
        profile: &Profile,
        update: impl Future<Output = Result<(), ScenarioError>>,
    ) -> Result<Run, ScenarioError> {
        let load = Load::start(&LoadPlan { targets: self.targets(), profile: profile.clone() });
        self.run_with(load, update).await
    }

    /// As [`Self::run_under`], with a load that the caller has started and may look at.
    ///
    /// # Errors
    /// Those of the update itself.
    pub async fn run_with(
        &self,
        load: Load,
        update: impl Future<Output = Result<(), ScenarioError>>,
    ) -> Result<Run, ScenarioError> {
        sleep(WARM_UP).await;
        let (from, began) = (clock::now(), Instant::now());
        update.await?;
        let took = began.elapsed();
        sleep(AFTERMATH).await;
        let report = load.stop().await;
        let namespace = &self.app().namespace;
        let watcher = self.stage.watcher();
        let mut deletions = watcher.deletions(namespace);
        deletions.retain(|deletion| deletion.at >= from);
        let mut moments = watcher.moments(namespace);
        moments.retain(|moment| moment.at >= from);
        let mut applied = self.stage.balancer().applied();
        applied.retain(|applied| applied.owner.namespace == *namespace);
        let serving = since(serving(&applied), from);
        applied.retain(|applied| applied.at >= from);
        Ok(Run { report, took, deletions, moments, applied, serving })
    }
}

impl Run {
    /// How many pods fewer than at the begin served on any listener, at the worst moment.
    #[must_use]
    pub fn missing(&self) -> usize {
        let mut began = BTreeMap::new();
        let missing = self.serving.iter().map(|count| {
            let at_begin = *began.entry((&count.owner, count.listener)).or_insert(count.pods);
            at_begin.saturating_sub(count.pods)
        });
        missing.max().unwrap_or_default()
    }

    /// A sync that took in a pod and took new connections from another one, if there was one: had the balancer done
    /// the latter first, or had nobody else been there, a client might have met nobody.
    #[must_use]
    pub fn swap(&self) -> Option<[&Applied; 2]> {
        let comes = |one: &&Applied| matches!(one.change, Change::Added { weight: 1.. });
        let goes = |one: &&Applied| matches!(one.change, Change::Weight { to: 0, .. });
        let same = |one: &Applied, other: &Applied| {
            (one.at, &one.owner, one.listener) == (other.at, &other.owner, other.listener)
        };
        let mut going = self.applied.iter().filter(goes);
        going.find_map(|one| Some([self.applied.iter().filter(comes).find(|other| same(one, other))?, one]))
    }

    /// Where the time went.
    #[must_use]
    pub fn time_spent(&self) -> TimeSpent {
        TimeSpent {
            ending: self.between(Step::Terminating, Step::Gone),
            starting: self.between(Step::Created, Step::Ready),
        }
    }

    /// The time in which at least one pod was between two steps; pods that were so at the same time count once.
    fn between(&self, first: Step, second: Step) -> Duration {
        let of = |step| self.moments.iter().filter(move |moment| moment.step == step);
        let spans = of(first).filter_map(|begin| {
            let end = of(second).find(|end| end.uid == begin.uid)?;
            Some((begin.at, end.at))
        });
        union(spans)
    }
}

/// What holds at `from`, and all that comes later.
fn since(counts: Vec<Serving>, from: Timestamp) -> Vec<Serving> {
    let (before, after): (Vec<_>, Vec<_>) = counts.into_iter().partition(|count| count.at < from);
    let mut kept: Vec<Serving> = Vec::new();
    for count in before.into_iter().rev() {
        let known = |other: &Serving| (&other.owner, other.listener) == (&count.owner, count.listener);
        if !kept.iter().any(known) {
            kept.push(count);
        }
    }
    kept.extend(after);
    kept
}

/// How much time the spans, which come in the order of their begins, cover together.
fn union(spans: impl Iterator<Item = (Timestamp, Timestamp)>) -> Duration {
    let mut covered = Duration::ZERO;
    let mut until = Timestamp::MIN;
    for (begin, end) in spans {
        let fresh = end.duration_since(begin.max(until));
        covered += Duration::try_from(fresh).unwrap_or_default();
        until = until.max(end);
    }
    covered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::{Listener, Owner};

    #[test]
    fn what_holds_at_the_begin_is_the_last_count_before_it() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let owner = Owner::service("shop", "web");
        let count = |second, port, pods| Serving {
            at: at(second),
            owner: owner.clone(),
            listener: Listener::tcp(port),
            pods,
        };
        let counts = vec![count(1, 80, 3), count(2, 80, 4), count(2, 8080, 4), count(6, 80, 5)];
        assert_eq!(since(counts, at(5)), [count(2, 8080, 4), count(2, 80, 4), count(6, 80, 5)]);
    }

    #[test]
    fn time_that_two_pods_share_is_counted_once() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let spans = [(at(0), at(10)), (at(5), at(12)), (at(6), at(7)), (at(20), at(21))];
        assert_eq!(union(spans.into_iter()), Duration::from_secs(13));
    }
}
