//! What the operator can see of the world, and what it decides on it. The same view of the same
//! record is decided once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{PoisonError, RwLock};

use crate::workflow::counted;
use crate::workflow::decide_with;
use crate::workflow::decision::{Decision, Effect};
use crate::workflow::invariants::Moment;
use crate::workflow::observed::{
    Confirmation, CounterView, DrainView, Held, ImageView, LeverView, Observed, PodView, SetView, Site,
};
use crate::workflow::ordinals::OrdinalSet;
use crate::workflow::state::{SavedLever, State};
use crate::workflow::words::Actions;
use jiff::Timestamp;

use super::Upgrade;
use super::normal::{Age, NOW, OLDER_PROCESS, PROCESS, Record, uid};
use super::properties::{self, Broken};
use super::world::{Count, Image, Lever, Life, MOST, Mark, Pod, Pods, Set, Slots, What, Word, World};

/// All that a decision rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    record: Record,
    set: Set,
    pods: Slots,
    lever: Lever,
    counts: [Count; MOST],
    said: Option<Word>,
    wish: Option<Image>,
}

/// What was decided.
#[derive(Clone, Copy, Debug)]
pub struct Looked {
    pub record: Record,
    pub what: Option<What>,
    /// A step was entered, so the mark of a fence is another one from here on.
    pub entered: bool,
    /// The pods that are to be counted from here on.
    pub counted: Pods,
    /// When it would look again by itself, and when the step's deadline is.
    pub wake: Option<Age>,
    pub deadline: Option<Age>,
    /// It says that it cannot go on, or not in time.
    pub stalled: bool,
    pub broken: Option<Broken>,
}

/// The decisions that were made, by a hash of the view, as the checker keeps its states.
#[derive(Default)]
pub struct Decisions {
    hasher: ahash::RandomState,
    known: RwLock<HashMap<u64, Looked, ahash::RandomState>>,
}

impl Upgrade {
    /// What the operator decides now.
    pub fn look(&self, world: &World) -> Looked {
        let view = View::of(world);
        let Decisions { hasher, known } = &self.decisions;
        let key = hasher.hash_one(view);
        if let Some(looked) = known.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return *looked;
        }
        let looked = self.decide(&view, |_| ()).1;
        known.write().unwrap_or_else(PoisonError::into_inner).insert(key, looked);
        looked
    }

    /// The same in words, with what is wrong with it.
    pub fn explain(&self, world: &World) -> String {
        let words = |Decision { message, effect, .. }: &Decision| format!("{message} {effect:?}");
        let (words, looked) = self.decide(&View::of(world), words);
        format!("{words} {:?}", looked.broken)
    }

    /// What `told` makes of the decision, and what comes of it.
    fn decide<T>(&self, view: &View, told: impl FnOnce(&Decision) -> T) -> (T, Looked) {
        let before = self.records.get(view.record);
        let plan = self.config.plan(view.said == Some(Word::Pause), view.wish);
        let seen = view.observed(&before);
        let decision = decide_with(&self.config.guards, &plan, &before, &seen, NOW);
        let moment = Moment { plan: &plan, before: &before, seen: &seen, decision: &decision };
        let counted = counted(&decision.state, &seen);
        let (told, broken) = (told(&decision), properties::of_decision(&moment));
        let looked = Looked {
            what: decision.effect.as_ref().map(what),
            entered: !decision.trail.is_empty(),
            counted: Pods::which(|ordinal| counted.contains(uid(ordinal))),
            wake: decision.wake.and_then(Age::of),
            deadline: decision.deadline.and_then(Age::of),
            stalled: decision.stalled.is_some(),
            broken,
            record: if decision.state == *before { view.record } else { self.records.put(decision.state) },
        };
        (told, looked)
    }
}

fn mask(ordinals: &OrdinalSet) -> Pods {
    Pods::which(|ordinal| ordinals.contains(u32::try_from(ordinal).unwrap()))
}

fn set(pods: Pods) -> OrdinalSet {
    (0..MOST).filter(|ordinal| pods.has(*ordinal)).map(|ordinal| u32::try_from(ordinal).unwrap()).collect()
}

fn what(effect: &Effect) -> What {
    match effect {
        Effect::Scale { replicas, images } => {
            What::Scale { replicas: u8::try_from(*replicas).unwrap(), images: *images }
        }
        Effect::RestoreTemplate => What::Template,
        Effect::SetLevers { detached, again } => What::Levers { detached: mask(detached), again: *again },
        Effect::Delete { ordinal, .. } => What::Delete(*ordinal as usize),
        Effect::Fence { ordinal, .. } => What::Fence(*ordinal as usize),
        Effect::FenceSet { mark } => What::MarkSet(mark.as_ref().map_or(Mark::None, |_| Mark::Ours)),
        Effect::FenceLever { mark, .. } => What::MarkLever(mark.as_ref().map_or(Mark::None, |_| Mark::Ours)),
        Effect::RemoveFinalizer => What::Finalizer,
        Effect::StartCounter { .. } => panic!("the probe needs no counter"),
        Effect::Nudge { .. } => panic!("the plan has no nudges"),
    }
}

