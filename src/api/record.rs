//! Status to state and back. Nothing of the state is lost on the way: a new process goes on from it.

use super::status::{
    DrainTimeoutStatus, LosslessUpgradeStatus, PastStatus, PodStatus, RejectedStatus, RunStatus, SavedStatus,
};
use crate::workflow::reasons::{Problem, Reason};
use crate::workflow::state::{
    Batch, DrainTimeout, Past, Phase, PodRecord, Rejected, Rest, Run, Saved, State,
};

/// The form of what this operator remembers. It rises when an older operator, which drops what it
/// does not know, would lose something that a run rests on.
pub const FORMAT: u32 = 1;

/// The state that a status records.
#[must_use]
pub fn state(status: &LosslessUpgradeStatus) -> State {
    State {
        rest: rest(status),
        run: status.run.clone().map(run),
        detached: status.detached.clone(),
        pods: status.pods.iter().map(pod).collect(),
        nudged: status.nudged.iter().cloned().collect(),
        saved: status.saved.clone().map(|SavedStatus { replicas, levers, template }| Saved {
            replicas,
            levers,
            template,
        }),
        rejected: status
            .rejected
            .clone()
            .map(|RejectedStatus { revision, images }| Rejected { revision, images }),
        handled: status.handled.clone(),
        history: status.history.iter().cloned().map(past).collect(),
    }
}

/// Writes the state into a status, beside what is there for readers only.
pub fn record(state: State, status: &mut LosslessUpgradeStatus) {
    status.format = FORMAT;
    status.phase = state.phase();
    let State { rest, run, detached, pods, nudged, saved, rejected, handled, history } = state;
    let before = std::mem::take(&mut status.pods);
    status.pods = pods.into_iter().map(|record| pod_status(record, &before)).collect();
    status.problem = match rest {
        Rest::Idle | Rest::Succeeded => None,
        Rest::Blocked(problem) | Rest::RolledBack(problem) | Rest::Aborted(problem) => Some(problem.into()),
    };
    status.run = run.map(run_status);
    status.detached = detached;
    status.nudged = nudged.into_iter().collect();
    status.saved =
        saved.map(|Saved { replicas, levers, template }| SavedStatus { replicas, levers, template });
    status.rejected = rejected.map(|Rejected { revision, images }| RejectedStatus { revision, images });
    status.handled = handled;
    status.history = history.into_iter().map(past_status).collect();
}

fn rest(status: &LosslessUpgradeStatus) -> Rest {
    let problem = || {
        let unknown = || Problem::new(Reason::InvalidObject, status.message.clone());
        status.problem.clone().map_or_else(unknown, Problem::from)
    };
    match status.phase {
        Phase::Blocked => Rest::Blocked(problem()),
        Phase::Succeeded => Rest::Succeeded,
        Phase::RolledBack => Rest::RolledBack(problem()),
        Phase::Aborted => Rest::Aborted(problem()),
        Phase::Idle
        | Phase::Preflight
        | Phase::Surge
        | Phase::Detach
        | Phase::Drain
        | Phase::Replace
        | Phase::Verify
        | Phase::Attach
        | Phase::Soak
        | Phase::Reclaim
        | Phase::RollingBack
        | Phase::Aborting => Rest::Idle,
    }
}

fn run(status: RunStatus) -> Run {
    let RunStatus {
        id,
        from,
        to,
        set_uid,
        started_at,
        goal,
        step,
        entered,
        first_entered,
        carrier,
        fencing,
        deadline: _,
        batch,
        batch_kind,
        surge,
        updated,
        reasserted,
        relieved,
        surge_lost,
        lever_writes,
        halted,
        cause,
        failed,
        draining_since,
        forced,
        turned_back,
        held,
        leaving_since,
        drain_timeouts,
    } = status;
    Run {
        id,
        from,
        to,
        set_uid,
        started_at,
        goal,
        step,
        entered,
        first_entered,
        carrier,
        fencing,
        batch: Batch { kind: batch_kind, ordinals: batch },
        surge,
        updated,
        reasserted,
        relieved,
        surge_lost,
        lever_writes,
        halted: halted.map(Problem::from),
        cause: cause.map(Problem::from),
        failed,
        draining_since,
        forced,
        turned_back,
        held,
        leaving_since,
        timeouts: drain_timeouts.into_iter().map(timeout).collect(),
    }
}

