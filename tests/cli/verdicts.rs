//! What `wait` ends by.

use k8s_openapi::api::apps::v1::StatefulSet;
use lossless_upgrade::api::LosslessUpgrade;
use lossless_upgrade::cli::code::Code;
use lossless_upgrade::cli::verdict::verdict;
use serde_json::json;

use super::fixtures::all;

/// The StatefulSet whose newest revision the object's status has seen.
fn set(object: &LosslessUpgrade) -> StatefulSet {
    let revision = object.status.as_ref().and_then(|status| status.target.as_ref());
    let revision = revision.map(|target| target.update_revision.clone());
    serde_json::from_value(json!({
        "metadata": {"name": "web", "uid": "set", "generation": 4},
        "spec": {"selector": {}, "serviceName": "web", "template": {"spec": {"containers": [{"name": "web", "image": "v2"}]}}},
        "status": {"replicas": 3, "observedGeneration": 4, "updateRevision": revision},
    }))
    .unwrap()
}

#[test]
fn each_phase_has_the_exit_code_that_a_script_needs() {
    for moment in all() {
        let code = verdict(&moment.object, Some(&set(&moment.object))).code();
        let expected = match moment.name.as_str() {
            "Idle" | "Succeeded" => Some(Code::Done),
            "RolledBack" | "Aborted" => Some(Code::Failed),
            "Blocked" | "Drain, halted" => Some(Code::Stuck),
            _ => None,
        };
        assert_eq!(code, expected, "{}", moment.name);
    }
}

#[test]
fn the_success_of_the_revision_before_is_not_that_of_the_one_just_set() {
    let moment = all().into_iter().find(|moment| moment.name == "Succeeded").unwrap();
    let object = &moment.object;
    let mut newer = set(object);
    // The controller has not looked at the new template.
    newer.metadata.generation = Some(5);
    assert_eq!(verdict(object, Some(&newer)).code(), None);
    // It has, and the operator has not.
    let status = newer.status.as_mut().unwrap();
    status.observed_generation = Some(5);
    status.update_revision = Some("web-v9".into());
    assert_eq!(verdict(object, Some(&newer)).code(), None);
    // The images of the object were set, and the operator has not looked at it.
    let mut edited = object.clone();
    edited.metadata.generation = Some(2);
    assert_eq!(verdict(&edited, Some(&set(object))).code(), None);
    // It has, and has not begun: the template is still the old one.
    let mut seen = edited.clone();
    seen.spec.images = [("web".to_owned(), "v3".to_owned())].into();
    seen.status.as_mut().unwrap().observed_generation = 2;
    assert_eq!(verdict(&seen, Some(&set(object))).code(), None);
}

#[test]
fn a_wanted_run_that_is_paused_before_it_begins_is_waited_for() {
    let moment = all().into_iter().find(|moment| moment.name == "Succeeded").unwrap();
    let mut object = moment.object;
    let status = object.status.as_mut().unwrap();
    status.updated_replicas = 0;
    status.message = "Paused; a run to revision web-v3 is wanted".into();
    assert_eq!(verdict(&object, Some(&set(&object))).code(), None);
}
