//! Each rule that the API server checks, without a cluster. The same cases run on a real one in
//! the cluster tests.

use serde_json::{Value, json};

use super::*;

fn object(change: impl FnOnce(&mut Value)) -> Result<LosslessUpgrade, serde_json::Error> {
    let mut spec = json!({
        "targetRef": {"name": "nginx"},
        "traffic": {"levers": [{"tkeService": {"services": ["nginx"]}}]},
    });
    change(&mut spec);
    serde_json::from_value(json!({
        "apiVersion": "lossless-upgrade.io/v1alpha1",
        "kind": "LosslessUpgrade",
        "metadata": {"name": "nginx", "namespace": "shop"},
        "spec": spec,
    }))
}

/// What the rules say to a spec, or the parser where the schema would already refuse it.
fn verdict(change: impl FnOnce(&mut Value)) -> Result<(), String> {
    let object = object(change).map_err(|error| error.to_string())?;
    object.validate_cel().map_err(|errors| errors.to_string())
}

#[test]
fn the_smallest_object_and_a_full_one_are_accepted() {
    assert_eq!(verdict(|_| {}), Ok(()));
    assert_eq!(
        verdict(|spec| {
            spec["images"] = json!({"nginx": "nginx:1.25.4"});
            spec["surge"] = json!({"replicas": "25%", "volumes": "Keep"});
            spec["batches"] = json!({"size": "10%", "order": "Descending"});
            spec["drain"] = json!({"minimum": "5s", "timeout": "1h30m", "onTimeout": "Proceed"});
        }),
        Ok(())
    );
}

#[test]
fn an_item_without_a_lever_or_with_two_is_refused() {
    for levers in [json!([{}]), json!([{"tkeService": {}, "none": {}}])] {
        let refused = verdict(|spec| spec["traffic"]["levers"] = levers).unwrap_err();
        assert!(refused.contains("exactly one lever"), "{refused}");
    }
    let refused =
        verdict(|spec| spec["traffic"]["levers"] = json!([{"tkeService": {}}, {"none": {}}])).unwrap_err();
    assert!(refused.contains("stands alone"), "{refused}");
}

#[test]
fn the_two_weights_of_tke_exclude_each_other_and_an_ingress_needs_a_time() {
    let refused = |levers: Value| verdict(|spec| spec["traffic"]["levers"] = levers).unwrap_err();
    let accepted = |levers: Value| verdict(|spec| spec["traffic"]["levers"] = levers);
    let behind = |after: Value| json!([{"tkePod": {"ingressServices": ["web"], "confirmAfter": after}}]);
    assert_eq!(accepted(json!([{"tkePod": {}}, {"podLabel": {"key": "a"}}])), Ok(()));
    assert_eq!(accepted(behind(json!("30s"))), Ok(()));
    assert!(refused(json!([{"tkePod": {"ingressServices": ["web"]}}])).contains("need confirmAfter"));
    assert!(refused(json!([{"tkePod": {}}, {"tkeService": {}}])).contains("exclude each other"));
    assert!(refused(json!([{"tkePod": {}}, {"tkePod": {}}])).contains("name tkePod once"));
}

#[test]
fn a_label_stands_once_among_the_levers_and_beside_others() {
    let label = |key: &str| json!({"podLabel": {"key": key}});
    let levers = |levers: Value| verdict(|spec| spec["traffic"]["levers"] = levers);
    assert_eq!(levers(json!([{"tkeService": {}}, label("a"), label("example.com/b")])), Ok(()));
    assert!(levers(json!([label("a"), label("a")])).unwrap_err().contains("each label once"));
    assert!(
        levers(json!([{"tkeService": {}, "podLabel": {"key": "a"}}]))
            .unwrap_err()
            .contains("exactly one lever")
    );
}

#[test]
fn amounts_out_of_range_are_refused() {
    for size in [json!(0), json!("0%"), json!("101%"), json!(-1), json!("x"), json!("1.5")] {
        let refused = verdict(|spec| spec["batches"] = json!({"size": size})).unwrap_err();
        assert!(refused.contains("spec.batches.size"), "{size}: {refused}");
    }
    for replicas in [json!("101%"), json!(-1), json!("many")] {
        let refused = verdict(|spec| spec["surge"] = json!({"replicas": replicas})).unwrap_err();
        assert!(refused.contains("spec.surge.replicas"), "{replicas}: {refused}");
    }
    assert_eq!(verdict(|spec| spec["surge"] = json!({"replicas": 0})), Ok(()));
}

