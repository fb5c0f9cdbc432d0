//! What can happen next.

use crate::workflow::state::PodState;

use super::Upgrade;
use super::normal::{Age, PROCESS, uid};
use super::view::Looked;
use super::world::{Count, Image, Life, MOST, Pod, What, Word, World};

/// Something that happens.
///
/// What only the operator can see (time, a word of the user, a new process) happens right before its look:
/// in between nobody could tell. A look and its act are one, as an act is refused when the object that
/// it is about has moved in between, and all other objects go their way before as well as after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The operator looks, decides, records and acts.
    Look,
    /// The same, and the cluster changes the object that the act is about in between: it is refused.
    Conflict(Cluster),
    /// The act of an older process reaches the API server after all.
    LateAct,
    Cluster(Cluster),
    /// Time goes by until something is due.
    Time(Age),
    Fault(Fault),
    User(Edit),
    /// The user takes a pause back.
    Resume,
}

/// What the cluster does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cluster {
    /// The StatefulSet controller takes notice of the spec.
    Notice,
    /// It makes the pods that are missing, all at once: none of them waits for another.
    Create,
    /// It removes what is too much.
    Condemn,
    Gone(usize),
    Ready(usize),
    /// The load balancer takes in the annotation.
    CatchUp,
    /// The last connection of a pod that gets no new ones ends.
    End(usize),
    /// The probe of a pod that clients are let into answers.
    Count(usize, Count),
}

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process has died, and another one looks. Where it does not know of the last write to the
    /// lever, it cannot tell whether that is in force.
    Crash {
        doubtful: bool,
    },
    /// The process records and stands still before its act, and another one takes over.
    Stall,
    /// The API server refuses the act.
    Refused,
    /// The controller takes notice while the process looks, which has read the StatefulSet already.
    HalfNotice,
    /// The user changes the StatefulSet while the process looks.
    HalfEdit(Edit),
    Evict(usize),
    /// A pod is not Ready for a while.
    Sick(usize),
    /// A pod's container ends and starts again.
    Restart(usize),
    /// Somebody takes our entries out of the lever.
    Tamper,
    /// Somebody writes an older status back, in which the pods may not be deleted yet.
    OldStatus,
    /// A deadline passes before the cluster has done what it was to do.
    Slow(Age),
}

/// What the user does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    Say(Word),
    Image(Image),
    Replicas(u8),
}

impl Upgrade {
    /// Everything that can happen.
    pub fn possible(&self, world: &World, actions: &mut Vec<Action>) {
        if world.broken.is_some() {
            return;
        }
        if world.late.is_some() {
            actions.push(Action::LateAct);
        }
        actions.extend(cluster_actions(world).map(Action::Cluster));
        if world.gone {
            return;
        }
        let looked = self.look(world);
        actions.push(Action::Look);
        let contended = looked.what.and_then(|what| contended(world, what));
        actions.extend(contended.map(Action::Conflict));
        self.time(world, &looked, actions);
        let mut edits = Vec::new();
        if world.edits < self.config.edits {
            self.edits(world, &mut edits);
        }
        // Between runs nothing can go wrong with a run, unless another one may begin.
        let run = self.records.get(world.record).run.is_some();
        let matters = run || looked.record != world.record || !edits.is_empty() || world.late.is_some();
        if world.faults < self.config.faults && matters {
            self.faults(world, &looked, &edits, actions);
        }
        actions.extend(edits.into_iter().map(Action::User));
        if world.said == Some(Word::Pause) {
            actions.push(Action::Resume);
        }
    }

    fn time(&self, world: &World, looked: &Looked, actions: &mut Vec<Action>) {
        let due = |age: Age| looked.wake == Some(age) || looked.deadline == Some(age);
        let calm = calm(world).is_none();
        for age in Age::ALL.into_iter().filter(|age| due(*age)) {
            if age == Age::Soon || calm {
                actions.push(Action::Time(age));
            } else if world.faults < self.config.faults {
                actions.push(Action::Fault(Fault::Slow(age)));
            }
        }
    }

    fn faults(&self, world: &World, looked: &Looked, edits: &[Edit], actions: &mut Vec<Action>) {
        let state = self.records.get(world.record);
        let mut fault = |fault| actions.push(Action::Fault(fault));
        if world.counts != [Count::Off; MOST] || self.carried(world) {
            fault(Fault::Crash { doubtful: false });
            if !world.lever.doubtful && (world.lever.pending || !world.lever.value.is_empty()) {
                fault(Fault::Crash { doubtful: true });
            }
        }
        if let Some(what) = looked.what {
            // A late mark does no harm.
            let mark = matches!(what, What::Fence(_) | What::MarkSet(_) | What::MarkLever(_));
            if world.late.is_none() && !mark {
                fault(Fault::Stall);
            }
            fault(Fault::Refused);
        }
        if world.half.is_none() {
            if !world.set.current {
                fault(Fault::HalfNotice);
            }
            for edit in edits {
                match edit {
                    Edit::Image(_) if world.wish.is_none() => fault(Fault::HalfEdit(*edit)),
                    Edit::Replicas(_) => fault(Fault::HalfEdit(*edit)),
                    Edit::Say(_) | Edit::Image(_) => {}
                }
            }
        }
        let watched = |ordinal| state.pods.iter().any(|record| record.uid == uid(ordinal));
        let mut alike = Vec::new();
        for ordinal in 0..MOST {
            let Some(pod) = world.pods[ordinal].filter(|pod| !pod.terminating) else { continue };
            // Of pods that are alike it happens to the lowest.
            let likeness = (pod, watched(ordinal), ordinal < usize::from(world.wanted));
            if alike.contains(&likeness) {
                continue;
            }
            alike.push(likeness);
            fault(Fault::Evict(ordinal));
            if pod.life == Life::Ready {
                fault(Fault::Sick(ordinal));
            }
            // Of the pods that are not watched nobody asks whether they restart.
            if watched(ordinal) && matches!(pod.life, Life::Ready | Life::Sick) && !pod.restarted {
                fault(Fault::Restart(ordinal));
            }
        }
        if !world.lever.value.is_empty() {
            fault(Fault::Tamper);
        }
        // While an act of before is under way nobody's status but ours makes up for it.
        let deletable = state.pods.iter().any(|record| record.state == PodState::Deletable);
        if deletable && world.late.is_none() {
            fault(Fault::OldStatus);
        }
    }

