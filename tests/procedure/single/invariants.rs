//! The judge that all stories are held to convicts of each deed, and acquits of what only looks like it.

use std::time::Duration;

use lossless_upgrade::workflow::decision::{Decision, Effect};
use lossless_upgrade::workflow::invariants::{ALL, Moment};
use lossless_upgrade::workflow::observed::{Confirmation, DrainView, Held, Observed, PodView, Site};
use lossless_upgrade::workflow::ordinals::Ordinal;
use lossless_upgrade::workflow::plan::{Amount, OnTimeout, Plan};
use lossless_upgrade::workflow::state::{Goal, Outcome, Past, PodState, Run, State, Step};

use super::{Scene, record, set};

/// One decision: by default to do nothing, on three pods of the old version and a proven surge of one.
struct Case {
    plan: Plan,
    before: State,
    seen: Observed,
    decision: Decision,
}

impl Case {
    fn new(effect: Option<Effect>) -> Self {
        let scene = Scene::new();
        let decision = Decision {
            state: scene.state.clone(),
            effect,
            wake: None,
            message: "as it is".into(),
            stalled: None,
            deadline: None,
            notes: Vec::new(),
            trail: Vec::new(),
        };
        Self { plan: scene.world.plan.clone(), before: scene.state, seen: scene.seen, decision }
    }

    /// The first pod is deleted as it may be.
    fn delete() -> Self {
        let mut case = Self::new(None);
        let uid = case.seen.pods[&0].uid.clone();
        case.before.pods = vec![record(&uid)];
        case.before.detached = set(&[0]);
        case.decision.state = case.before.clone();
        case.decision.effect = Some(Effect::Delete { ordinal: 0, uid: uid.clone() });
        case.levers(&[0]);
        case.seen.drains.insert(uid, DrainView::Quiet(case.plan.drain.stable_for));
        case
    }

    /// The first pod is taken out as it may be.
    fn detach() -> Self {
        let mut case = Self::new(Some(Effect::SetLevers { detached: set(&[0]), again: false }));
        case.decision.state.detached = set(&[0]);
        case.levers(&[]);
        case
    }

    /// The drained surge goes as it may.
    fn reclaim() -> Self {
        let mut case = Self::new(Some(Effect::Scale { replicas: 3, images: false }));
        let uid = case.seen.pods[&3].uid.clone();
        case.run().batch.ordinals = set(&[3]);
        case.levers(&[3]);
        case.seen.drains.insert(uid, DrainView::Quiet(case.plan.drain.stable_for));
        case
    }

    /// The run is over, and left nothing.
    fn end() -> Self {
        let mut case = Self::new(None);
        let run = case.decision.state.run.take().unwrap();
        case.decision.state.saved = None;
        let past = Past {
            from: run.from,
            to: run.to,
            outcome: Outcome::Succeeded,
            started_at: run.started_at,
            finished_at: run.entered,
            pods: 3,
            reason: None,
            text: None,
            timeouts: Vec::new(),
        };
        case.decision.state.history.insert(0, past);
        case.levers(&[]);
        case.set().replicas = 3;
        case
    }

    fn levers(&mut self, held: &[Ordinal]) {
        for lever in &mut self.seen.levers {
            lever.held = Held::Ordinals(set(held));
            lever.confirmed = Confirmation::Confirmed(self.before.run.as_ref().unwrap().entered);
            lever.restored = held.is_empty();
            lever.site = Site::Object { fence: None };
        }
    }

    fn run(&mut self) -> &mut Run {
        self.decision.state.run.as_mut().unwrap()
    }

    fn pod(&mut self, ordinal: Ordinal) -> &mut PodView {
        self.seen.pods.get_mut(&ordinal).unwrap()
    }

    fn set(&mut self) -> &mut lossless_upgrade::workflow::observed::SetView {
        self.seen.set.as_mut().unwrap()
    }

    /// Of what it is convicted: the numbers of the design, and `n` for nudges.
    fn convicted(&self) -> String {
        let moment =
            Moment { plan: &self.plan, before: &self.before, seen: &self.seen, decision: &self.decision };
        let broken = ALL.iter().filter(|(_, check)| check(&moment).is_err());
        broken.map(|(name, _)| &name[..1]).collect()
    }
}

/// What comes of a case that is changed so.
fn with(mut case: Case, change: impl FnOnce(&mut Case)) -> String {
    change(&mut case);
    case.convicted()
}

#[test]
fn what_is_as_it_should_be_is_acquitted() {
    for case in [Case::new(None), Case::delete(), Case::detach(), Case::reclaim(), Case::end()] {
        assert_eq!(case.convicted(), "", "{:?}", case.decision.effect);
    }
}

#[test]
fn only_who_leaves_deletes_without_a_lever_and_only_without_one_that_is_gone() {
    let delete = |goal: Goal, held: Held| {
        with(Case::delete(), |case| {
            case.run().goal = goal;
            case.seen.levers[0].held = held;
        })
    };
    let unreadable = || Held::Unreadable("x".into());
    assert_eq!([Goal::Upgrade, Goal::Abort].map(|goal| delete(goal, unreadable())), ["1", "1"]);
    assert_eq!([Goal::Upgrade, Goal::Abort].map(|goal| delete(goal, Held::Gone)), ["1", ""]);
}

