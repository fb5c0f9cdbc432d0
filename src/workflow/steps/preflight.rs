//! The first count, on a pod that serves and is not touched otherwise: a probe that cannot answer
//! is found out before anything is detached.

use crate::workflow::batches;
use crate::workflow::decision::Effect;
use crate::workflow::observed::{CounterView, DrainView, Observed, PodView};
use crate::workflow::ordinals::Ordinal;
use crate::workflow::reasons::{Problem, Reason};
use crate::workflow::state::{Outcome, Rest, Run, Step};
use crate::workflow::turn::{Next, Turn, Wait, later};

/// The pod that is counted first: the lowest that is Ready and will have to be drained, so that its
/// counter is used again.
pub fn witness<'a>(seen: &'a Observed, run: &Run) -> Option<(Ordinal, &'a PodView)> {
    let ready = || seen.pods.iter().filter(|(_, pod)| pod.ready).map(|(ordinal, pod)| (*ordinal, pod));
    ready().find(|(_, pod)| pod.revision != run.to).or_else(|| ready().next())
}

/// Waits for the first answer.
pub fn look(turn: &mut Turn<'_>, run: &mut Run) -> Next {
    // No surge was asked for yet, so whatever the replicas are is what the user wants.
    batches::renew_surge(turn, run);
    let Some((ordinal, pod)) = witness(turn.seen, run).filter(|_| turn.plan.drain.counted) else {
        // Nobody serves, or nothing counts: then there is nothing to ask.
        turn.enter(run, Step::Surge);
        return Next::Again;
    };
    match &pod.counter {
        CounterView::Absent => {
            let effect = Effect::StartCounter { ordinal, uid: pod.uid.clone() };
            return Next::Act(effect, format!("Starting the first drain counter, in {}", pod.name));
        }
        CounterView::Refused(why) => {
            let text = format!("The drain counter does not run in {}: {why}", pod.name);
            return give_up(run, Problem::new(Reason::ProbeUnusable, text));
        }
        CounterView::Present | CounterView::NotNeeded => {}
    }
    let why = match turn.seen.drains.get(&pod.uid) {
        Some(DrainView::Busy { .. } | DrainView::Quiet(_)) => {
            turn.enter(run, Step::Surge);
            return Next::Again;
        }
        Some(DrainView::Unknown(why)) => why.clone(),
        None => "not asked yet".into(),
    };
    let deadline = later(turn.since(run.entered), turn.plan.confirm_timeout);
    if turn.now >= deadline {
        let text = format!(
            "No count from {}: {why}. Nothing was detached. Mend the probe in spec.drain.probes, or use another one",
            pod.name
        );
        return give_up(run, Problem::new(Reason::ProbeUnusable, text));
    }
    Wait::new(format!("Waiting for the first count, from {}: {why}", pod.name))
        .deadline(deadline, turn.now, Reason::ProbeSilent)
        .into()
}

fn give_up(run: &mut Run, problem: Problem) -> Next {
    run.cause = Some(problem.clone());
    Next::End(Outcome::Blocked, Rest::Blocked(problem))
}
