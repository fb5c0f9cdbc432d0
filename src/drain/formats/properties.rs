//! What holds of every format, whatever the answer. The pages of HAProxy and Envoy have theirs beside them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const MOST: u64 = 1_000_000_000_000;

fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

fn series(metric: &str, labels: &BTreeMap<String, String>) -> Format {
    Format::Prometheus(PrometheusTextSpec { metric: metric.to_owned(), labels: labels.clone() })
}

fn every() -> Vec<Format> {
    vec![
        Format::Number,
        Format::Json { pointer: "/a/0".to_owned() },
        series("conns", &BTreeMap::new()),
        Format::NginxStubStatus,
        Format::HaproxyCsv { frontends: BTreeSet::from(["web".to_owned()]) },
        Format::EnvoyStats,
    ]
}

/// Text made of what such pages are made of, so that it comes far into a parser.
fn pages() -> impl Strategy<Value = String> {
    let parts = [
        "conns",
        "{",
        "}",
        "\"",
        "a=\"b\"",
        " 3",
        "0",
        "-1",
        "NaN",
        "\n",
        ",",
        ":",
        "[",
        "]",
        "{\"a\":",
        "{\"stats\":",
        "Active connections: 1 \n",
        "Reading: 0 ",
        "# pxname,svname,scur\n",
        "web,FRONTEND,0\n",
        "\\",
        "e9",
        "#",
    ];
    prop::collection::vec(prop::sample::select(parts.to_vec()), 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn any_bytes_are_a_count_or_an_error(body in prop::collection::vec(any::<u8>(), 0..200), page in pages()) {
        for format in every() {
            for body in [body.as_slice(), page.as_bytes()] {
                if let Ok(count) = format.parse(body, now()) {
                    prop_assert!(count <= MOST, "{format:?}");
                }
            }
        }
    }

    #[test]
    fn a_number_is_itself_and_only_a_zero_is_zero(
        count in 0..=MOST, text in "[-+]?[0-9]{0,3}([.][0-9]{0,3})?([eE][-+]?[0-9]{1,4})?",
    ) {
        prop_assert_eq!(Format::Number.parse(count.to_string().as_bytes(), now()), Ok(count));
        if Format::Number.parse(text.as_bytes(), now()) == Ok(0) {
            let digits = text.split(['e', 'E']).next().unwrap_or_default();
            prop_assert!(digits.contains('0') && !digits.contains(|digit| matches!(digit, '1'..='9')), "{}", text);
        }
    }

    #[test]
    fn a_number_is_found_by_its_pointer_wherever_it_is(
        count in 0..=MOST, way in prop::collection::vec(prop_oneof![".{0,4}".prop_map(Some), Just(None)], 0..5),
        cut in any::<prop::sample::Index>(),
    ) {
        // Some: a member of this name; None: the second of a list.
        let document = way.iter().rev().fold(json!(count), |value, step| match step {
            Some(name) => Value::Object([(name.clone(), value)].into_iter().collect()),
            None => json!([null, value]),
        });
        let escaped = |name: &String| name.replace('~', "~0").replace('/', "~1");
        let steps: Vec<_> =
            way.iter().map(|step| format!("/{}", step.as_ref().map_or("1".to_owned(), escaped))).collect();
        let text = document.to_string();
        let format = Format::Json { pointer: steps.concat() };
        prop_assert_eq!(format.parse(text.as_bytes(), now()), Ok(count));
        if !way.is_empty() {
            let part = &text.as_bytes()[..cut.index(text.len())];
            prop_assert!(format.parse(part, now()).is_err(), "{:?}", part);
        }
    }

    #[test]
    fn the_series_with_the_wanted_labels_are_added_up_and_a_line_that_is_cut_off_is_an_error(
        wanted in ".{0,6}", all in prop::collection::vec((prop::option::of(".{0,6}"), 0..1000_u64), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let quoted = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let line = |(label, count): &(Option<String>, u64)| {
            // None: the label that is wanted.
            let value = quoted(label.as_ref().unwrap_or(&wanted));
            format!("conns{{of=\"{value}\"}} {count}\n")
        };
        let text: String = all.iter().map(line).collect();
        let mut matching = all.iter().filter(|(label, _)| label.as_ref().is_none_or(|label| *label == wanted)).peekable();
        let expected = matching.peek().is_some().then(|| matching.map(|(_, count)| count).sum::<u64>());
        let format = series("conns", &BTreeMap::from([("of".to_owned(), wanted.clone())]));
        prop_assert_eq!(format.parse(text.as_bytes(), now()).ok(), expected);
        let part = &text.as_bytes()[..cut.index(text.len())];
        prop_assert!(part.ends_with(b"\n") || format.parse(part, now()).is_err(), "{:?}", part);
    }

    #[test]
    fn nginx_counts_all_but_the_one_that_asks_and_no_page_without_its_last_line_counts(
        active in 1..1_000_000_u64, cut in any::<prop::sample::Index>(),
    ) {
        let page = format!("Active connections: {active} \nserver accepts handled requests\n 3 3 9 \nReading: 0 Writing: 1 Waiting: 0 \n");
        let count = |text: &str| Format::NginxStubStatus.parse(text.as_bytes(), now());
        prop_assert_eq!(count(&page), Ok(active - 1));
        let part = &page[..cut.index(page.len())];
        prop_assert!(part.contains("Reading:") || count(part).is_err(), "{}", part);
    }
}
