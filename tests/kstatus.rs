//! What tools make of the conditions: `kubectl wait`, Argo CD and Flux. The rules of kstatus, fed with
//! the object at every second of stories that pass through every phase.
#![allow(missing_docs, reason = "tests are named as sentences")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail tests")]
#![allow(dead_code, reason = "the simulation has more than this asks for")]

mod sim;

use std::collections::{BTreeMap, BTreeSet};

use lossless_upgrade::api::{LosslessUpgrade, LosslessUpgradeStatus, record};
use lossless_upgrade::controller::report;
use lossless_upgrade::workflow::plan::{Amount, OnTimeout, Plan};
use lossless_upgrade::workflow::reasons::Reason;
use lossless_upgrade::workflow::state::{BatchKind, Phase, Step};
use lossless_upgrade::workflow::transitions::TABLE;
use serde_json::{Value, json};
use sim::cluster::Manner;
use sim::plans::{one_by_one, with_image};
use sim::telling::{PHASES, images, until, upgrade};
use sim::world::{Probe, World};

/// What kstatus says of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kstatus {
    Current,
    InProgress,
    Failed,
    Terminating,
}

/// The rules of kstatus for a kind that it does not know, on the object as the API server gives it.
fn kstatus(object: &Value) -> Kstatus {
    let (metadata, status) = (&object["metadata"], &object["status"]);
    if metadata["deletionTimestamp"].is_string() {
        return Kstatus::Terminating;
    }
    let generation = metadata["generation"].as_i64();
    if let Some(observed) = status["observedGeneration"].as_i64()
        && generation.is_some_and(|generation| generation != observed)
    {
        return Kstatus::InProgress;
    }
    let conditions = status["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let is_true = |kind: &str| conditions.iter().any(|one| one["type"] == kind && one["status"] == "True");
    // The first of the list decides, so an object of ours may never have both.
    assert!(!(is_true("Reconciling") && is_true("Stalled")), "{conditions:#?}");
    if is_true("Reconciling") {
        return Kstatus::InProgress;
    }
    if is_true("Stalled") {
        return Kstatus::Failed;
    }
    // Some versions of it ask for Ready here, others do not: they have to agree.
    assert!(is_true("Ready"), "current without being Ready: {conditions:#?}");
    Kstatus::Current
}

/// What `kubectl wait --for=condition=Ready` sees.
fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array().unwrap();
    conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// The object as it is stored after the last look.
fn object(world: &World, before: Option<&LosslessUpgradeStatus>) -> (LosslessUpgradeStatus, Value) {
    let mut object: LosslessUpgrade = serde_json::from_value(json!({
        "apiVersion": "lossless-upgrade.io/v1alpha1", "kind": "LosslessUpgrade",
        "metadata": {"name": "web", "namespace": "shop", "generation": 3},
        "spec": {
            "targetRef": {"name": "web"}, "traffic": {"levers": [{"none": {}}]},
            "paused": world.plan.paused, "images": world.plan.images,
        },
    }))
    .unwrap();
    if world.deleting {
        object.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
    }
    let mut status = before.cloned().unwrap_or_default();
    record::record(world.state.clone(), &mut status);
    status.observed_generation = 3;
    status.message.clone_from(&world.memory.message);
    let behind = world.memory.last.as_ref().is_none_or(|seen| report::behind(&object, seen));
    let run = world.state.run.as_ref();
    status.conditions = report::conditions(&object, behind, run, world.memory.stalled, &status, world.time());
    object.status = Some(status.clone());
    (status, serde_json::to_value(object).unwrap())
}

/// Goes on with a story for so many seconds, and tells `see` of the object at each of them.
fn watch(world: &mut World, seconds: i64, see: &mut impl FnMut(&World, &Value)) {
    let mut before = None;
    for _ in 0..seconds {
        if world.gone || (world.at_rest() && before.is_some()) {
            return;
        }
        world.tick();
        if world.memory.last.is_some() {
            let (status, object) = object(world, before.as_ref());
            see(world, &object);
            before = Some(status);
        }
    }
}

/// Stories that pass through every phase.
fn stories() -> Vec<(&'static str, World)> {
    let fails = |manner| {
        let mut world = upgrade(3, one_by_one());
        world.cluster.manners.insert("v2".into(), manner);
        world
    };
    let in_drain = |plan: Plan| {
        let mut world = upgrade(3, plan);
        until(&mut world, Step::Drain, BatchKind::Serving);
        world
    };
    let paused = {
        let mut world = in_drain(one_by_one());
        world.pause(true);
        world
    };
    let silent = {
        let mut world = in_drain(one_by_one());
        world.probe = Probe::Silent;
        world
    };
    let timed_out = {
        let mut plan = one_by_one();
        plan.drain.on_timeout = OnTimeout::Pause;
        let mut world = in_drain(plan);
        world.cluster.lengths = vec![10_000];
        world
    };
    let mut aborted = in_drain(one_by_one());
    aborted.act("abort");
    let mut deleted = in_drain(one_by_one());
    deleted.delete_object();
    let mut blocked = World::new(3, one_by_one());
    blocked.cluster.set.as_mut().unwrap().on_delete = false;
    blocked.cluster.rolls = false;
    blocked.set_image("v2");
    let mut wanted = World::new(3, one_by_one());
    wanted.pause(true);
    wanted.set_image("v2");
    let nobody = upgrade(1, Plan { surge: Some(Amount::Count(0)), ..one_by_one() });
    vec![
        ("has nothing to do", World::new(3, one_by_one())),
        ("is paused before it begins", wanted),
        ("succeeds", upgrade(3, one_by_one())),
        ("by images", World::new(3, with_image("v2"))),
        ("is never Ready", fails(Manner::NeverReady)),
        ("finds no room", fails(Manner::FindsNoRoom)),
        ("is paused", paused),
        ("has a silent probe", silent),
        ("times out draining", timed_out),
        ("is aborted", aborted),
        ("is deleted", deleted),
        ("is blocked", blocked),
        ("has no capacity", nobody),
    ]
}

#[test]
fn in_every_phase_tools_see_what_is_so() {
    let mut met: BTreeMap<Phase, BTreeSet<Kstatus>> = BTreeMap::new();
    for (story, mut world) in stories() {
        watch(&mut world, 700, &mut |world, object| {
            let (phase, said) = (world.state.phase(), kstatus(object));
            let tells = || format!("{story}, {phase:?}, {said:?}: {object:#}\n{}", world.tale());
            let running = world.state.run.is_some();
            let stalled = world.memory.stalled.is_some();
            match said {
                Kstatus::Terminating => assert!(world.deleting, "{}", tells()),
                Kstatus::InProgress => assert!(!stalled, "{}", tells()),
                Kstatus::Failed => assert!(
                    stalled || matches!(phase, Phase::Blocked | Phase::RolledBack | Phase::Aborted),
                    "{}",
                    tells()
                ),
                Kstatus::Current => {
                    assert!(!running && matches!(phase, Phase::Idle | Phase::Succeeded), "{}", tells());
                    let wanted = world.cluster.set.as_ref().map(|set| set.image.clone());
                    assert!(
                        images(world).iter().all(|image| Some(*image) == wanted.as_deref()),
                        "{}",
                        tells()
                    );
                }
            }
            assert_eq!(is_ready(object) && !world.deleting, said == Kstatus::Current, "{}", tells());
            for condition in object["status"]["conditions"].as_array().unwrap() {
                let known = Reason::ALL.iter().any(|reason| condition["reason"] == reason.as_str());
                assert!(known && condition["message"] != "", "{}", tells());
            }
            met.entry(phase).or_default().insert(said);
        });
    }
    for phase in PHASES {
        assert!(met.contains_key(&phase), "no story is in {phase:?}: {met:?}");
    }
    let has = |phase, said| met.get(&phase).is_some_and(|all| all.contains(&said));
    assert!(has(Phase::Succeeded, Kstatus::Current) && has(Phase::Drain, Kstatus::InProgress), "{met:?}");
    assert!(has(Phase::Drain, Kstatus::Failed) && has(Phase::Blocked, Kstatus::Failed), "{met:?}");
    assert!(has(Phase::RolledBack, Kstatus::Failed) && has(Phase::Aborting, Kstatus::Terminating), "{met:?}");
}

#[test]
fn an_object_that_the_operator_has_not_seen_yet_is_in_progress_and_not_current() {
    let crd = lossless_upgrade::api::crd_yaml().unwrap();
    let crd: Value = serde_saphyr::from_str(&crd).unwrap();
    let status = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["default"];
    let fresh = json!({"metadata": {"generation": 1}, "status": status});
    assert_eq!(kstatus(&fresh), Kstatus::InProgress, "{fresh:#}");
    // Nothing else may follow from it: for the operator it is an object without a record.
    let read: LosslessUpgradeStatus = serde_json::from_value(status.clone()).unwrap();
    assert_eq!(record::state(&read), record::state(&LosslessUpgradeStatus::default()));
}

#[test]
fn a_run_that_a_pause_keeps_from_beginning_is_in_progress_and_says_why() {
    let mut world = World::new(3, one_by_one());
    world.pause(true);
    world.set_image("v2");
    world.run_until(10, |_| false);
    let (_, object) = object(&world, None);
    assert_eq!((world.state.phase(), kstatus(&object)), (Phase::Idle, Kstatus::InProgress), "{object:#}");
    let conditions = object["status"]["conditions"].as_array().unwrap();
    let ready = conditions.iter().find(|one| one["type"] == "Ready").unwrap();
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("PausedByUser")));
}

