//! Whatever a pod answers to the `http` probe: what is read as a count says so, and a part of an answer never
//! counts less than all of it.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use lossless_upgrade::drain::formats::Format;
use lossless_upgrade::drain::spec::PrometheusTextSpec;
use serde_json::value::RawValue;

/// What one number may say at most.
const MOST: u64 = 1_000_000_000_000;

/// Whether a number as text is zero to its reader: floating point takes 1e-999 for it.
fn says_zero(number: &str) -> bool {
    let digits = number.split(['e', 'E']).next().unwrap_or_default();
    digits.contains('0') && !digits.contains(|digit| matches!(digit, '1'..='9'))
}

/// The text of the number that the JSON format is to read.
fn number_in_json(body: &str) -> String {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(body).expect("an object");
    let raw = members["n"].get();
    serde_json::from_str::<String>(raw).unwrap_or_else(|_| raw.to_owned())
}

fn prometheus(labels: &[(&str, &str)]) -> Format {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Format::Prometheus(PrometheusTextSpec { metric: "conns".to_owned(), labels })
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = data.split_first() else { return };
    let now = Timestamp::from_second(1_700_000_000).expect("a moment");
    let format = match choice {
        b'N' => Format::Number,
        b'J' => Format::Json { pointer: "/n".to_owned() },
        b'P' => prometheus(&[]),
        b'L' => prometheus(&[("listener", "a")]),
        b'S' => Format::NginxStubStatus,
        b'H' => Format::HaproxyCsv { frontends: BTreeSet::from(["web".to_owned(), "tcp-in".to_owned()]) },
        b'E' => Format::EnvoyStats,
        _ => return,
    };
    let Ok(count) = format.parse(body, now) else { return };
    let text = str::from_utf8(body).expect("what was read is text");
    let parts = (0..body.len()).rev().take(64).map(|end| format.parse(&body[..end], now));
    match &format {
        Format::Number => {
            assert!(count <= MOST);
            assert_eq!(count == 0, says_zero(text.trim()), "{text}");
        }
        Format::Json { .. } => {
            assert!(count <= MOST);
            let number = number_in_json(text);
            // A JSON reader takes 1e-400 for 0 before anybody can look; no count is written so.
            assert!(number.contains(['e', 'E']) || (count == 0) == says_zero(number.trim()), "{text}");
            assert!(parts.flatten().all(|part| part == count), "a part of it is a smaller answer");
        }
        Format::Prometheus(_) => {
            assert!(count <= MOST * text.lines().count() as u64);
            let twice = format!("{text}{text}");
            assert_eq!(format.parse(twice.as_bytes(), now), Ok(2 * count), "each series counts");
            let others = format!("{text}conns_of_others 5\n# conns 6\n");
            assert_eq!(format.parse(others.as_bytes(), now), Ok(count), "and no other");
            let broken = format!("{text}conns{{listener=\"a\"}} NaN\n");
            assert!(format.parse(broken.as_bytes(), now).is_err(), "one bad series spoils the sum");
        }
        Format::HaproxyCsv { .. } => {
            assert!(count <= MOST * text.lines().count() as u64 * 2);
            assert!(parts.flatten().all(|part| part == count), "a part of it is a smaller answer");
            let twice = format!("{text}{text}");
            // An open quote would take the second one in.
            assert!(text.contains('"') || format.parse(twice.as_bytes(), now).is_err(), "twice is unknown");
        }
        Format::EnvoyStats => {
            assert!(count <= MOST * text.len() as u64);
            assert!(parts.flatten().all(|part| part == count), "a part of it is a smaller answer");
        }
        Format::NginxStubStatus => {
            assert!(parts.flatten().all(|part| part == count), "a part of it is a smaller answer");
            let asker = (count + 1).to_string();
            let first = text.lines().next().expect("a first line");
            assert!(first.contains(&asker), "the one that asks is in the page: {text}");
        }
    }
});
