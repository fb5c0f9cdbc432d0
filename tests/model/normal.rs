//! Records that differ in nothing that matters are one record: moments become ages of four kinds,
//! and of the past only what a next run asks for is kept.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::workflow::reasons::{Problem, Reason};
use crate::workflow::state::{Outcome, PodState, Rest, Run, State, Step};
use jiff::Timestamp;

/// The moment at which everything is decided: it is the recorded moments that grow old.
pub const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// How long ago something was recorded. Every length in the plan and in the code is due at one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Age {
    /// Just now.
    New,
    /// Soaks, pauses between looks.
    Soon,
    /// Deadlines of steps.
    Late,
    /// The deadline of a deletion of the object.
    Last,
}

impl Age {
    pub const ALL: [Self; 4] = [Self::New, Self::Soon, Self::Late, Self::Last];

    pub const fn length(self) -> Duration {
        match self {
            Self::New => Duration::ZERO,
            Self::Soon => Duration::from_mins(1),
            Self::Late => Duration::from_secs(700),
            Self::Last => Duration::from_secs(2000),
        }
    }

    /// The first age at which something is due that lies so far ahead; none: it is due now.
    pub fn of(ahead: Timestamp) -> Option<Self> {
        let ahead: Duration = ahead.duration_since(NOW).try_into().unwrap_or_default();
        Self::ALL.into_iter().skip(1).find(|age| ahead <= age.length()).filter(|_| !ahead.is_zero())
    }

    fn before_now(self) -> Timestamp {
        NOW - self.length()
    }
}

/// The process that runs, and any that ran before it.
pub const PROCESS: &str = "operator";
pub const OLDER_PROCESS: &str = "older operator";

/// The uid of the pod that has this ordinal now. It is asked for too often to be made anew each time.
pub fn uid(ordinal: usize) -> &'static str {
    ["0", "1", "2", "3", "4", "5"][ordinal]
}

/// The uid of any pod that had it before.
fn old_uid(ordinal: u32) -> String {
    format!("{ordinal} old")
}

/// A recorded state, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record(u32);

fn shorten(problem: &mut Problem) {
    problem.text = "told in full elsewhere".into();
    // Which of these it was is asked by nobody.
    if matches!(problem.reason, Reason::SoakFailed | Reason::RollingBack) {
        problem.reason = Reason::VerifyFailed;
    }
}

fn normalise(run: &mut Run) {
    run.started_at = NOW;
    run.timeouts.clear();
    run.cause.iter_mut().chain(&mut run.halted).for_each(shorten);
    // The run halts after more of these than there are faults on a way.
    (run.reasserted, run.lever_writes) = (0, 0);
    // That a deadline goes on while the run is in another step only shows in what is said.
    let step = run.step;
    run.first_entered.retain(|one, _| *one == step);
    if step != Step::Drain {
        run.draining_since = None;
    }
    // Deadlines count from these; only a soak and the wait for a held up controller are shorter.
    let late = Age::Late.before_now();
    let deadlines =
        run.first_entered.values_mut().chain(&mut run.draining_since).chain(&mut run.leaving_since);
    let lasting = matches!(step, Step::Soak | Step::Retire);
    let entered = (!lasting).then_some(&mut run.entered);
    deadlines.chain(entered).filter(|at| **at > late).for_each(|at| *at = NOW);
}

/// All states that were ever recorded.
#[derive(Default)]
pub struct Records {
    book: RwLock<Book>,
    changes: RwLock<HashMap<(Record, Change), Record, ahash::RandomState>>,
}

#[derive(Default)]
struct Book {
    numbers: HashMap<Arc<State>, Record, ahash::RandomState>,
    states: Vec<Arc<State>>,
}

impl Records {
    pub fn get(&self, record: Record) -> Arc<State> {
        self.book.read().unwrap_or_else(PoisonError::into_inner).states[record.0 as usize].clone()
    }

    /// Its number, once all is left out that makes no difference to what can come of it.
    pub fn put(&self, mut state: State) -> Record {
        state.history.retain(|past| past.outcome == Outcome::Blocked);
        state.history.truncate(1);
        for past in &mut state.history {
            past.started_at = NOW;
            past.text = None;
        }
        match &mut state.rest {
            Rest::Blocked(problem) | Rest::RolledBack(problem) | Rest::Aborted(problem) => shorten(problem),
            Rest::Idle | Rest::Succeeded => {}
        }
        if let Some(run) = &mut state.run {
            normalise(run);
        }
        if let Some(record) = self.book.read().unwrap_or_else(PoisonError::into_inner).numbers.get(&state) {
            return *record;
        }
        let mut all = self.book.write().unwrap_or_else(PoisonError::into_inner);
        let state = Arc::new(state);
        let next = Record(u32::try_from(all.states.len()).unwrap());
        let record = *all.numbers.entry(state.clone()).or_insert(next);
        if record == next {
            all.states.push(state);
        }
        record
    }

    /// The record when everything in it is at least so old.
    pub fn aged(&self, record: Record, age: Age) -> Record {
        let old = |at: Timestamp| at.min(age.before_now());
        self.changed(record, Change::Aged(age), |state| {
            if let Some(run) = &mut state.run {
                run.entered = old(run.entered);
                run.first_entered.values_mut().for_each(|at| *at = old(*at));
                run.draining_since = run.draining_since.map(old);
                run.leaving_since = run.leaving_since.map(old);
            }
            state.history.iter_mut().for_each(|past| past.finished_at = old(past.finished_at));
        })
    }

    /// The record when another process finds it.
    pub fn handed_over(&self, record: Record) -> Record {
        self.changed(record, Change::HandedOver, |state| {
            if let Some(run) = &mut state.run {
                run.carrier = OLDER_PROCESS.into();
            }
        })
    }

    /// The record as it was before its pods could be deleted.
    pub fn undeletable(&self, record: Record) -> Record {
        self.changed(record, Change::Undeletable, |state| {
            state.pods.iter_mut().for_each(|pod| pod.state = PodState::Detached);
        })
    }

    /// The record when another pod has come at this ordinal.
    pub fn reborn(&self, record: Record, ordinal: usize) -> Record {
        self.changed(record, Change::Reborn(ordinal), |state| {
            for pod in state.pods.iter_mut().filter(|pod| pod.ordinal as usize == ordinal) {
                pod.uid = old_uid(pod.ordinal);
            }
        })
    }

    /// What becomes of a record is worked out once: there are few records, and millions of moments at which
    /// it is asked.
    fn changed(&self, record: Record, change: Change, how: impl FnOnce(&mut State)) -> Record {
        let known =
            self.changes.read().unwrap_or_else(PoisonError::into_inner).get(&(record, change)).copied();
        known.unwrap_or_else(|| {
            let mut state = State::clone(&self.get(record));
            how(&mut state);
            let after = self.put(state);
            self.changes.write().unwrap_or_else(PoisonError::into_inner).insert((record, change), after);
            after
        })
    }
}

/// What may become of a record without a decision.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Change {
    Aged(Age),
    HandedOver,
    Undeletable,
    Reborn(usize),
}