fn run_status(run: Run) -> RunStatus {
    let Run {
        id,
        from,
        to,
        set_uid,
        started_at,
        goal,
        step,
        entered,
        first_entered,
        carrier,
        fencing,
        batch,
        surge,
        updated,
        reasserted,
        relieved,
        surge_lost,
        lever_writes,
        halted,
        cause,
        failed,
        draining_since,
        forced,
        turned_back,
        held,
        leaving_since,
        timeouts,
    } = run;
    RunStatus {
        id,
        from,
        to,
        set_uid,
        started_at,
        goal,
        step,
        entered,
        first_entered,
        carrier,
        fencing,
        deadline: None,
        batch: batch.ordinals,
        batch_kind: batch.kind,
        surge,
        updated,
        reasserted,
        relieved,
        surge_lost,
        lever_writes,
        halted: halted.map(Into::into),
        cause: cause.map(Into::into),
        failed,
        draining_since,
        forced,
        turned_back,
        held,
        leaving_since,
        drain_timeouts: timeouts.into_iter().map(timeout_status).collect(),
    }
}

fn pod(status: &PodStatus) -> PodRecord {
    let PodStatus { ordinal, uid, state, restarts, seen_ready, connections: _ } = status.clone();
    PodRecord { ordinal, uid, state, restarts, seen_ready }
}

fn pod_status(record: PodRecord, before: &[PodStatus]) -> PodStatus {
    let PodRecord { ordinal, uid, state, restarts, seen_ready } = record;
    let connections = before.iter().find(|pod| pod.uid == uid).and_then(|pod| pod.connections);
    PodStatus { ordinal, uid, state, restarts, seen_ready, connections }
}

fn past(status: PastStatus) -> Past {
    let PastStatus { from, to, started_at, finished_at, outcome, pods, reason, text, drain_timeouts } =
        status;
    let timeouts = drain_timeouts.into_iter().map(timeout).collect();
    Past { from, to, started_at, finished_at, outcome, pods, reason, text, timeouts }
}

fn past_status(past: Past) -> PastStatus {
    let Past { from, to, started_at, finished_at, outcome, pods, reason, text, timeouts } = past;
    let drain_timeouts = timeouts.into_iter().map(timeout_status).collect();
    PastStatus { from, to, started_at, finished_at, outcome, pods, reason, text, drain_timeouts }
}

fn timeout(DrainTimeoutStatus { ordinals, then }: DrainTimeoutStatus) -> DrainTimeout {
    DrainTimeout { ordinals, then }
}

