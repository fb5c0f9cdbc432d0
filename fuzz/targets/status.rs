//! Whatever stands in an object's status, from another version or another hand: what can be read at all is remembered
//! whole when it is written again, and what another version leaves out or adds keeps nobody from going on.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lossless_upgrade::api::LosslessUpgradeStatus;
use lossless_upgrade::api::record::{record, state};
use lossless_upgrade::workflow::state::{Phase, Rest, State};
use serde_json::{Value, json};

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

fuzz_target!(|data: &[u8]| {
    let Ok(document) = serde_json::from_slice::<Value>(data) else { return };
    let Ok(status) = serde_json::from_value::<LosslessUpgradeStatus>(document.clone()) else { return };
    let mut read = state(&status);
    let mut written = status.clone();
    record(read.clone(), &mut written);
    assert_eq!(memory(&written), memory(&status), "what was read is written as it was");
    if read.run.is_some() {
        // How things stand is told between runs only.
        read.rest = Rest::Idle;
    }
    assert_eq!(handed_on(&read, &status), read, "beside what is there for readers");
    assert_eq!(handed_on(&read, &LosslessUpgradeStatus::default()), read, "and alone");

    let Value::Object(members) = document else { return };
    for key in members.keys() {
        let mut older = members.clone();
        older.remove(key);
        let older = serde_json::from_value::<LosslessUpgradeStatus>(older.into());
        assert!(older.is_ok(), "an older version did not write {key}: {older:?}");
    }
    let mut newer = members;
    newer.insert("newer".to_owned(), json!([1]));
    if let Some(Value::Object(run)) = newer.get_mut("run") {
        run.insert("newer".to_owned(), json!({}));
    }
    let newer: LosslessUpgradeStatus =
        serde_json::from_value(newer.into()).expect("a newer version wrote more");
    assert_eq!(newer, status);
});
