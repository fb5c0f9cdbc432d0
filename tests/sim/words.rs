//! The story in words: one line for each decision that changed something.

use lossless_upgrade::workflow::decision::{Decision, Effect};
use lossless_upgrade::workflow::ordinals::OrdinalSet;
use lossless_upgrade::workflow::state::Phase;

use super::world::World;

impl World {
    pub fn clock(&self) -> String {
        format!("{:>3}:{:02}", self.now / 60, self.now % 60)
    }

    /// The whole story.
    pub fn tale(&self) -> String {
        self.story.join("\n")
    }

    /// Tells a decision, if it changed anything that a user sees.
    pub fn tell(&mut self, decision: &Decision) {
        let phase = decision.state.phase();
        let same = phase == self.state.phase() && decision.stalled == self.memory.stalled;
        let asleep = self.memory.last.is_some();
        if same && asleep && decision.effect.is_none() && decision.notes.is_empty() {
            return;
        }
        let stalled = decision.stalled.map(|reason| format!(" [stalled: {reason}]")).unwrap_or_default();
        for note in &decision.notes {
            let mark = if note.warning { "!" } else { "-" };
            self.story.push(format!("{}     {mark} {}: {}", self.clock(), note.reason, note.text));
        }
        let act = decision.effect.as_ref().map(|effect| format!(" => {}", act(effect))).unwrap_or_default();
        let line = format!("{}  {}: {}{stalled}{act}", self.clock(), name(phase), decision.message);
        if self.story.last() != Some(&line) {
            self.story.push(line);
        }
    }
}

fn name(phase: Phase) -> String {
    format!("{phase:?}")
}

fn act(effect: &Effect) -> String {
    match effect {
        Effect::Scale { replicas, images: true } => format!("replicas {replicas} and the images"),
        Effect::Scale { replicas, images: false } => format!("replicas {replicas}"),
        Effect::RestoreTemplate => "the old template".into(),
        Effect::SetLevers { detached, again } => {
            let whom = if detached.is_empty() { "nobody".to_owned() } else { format!("`{detached}`") };
            format!("levers hold {whom}{}", if *again { ", written once more" } else { "" })
        }
        Effect::StartCounter { ordinal, .. } => format!("counter in {ordinal}"),
        Effect::Nudge { pods } => {
            let ordinals = pods.iter().map(|(ordinal, _)| *ordinal).collect::<OrdinalSet>();
            format!("nudge {ordinals}")
        }
        Effect::Delete { ordinal, uid } => format!("delete {ordinal} ({uid})"),
        Effect::Fence { ordinal, .. } => format!("fence {ordinal}"),
        Effect::FenceSet { mark: Some(_) } => "fence the StatefulSet".into(),
        Effect::FenceSet { mark: None } => "the StatefulSet's mark is removed".into(),
        Effect::FenceLever { lever, mark: Some(_) } => format!("fence {lever}"),
        Effect::FenceLever { lever, mark: None } => format!("the mark of {lever} is removed"),
        Effect::RemoveFinalizer => "the finalizer is removed".into(),
    }
}