fn timeout_status(DrainTimeout { ordinals, then }: DrainTimeout) -> DrainTimeoutStatus {
    DrainTimeoutStatus { ordinals, then }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::workflow::ordinals::OrdinalSet;
    use crate::workflow::state::{AfterTimeout, BatchKind, Goal, Outcome, PodState, SavedLever, Step};
    use crate::workflow::words::Actions;

    fn timeouts() -> Vec<DrainTimeout> {
        vec![DrainTimeout { ordinals: [1].into_iter().collect(), then: AfterTimeout::Proceeded }]
    }

    fn full() -> State {
        let at = |second: i64| Timestamp::from_second(1_700_000_000 + second).unwrap();
        let problem = |reason: Reason| Some(Problem::new(reason, "why"));
        State {
            rest: Rest::Idle,
            run: Some(Run {
                id: "r1".into(),
                from: "web-1".into(),
                to: "web-2".into(),
                set_uid: "u".into(),
                started_at: at(1),
                goal: Goal::RollBack,
                step: Step::Drain,
                entered: at(2),
                first_entered: [(Step::Detach, at(1)), (Step::Drain, at(2))].into(),
                carrier: "a".into(),
                fencing: true,
                batch: Batch { kind: BatchKind::Serving, ordinals: [1, 2].into_iter().collect() },
                surge: 2,
                updated: [0].into_iter().collect(),
                reasserted: 1,
                relieved: 1,
                surge_lost: 1,
                lever_writes: 2,
                halted: problem(Reason::LeverContested),
                cause: problem(Reason::SoakFailed),
                failed: Some("web-2".into()),
                draining_since: Some(at(3)),
                forced: true,
                turned_back: true,
                held: true,
                leaving_since: Some(at(4)),
                timeouts: timeouts(),
            }),
            detached: OrdinalSet::from_iter([1, 2]),
            pods: vec![PodRecord {
                ordinal: 1,
                uid: "p1".into(),
                state: PodState::Deletable,
                restarts: 3,
                seen_ready: true,
            }],
            nudged: ["p1".into(), "p2".into()].into(),
            saved: Some(Saved {
                replicas: 4,
                levers: vec![SavedLever { lever: "tkeService".into(), name: "web".into(), before: None }],
                template: Some("{}".into()),
            }),
            rejected: Some(Rejected { revision: "web-0".into(), images: [("a".into(), "b".into())].into() }),
            handled: Actions { abort: Some("1".into()), rollback: None, retry: Some("2".into()) },
            history: vec![Past {
                from: "web-0".into(),
                to: "web-1".into(),
                started_at: at(0),
                finished_at: at(1),
                outcome: Outcome::RolledBack,
                pods: 4,
                reason: Some(Reason::SoakFailed),
                text: Some("why".into()),
                timeouts: timeouts(),
            }],
        }
    }

    #[test]
    fn a_state_comes_back_whole_from_the_status_as_the_api_server_keeps_it() {
        for rest in [
            Rest::Idle,
            Rest::Succeeded,
            Rest::Blocked(Problem::new(Reason::NotOnDelete, "x")),
            Rest::RolledBack(Problem::new(Reason::SoakFailed, "y")),
            Rest::Aborted(Problem::new(Reason::Aborted, "z")),
        ] {
            let between = State { rest, run: None, ..full() };
            for before in [full(), between] {
                let mut status = LosslessUpgradeStatus::default();
                record(before.clone(), &mut status);
                let kept = serde_json::to_string(&status).unwrap();
                let status: LosslessUpgradeStatus = serde_json::from_str(&kept).unwrap();
                assert_eq!(state(&status), before);
            }
        }
    }

    /// As an operator wrote it before there were forms: a run in mid-drain.
    const UNNUMBERED: &str = r#"{
        "observedGeneration": 1, "phase": "Drain", "message": "Draining", "replicas": 3, "updatedReplicas": 1,
        "progress": "1/3", "detached": "1", "target": {"observedGeneration": 4, "updateRevision": "web-2"},
        "run": {"id": "r", "from": "web-1", "to": "web-2", "setUid": "u", "startedAt": "2026-11-20T00:00:00Z",
            "goal": "Upgrade", "step": "Drain", "entered": "2026-11-20T00:01:00Z", "batch": "1",
            "batchKind": "Serving", "surge": 1, "updated": "0", "drainingSince": "2026-11-20T00:01:00Z", "paused": true},
        "pods": [{"ordinal": 1, "uid": "p", "state": "Detached", "restarts": 0, "seenReady": true}],
        "saved": {"replicas": 3, "levers": [{"lever": "tkeService", "name": "web"}], "template": "{}"},
        "history": [{"from": "web-0", "to": "web-1", "startedAt": "2026-11-19T00:00:00Z",
            "finishedAt": "2026-11-19T00:09:00Z", "outcome": "Succeeded", "pods": 3}]
    }"#;

    #[test]
    fn a_run_of_an_older_operator_is_gone_on_with_and_is_nobodys_yet() {
        let status: LosslessUpgradeStatus = serde_json::from_str(UNNUMBERED).unwrap();
        assert!(status.format < FORMAT);
        let state = state(&status);
        let run = state.run.as_ref().unwrap();
        assert_eq!((run.step, run.carrier.as_str()), (Step::Drain, ""));
        assert_eq!(state.detached, [1].into_iter().collect());
        assert_eq!(state.history[0].timeouts, []);
        let mut again = status.clone();
        record(state.clone(), &mut again);
        assert_eq!(again.format, FORMAT);
        assert_eq!(super::state(&again), state);
    }
}
