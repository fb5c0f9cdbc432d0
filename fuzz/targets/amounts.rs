//! Whatever stands for a length of time, a number of pods or a list of ordinals: what the API server lets pass is read,
//! what is read is written back as it was meant, and nothing small asks for much.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use lossless_upgrade::api::LosslessUpgradeSpec;
use lossless_upgrade::api::plan::plan;
use lossless_upgrade::workflow::ordinals::OrdinalSet;
use lossless_upgrade::workflow::plan::Plan;
use lossless_upgrade::workflow::span::{PATTERN, Span};
use regex::Regex;
use serde_json::json;

/// As the rules of the CRD have it.
static LENGTH: LazyLock<Regex> = LazyLock::new(|| Regex::new(PATTERN).expect("a pattern"));
static SURGE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("^([0-9]{1,4}|([0-9]{1,2}|100)%)$").expect("a pattern"));
static BATCH: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("^([1-9][0-9]{0,3}|([1-9][0-9]?|100)%)$").expect("a pattern"));

fn planned(member: &str, value: &str) -> Option<Plan> {
    let (surge, size) = if member == "surge" { (value, "1") } else { ("1", value) };
    let spec: LosslessUpgradeSpec = serde_json::from_value(json!({
        "targetRef": {"name": "web"},
        "surge": {"replicas": surge},
        "batches": {"size": size},
        "traffic": {"levers": [{"none": {}}]},
    }))
    .expect("a spec");
    plan(&spec).ok()
}

fuzz_target!(|text: &str| {
    // Nobody writes longer ones, and ranges may add up to many ordinals.
    if text.len() > 64 {
        return;
    }
    let length = text.parse::<Span>();
    assert_eq!(length.is_ok(), !text.is_empty() && LENGTH.is_match(text), "as the API server: {text}");
    if let Ok(length) = length {
        let written = length.to_string();
        // Hours beyond six digits have no text: 999999h3600s.
        if LENGTH.is_match(&written) {
            assert_eq!(written.parse(), Ok(length));
        }
    }

    let (surge, batch) = (planned("surge", text), planned("batches", text));
    assert!(surge.is_some() || !SURGE.is_match(text), "the API server takes it as a surge: {text}");
    assert!(batch.is_some() || !BATCH.is_match(text), "the API server takes it as a batch: {text}");
    for amount in [surge.and_then(|plan| plan.surge), batch.map(|plan| plan.batch)].into_iter().flatten() {
        for replicas in [0, 1, 7, 100, u32::MAX] {
            let (down, up) = (amount.down(replicas), amount.up(replicas));
            assert!(down <= up && up - down <= 1);
            assert!(!text.ends_with('%') || up <= replicas, "a part is no more than the whole");
        }
    }

    if let Ok(ordinals) = text.parse::<OrdinalSet>() {
        assert!(ordinals.len() <= 100_000, "{} ordinals", ordinals.len());
        assert_eq!(ordinals.to_string().parse(), Ok(ordinals));
    }
});
