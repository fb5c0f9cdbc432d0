//! Whatever stands in an object's status, from another version or another hand: what can be read at all is remembered
//! whole when it is written again, and what another version leaves out or adds keeps nobody from going on.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lossless_upgrade::api::LosslessUpgradeStatus;
use lossless_upgrade::api::record::{record, state};
use lossless_upgrade::workflow::state::{Phase, Rest, State};
use serde_json::{Map, Value, json};

/// What is remembered of a status: all but what is there for readers only.
fn memory(status: &LosslessUpgradeStatus) -> LosslessUpgradeStatus {
    let mut memory = LosslessUpgradeStatus { format: 0, phase: Phase::Idle, problem: None, ..status.clone() };
    if let Some(run) = &mut memory.run {
        run.deadline = None;
    }
    for pod in &mut memory.pods {
        pod.connections = None;
    }
    memory
}

/// What a new process reads of what this one writes.
fn handed_on(state_now: &State, status: &LosslessUpgradeStatus) -> State {
    let mut status = status.clone();
    record(state_now.clone(), &mut status);
    let text = serde_json::to_string(&status).expect("a status is JSON");
    state(&serde_json::from_str(&text).expect("what was written is read"))
}

/// What can be read is remembered.
fn remembered(status: &LosslessUpgradeStatus) {
    let mut read = state(status);
    let mut written = status.clone();
    record(read.clone(), &mut written);
    assert_eq!(memory(&written), memory(status), "what was read is written as it was");
    if read.run.is_some() {
        // How things stand is told between runs only.
        read.rest = Rest::Idle;
    }
    assert_eq!(handed_on(&read, status), read, "beside what is there for readers");
    assert_eq!(handed_on(&read, &LosslessUpgradeStatus::default()), read, "and alone");
}

/// What the first version wrote of a run. All else may be missing; of these, nothing is made up.
const FIRST: [&str; 12] = [
    "id",
    "from",
    "to",
    "setUid",
    "startedAt",
    "goal",
    "step",
    "entered",
    "batch",
    "batchKind",
    "surge",
    "updated",
];

/// A run without one of its members, and with something else for it.
fn changed(members: &Map<String, Value>) {
    let Some(Value::Object(run)) = members.get("run") else { return };
    let with = |run: Map<String, Value>| {
        let mut members = members.clone();
        members.insert("run".to_owned(), run.into());
        serde_json::from_value::<LosslessUpgradeStatus>(members.into())
    };
    for key in run.keys() {
        let mut without = run.clone();
        without.remove(key);
        let without = with(without);
        assert_eq!(without.is_err(), FIRST.contains(&key.as_str()), "without {key}: {without:?}");
        for other in [json!(null), json!(7), json!(-1), json!(true), json!("0-3"), json!([]), json!({})] {
            let mut run = run.clone();
            run.insert(key.clone(), other);
            if let Ok(status) = with(run) {
                remembered(&status);
            }
        }
        if let Ok(without) = without {
            remembered(&without);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(document) = serde_json::from_slice::<Value>(data) else { return };
    let Ok(status) = serde_json::from_value::<LosslessUpgradeStatus>(document.clone()) else { return };
    remembered(&status);

    let Value::Object(members) = document else { return };
    for key in members.keys() {
        let mut older = members.clone();
        older.remove(key);
        let older = serde_json::from_value::<LosslessUpgradeStatus>(older.into());
        assert!(older.is_ok(), "an older version did not write {key}: {older:?}");
    }
    changed(&members);
    let mut newer = members;
    newer.insert("newer".to_owned(), json!([1]));
    if let Some(Value::Object(run)) = newer.get_mut("run") {
        run.insert("newer".to_owned(), json!({}));
    }
    let newer: LosslessUpgradeStatus =
        serde_json::from_value(newer.into()).expect("a newer version wrote more");
    assert_eq!(newer, status);
});
