//! What the user asked for, in numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::span::Span;

/// The spec as the procedure needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Nothing moves forward while set.
    pub paused: bool,
    /// Images the operator patches into the template itself; empty: follow the StatefulSet.
    pub images: BTreeMap<String, String>,
    /// Replicas to add for the run; none: as many as a batch has.
    pub surge: Option<Amount>,
    /// Whether the user said what becomes of the surge's volume claims.
    pub volumes_decided: bool,
    /// Pods replaced together.
    pub batch: Amount,
    /// Which ordinals come first.
    pub order: Order,
    /// Wait after a confirmed lever change.
    pub settle: Duration,
    /// After this long without confirmation the run is Stalled.
    pub confirm_timeout: Duration,
    /// When a pod counts as drained.
    pub drain: DrainPlan,
    /// When a replaced pod counts as good.
    pub verify: VerifyPlan,
    /// What a bad new version leads to.
    pub on_failure: OnFailure,
}

/// `spec.drain`, without the probes themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainPlan {
    /// Connections silent for so long are left out of the count; None: all count.
    pub idle_after: Option<Span>,
    /// Whether pods are nudged when their drain begins.
    pub nudged: bool,
    /// Whether there is anything that counts; without a probe nothing is waited for but `minimum`.
    pub counted: bool,
    /// How long every probe must have been quiet.
    pub stable_for: Duration,
    /// Never sooner than this after the confirmed detach.
    pub minimum: Duration,
    /// After this `on_timeout` says how to go on.
    pub timeout: Duration,
    /// What to do when connections are left.
    pub on_timeout: OnTimeout,
}

/// `spec.verify`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyPlan {
    /// From replace to Ready at the right revision and image.
    pub timeout: Duration,
    /// Time under live traffic.
    pub soak: Duration,
    /// Container restarts allowed until the end of the soak.
    pub max_restarts: u32,
}

/// A number of pods, absolute or relative to the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many.
    Count(u32),
    /// So many of a hundred.
    Percent(u32),
}

impl Amount {
    /// Of `replicas`, rounded down.
    #[must_use]
    pub fn down(self, replicas: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => share(replicas, percent, 0),
        }
    }

    /// Of `replicas`, rounded up.
    #[must_use]
    pub fn up(self, replicas: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => share(replicas, percent, 99),
        }
    }
}

fn share(replicas: u32, percent: u32, round: u64) -> u32 {
    u32::try_from((u64::from(replicas) * u64::from(percent) + round) / 100).unwrap_or(u32::MAX)
}

impl DrainPlan {
    /// What is said of a pod that is quiet.
    pub fn none_left(&self) -> String {
        let silent = self.idle_after.map(|time| format!(" that was not silent for {time}"));
        format!("no connection left{}", silent.unwrap_or_default())
    }
}

impl Plan {
    /// How many serving pods may be out at once: rounded down, at least one, one by one where the
    /// StatefulSet starts its pods in order, and never all of them.
    #[must_use]
    pub fn batch_size(&self, replicas: u32, ordered_ready: bool) -> u32 {
        if ordered_ready { 1 } else { self.batch.down(replicas).clamp(1, replicas.max(1)) }
    }

    /// How many replicas are added for the run: rounded up, as capacity must not fall short.
    #[must_use]
    pub fn surge_size(&self, replicas: u32, ordered_ready: bool) -> u32 {
        self.surge.map_or_else(|| self.batch_size(replicas, ordered_ready), |surge| surge.up(replicas))
    }
}

/// `spec.batches.order`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Lowest ordinal first.
    Ascending,
    /// Highest ordinal first.
    Descending,
}

/// `spec.drain.onTimeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTimeout {
    /// Wait for the user.
    Pause,
    /// Replace all the same, but never with an Unknown count.
    Proceed,
    /// Go back to the old revision.
    Rollback,
}

/// `spec.onFailure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Go back to the old revision by the same lossless steps.
    Rollback,
    /// Wait for the user.
    Pause,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_rounded_down_to_at_least_one_and_a_surge_is_rounded_up() {
        assert_eq!(Amount::Percent(25).down(10), 2);
        assert_eq!(Amount::Percent(25).up(10), 3);
        assert_eq!(Amount::Percent(5).down(10), 0);
        assert_eq!(Amount::Count(3).up(10), 3);
    }
}
