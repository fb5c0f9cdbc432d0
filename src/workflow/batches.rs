//! Which pods come next: what serves nothing first, then the surge where it is not at the target,
//! then what came to the target without our hand, then the serving pods in the user's order.

use super::observed::PodView;
use super::ordinals::{Ordinal, OrdinalSet};
use super::plan::Order;
use super::reasons::{Problem, Reason};
use super::state::{BatchKind, Goal, PodState, Run, Step};
use super::turn::{Next, Turn, Wait, later};

/// How often a batch serves again because nobody else does, before the run waits for the user.
pub const RELIEFS: u32 = 3;

/// How often a surge that somebody took away is added again, before the run waits for the user.
const SURGES: u32 = 3;

/// Chooses the next batch, or begins to reclaim where none is left.
pub fn choose(turn: &mut Turn<'_>, run: &mut Run) -> Next {
    let Some(set) = turn.set() else { return Wait::new("Waiting for the StatefulSet").into() };
    if !run.goal.leaves() && set.update_revision.as_ref() != Some(&run.to) {
        return turn.unnoticed(run, "the newest template").into();
    }
    match run.goal {
        Goal::Abort | Goal::Release => return retire(turn, run),
        Goal::Upgrade => {
            if !set.runs(&turn.plan.images) {
                turn.enter(run, Step::Surge);
                return Next::Again;
            }
        }
        Goal::RollBack => {}
    }
    // What is detached and on its way out or not back yet must not be attached by the next detach.
    let ordinals = turn.base_ordinals().union(&turn.surge_ordinals(run));
    let away = ordinals.difference(&at(turn, &ordinals, |_| true));
    // One that is gone and lies beyond the replicas does not come back by itself.
    let comes = |ordinal: &Ordinal| turn.seen.pods.contains_key(ordinal) || set.has(*ordinal);
    let away: OrdinalSet =
        away.iter().filter(|ordinal| turn.state.detached.contains(*ordinal) && comes(ordinal)).collect();
    if !away.is_empty() {
        return wait_for_others(turn, run, &away);
    }
    let pending = at(turn, &turn.base_ordinals(), |pod| pod.revision != run.to);
    let surge_pending = at(turn, &turn.surge_ordinals(run), |pod| pod.revision != run.to);
    let surge_counts = run.goal == Goal::Upgrade || !pending.is_empty();
    let wanted = !pending.is_empty() || (surge_counts && !surge_pending.is_empty());
    if wanted && let Some(next) = replicas_changed(turn, run) {
        return next;
    }
    if let Some(next) = broken(turn, run) {
        return next;
    }
    if let Some(next) = found(turn, run) {
        return next;
    }
    let surge_pending = if surge_counts { surge_pending } else { OrdinalSet::new() };
    match (surge_pending.is_empty(), pending.is_empty()) {
        (true, true) => retire(turn, run),
        (false, _) => serving(turn, run, &pending, &surge_pending),
        (true, false) => serving(turn, run, &pending, &pending),
    }
}

/// A batch of the pods that are at the target and not proven there, or proven and not attached.
fn found(turn: &mut Turn<'_>, run: &mut Run) -> Option<Next> {
    let detached = turn.state.detached.clone();
    let found = at(turn, &turn.base_ordinals(), |pod| pod.revision == run.to);
    let found: OrdinalSet = found
        .iter()
        .filter(|ordinal| !run.updated.contains(*ordinal) || detached.contains(*ordinal))
        .collect();
    if found.is_empty() {
        return None;
    }
    let unproven = found.difference(&run.updated);
    if !unproven.is_empty() {
        let names = turn.seen.names(&unproven);
        turn.warn(
            Reason::UpgradedWithoutDrain,
            format!("{names} came to {} without our hand; verified now", run.to),
        );
    }
    turn.begin(run, BatchKind::Found, found, Step::Verify);
    Some(Next::Again)
}

