//! One look at the world: steps move the state until something is to be done or waited for.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::checks::Guard;
use super::decision::{Decision, Effect, Note};
use super::interrupts::RELEASE_TIMEOUT;
use super::observed::{Observed, PodView, SetView};
use super::ordinals::{Ordinal, OrdinalSet};
use super::plan::Plan;
use super::reasons::{Problem, Reason};
use super::state::{Batch, BatchKind, Goal, Outcome, Past, PodRecord, PodState, Rest, Run, State, Step};

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

    /// A detached pod that is on its way out, or condemned by the replicas: it must not get connections
    /// in its last seconds.
    pub fn ending(&self) -> Option<&'a PodView> {
        let seen = self.seen;
        let pods = self.state.detached.iter().filter_map(|ordinal| Some((ordinal, seen.pods.get(&ordinal)?)));
        // Without its StatefulSet a pod stays as it is.
        let goes = |ordinal| self.set().is_some() && !self.stays(ordinal);
        let mut ending = pods.filter(|(ordinal, pod)| pod.terminating || goes(*ordinal));
        ending.next().map(|(_, pod)| pod)
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
        run.first_entered.entry(step).or_insert(self.now);
        run.lever_writes = 0;
    }

    /// The run got somewhere, or is to go somewhere else: deadlines count anew.
    pub fn got_somewhere(&self, run: &mut Run) {
        run.first_entered.clear();
        run.first_entered.insert(run.step, self.now);
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
        // Whatever is waited for: an object that is to go is looked at again when its time is over.
        let leaving = self.state.run.as_ref().filter(|run| run.goal == Goal::Release);
        let over = leaving.and_then(|run| run.leaving_since).map(|since| later(since, RELEASE_TIMEOUT));
        let over = over.filter(|over| *over > self.now);
        let (effect, wait) = match next {
            Next::Act(effect, message) => (Some(effect), Wait::new(message).until(self.now)),
            Next::Wait(wait) => (None, wait),
            Next::Again | Next::End(..) => (None, Wait::default().until(self.now)),
        };
        Decision {
            state: self.state,
            effect,
            wake: wait.until.into_iter().chain(over).min(),
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
        let (reason, text) = run.cause.map(|Problem { reason, text }| (reason, text)).unzip();
        let past = Past {
            from: run.from,
            to: run.failed.unwrap_or(run.to),
            started_at: run.started_at,
            finished_at: self.now,
            outcome,
            pods: u32::try_from(run.updated.len()).unwrap_or(u32::MAX),
            reason,
            text,
            timeouts: run.timeouts,
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
        if matches!(outcome, Outcome::Succeeded | Outcome::RolledBack) {
            self.forget_nudged();
        }
        self.state.pods.clear();
        self.state.saved = None;
        self.state.detached = OrdinalSet::new();
        self.state.rest = rest;
    }

    /// Forgets the nudged pods that are gone: none comes back under its uid.
    pub fn forget_nudged(&mut self) {
        let seen = self.seen;
        self.state.nudged.retain(|uid| seen.pods.values().any(|pod| pod.uid == *uid));
    }

    /// Waits for the StatefulSet controller to take notice of `what`. Until then nobody knows which
    /// revision a pod that is created now would get.
    pub fn unnoticed(&self, run: &Run, what: &str) -> Wait {
        let text = format!("Waiting for the StatefulSet controller to take notice of {what}");
        let deadline = later(self.first_entered(run), self.plan.verify.timeout);
        let wait = Wait::new(text).deadline(deadline, self.now, Reason::ControllerSilent);
        match wait.stalled {
            Some(_) => Wait {
                message: format!(
                    "{}. It has not done so in time: is kube-controller-manager running? (`kubectl -n kube-system get pods,leases`)",
                    wait.message
                ),
                ..wait
            },
            None => wait,
        }
    }

    /// The run cannot go on without the user.
    pub fn halt(&mut self, run: &mut Run, problem: Problem) -> Next {
        self.notes.push(problem.clone().into());
        run.halted = Some(problem);
        Next::Again
    }
}
