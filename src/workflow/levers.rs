//! What steps share about levers: make them hold something, and wait until it is in force.

use std::time::Duration;

use jiff::Timestamp;

use super::decision::Effect;
use super::observed::{Confirmation, Held, LeverView, Site};
use super::ordinals::OrdinalSet;
use super::reasons::{Problem, Reason};
use super::state::{Run, Step};
use super::turn::{Next, Turn, Wait, later};

/// How often somebody else's change of our entries is written over before the run waits for the user.
const REASSERTIONS: u32 = 3;

/// Writes to each lever in one step, after which the run waits for the user.
const MOST_WRITES: u32 = 10;
/// How long after the step was entered they are written once more by a run that does not wait for the user.
const WRITE_AGAIN: Duration = Duration::from_mins(1);
/// How soon a change that is not confirmed yet is looked at again where nothing else happens.
const LOOK_AGAIN: Duration = Duration::from_secs(3);

/// How long after a soak began another look has surely been made.
const MOMENT: Duration = Duration::from_secs(1);

/// Makes every lever hold `state.detached`. None once each is confirmed and `settle` is over.
pub fn hold(turn: &mut Turn<'_>, run: &mut Run, what: &str) -> Option<Next> {
    let wanted = turn.state.detached.clone();
    let deadline = later(turn.first_entered(run), turn.plan.confirm_timeout);
    let now = turn.now;
    let wait = |message: String| Wait::new(message).deadline(deadline, now, Reason::LeverNotConfirmed);
    for lever in turn.levers(run) {
        match &lever.held {
            Held::Ordinals(held) if *held == wanted => {}
            Held::Ordinals(_) | Held::Foreign(_) => {
                return Some(write(turn, run, false, format!("{what}: {}", lever.name)));
            }
            Held::Unreadable(why) => {
                return Some(wait(format!("{what}: {} cannot be read: {why}", lever.name)).into());
            }
            Held::Gone if run.goal.leaves() => {
                let without = turn.without_gone_from(run);
                let text =
                    format!("{what}: {} is gone; going on without it at {}", lever.name, clock(without));
                return Some(wait(text).until(without).into());
            }
            Held::Gone => {
                let text = format!(
                    "{what}: {} is gone. Make it again, or set the annotation lossless-upgrade.io/abort",
                    lever.name
                );
                return Some(wait(text).into());
            }
        }
    }
    let mut since = turn.since(run.entered);
    for lever in turn.levers(run) {
        match heed(turn, run, lever, &lever.confirmed, what, deadline) {
            Ok(at) => since = since.max(at),
            Err(next) => return Some(next),
        }
    }
    let settled = later(since, turn.plan.settle);
    (turn.now < settled)
        .then(|| wait(format!("{what}: confirmed, settling until {}", clock(settled))).until(settled).into())
}

/// Waits, from `since` on, until every load balancer sends connections to all pods that are attached: before that
/// nobody may be left there when others are taken out. A write that ends a doubt comes after the pods, so that its own
/// confirmation tells.
pub fn serve(turn: &mut Turn<'_>, run: &mut Run, since: Timestamp, names: &str) -> Option<Next> {
    let (seen, now) = (turn.seen, turn.now);
    // What was seen in the look that began the soak was asked for the batch before.
    let asked = later(run.entered, MOMENT);
    if now < asked {
        return Some(Wait::new(format!("{names} under live traffic")).until(asked).into());
    }
    let deadline = later(since, turn.plan.confirm_timeout);
    let what = format!("{names} stayed good, but for the load balancer");
    for lever in &seen.levers {
        let written = run.lever_writes > 0 && matches!(lever.site, Site::Object { .. });
        let told = if written { &lever.confirmed } else { &lever.taken };
        if let Err(next) = heed(turn, run, lever, told, &what, deadline) {
            return Some(next);
        }
    }
    None
}