/// The ordinals whose pod exists, is not on its way out, and is so.
fn at(turn: &Turn<'_>, ordinals: &OrdinalSet, is: impl Fn(&PodView) -> bool) -> OrdinalSet {
    ordinals
        .iter()
        .filter(|ordinal| turn.seen.pods.get(ordinal).is_some_and(|pod| !pod.terminating && is(pod)))
        .collect()
}

/// The surge is not as the run left it: lost to somebody's `apply`, or the user wants another
/// number. What the user set counts; the surge is made good before the next detach.
pub fn replicas_changed(turn: &mut Turn<'_>, run: &mut Run) -> Option<Next> {
    let set = turn.set()?;
    let base = turn.base();
    if set.replicas == base + run.surge {
        return None;
    }
    if set.replicas == base {
        run.surge_lost += 1;
    }
    if run.surge_lost > SURGES {
        let text = format!(
            "Somebody keeps setting spec.replicas back to {base}, which ends surge pods under traffic. Nothing more is added or deleted. Stop the other writer (a GitOps repository with replicas in it? deploy/policy refuses that), then set the annotation lossless-upgrade.io/retry to a new value"
        );
        return Some(turn.halt(run, Problem::new(Reason::ReplicasChanged, text)));
    }
    turn.warn(
        Reason::ReplicasChanged,
        format!(
            "The surge is not there: spec.replicas is {}, and {base} with a surge of {} were asked for; it is added",
            set.replicas, run.surge
        ),
    );
    if let Some(saved) = turn.state.saved.as_mut().filter(|_| set.replicas != base) {
        saved.replicas = set.replicas;
        run.surge = turn.plan.surge_size(set.replicas, set.ordered_ready);
    }
    turn.enter(run, Step::Surge);
    Some(Next::Again)
}

/// A batch of the pods that are not at the target and owe nothing: they need no detach, no drain
/// and no budget. A broken surge is only worth replacing while serving pods wait for it.
pub fn broken(turn: &mut Turn<'_>, run: &mut Run) -> Option<Next> {
    let base = turn.base_ordinals();
    let to = run.to.clone();
    let dead = |ordinals: &OrdinalSet| -> OrdinalSet {
        let behind = at(turn, ordinals, |pod| !to.is_empty() && pod.revision != to);
        behind
            .iter()
            .filter(|ordinal| turn.seen.pods.get(ordinal).is_some_and(|pod| turn.owes_nothing(*ordinal, pod)))
            .collect()
    };
    let mut ordinals = dead(&base);
    let waiting = at(turn, &base, |pod| pod.revision != to);
    if !waiting.is_empty() || run.goal == Goal::Upgrade {
        ordinals = ordinals.union(&dead(&turn.surge_ordinals(run)));
    }
    if ordinals.is_empty() {
        return None;
    }
    turn.begin(run, BatchKind::Broken, ordinals, Step::Replace);
    turn.state.pods.iter_mut().for_each(|record| record.state = PodState::Deletable);
    Some(Next::Again)
}

/// The next of `first`, as many as capacity allows. What serves nothing as it is comes before them,
/// because it takes no capacity away.
fn serving(turn: &mut Turn<'_>, run: &mut Run, pending: &OrdinalSet, first: &OrdinalSet) -> Next {
    let size = usize::try_from(turn.batch_size()).unwrap_or(usize::MAX);
    let sick: OrdinalSet = pending
        .union(first)
        .iter()
        .filter(|ordinal| {
            turn.state.detached.contains(*ordinal)
                || turn.seen.pods.get(ordinal).is_some_and(|pod| !pod.ready)
        })
        .collect();
    if !sick.is_empty() {
        turn.begin(run, BatchKind::Serving, sick.iter().take(size).collect(), Step::Detach);
        return Next::Again;
    }
    let base = turn.base_ordinals();
    let out = base.difference(&turn.serving());
    let spare = turn.serving().len().saturating_sub(usize::try_from(turn.floor(run)).unwrap_or(usize::MAX));
    let most = size.saturating_sub(out.len()).min(spare);
    if most == 0 {
        return wait_for_others(turn, run, &out);
    }
    let ordered: Vec<Ordinal> = match turn.plan.order {
        Order::Ascending => first.iter().take(most).collect(),
        Order::Descending => first.iter().rev().take(most).collect(),
    };
    if run.relieved > RELIEFS {
        let text = format!(
            "All pods but the ones that were taken out stopped serving, {} times now. Nothing more is taken out. Find out why they fall (`kubectl describe pod`), then set the annotation lossless-upgrade.io/retry, /rollback or /abort",
            run.relieved
        );
        return turn.halt(run, Problem::new(Reason::OthersNotReady, text));
    }
    turn.begin(run, BatchKind::Serving, ordered.into_iter().collect(), Step::Detach);
    Next::Again
}