    /// Whether the process that runs carries the run.
    fn carried(&self, world: &World) -> bool {
        self.records.get(world.record).run.as_ref().is_some_and(|run| run.carrier == PROCESS)
    }

    fn edits(&self, world: &World, edits: &mut Vec<Edit>) {
        let state = self.records.get(world.record);
        let run = state.run.as_ref();
        edits.extend([Edit::Say(Word::Delete), Edit::Say(Word::Pause)]);
        if run.is_some() {
            edits.extend([Edit::Say(Word::Abort), Edit::Say(Word::RollBack)]);
        }
        if state.rejected.is_some() || run.is_some_and(|run| run.halted.is_some()) {
            edits.push(Edit::Say(Word::Retry));
        }
        let image = world.wish.unwrap_or(world.set.image);
        let others = [Image::V1, Image::V3].into_iter().filter(|other| *other != image);
        edits.extend(others.map(Edit::Image));
        // As many as the run has with its surge cannot be told from the surge.
        let ours = run.zip(state.saved.as_ref()).map(|(run, saved)| saved.replicas + run.surge);
        let base = self.config.replicas;
        let others = (base - 1..=base + 1)
            .filter(|replicas| *replicas != world.set.replicas && ours != Some((*replicas).into()));
        edits.extend(others.map(Edit::Replicas));
    }
}

/// The change by which the cluster may come before an act on the same object.
fn contended(world: &World, what: What) -> Option<Cluster> {
    match what {
        What::Scale { .. } | What::Template | What::MarkSet(_) => {
            (!world.set.current).then_some(Cluster::Notice)
        }
        What::Levers { .. } | What::MarkLever(_) => world.lever.pending.then_some(Cluster::CatchUp),
        What::Delete(ordinal) => pod_actions(world, ordinal).find(|one| *one == Cluster::Ready(ordinal)),
        What::Fence(_) | What::Finalizer => None,
    }
}

/// What the cluster does next when nothing goes wrong; none: it is at rest.
pub fn calm(world: &World) -> Option<Cluster> {
    cluster_actions(world).find(|one| match one {
        Cluster::Count(_, count) => *count == Count::Busy,
        Cluster::Notice
        | Cluster::Create
        | Cluster::Condemn
        | Cluster::Gone(_)
        | Cluster::Ready(_)
        | Cluster::CatchUp
        | Cluster::End(_) => true,
    })
}

/// Of two pods that are about to do the same the lower goes first: they are alike.
fn cluster_actions(world: &World) -> impl Iterator<Item = Cluster> {
    let mut seen = Vec::new();
    let pods = (0..MOST).flat_map(|ordinal| pod_actions(world, ordinal));
    let first = pods.filter(move |one| {
        let kind = std::mem::discriminant(one);
        let first = !seen.contains(&kind) || matches!(one, Cluster::Count(..));
        seen.push(kind);
        first
    });
    set_actions(world).chain(first)
}

fn set_actions(world: &World) -> impl Iterator<Item = Cluster> {
    let (replicas, _) = world.set.noticed;
    let exists = |ordinal: usize| world.pods[ordinal].is_some();
    let stays = |ordinal: usize| world.pods[ordinal].is_some_and(|pod| !pod.terminating);
    let missing = (0..usize::from(replicas)).any(|ordinal| !exists(ordinal));
    let surplus = (usize::from(replicas)..MOST).any(stays);
    [
        (!world.set.current).then_some(Cluster::Notice),
        missing.then_some(Cluster::Create),
        surplus.then_some(Cluster::Condemn),
        world.lever.pending.then_some(Cluster::CatchUp),
    ]
    .into_iter()
    .flatten()
}

fn pod_actions(world: &World, ordinal: usize) -> impl Iterator<Item = Cluster> {
    let pod = world.pods[ordinal];
    let reached = world.reached(ordinal);
    let going = pod.is_some_and(|pod| pod.terminating);
    let good = |pod: &Pod| !(world.bad && pod.image == Image::V2);
    let unready = pod.is_some_and(|pod| pod.life != Life::Ready && !pod.terminating && good(&pod));
    // While nobody counts nobody can tell, so the last one ends when somebody does.
    let counted = world.counts[ordinal] != Count::Off;
    let ending = pod.is_some_and(|pod| pod.owing) && !reached && counted;
    // Clients that are let in come and go: the probe may find them, or a moment without any.
    let silent = reached && world.counts[ordinal] == Count::Silent;
    let lull = reached && matches!(world.counts[ordinal], Count::Silent | Count::Busy);
    [
        going.then_some(Cluster::Gone(ordinal)),
        unready.then_some(Cluster::Ready(ordinal)),
        ending.then_some(Cluster::End(ordinal)),
        silent.then_some(Cluster::Count(ordinal, Count::Busy)),
        lull.then_some(Cluster::Count(ordinal, Count::Quiet)),
    ]
    .into_iter()
    .flatten()
}
