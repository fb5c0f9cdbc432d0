//! What is generated is what it is generated from: the CRD, and the chart's copies of what `deploy/` says. And what is
//! written by hand in it names all that there is.

#![allow(clippy::expect_used, reason = "a test that cannot read a file fails")]

use std::collections::BTreeSet;

use kube::CustomResourceExt;
use lossless_upgrade::api::LosslessUpgrade;
use lossless_upgrade::drain::ProbeKind;
use lossless_upgrade::traffic::LeverKind;
use serde_json::Value;

fn read(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| format!("{path}: {error}"))
}

#[test]
fn the_crd_in_the_repository_is_generated_from_the_types() {
    let kept = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/crds/losslessupgrades.yaml"))
        .expect("crds/losslessupgrades.yaml can be read");
    let made = lossless_upgrade::api::crd_yaml().expect("the CRD can be written");
    assert!(kept == made, "crds/losslessupgrades.yaml is not what the types say: run `make gen` and commit");
}

#[test]
fn the_chart_has_the_crd_the_rights_the_policy_and_the_alerts_as_they_are() {
    for (source, copy) in [
        ("crds/losslessupgrades.yaml", "crd.yaml"),
        ("deploy/rbac.yaml", "rbac.yaml"),
        ("deploy/drain-counter/rbac.yaml", "drain-counter.yaml"),
        ("deploy/secrets/rbac.yaml", "secrets.yaml"),
        ("deploy/exec/rbac.yaml", "exec.yaml"),
        ("deploy/tke/rbac.yaml", "tke.yaml"),
        ("deploy/policy/policy.yaml", "policy.yaml"),
        ("deploy/alerts/prometheus-rule.yaml", "alerts.yaml"),
    ] {
        let kept = read(&format!("deploy/chart/files/{copy}"));
        assert!(kept == read(source), "deploy/chart/files/{copy} is not {source}: run `make gen` and commit");
    }
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let version = env!("CARGO_PKG_VERSION");
    let chart = read("deploy/chart/Chart.yaml");
    for line in [format!("\nversion: {version}\n"), format!("\nappVersion: \"{version}\"\n")] {
        assert!(chart.contains(&line), "Chart.yaml is not of version {version}: {chart}");
    }
}

fn names(kinds: &[impl ToString]) -> BTreeSet<String> {
    kinds.iter().map(ToString::to_string).collect()
}

/// Every object within this one, and it.
fn objects(value: &Value) -> Vec<&Value> {
    let members: Vec<_> = match value {
        Value::Object(members) => members.values().collect(),
        Value::Array(items) => items.iter().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    std::iter::once(value).chain(members.into_iter().flat_map(objects)).collect()
}

/// The `tkePod` of each `has(lever.tkePod)`.
fn listed(rule: &str) -> BTreeSet<String> {
    let all = rule.split("has(").skip(1).filter_map(|rest| rest.split([')', '.']).nth(1));
    all.map(str::to_owned).collect()
}

#[test]
fn each_rule_that_lists_members_names_every_probe_or_every_lever_and_its_message_does_too() {
    let crd = serde_json::to_value(LosslessUpgrade::crd()).expect("a rule has it");
    let mut checked = BTreeSet::new();
    for object in objects(&crd) {
        let Some(rules) = object.get("x-kubernetes-validations").and_then(Value::as_array) else {
            continue;
        };
        for rule in rules {
            let [text, message] =
                ["rule", "message"].map(|member| rule[member].as_str().expect("a rule has it"));
            if !text.contains(".filter(named, named)") {
                continue;
            }
            let item = object.get("items").unwrap_or(object);
            let members = item["properties"].as_object().expect("a rule has it").keys().cloned().collect();
            assert_eq!(listed(text), members, "{text}");
            let told: BTreeSet<_> =
                message.split([' ', ',']).filter(|word| members.contains(*word)).map(str::to_owned).collect();
            assert_eq!(told, members, "{message}");
            checked.insert(members);
        }
    }
    assert_eq!(checked, BTreeSet::from([names(ProbeKind::ALL), names(LeverKind::ALL)]));
}