#[test]
fn a_pod_that_may_owe_goes_only_detached_and_drained() {
    let delete = |change: fn(&mut Case)| with(Case::delete(), change);
    assert_eq!(delete(|case| case.seen.levers[0].held = Held::Ordinals(set(&[1]))), "1");
    assert_eq!(delete(|case| case.seen.levers[0].held = Held::Foreign("x".into())), "1");
    assert_eq!(delete(|case| case.seen.levers[0].confirmed = Confirmation::Pending("x".into())), "1");
    assert_eq!(delete(|case| case.seen.drains.clear()), "1");
    let drain = |case: &mut Case, view| drop(case.seen.drains.insert(case.seen.pods[&0].uid.clone(), view));
    let proceed = |case: &mut Case, policy, forced| {
        case.plan.drain.on_timeout = policy;
        case.run().forced = forced;
    };
    for (view, without, proceeding) in [
        (DrainView::Quiet(Duration::from_secs(3)), "1", ""),
        (DrainView::Busy { connections: 1, why: "x".into() }, "1", ""),
        (DrainView::Unknown("x".into()), "1", "1"),
    ] {
        let told = |policy, forced| {
            with(Case::delete(), |case| {
                drain(case, view.clone());
                proceed(case, policy, forced);
            })
        };
        assert_eq!(told(OnTimeout::Pause, false), without);
        assert_eq!(told(OnTimeout::Pause, true), without);
        assert_eq!(told(OnTimeout::Proceed, false), without);
        assert_eq!(told(OnTimeout::Proceed, true), proceeding, "{view:?}");
    }
    let uncounted = |case: &mut Case| {
        case.plan.drain.counted = false;
        case.seen.drains.clear();
    };
    assert_eq!(with(Case::delete(), uncounted), "");
    assert_eq!(with(Case::reclaim(), |case| case.levers(&[])), "1", "the surge too");
}

#[test]
fn only_what_ever_served_and_runs_may_owe() {
    for (ready, running, never_ready, seen_ready, owes) in [
        (true, true, false, false, true),
        (true, false, true, false, true),
        (false, true, false, false, true),
        (false, true, true, false, false),
        (false, true, true, true, true),
        (false, false, false, true, false),
    ] {
        let told = with(Case::delete(), |case| {
            let pod = case.pod(0);
            (pod.ready, pod.running, pod.never_ready) = (ready, running, never_ready);
            case.before.pods[0].seen_ready = seen_ready;
            case.seen.drains.clear();
        });
        assert_eq!(told.contains('1'), owes, "{ready} {running} {never_ready} {seen_ready}");
    }
    // Another pod's past is not its own.
    for (ordinal, uid) in [(1, None), (0, Some("another"))] {
        let told = with(Case::delete(), |case| {
            (case.pod(0).ready, case.pod(0).never_ready) = (false, true);
            case.before.pods[0].ordinal = ordinal;
            if let Some(uid) = uid {
                case.before.pods[0].uid = uid.into();
            }
            case.seen.drains.clear();
        });
        assert!(!told.contains('1'), "{told}");
    }
}

#[test]
fn as_many_must_serve_as_the_surge_promises() {
    let detach = |change: fn(&mut Case)| with(Case::detach(), change);
    assert_eq!(detach(|case| case.pod(1).ready = false), "2");
    assert_eq!(detach(|case| case.set().replicas = 3), "2", "the surge goes in a moment");
    assert_eq!(detach(|case| case.decision.state.detached = set(&[0, 2])), "23");
    // What is out already takes nothing away.
    let is_out = |case: &mut Case| {
        case.pod(1).ready = false;
        case.levers(&[0]);
    };
    assert_eq!(with(Case::detach(), is_out), "");
    // A surge that covers a batch, by number or by default.
    for (asked, run, held) in [(None, 0, "2"), (Some(1), 1, "2"), (None, 1, "2"), (Some(0), 0, "")] {
        let told = with(Case::detach(), |case| {
            case.plan.surge = asked.map(Amount::Count);
            case.run().surge = run;
            case.pod(3).ready = false;
        });
        assert_eq!(told, held, "asked for {asked:?}, the run has {run}");
    }
    // The surge itself goes for good, and only it.
    let leaves = |ordinal: Ordinal| {
        with(Case::detach(), |case| {
            case.run().leaving_since = case.before.run.as_ref().map(|run| run.entered);
            case.pod(1).ready = false;
            case.decision.state.detached = set(&[ordinal]);
            case.decision.effect = Some(Effect::SetLevers { detached: set(&[ordinal]), again: false });
        })
    };
    assert_eq!((leaves(3).as_str(), leaves(0).as_str()), ("", "2"));
}

#[test]
fn one_batch_is_out_and_no_more() {
    let out = |before: &[Ordinal], after: &[Ordinal]| {
        with(Case::new(None), |case| {
            case.before.detached = set(before);
            case.decision.state.detached = set(after);
        })
    };
    assert_eq!(out(&[], &[0, 1]), "3");
    assert_eq!(out(&[0, 1], &[0, 1]), "", "it was out before");
    assert_eq!(out(&[0, 1], &[0, 2]), "3");
    assert_eq!(out(&[0], &[1]), "");
}

