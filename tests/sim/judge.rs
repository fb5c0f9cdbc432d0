//! What may never happen, by the truth of the world and by the invariants of the design.

use lossless_upgrade::workflow::decision::{Decision, Effect};
use lossless_upgrade::workflow::invariants::{Moment, broken};
use lossless_upgrade::workflow::observed::Observed;
use lossless_upgrade::workflow::ordinals::Ordinal;
use lossless_upgrade::workflow::state::{Rest, Step};
use lossless_upgrade::workflow::transitions::allowed;

use super::world::World;

impl World {
    /// Something happened that may never happen.
    pub fn violate(&mut self, what: String) {
        self.story.push(format!("{}  VIOLATION {what}", self.clock()));
        self.violations.push(what);
    }

    /// Panics with the whole story when something happened that may never happen.
    pub fn acquit(&self) {
        assert!(self.violations.is_empty(), "{:#?}\n{}", self.violations, self.tale());
    }

    /// Judges a decision before it is recorded.
    pub fn judge(&mut self, seen: &Observed, decision: &Decision) {
        let before = self.state.clone();
        let moment = Moment { plan: &self.plan, before: &before, seen, decision };
        for broken in broken(&moment) {
            self.violate(broken);
        }
        let mut step = before.run.as_ref().map(|run| run.step);
        for next in &decision.trail {
            // A new run begins with Preflight, whatever the last one ended with.
            if *next != Step::Preflight && step.is_some_and(|step| !allowed(step, *next)) {
                self.violate(format!("{step:?} is followed by {next:?}"));
            }
            step = Some(*next);
        }
        if let Some(effect) = &decision.effect {
            let forced = decision.state.run.as_ref().is_some_and(|run| run.forced);
            self.judge_effect(effect, forced);
        }
    }

    /// Judges what a stalled process had ordered at the moment at which it is made.
    pub fn judge_late(&mut self, effect: &Effect) {
        let forced = self.state.run.as_ref().is_some_and(|run| run.forced);
        self.judge_effect(effect, forced);
    }

    fn judge_effect(&mut self, effect: &Effect, forced: bool) {
        match effect {
            Effect::Delete { ordinal, .. } => self.judge_removal(*ordinal, forced),
            Effect::SetLevers { detached, .. } => {
                let dying = self.cluster.pods.iter().find(|(ordinal, pod)| {
                    pod.terminating.is_some()
                        && pod.deleted_by_us
                        && !detached.contains(**ordinal)
                        && self.balancers.iter().any(|balancer| balancer.value.contains(**ordinal))
                });
                if let Some((ordinal, _)) = dying {
                    self.violate(format!("web-{ordinal} ends by our hand and is given connections again"));
                }
            }
            Effect::Scale { .. }
            | Effect::RestoreTemplate
            | Effect::StartCounter { .. }
            | Effect::Nudge { .. }
            | Effect::Fence { .. }
            | Effect::FenceSet { .. }
            | Effect::FenceLever { .. }
            | Effect::RemoveFinalizer => {}
        }
    }

    /// A pod is about to go by our will.
    fn judge_removal(&mut self, ordinal: Ordinal, forced: bool) {
        let Some(pod) = self.cluster.pods.get(&ordinal) else { return };
        let (left, ready) = (pod.connections.len(), pod.ready);
        if forced || !self.plan.drain.counted {
            return;
        }
        if left > 0 {
            self.violate(format!("web-{ordinal} goes with {left} connections"));
        }
        if ready && self.attached(ordinal) {
            self.violate(format!("web-{ordinal} goes while the load balancer sends it connections"));
        }
    }

    /// The controller removes pods because the replicas were lowered.
    pub fn judge_scale_down(&mut self, condemned: &[Ordinal]) {
        // What was tampered with after the replicas were set is no fault of who set them.
        if self.now - self.tampered < 10 {
            return;
        }
        let ours = self.cluster.set.as_ref().map(|set| set.taken_by_us.clone()).unwrap_or_default();
        let forced = self.state.run.as_ref().is_some_and(|run| run.forced);
        for ordinal in condemned.iter().filter(|ordinal| ours.contains(ordinal)) {
            self.judge_removal(*ordinal, forced);
        }
    }

    /// Judges the end of a story: a proper end, or a wait that says why.
    pub fn judge_end(&mut self) {
        if let Some(run) = self.state.run.clone() {
            if self.memory.stalled.is_none() && !run.held {
                let message = self.memory.message.clone();
                self.violate(format!("the run does not end and is not stalled: {message}"));
            }
            return;
        }
        let noticed = self.cluster.update_revision().is_some() && !self.gone;
        if matches!(self.state.rest, Rest::Blocked(_)) && self.memory.stalled.is_none() && noticed {
            self.violate("Blocked and not stalled".into());
        }
        let told = self.gone && self.story.iter().any(|line| line.contains("could not be put back"));
        for balancer in self.balancers.clone() {
            if (!balancer.restored() || balancer.fence.is_some()) && !told {
                self.violate(format!("{} still holds `{}`", balancer.name, balancer.value));
            }
        }
        if !self.state.detached.is_empty() || self.state.saved.is_some() || !self.state.pods.is_empty() {
            self.violate("something of the run is left in the record".into());
        }
    }

    /// The step recorded now.
    pub fn step(&self) -> Option<Step> {
        self.state.run.as_ref().map(|run| run.step)
    }
}
