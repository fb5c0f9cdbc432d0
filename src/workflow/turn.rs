//! One look at the world: steps move the state until something is to be done or waited for.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::checks::Guard;
use super::decision::{Decision, Effect, Note};
use super::observed::{Held, LeverView, Observed, PodView, SetView};
use super::ordinals::{Ordinal, OrdinalSet};
use super::plan::Plan;
use super::reasons::{Problem, Reason};
use super::state::{Batch, BatchKind, Outcome, Past, PodRecord, PodState, Rest, Run, State, Step};

/// How many finished runs are kept.
const HISTORY: usize = 10;

/// What a step answers.
#[derive(Debug)]
pub enum Next {
    /// The state moved: look again from there.
    Again,
    /// Record, then do this. The sentence says what it is for.
    Act(Effect, String),
    /// Nothing to do now.
    Wait(Wait),
    /// The run is over.
    End(Outcome, Rest),
}

/// What is waited for.
#[derive(Debug, Default)]
pub struct Wait {
    /// One sentence, with the number it waits on.
    pub message: String,
    /// Look again then; none: when something changes.
    pub until: Option<Timestamp>,
    /// Past its deadline, or unable to end by itself.
    pub stalled: Option<Reason>,
    /// When it will be stalled.
    pub deadline: Option<Timestamp>,
}

impl Wait {
    /// Waits for a change.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// Waits at most until `until`.
    #[must_use]
    pub fn until(self, until: Timestamp) -> Self {
        Self { until: Some(self.until.map_or(until, |before| before.min(until))), ..self }
    }

    /// Stalled with `reason` once `deadline` is over.
    #[must_use]
    pub fn deadline(self, deadline: Timestamp, now: Timestamp, reason: Reason) -> Self {
        if now >= deadline {
            Self { stalled: Some(reason), deadline: Some(deadline), ..self }
        } else {
            Self { deadline: Some(deadline), ..self.until(deadline) }
        }
    }

    /// Cannot end by itself.
    #[must_use]
    pub fn stalled(self, reason: Reason) -> Self {
        Self { stalled: Some(reason), ..self }
    }
}

impl From<Wait> for Next {
    fn from(wait: Wait) -> Self {
        Self::Wait(wait)
    }
}

/// `at` later by `length`; the end of time where that is further.
#[must_use]
pub fn later(at: Timestamp, length: Duration) -> Timestamp {
    SignedDuration::try_from(length)
        .ok()
        .and_then(|length| at.checked_add(length).ok())
        .unwrap_or(Timestamp::MAX)
}

/// One look.
#[derive(Debug)]
pub struct Turn<'a> {
    /// What must hold before a pod goes.
    pub guards: &'a [Guard],
    /// What the user wants.
    pub plan: &'a Plan,
    /// What is seen.
    pub seen: &'a Observed,
    /// When.
    pub now: Timestamp,
    /// What is recorded, moving. The run is taken out while a step works on it.
    pub state: State,
    /// What happened.
    pub notes: Vec<Note>,
    /// The steps that were entered, in order.
    pub trail: Vec<Step>,
}