/// The events that a step gives: one where it is done, or where it begins.
fn events_of(step: Step) -> &'static [Reason] {
    match step {
        Step::Preflight => &[Reason::RunStarted],
        Step::Surge => &[Reason::SurgeAdded],
        Step::Detach => &[Reason::Detached],
        Step::Drain => &[Reason::Drained],
        Step::Replace => &[Reason::PodReplaced],
        Step::Verify => &[Reason::Verified],
        Step::Attach => &[Reason::Attached],
        Step::Soak => &[Reason::Soaked],
        Step::Retire => &[Reason::SurgeRemoved],
        Step::Restore => &[Reason::Succeeded],
        Step::Template => &[Reason::RollingBack, Reason::TemplateRestored],
    }
}

#[test]
fn every_step_of_a_run_is_told_by_an_event() {
    let mut good = upgrade(3, one_by_one());
    let mut bad = upgrade(3, one_by_one());
    bad.cluster.manners.insert("v2".into(), Manner::NeverReady);
    let told = |world: &mut World, reason: Reason| {
        world.run_until(1000, |world| !world.state.history.is_empty());
        let tale = world.tale();
        let is_told = [" - ", " ! "].iter().any(|mark| tale.contains(&format!("{mark}{reason}: ")));
        assert!(is_told, "{reason} is not told in\n{tale}");
    };
    for (step, _) in TABLE {
        let world = if *step == Step::Template { &mut bad } else { &mut good };
        for reason in events_of(*step) {
            told(world, *reason);
        }
    }
    told(&mut bad, Reason::RolledBack);
}
