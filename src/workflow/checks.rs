//! The last look before a delete: a list of guards, so that a test can take one out.

use super::observed::{Confirmation, DrainView, PodView};
use super::plan::Plan;
use super::state::{BatchKind, PodRecord, PodState, Run};
use super::turn::Turn;

/// What must hold for a pod to be deleted. Invariants 1 to 5 of the design rest on these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guard {
    /// The StatefulSet's update revision is known and is the run's target.
    RevisionUnmoved,
    /// The record says that this uid may be deleted.
    Recorded,
    /// Every lever holds the pod detached.
    LeversHold,
    /// Every lever's hold is in force.
    LeversConfirmed,
    /// The pod owes no bytes.
    Drained,
    /// Enough others serve.
    OthersServe,
}

/// All guards, in the order in which they are asked.
pub const GUARDS: &[Guard] = &[
    Guard::RevisionUnmoved,
    Guard::Recorded,
    Guard::LeversHold,
    Guard::LeversConfirmed,
    Guard::Drained,
    Guard::OthersServe,
];

/// What must hold for the surge to be removed by a scale-down. Its going does not depend on a revision.
pub const SURGE_GUARDS: &[Guard] =
    &[Guard::Recorded, Guard::LeversHold, Guard::LeversConfirmed, Guard::Drained, Guard::OthersServe];

/// The first guard that refuses to let the pod be deleted, and why.
#[must_use]
pub fn refusal(
    guards: &[Guard],
    turn: &Turn<'_>,
    run: &Run,
    record: &PodRecord,
    pod: &PodView,
) -> Option<(Guard, String)> {
    guards.iter().find_map(|guard| guard.refuses(turn, run, record, pod).map(|why| (*guard, why)))
}

impl Guard {
    fn refuses(self, turn: &Turn<'_>, run: &Run, record: &PodRecord, pod: &PodView) -> Option<String> {
        let owes_nothing = turn.owes_nothing(record.ordinal, pod);
        let needs_no_lever = owes_nothing && run.batch.kind == BatchKind::Broken;
        match self {
            Self::RevisionUnmoved => {
                let revision = turn.set().and_then(|set| set.update_revision.as_ref());
                (revision != Some(&run.to)).then(|| {
                    format!(
                        "the StatefulSet's update revision is {}",
                        revision.map_or("not known yet", |name| name)
                    )
                })
            }
            Self::Recorded => (record.state != PodState::Deletable || record.uid != pod.uid)
                .then(|| "the record does not say that it may be deleted".to_owned()),
            Self::Drained if owes_nothing => None,
            Self::LeversHold | Self::LeversConfirmed if needs_no_lever => None,
            Self::LeversHold => turn.levers(run).find_map(|lever| match lever.ordinals() {
                Ok(held) if held.contains(record.ordinal) => None,
                Ok(_) => Some(format!("{} lets new connections to it", lever.name)),
                Err(why) => Some(why),
            }),
            Self::LeversConfirmed => turn.levers(run).find_map(|lever| match &lever.confirmed {
                Confirmation::Confirmed(_) => None,
                Confirmation::Pending(why)
                | Confirmation::Doubtful(why)
                | Confirmation::Unknown(why)
                | Confirmation::Refused(why) => Some(format!("{}: {why}", lever.name)),
            }),
            Self::Drained => undrained(turn.plan, run, turn.seen.drains.get(&record.uid)),
            Self::OthersServe => {
                let serving = turn.serving().difference(&run.batch.ordinals);
                // A pod that is not Ready serves nothing: it takes no capacity away when it goes, and a
                // broken old version must not stand in the way of a good new one.
                let needed = if pod.ready { turn.needed(run) } else { 0 };
                let have = u32::try_from(serving.len()).unwrap_or(u32::MAX);
                (have < needed).then(|| format!("only {have} other pods serve, {needed} must"))
            }
        }
    }
}

/// Why the pod does not count as drained; none: it does.
#[must_use]
pub fn undrained(plan: &Plan, run: &Run, view: Option<&DrainView>) -> Option<String> {
    if !plan.drain.counted {
        return None;
    }
    match view {
        None => Some("not counted yet".into()),
        Some(DrainView::Unknown(why)) => Some(why.clone()),
        Some(DrainView::Busy { why, .. }) => (!run.forced).then(|| why.clone()),
        Some(DrainView::Quiet(length)) if *length >= plan.drain.stable_for => None,
        Some(DrainView::Quiet(length)) => (!run.forced).then(|| {
            let none = plan.drain.none_left();
            format!("{none}, for {}s of {}s", length.as_secs(), plan.drain.stable_for.as_secs())
        }),
    }
}
