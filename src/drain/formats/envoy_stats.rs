//! The statistics of Envoy's admin page as JSON: the connections of every listener in the answer, added up. Which
//! listeners are in it, the request's `filter` says.
//! Names: <https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/stats>.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use super::{Why, number};

#[derive(Deserialize)]
struct Answer {
    stats: Vec<Stat>,
}

/// Histograms stand among the others as one item without a name.
#[derive(Deserialize)]
struct Stat {
    name: Option<String>,
    value: Option<Value>,
}

/// The sum over all listeners but the one of the admin page, which serves the request that asks.
pub(super) fn parse(text: &str) -> Result<u64, Why> {
    let answer: Answer = serde_json::from_str(text)
        .map_err(|problem| if problem.is_eof() { Why::CutOff } else { Why::NotThis("Envoy's statistics") })?;
    let mut seen = BTreeSet::new();
    let mut sum = 0;
    for Stat { name, value } in &answer.stats {
        let Some(listener) = name.as_deref().and_then(listener) else { continue };
        if !seen.insert(listener) {
            return Err(Why::Twice("one listener".to_owned()));
        }
        sum += match value {
            Some(Value::Number(value)) => value.as_f64().ok_or(Why::NotANumber).and_then(number::count)?,
            _ => return Err(Why::NotANumber),
        };
    }
    if seen.is_empty() {
        return Err(Why::Missing("listener.*.downstream_cx_active".to_owned()));
    }
    Ok(sum)
}

/// The listener whose connections a statistic of this name counts. The parts that its threads have in them are no
/// listeners.
fn listener(name: &str) -> Option<&str> {
    let listener = name.strip_prefix("listener.")?.strip_suffix(".downstream_cx_active")?;
    let thread = listener.rsplit_once('.').is_some_and(|(_, last)| {
        last == "main_thread"
            || last
                .strip_prefix("worker_")
                .is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
    });
    (listener != "admin" && !thread).then_some(listener)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn answer(stats: &[(&str, Value)]) -> String {
        let stats: Vec<_> = stats.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        json!({"stats": stats}).to_string()
    }

    const ONE: &str = "listener.0.0.0.0_10080.downstream_cx_active";

    #[test]
    fn all_listeners_are_added_up_but_that_of_the_admin_page() {
        let text = answer(&[
            (ONE, json!(3)),
            ("listener.[__]_80.downstream_cx_active", json!(4)),
            ("listener.admin.downstream_cx_active", json!(1)),
            ("listener.admin.main_thread.downstream_cx_active", json!(1)),
            ("listener.0.0.0.0_10080.worker_0.downstream_cx_active", json!(2)),
            ("listener.0.0.0.0_10080.worker_11.downstream_cx_active", json!(1)),
            ("listener.0.0.0.0_10080.downstream_cx_total", json!(99)),
            ("http.admin.downstream_cx_active", json!(9)),
        ]);
        assert_eq!(parse(&text), Ok(7));
        assert_eq!(parse(&answer(&[(ONE, json!(0))])), Ok(0));
    }

    #[test]
    fn a_listener_that_is_only_named_like_a_thread_or_like_the_admin_page_counts() {
        for name in ["worker_1", "administration", "0.0.0.0_80.worker_x", "0.0.0.0_80.worker_"] {
            let stat = format!("listener.{name}.downstream_cx_active");
            assert_eq!(parse(&answer(&[(&stat, json!(2))])), Ok(2), "{name}");
        }
    }

    #[test]
    fn histograms_beside_them_do_not_matter() {
        let text = r#"{"stats":[{"name":"listener.a.downstream_cx_active","value":1},{"histograms":{"computed_quantiles":[]}}]}"#;
        assert_eq!(parse(text), Ok(1));
    }

    #[test]
    fn an_answer_without_a_listener_is_unknown() {
        let missing = Err(Why::Missing("listener.*.downstream_cx_active".to_owned()));
        assert_eq!(parse(r#"{"stats":[]}"#), missing);
        assert_eq!(parse(&answer(&[("listener.admin.downstream_cx_active", json!(0))])), missing);
        assert_eq!(parse(&answer(&[("server.total_connections", json!(0))])), missing);
    }

    #[test]
    fn a_listener_that_is_there_twice_is_unknown() {
        assert_eq!(
            parse(&answer(&[(ONE, json!(0)), (ONE, json!(1))])),
            Err(Why::Twice("one listener".to_owned()))
        );
    }

    #[test]
    fn a_value_that_is_no_count_is_unknown() {
        for (value, why) in [
            (json!("3"), Why::NotANumber),
            (json!(null), Why::NotANumber),
            (json!(-1), Why::Negative),
            (json!(1e13), Why::TooLarge),
        ] {
            assert_eq!(
                parse(&answer(&[("listener.b.downstream_cx_active", json!(0)), (ONE, value)])),
                Err(why)
            );
        }
        assert_eq!(parse(r#"{"stats":[{"name":"listener.a.downstream_cx_active"}]}"#), Err(Why::NotANumber));
    }

    #[test]
    fn another_page_or_half_of_it_is_unknown() {
        assert_eq!(
            parse(r#"{"stats":[{"name":"listener.a.downstream_cx_active","value":0}"#),
            Err(Why::CutOff)
        );
        for text in ["<html>", "{}", "[]", r#"{"stats":{}}"#, "listener.a.downstream_cx_active: 0\n"] {
            assert_eq!(parse(text), Err(Why::NotThis("Envoy's statistics")), "{text}");
        }
        let twice = r#"{"stats":[{"name":"listener.a.downstream_cx_active","value":0,"value":1}]}"#;
        assert_eq!(parse(twice), Err(Why::NotThis("Envoy's statistics")));
    }

    proptest! {
        #[test]
        fn any_connections_are_added_up_and_no_part_of_the_answer_counts(
            counts in prop::collection::vec(0_u64..100_000, 1..5), cut in any::<prop::sample::Index>(),
        ) {
            let names: Vec<_> =
                (0..counts.len()).map(|n| format!("listener.0.0.0.0_{n}.downstream_cx_active")).collect();
            let stats: Vec<_> = names.iter().map(String::as_str).zip(counts.iter().map(|n| json!(n))).collect();
            let text = answer(&stats);
            prop_assert_eq!(parse(&text), Ok(counts.iter().sum()));
            prop_assert!(parse(&text[..cut.index(text.len())]).is_err());
        }
    }
}