impl<'a> Turn<'a> {
    /// The StatefulSet; steps are only asked while there is one (`interrupts` sees to it).
    pub fn set(&self) -> Option<&'a SetView> {
        self.seen.set.as_ref()
    }

    /// The recorded pods with what is seen of each.
    pub fn records(&self) -> impl Iterator<Item = (&PodRecord, Option<&'a PodView>)> {
        self.state.pods.iter().map(|record| (record, self.seen.pods.get(&record.ordinal)))
    }

    /// Notes something for an event.
    pub fn note(&mut self, reason: Reason, text: impl Into<String>) {
        self.notes.push(Note { reason, text: text.into(), warning: false });
    }

    /// Notes something that a person should look at.
    pub fn warn(&mut self, reason: Reason, text: impl Into<String>) {
        self.notes.push(Note { reason, text: text.into(), warning: true });
    }

    /// Replicas without the surge.
    pub fn base(&self) -> u32 {
        let saved = self.state.saved.as_ref().map(|saved| saved.replicas);
        saved.or_else(|| self.set().map(|set| set.replicas)).unwrap_or_default()
    }

    /// The ordinals that were there before the run.
    pub fn base_ordinals(&self) -> OrdinalSet {
        self.set().map(|set| Observed::ordinals(set, 0, self.base())).unwrap_or_default()
    }

    /// The ordinals that the run adds.
    pub fn surge_ordinals(&self, run: &Run) -> OrdinalSet {
        self.set()
            .map(|set| Observed::ordinals(set, self.base(), self.base() + run.surge))
            .unwrap_or_default()
    }

    /// How many serving pods may be out at once.
    pub fn batch_size(&self) -> u32 {
        self.plan.batch_size(self.base(), self.set().is_some_and(|set| set.ordered_ready))
    }

    /// The fewest pods that must serve: the original replicas where the surge covers a batch.
    pub fn floor(&self, run: &Run) -> u32 {
        let (base, batch) = (self.base(), self.batch_size());
        if run.surge >= batch { base } else { base.saturating_sub(batch) }.max(1)
    }

    /// Whether enough others serve for the batch to be taken out, as far as it is not out already.
    pub fn can_spare(&self, run: &Run) -> bool {
        let out = |ordinal: Ordinal| {
            let held =
                |lever: &LeverView| matches!(&lever.held, Held::Ordinals(held) if held.contains(ordinal));
            self.seen.levers.iter().all(held)
        };
        // What lies beyond the replicas goes in any case.
        let stays = |ordinal: Ordinal| self.set().is_some_and(|set| ordinal < set.first + set.replicas);
        let serves =
            |ordinal: &Ordinal| stays(*ordinal) && self.seen.pods.get(ordinal).is_some_and(|pod| pod.ready);
        let taken = run.batch.ordinals.iter().any(|ordinal| serves(&ordinal) && !out(ordinal));
        let others = self.serving().difference(&run.batch.ordinals).len();
        !taken || others >= usize::try_from(self.needed(run)).unwrap_or(usize::MAX)
    }

    /// The fewest others that must serve while the batch is out: the floor; but where a run that is
    /// told to leave has waited for them long enough, the surge goes as long as somebody serves.
    pub fn needed(&self, run: &Run) -> u32 {
        let patience = run.leaving_since.map(|since| later(since, self.plan.verify.timeout));
        let over = run.batch.kind == BatchKind::Retiring && patience.is_some_and(|end| self.now >= end);
        if over { self.floor(run).min(1) } else { self.floor(run) }
    }

    /// A detached pod that is on its way out: it must not get connections in its last seconds.
    pub fn ending(&self) -> Option<&'a PodView> {
        let pods = self.state.detached.iter().filter_map(|ordinal| self.seen.pods.get(&ordinal));
        pods.into_iter().find(|pod| pod.terminating)
    }

    /// The pods that serve: Ready and attached.
    pub fn serving(&self) -> OrdinalSet {
        let ready = self.seen.pods.iter().filter(|(_, pod)| pod.ready).map(|(ordinal, _)| *ordinal);
        ready.filter(|ordinal| !self.state.detached.contains(*ordinal)).collect()
    }

    /// Whether the pod can have no connection: never Ready, or nothing runs in it.
    pub fn owes_nothing(&self, ordinal: Ordinal, pod: &PodView) -> bool {
        let seen_ready = self
            .state
            .pods
            .iter()
            .any(|record| record.ordinal == ordinal && record.uid == pod.uid && record.seen_ready);
        !pod.ready && (!pod.running || (pod.never_ready && !seen_ready))
    }

    /// The batch in words.
    pub fn batch_names(&self, run: &Run) -> String {
        if run.batch.ordinals.is_empty() { "all pods".into() } else { self.seen.names(&run.batch.ordinals) }
    }

    /// Begins a step.
    pub fn enter(&mut self, run: &mut Run, step: Step) {
        self.trail.push(step);
        run.step = step;
        run.entered = self.now;
    }

    /// Begins a batch at `step`, with a record for each of its pods that exists.
    pub fn begin(&mut self, run: &mut Run, kind: BatchKind, ordinals: OrdinalSet, step: Step) {
        self.state.pods = ordinals
            .iter()
            .filter_map(|ordinal| self.seen.pods.get(&ordinal).map(|pod| (ordinal, pod)))
            .map(|(ordinal, pod)| PodRecord {
                ordinal,
                uid: pod.uid.clone(),
                state: PodState::Chosen,
                restarts: pod.restarts,
                seen_ready: pod.ready,
            })
            .collect();
        run.batch = Batch { kind, ordinals };
        run.draining_since = None;
        run.forced = false;
        run.turned_back = false;
        self.enter(run, step);
    }

    /// Ends the batch; the next one is chosen from there.
    pub fn end_batch(&mut self, run: &mut Run) {
        self.state.pods.clear();
        run.batch = Batch::none();
        self.enter(run, Step::Soak);
    }

    /// The answer, with the state as it has become.
    pub fn finish(self, next: Next) -> Decision {
        let (effect, wait) = match next {
            Next::Act(effect, message) => (Some(effect), Wait::new(message).until(self.now)),
            Next::Wait(wait) => (None, wait),
            Next::Again | Next::End(..) => (None, Wait::default().until(self.now)),
        };
        Decision {
            state: self.state,
            effect,
            wake: wait.until,
            message: wait.message,
            stalled: wait.stalled,
            deadline: wait.deadline,
            notes: self.notes,
            trail: self.trail,
        }
    }

    /// Writes the run into the history and leaves it.
    pub fn close(&mut self, run: Run, outcome: Outcome, rest: Rest) {
        let cause = run.cause.as_ref();
        let text = match (&rest, cause) {
            (Rest::Succeeded, _) => format!("{} pods run {}", run.updated.len(), run.to),
            (Rest::RolledBack(problem) | Rest::Aborted(problem) | Rest::Blocked(problem), _) => {
                problem.text.clone()
            }
            (Rest::Idle, cause) => cause.map(|cause| cause.text.clone()).unwrap_or_default(),
        };
        match outcome {
            Outcome::Succeeded => self.note(Reason::Succeeded, text),
            Outcome::RolledBack => self.warn(Reason::RolledBack, text),
            Outcome::Aborted => self.warn(Reason::Aborted, text),
            Outcome::Blocked => self.warn(cause.map_or(Reason::Aborted, |cause| cause.reason), text),
        }
        let past = Past {
            from: run.from,
            to: run.failed.unwrap_or(run.to),
            started_at: run.started_at,
            finished_at: self.now,
            outcome,
            pods: u32::try_from(run.updated.len()).unwrap_or(u32::MAX),
            reason: run.cause.map(|cause| cause.reason),
        };
        // Tries of the same run that never began in earnest are one entry, so that they do not drive
        // out the others.
        let blocked = |past: &Past| past.outcome == Outcome::Blocked;
        if blocked(&past)
            && self.state.history.first().is_some_and(|last| blocked(last) && last.to == past.to)
        {
            self.state.history.remove(0);
        }
        self.state.history.insert(0, past);
        self.state.history.truncate(HISTORY);
        self.state.pods.clear();
        self.state.saved = None;
        self.state.detached = OrdinalSet::new();
        self.state.rest = rest;
    }

    /// The run cannot go on without the user.
    pub fn halt(&mut self, run: &mut Run, problem: Problem) -> Next {
        self.notes.push(problem.clone().into());
        run.halted = Some(problem);
        Next::Again
    }
}
