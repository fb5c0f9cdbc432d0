//! How many pods must serve, and how many may be taken out.

use super::ordinals::{Ordinal, OrdinalSet};
use super::state::{BatchKind, Run};
use super::turn::{Turn, later};

impl Turn<'_> {
    /// How many serving pods may be out at once.
    pub fn batch_size(&self) -> u32 {
        self.plan.batch_size(self.base(), self.set().is_some_and(|set| set.ordered_ready))
    }

    /// The fewest pods that must serve: the original replicas where the surge covers a batch, or would
    /// by default had the batch not been made larger in mid-run.
    pub fn floor(&self, run: &Run) -> u32 {
        let (base, batch) = (self.base(), self.batch_size());
        if run.surge >= batch || self.plan.surge.is_none() { base } else { base.saturating_sub(batch) }
            .max(1.min(base))
    }

    /// The fewest others that must serve while the batch is out: the floor; but where a run that is
    /// told to leave has waited for them long enough, the surge goes as long as somebody serves.
    pub fn needed(&self, run: &Run) -> u32 {
        let patience = run.leaving_since.map(|since| later(self.since(since), self.plan.verify.timeout));
        let over = run.batch.kind == BatchKind::Retiring && patience.is_some_and(|end| self.now >= end);
        if over { self.floor(run).min(1) } else { self.floor(run) }
    }

    /// Whether enough others serve for the batch to be taken out, as far as it is not out already.
    pub fn can_spare(&self, run: &Run) -> bool {
        let out = |ordinal: Ordinal| self.seen.levers.iter().all(|lever| lever.holds(ordinal));
        let serves = |ordinal: &Ordinal| {
            self.stays(*ordinal) && self.seen.pods.get(ordinal).is_some_and(|pod| pod.ready)
        };
        let taken = run.batch.ordinals.iter().any(|ordinal| serves(&ordinal) && !out(ordinal));
        let others = self.serving().difference(&run.batch.ordinals).len();
        !taken || others >= usize::try_from(self.needed(run)).unwrap_or(usize::MAX)
    }

    /// The pods that serve: Ready, attached, and not beyond the replicas, where they go in a moment.
    pub fn serving(&self) -> OrdinalSet {
        let ready = self.seen.pods.iter().filter(|(_, pod)| pod.ready).map(|(ordinal, _)| *ordinal);
        ready.filter(|ordinal| !self.state.detached.contains(*ordinal) && self.stays(*ordinal)).collect()
    }

    /// Whether the ordinal lies within the replicas: a pod beyond them goes in a moment.
    pub fn stays(&self, ordinal: Ordinal) -> bool {
        self.set().is_some_and(|set| set.has(ordinal))
    }
}