fn wait_for_others(turn: &Turn<'_>, run: &Run, out: &OrdinalSet) -> Next {
    if out.is_empty() && run.surge == 0 && turn.base() <= 1 {
        let text = "With one replica and no surge nobody would serve while it is replaced. Set spec.replicas of the StatefulSet to 2 or more, or abort and allow a surge";
        return Wait::new(text).stalled(Reason::NoCapacity).into();
    }
    let text = if out.is_empty() {
        format!(
            "Waiting for more pods to serve: {} do, and {} must while the next batch is out",
            turn.serving().len(),
            turn.floor(run)
        )
    } else {
        format!("Waiting until {} is Ready before the next pod is taken out", turn.seen.names(out))
    };
    let deadline = later(turn.first_entered(run), turn.plan.verify.timeout);
    Wait::new(text).deadline(deadline, turn.now, Reason::OthersNotReady).into()
}

/// The replicas are as somebody set them, and no surge of ours is among them any more.
pub fn yield_replicas(turn: &mut Turn<'_>, run: &mut Run) {
    if let (Some(saved), Some(set)) = (turn.state.saved.as_mut(), &turn.seen.set) {
        saved.replicas = set.replicas;
    }
    run.surge = 0;
}

/// The replicas are as somebody set them, and a surge is still to be added to them.
pub fn renew_surge(turn: &mut Turn<'_>, run: &mut Run) {
    yield_replicas(turn, run);
    if let Some(set) = turn.set() {
        run.surge = turn.plan.surge_size(set.replicas, set.ordered_ready);
    }
}

/// The surge goes, drained like all others.
fn retire(turn: &mut Turn<'_>, run: &mut Run) -> Next {
    let Some(set) = turn.set() else { return Wait::new("Waiting for the StatefulSet").into() };
    let base = turn.base();
    // Surge pods that are left although the replicas are back go with them, so they stay ours to drain.
    let condemned = set.replicas == base
        && turn.surge_ordinals(run).iter().any(|ordinal| turn.seen.pods.contains_key(&ordinal));
    if set.replicas != base + run.surge && !condemned {
        // Somebody set the replicas meanwhile: there is no surge of ours any more.
        yield_replicas(turn, run);
    }
    let out = turn.base_ordinals().difference(&turn.serving());
    let waited = turn.now >= later(turn.since(run.entered), turn.plan.verify.timeout);
    let hasty = run.goal.leaves() && (waited || run.surge == 0);
    if !out.is_empty() && !hasty && !condemned {
        return wait_for_others(turn, run, &out);
    }
    let surge = turn.surge_ordinals(run);
    // Also one that owes nothing is detached: it may become Ready, or come anew, before the
    // StatefulSet controller takes notice of the replicas.
    let step = if surge.is_empty() { Step::Restore } else { Step::Detach };
    turn.begin(run, BatchKind::Retiring, surge, step);
    Next::Again
}

/// The batch is put back as it is: what was not deleted yet serves again.
pub fn turn_back(turn: &mut Turn<'_>, run: &mut Run) {
    run.turned_back = true;
    turn.enter(run, Step::Attach);
}

/// Whether anything of the batch could still be kept from being deleted.
pub fn undeleted(turn: &Turn<'_>) -> bool {
    turn.records().any(|(record, pod)| pod.is_some_and(|pod| pod.uid == record.uid && !pod.terminating))
}