#[test]
fn times_that_contradict_each_other_are_refused() {
    let refused = verdict(|spec| spec["drain"] = json!({"minimum": "2m", "timeout": "1m"})).unwrap_err();
    assert!(refused.contains("spec.drain.minimum"), "{refused}");
    let refused = verdict(|spec| spec["drain"] = json!({"stableFor": "2m", "timeout": "1m"})).unwrap_err();
    assert!(refused.contains("spec.drain.stableFor"), "{refused}");
    let refused = verdict(|spec| spec["drain"] = json!({"interval": "0s"})).unwrap_err();
    assert!(refused.contains("spec.drain.interval"), "{refused}");
}

#[test]
fn silent_connections_are_left_out_after_a_while_and_only_by_the_probe_that_can_tell_them() {
    let drain = |drain: Value| verdict(|spec| spec["drain"] = drain);
    let socket = json!([{"socket": {}}, {"http": {"port": 1, "path": "/", "format": "Number"}}]);
    assert_eq!(drain(json!({"idleAfter": "10s", "probes": socket})), Ok(()));
    assert!(drain(json!({"idleAfter": "9s", "probes": socket})).unwrap_err().contains("at least 10s"));
    let http = json!([{"http": {"port": 1, "path": "/", "format": "Number"}}]);
    assert!(drain(json!({"idleAfter": "10s", "probes": http})).unwrap_err().contains("the probe socket"));
}

#[test]
fn a_nudge_names_one_thing_to_do_and_keeps_to_its_pod() {
    let nudges = |nudges: Value| verdict(|spec| spec["drain"] = json!({"onStart": nudges}));
    let http = json!({"port": 9901, "path": "/healthcheck/fail"});
    let exec = json!({"container": "web", "command": ["nginx", "-s", "quit"]});
    assert_eq!(nudges(json!([{"http": http}, {"exec": exec}])), Ok(()));
    for nudge in [json!({}), json!({"http": http, "exec": exec})] {
        let refused = nudges(json!([nudge])).unwrap_err();
        assert!(refused.contains("exactly one nudge"), "{refused}");
    }
    let refused = nudges(json!([{"http": {"port": 1, "path": "/../x"}}])).unwrap_err();
    assert!(refused.contains("must not contain"), "{refused}");
}

#[test]
fn a_probe_that_runs_a_command_names_ports_only_where_it_counts_on_them() {
    let exec = |format: &str| json!({"container": "web", "command": ["x"], "format": format, "ports": [80]});
    let probes = |exec: Value| verdict(|spec| spec["drain"] = json!({"probes": [{"exec": exec}]}));
    assert_eq!(probes(exec("ProcNetTcp")), Ok(()));
    let refused = probes(exec("SsLines")).unwrap_err();
    assert!(refused.contains("ports belongs to the format ProcNetTcp"), "{refused}");
}

#[test]
fn negative_and_unknown_lengths_of_time_do_not_parse() {
    for text in ["-3m", "1d", "", "soon"] {
        assert!(verdict(|spec| spec["traffic"]["settle"] = json!(text)).is_err(), "{text}");
    }
}

#[test]
fn the_target_is_a_stateful_set_and_cannot_be_changed() {
    let refused = verdict(|spec| spec["targetRef"]["kind"] = json!("Deployment")).unwrap_err();
    assert!(refused.contains("must be StatefulSet"), "{refused}");
    let old = object(|_| {}).unwrap();
    let new = object(|spec| spec["targetRef"]["name"] = json!("other")).unwrap();
    let refused = new.validate_cel_update(&old).unwrap_err().to_string();
    assert!(refused.contains("cannot be changed"), "{refused}");
    assert!(old.validate_cel_update(&old).is_ok());
}

#[test]
fn every_field_has_a_description_and_every_list_text_and_map_of_the_spec_a_bound() {
    use kube::CustomResourceExt;
    let crd = serde_json::to_value(LosslessUpgrade::crd()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    let mut faults = Vec::new();
    look("spec", &schema["spec"], true, &mut faults);
    look("status", &schema["status"], false, &mut faults);
    assert_eq!(faults, Vec::<String>::new());
}

fn look(path: &str, schema: &Value, bounded: bool, faults: &mut Vec<String>) {
    if schema["description"].as_str().is_none_or(str::is_empty) {
        faults.push(format!("{path}: no description"));
    }
    let kind = schema["type"].as_str().unwrap_or_default();
    if bounded && kind == "array" && schema["maxItems"].is_null() {
        faults.push(format!("{path}: no maxItems"));
    }
    if bounded && kind == "string" && schema["maxLength"].is_null() && schema["enum"].is_null() {
        faults.push(format!("{path}: no maxLength"));
    }
    if bounded && schema["additionalProperties"].is_object() && schema["maxProperties"].is_null() {
        faults.push(format!("{path}: no maxProperties"));
    }
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        look(&format!("{path}.{name}"), member, bounded, faults);
    }
    for (name, member) in schema["items"]["properties"].as_object().into_iter().flatten() {
        look(&format!("{path}[].{name}"), member, bounded, faults);
    }
}
