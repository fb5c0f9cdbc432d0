//! `docs/metrics.md` says what the program serves, and nothing else.
#![allow(missing_docs, reason = "tests are named as sentences")]
#![allow(clippy::unwrap_used, reason = "a test that cannot read the page fails")]

use std::collections::BTreeSet;

use lossless_upgrade::runtime::metrics::Metrics;

const PAGE: &str = include_str!("../docs/metrics.md");
const PREFIX: &str = "lossless_upgrade_";

/// The rows of the page's tables, as they would be written for what the program has.
fn served() -> BTreeSet<String> {
    let metrics = Metrics::new().unwrap();
    let row = |metric: &lossless_upgrade::runtime::metrics::Described| {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{}` | {} | {} | {} |", metric.name, metric.kind, labels.join(", "), metric.help)
    };
    metrics.described().iter().map(row).map(|row| row.replace("|  |", "| |")).collect()
}

#[test]
fn the_page_has_a_row_for_each_metric_with_its_type_labels_and_meaning() {
    let rows = PAGE.lines().filter(|line| line.starts_with("| `")).map(str::to_owned);
    let written: BTreeSet<_> = rows.collect();
    let served = served();
    let missing: Vec<_> = served.difference(&written).collect();
    let wrong: Vec<_> = written.difference(&served).collect();
    assert!(
        missing.is_empty() && wrong.is_empty(),
        "not on the page:\n{missing:#?}\nnot served:\n{wrong:#?}"
    );
}

#[test]
fn every_metric_has_the_prefix_and_a_name_that_says_its_unit() {
    for metric in Metrics::new().unwrap().described() {
        assert!(metric.name.starts_with(PREFIX), "{}", metric.name);
        assert_eq!(metric.kind == "counter", metric.name.ends_with("_total"), "{}", metric.name);
        assert!(metric.help.ends_with('.'), "{}: {}", metric.name, metric.help);
        let of_an_object = metric.labels.contains(&"name".to_owned());
        assert!(metric.labels.len() <= if of_an_object { 3 } else { 2 }, "{}", metric.name);
    }
}