#[test]
fn a_removal_is_recorded_and_exact() {
    let delete = |change: fn(&mut Case)| with(Case::delete(), change);
    assert_eq!(delete(|case| case.pod(0).uid = "another".into()), "14");
    assert_eq!(delete(|case| case.pod(0).terminating = true), "4");
    assert_eq!(delete(|case| case.decision.state.pods[0].uid = "another".into()), "4");
    assert_eq!(delete(|case| case.decision.state.pods[0].state = PodState::Detached), "4");
    let scale = |change: fn(&mut Case)| with(Case::reclaim(), change);
    assert_eq!(scale(|case| case.run().batch.ordinals = set(&[2, 3])), "4");
    let deeper = |case: &mut Case| {
        case.decision.effect = Some(Effect::Scale { replicas: 2, images: false });
        case.run().batch.ordinals = set(&[2, 3]);
    };
    assert!(with(Case::reclaim(), deeper).contains('4'));
    // More, or as many, take nobody away.
    for replicas in [4, 5] {
        let up = |case: &mut Case| {
            case.decision.effect = Some(Effect::Scale { replicas, images: false });
            case.levers(&[]);
        };
        assert_eq!(with(Case::reclaim(), up), "");
    }
}

#[test]
fn the_last_one_stays() {
    let alone = |case: &mut Case| {
        for ordinal in 1..=3 {
            case.pod(ordinal).ready = false;
        }
    };
    assert_eq!(with(Case::detach(), alone), "25");
    let nobody_must = |case: &mut Case| {
        alone(case);
        case.decision.state.saved.as_mut().unwrap().replicas = 0;
    };
    assert!(!with(Case::detach(), nobody_must).contains('5'));
}

#[test]
fn a_run_that_is_over_has_put_everything_back() {
    let end = |change: fn(&mut Case)| with(Case::end(), change);
    assert_eq!(end(|case| case.seen.levers[0].restored = false), "6");
    assert_eq!(end(|case| case.seen.levers[0].site = Site::Object { fence: Some("x".into()) }), "6");
    assert_eq!(end(|case| case.set().replicas = 4), "7");
    assert_eq!(end(|case| case.set().replicas = 5), "", "somebody else's number");
    let never_asked = |case: &mut Case| {
        case.set().replicas = 4;
        case.before.run.as_mut().unwrap().step = Step::Preflight;
    };
    assert_eq!(with(Case::end(), never_asked), "");
    let none_asked = |case: &mut Case| case.before.run.as_mut().unwrap().surge = 0;
    assert_eq!(with(Case::end(), none_asked), "");
    // Where nothing can be put back, or it is not over, nothing has to be.
    let excuses: [fn(&mut Case); 5] = [
        |case| case.seen.deleting = true,
        |case| case.seen.namespace_terminating = true,
        |case| case.set().deleting = true,
        |case| case.set().uid = "another".into(),
        |case| case.decision.state.run.clone_from(&case.before.run),
    ];
    for excuse in excuses {
        let left = |case: &mut Case| {
            case.seen.levers[0].restored = false;
            case.set().replicas = 4;
            excuse(case);
        };
        assert_eq!(with(Case::end(), left), "");
    }
}

#[test]
fn unknown_moves_nothing_forward_and_a_wait_says_why() {
    let unknown = |case: &mut Case| case.set().update_revision = None;
    assert_eq!(with(Case::delete(), unknown), "8");
    assert_eq!(with(Case::new(Some(Effect::RestoreTemplate)), unknown), "8");
    assert_eq!(with(Case::reclaim(), unknown), "", "the surge's going hangs on no revision");
    let surge = |case: &mut Case| {
        unknown(case);
        let uid = case.pod(3).uid.clone();
        case.decision.effect = Some(Effect::Delete { ordinal: 3, uid });
    };
    assert!(!with(Case::delete(), surge).contains('8'));
    let silent = |case: &mut Case| case.decision.message.clear();
    assert_eq!(with(Case::new(None), silent), "9");
    let wakes = |case: &mut Case| {
        silent(case);
        case.decision.wake = case.before.run.as_ref().map(|run| run.entered);
    };
    assert_eq!(with(Case::new(None), wakes), "");
}

#[test]
fn a_nudge_is_recorded_new_and_behind_a_lever() {
    let nudge = |recorded: bool, known: bool, held: &[Ordinal]| {
        let uid = || "nudged".to_owned();
        with(Case::new(Some(Effect::Nudge { pods: vec![(0, uid())] })), |case| {
            case.decision.state.nudged = recorded.then(uid).into_iter().collect();
            case.before.nudged = known.then(uid).into_iter().collect();
            case.levers(held);
        })
    };
    assert_eq!(nudge(true, false, &[0]), "");
    assert_eq!(nudge(false, false, &[0]), "n");
    assert_eq!(nudge(true, true, &[0]), "n");
    assert_eq!(nudge(true, false, &[1]), "n");
}