/// Since when it is so, or what there is to do until it is.
fn heed(
    turn: &mut Turn<'_>,
    run: &mut Run,
    lever: &LeverView,
    told: &Confirmation,
    what: &str,
    deadline: Timestamp,
) -> Result<Timestamp, Next> {
    let now = turn.now;
    let text = |why: &str| format!("{what}: {}: {why}", lever.name);
    let wait = |why: &str| Wait::new(text(why)).deadline(deadline, now, Reason::LeverNotConfirmed);
    match told {
        Confirmation::Confirmed(at) => Ok(*at),
        Confirmation::Doubtful(why) => Err(write(turn, run, true, text(why))),
        // An answer shows as a change. What is still pending after a while may have become a doubt.
        Confirmation::Pending(why) => Err(wait(why).until(later(now, LOOK_AGAIN)).into()),
        Confirmation::Unknown(why) => Err(wait(why).into()),
        // It may come right by itself, and whoever could help is told at once.
        Confirmation::Refused(why) => {
            let wait = wait(why).until(later(now, LOOK_AGAIN));
            Err(wait.stalled(Reason::LeverNotConfirmed).into())
        }
    }
}

/// Sees to it that the levers still hold what was confirmed; else they are set again, a few times.
pub fn still_held(turn: &mut Turn<'_>, run: &mut Run) -> Option<Next> {
    let wanted = &turn.state.detached;
    let lost = turn.levers(run).find_map(|lever| match lever.ordinals() {
        Ok(held) if held == wanted => None,
        Ok(held) => {
            Some(format!("{} keeps away {} instead of {}", lever.name, whom(turn, held), whom(turn, wanted)))
        }
        Err(why) => Some(why),
    })?;
    run.reasserted += 1;
    if run.reasserted > REASSERTIONS {
        let text = format!(
            "Somebody keeps changing what keeps new connections away: {lost}. Nothing is deleted. Stop the other writer, then set the annotation lossless-upgrade.io/retry to a new value"
        );
        return Some(turn.halt(run, Problem::new(Reason::LeverContested, text)));
    }
    turn.warn(Reason::LeverContested, format!("{lost}; it is set again"));
    turn.enter(run, Step::Detach);
    Some(Next::Again)
}

impl<'a> Turn<'a> {
    /// The levers that count. Through a Service that is gone nobody comes: when it stays so for as long as a change of
    /// a lever may take, a run that only has to leave does so without it.
    pub fn levers(&self, run: &Run) -> impl Iterator<Item = &'a LeverView> + use<'a> {
        let is_over = run.goal.leaves() && self.now >= self.without_gone_from(run);
        self.seen.levers.iter().filter(move |lever| !is_over || lever.held != Held::Gone)
    }

    fn without_gone_from(&self, run: &Run) -> Timestamp {
        let since = run.leaving_since.map_or_else(|| self.first_entered(run), |since| self.since(since));
        later(since, self.plan.confirm_timeout)
    }
}

fn whom(turn: &Turn<'_>, ordinals: &OrdinalSet) -> String {
    if ordinals.is_empty() { "nobody".into() } else { turn.seen.names(ordinals) }
}

/// Writes the levers, but not for ever: who undoes each write, or answers each with a doubt, would
/// be written against without end. A run that goes on waits for the user then; one that only has to
/// leave tries again after a while.
pub fn write(turn: &mut Turn<'_>, run: &mut Run, again: bool, message: String) -> Next {
    if run.lever_writes >= objects(turn, run).saturating_mul(MOST_WRITES) {
        let told = format!(
            "{message}: written {} times in this step and still not in force. Nothing is deleted. Look for another writer of the annotation, and at the events of the Service",
            run.lever_writes
        );
        if !run.goal.leaves() && run.step != Step::Restore {
            let text = format!("{told}, then set the annotation lossless-upgrade.io/retry to a new value");
            return turn.halt(run, Problem::new(Reason::LeverContested, text));
        }
        let next = later(turn.since(run.entered), WRITE_AGAIN);
        if turn.now < next {
            return Wait::new(told).until(next).stalled(Reason::LeverContested).into();
        }
        let step = run.step;
        turn.enter(run, step);
    }
    run.lever_writes += 1;
    Next::Act(Effect::SetLevers { detached: turn.state.detached.clone(), again }, message)
}

/// How many objects a change of the levers may write.
fn objects(turn: &Turn<'_>, run: &Run) -> u32 {
    let pods = run.batch.ordinals.len().max(turn.state.detached.len()).max(1);
    let of = |lever: &LeverView| match lever.site {
        Site::Object { .. } => 1,
        Site::Pods => pods,
    };
    u32::try_from(turn.seen.levers.iter().map(of).sum::<usize>()).unwrap_or(u32::MAX)
}

/// A moment as it stands in messages.
#[must_use]
pub fn clock(at: jiff::Timestamp) -> String {
    at.strftime("%H:%M:%S UTC").to_string()
}
