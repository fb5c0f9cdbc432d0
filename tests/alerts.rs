//! The alerts, their runbook and the dashboards: well-formed, of one mind with each other and with
//! the metrics that there are.
#![allow(missing_docs, reason = "tests are named as sentences")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot read its files fails")]

mod dashboard;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use lossless_upgrade::runtime::metrics::Metrics;
use lossless_upgrade::workflow::reasons::Reason;
use serde_json::{Value, json};

const ALERTS: [&str; 7] = [
    "LosslessUpgradeBlocked",
    "LosslessUpgradeDrainTimeout",
    "LosslessUpgradeLeverNotRestored",
    "LosslessUpgradeNoLeader",
    "LosslessUpgradeOperatorDown",
    "LosslessUpgradeRolledBack",
    "LosslessUpgradeStalled",
];

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).unwrap()
}

fn rules() -> Vec<Value> {
    let rules = yaml("deploy/alerts/rules.yaml");
    rules["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap().clone())
        .collect()
}

fn alert(rule: &Value) -> &str {
    rule["alert"].as_str().unwrap()
}

/// Runs promtool. Without one there is nothing to be said, which must not pass for success where
/// nobody looks.
fn promtool(arguments: &[&str]) {
    let run = Command::new("promtool").current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).output();
    match run {
        Ok(output) => {
            let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
            assert!(output.status.success(), "promtool {arguments:?}\n{}", said.join("\n"));
        }
        Err(error) => {
            assert!(!in_ci(), "promtool cannot be run: {error}");
            println!("SKIPPED: promtool cannot be run ({error}): apt-get install prometheus");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "CI says so in its environment")]
fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

#[test]
fn the_rules_are_well_formed_and_fire_when_they_should_and_only_then() {
    promtool(&["check", "rules", "deploy/alerts/rules.yaml"]);
    promtool(&["test", "rules", "tests/alerts/rules_test.yaml"]);
}

#[test]
fn every_alert_is_tried_firing_and_not_firing() {
    let mut tried: BTreeMap<String, BTreeSet<bool>> = BTreeMap::new();
    let tests = yaml("tests/alerts/rules_test.yaml");
    for case in
        tests["tests"].as_array().unwrap().iter().flat_map(|test| test["alert_rule_test"].as_array().unwrap())
    {
        let fires = !case["exp_alerts"].as_array().unwrap().is_empty();
        tried.entry(case["alertname"].as_str().unwrap().to_owned()).or_default().insert(fires);
    }
    for alert in ALERTS {
        assert_eq!(tried.get(alert), Some(&BTreeSet::from([false, true])), "{alert}");
    }
}

#[test]
fn the_prometheus_rule_holds_the_same_rules() {
    let rule = yaml("deploy/alerts/prometheus-rule.yaml");
    assert_eq!(rule["kind"], "PrometheusRule");
    assert_eq!(rule["spec"], yaml("deploy/alerts/rules.yaml"));
}

#[test]
fn every_alert_says_how_bad_it_is_with_numbers_and_leads_to_its_section_of_the_runbook() {
    let runbook = text("docs/runbook.md");
    let sections: BTreeSet<_> =
        runbook.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_owned).collect();
    assert_eq!(sections.iter().map(String::as_str).collect::<Vec<_>>(), ALERTS);
    let mut seen = BTreeSet::new();
    for rule in rules() {
        let name = alert(&rule);
        seen.insert(name.to_owned());
        assert!(matches!(rule["labels"]["severity"].as_str(), Some("warning" | "critical")), "{name}");
        let annotations = &rule["annotations"];
        let summary = annotations["summary"].as_str().unwrap();
        let number = summary.contains("{{ $value") || summary.contains(|one: char| one.is_ascii_digit());
        assert!(number, "{name}: {summary}");
        let (_, anchor) = annotations["runbook_url"].as_str().unwrap().rsplit_once('#').unwrap();
        assert_eq!(anchor, name.to_lowercase(), "{name}");
    }
    assert_eq!(seen, sections);
}

#[test]
fn the_reasons_in_the_runbook_are_reasons_that_there_are() {
    let runbook = text("docs/runbook.md");
    let rows = runbook.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| `reason`"));
    let reasons: Vec<_> =
        rows.flat_map(|row| row.split('|').nth(1).unwrap().split(',').map(str::trim)).collect();
    assert!(reasons.len() > 10, "{reasons:?}");
    for reason in reasons {
        let is_label = rules().iter().any(|rule| rule["labels"]["reason"] == reason);
        assert!(is_label || Reason::ALL.iter().any(|known| known.as_str() == reason), "{reason}");
    }
}

/// The metrics in an expression, each with the labels that it is selected by.
fn selected(expr: &str) -> Vec<(&str, Vec<&str>)> {
    let name = |at: usize| {
        let end = expr[at..].find(|one: char| !one.is_ascii_alphanumeric() && one != '_');
        &expr[at..end.map_or(expr.len(), |end| at + end)]
    };
    let metrics = expr.match_indices("lossless_upgrade_").map(|(at, _)| {
        let metric = name(at);
        let rest = &expr[at + metric.len()..];
        let selector =
            rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inside, _)| inside);
        let labels =
            selector.split(',').filter_map(|one| one.split_once(['=', '!'])).map(|(label, _)| label.trim());
        (metric, labels.collect())
    });
    metrics.collect()
}

#[test]
fn alerts_and_dashboards_ask_for_metrics_and_labels_that_there_are() {
    let metrics = Metrics::new().unwrap();
    let rules = rules();
    let alerts = rules.iter().map(|rule| (alert(rule).to_owned(), rule["expr"].as_str().unwrap().to_owned()));
    let panels = dashboard::queries("shop", "web").into_iter().map(|query| (query.of, query.expr));
    let mut asked = BTreeSet::new();
    for (of, expr) in alerts.chain(panels) {
        let selected = selected(&expr);
        assert!(!selected.is_empty(), "{of}: {expr}");
        for (metric, labels) in selected {
            let parts = ["_bucket", "_sum", "_count"];
            let whole = parts.iter().find_map(|part| metric.strip_suffix(part)).unwrap_or(metric);
            let known = metrics.described().iter().find(|one| one.name == whole);
            let Some(known) = known else { panic!("{of}: there is no {metric}") };
            for label in labels {
                assert!(known.labels.iter().any(|one| one == label), "{of}: {metric} has no label {label}");
            }
            asked.insert(known.name.clone());
        }
    }
    let unseen: Vec<_> = metrics.described().iter().filter(|one| !asked.contains(&one.name)).collect();
    assert!(unseen.is_empty(), "no dashboard shows {unseen:#?}");
}

#[test]
fn every_query_of_the_dashboards_is_one_that_prometheus_can_read() {
    let queries = dashboard::queries("shop", "web");
    assert!(queries.len() > 30, "{}", queries.len());
    for query in &queries {
        assert!(!query.expr.contains('$'), "a variable is left in {}: {}", query.of, query.expr);
    }
    let rules: Vec<_> = queries
        .iter()
        .enumerate()
        .map(|(n, query)| json!({"record": format!("query_{n}"), "expr": query.expr}))
        .collect();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard-queries.yaml");
    // JSON is YAML.
    fs::write(&file, json!({"groups": [{"name": "dashboards", "rules": rules}]}).to_string()).unwrap();
    promtool(&["check", "rules", &file.to_string_lossy()]);
}