impl View {
    fn of(world: &World) -> Self {
        let mut view = Self {
            record: world.record,
            set: world.half.unwrap_or(world.set),
            pods: world.pods,
            lever: world.lever,
            counts: world.counts,
            said: world.said,
            wish: world.wish,
        };
        // What only the truth knows.
        view.set = Set { noticed: (0, Image::V1), taken_by_us: Pods::default(), excused: false, ..view.set };
        view.lever.in_force = Pods::default();
        for pod in view.pods.iter_mut().flatten() {
            (pod.owing, pod.deleted_by_us) = (false, false);
        }
        view
    }

    fn observed(&self, record: &State) -> Observed {
        let resting = record.run.is_none();
        let said = |word| (self.said == Some(word)).then(|| "1".to_owned());
        Observed {
            deleting: self.said == Some(Word::Delete),
            namespace_terminating: false,
            set: Some(SetView {
                name: "web".into(),
                uid: "set".into(),
                replicas: self.set.replicas.into(),
                first: 0,
                update_revision: self.set.current.then(|| self.set.image.name().to_owned()),
                on_delete: true,
                ordered_ready: false,
                claims: false,
                images: BTreeMap::from([("web".to_owned(), self.set.image.name().to_owned())]),
                deleting: false,
                fence: name(self.set.mark),
            }),
            pods: (0..MOST)
                .filter_map(|ordinal| Some((u32::try_from(ordinal).ok()?, self.pod(ordinal, record)?)))
                .collect(),
            // As the shell does: the levers are looked at in a run, and what it would need before one.
            levers: if resting { Vec::new() } else { vec![self.lever()] },
            drains: (0..MOST)
                .filter_map(|ordinal| Some((uid(ordinal).into(), drain(self.counts[ordinal])?)))
                .collect(),
            problems: Vec::new(),
            levers_before: resting
                .then(|| SavedLever { lever: "tkeService".into(), name: "web".into(), before: None })
                .into_iter()
                .collect(),
            templates: Image::ALL
                .into_iter()
                .filter(|_| resting)
                .map(|image| (image.name().to_owned(), image.name().to_owned()))
                .collect(),
            actions: Actions {
                abort: said(Word::Abort),
                rollback: said(Word::RollBack),
                retry: said(Word::Retry),
            },
            process: PROCESS.into(),
            yields_until: None,
            // What two clocks may differ by is less than what the ages here tell apart.
            known_since: Timestamp::MIN,
        }
    }

    fn pod(&self, ordinal: usize, record: &State) -> Option<PodView> {
        let pod = self.pods[ordinal]?;
        let mark = |pod: &Pod| {
            let run = record.run.as_ref().filter(|_| pod.fenced)?;
            Some(format!("{}-{:x}", run.id, run.entered.as_millisecond()))
        };
        Some(PodView {
            name: format!("web-{ordinal}"),
            uid: uid(ordinal).into(),
            revision: pod.image.name().into(),
            ready: pod.ready(),
            never_ready: pod.life == Life::New,
            running: pod.life != Life::Down,
            terminating: pod.terminating,
            restarts: pod.restarted.into(),
            image: ImageView::Right,
            trouble: None,
            unschedulable: false,
            counter: CounterView::NotNeeded,
            fence: mark(&pod),
        })
    }

    fn lever(&self) -> LeverView {
        let confirmed = match self.lever {
            Lever { pending: true, .. } => Confirmation::Pending("no sync since the write".into()),
            Lever { doubtful: true, .. } => Confirmation::Doubtful("the write is not known".into()),
            Lever { pending: false, doubtful: false, .. } => Confirmation::Confirmed(NOW),
        };
        LeverView {
            name: "tkeService on Service web".into(),
            held: Held::Ordinals(set(self.lever.value)),
            taken: Confirmation::Confirmed(NOW),
            confirmed,
            restored: self.lever.value.is_empty(),
            site: Site::Object { fence: name(self.lever.mark) },
        }
    }
}

fn name(mark: Mark) -> Option<String> {
    match mark {
        Mark::None => None,
        Mark::Ours => Some(PROCESS.into()),
        Mark::Older => Some(OLDER_PROCESS.into()),
    }
}

fn drain(count: Count) -> Option<DrainView> {
    match count {
        Count::Off => None,
        Count::Silent => Some(DrainView::Unknown("no answer yet".into())),
        Count::Busy => Some(DrainView::Busy { connections: 1, why: "1 connection left".into() }),
        Count::Quiet => Some(DrainView::Quiet(std::time::Duration::ZERO)),
    }
}
