//! The Prometheus text format: every series of the metric that has the wanted labels, added up
//! (a server has one a listener or a worker). One bad series among them makes the sum unknown.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Why, number};
use crate::drain::spec::PrometheusTextSpec;

/// A value with a timestamp of its own (most have none) that is further from now than this is stale.
const MAX_AGE_MS: u64 = 120_000;

/// The sum of the wanted series.
pub(super) fn parse(text: &str, wanted: &PrometheusTextSpec, now: Timestamp) -> Result<u64, Why> {
    // Each line of this format ends with a line feed, the last one too.
    if !text.ends_with('\n') {
        return Err(Why::CutOff);
    }
    let mut sum = None;
    for line in text.lines() {
        let Some(rest) = of_metric(line.trim_start(), &wanted.metric) else { continue };
        let (labels, rest) = labels(rest).ok_or(Why::NotThis("the Prometheus text format"))?;
        // To Prometheus, a label that is left out and an empty one are the same.
        let has = |name| labels.get(name).map_or("", String::as_str);
        if wanted.labels.iter().all(|(name, value)| has(name) == value) {
            sum = Some(sum.unwrap_or(0) + sample(rest, now)?);
        }
    }
    sum.ok_or_else(|| Why::Missing(format!("series of the metric {} with these labels", wanted.metric)))
}

/// What follows the metric's name, on a line of this metric and of none whose name only starts the same.
fn of_metric<'a>(line: &'a str, metric: &str) -> Option<&'a str> {
    line.strip_prefix(metric).filter(|rest| rest.starts_with(['{', ' ', '\t']))
}

/// The labels (none where there are no braces) and what follows them.
fn labels(rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    let Some(mut rest) = rest.trim_start().strip_prefix('{') else { return Some((labels, rest)) };
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = quoted(after.trim_start().strip_prefix('"')?)?;
        labels.insert(name.trim().to_owned(), value);
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(next) => next,
            None if after.starts_with('}') => after,
            None => return None,
        };
    }
}

/// Text up to its closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[place + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                escaped => escaped,
            }),
            other => value.push(other),
        }
    }
    None
}

/// The value, of now: `3` or `3 1700000000000`. An exemplar after `#` is not ours to read.
fn sample(rest: &str, now: Timestamp) -> Result<u64, Why> {
    let mut fields = rest.split('#').next().unwrap_or_default().split_ascii_whitespace();
    let count = number::parse(fields.next().ok_or(Why::NotANumber)?)?;
    if let Some(stamp) = fields.next() {
        let stamp: i64 = stamp.parse().map_err(|_| Why::NotThis("the Prometheus text format"))?;
        let away = now.as_millisecond().abs_diff(stamp);
        if away > MAX_AGE_MS {
            return Err(Why::Old { seconds: away / 1000 });
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;
    const BODY: &str = r#"# HELP conns Active connections.
# TYPE conns gauge
conns{listener="a",path="C:\\x\"y"} 3
conns{listener="b",} 4.5 1700000000000
conns_total 99
conns {listener="c"} 1 # {trace="x"} 1
plain 7
"#;

    fn parsed(body: &str, metric: &str, labels: &[(&str, &str)]) -> Result<u64, Why> {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let wanted = PrometheusTextSpec { metric: metric.to_owned(), labels };
        parse(body, &wanted, Timestamp::from_millisecond(NOW).unwrap())
    }

    #[test]
    fn all_series_that_match_are_added_up_and_no_other() {
        assert_eq!(parsed(BODY, "conns", &[]), Ok(3 + 5 + 1));
        assert_eq!(parsed(BODY, "conns", &[("listener", "b")]), Ok(5));
        assert_eq!(parsed(BODY, "conns", &[("path", "C:\\x\"y")]), Ok(3));
        assert_eq!(parsed(BODY, "plain", &[]), Ok(7));
        assert_eq!(parsed(BODY, "conns", &[("path", "")]), Ok(5 + 1));
    }

    #[test]
    fn a_series_that_is_not_there_is_unknown() {
        assert!(matches!(parsed(BODY, "nope", &[]), Err(Why::Missing(_))));
        assert!(matches!(parsed(BODY, "conns", &[("listener", "z")]), Err(Why::Missing(_))));
        assert!(matches!(parsed("# conns 0\n", "conns", &[]), Err(Why::Missing(_))));
    }

    #[test]
    fn one_bad_series_makes_the_sum_unknown() {
        for (line, why) in [
            ("conns NaN", Why::NotFinite),
            ("conns +Inf", Why::NotFinite),
            ("conns -1", Why::Negative),
            ("conns ", Why::NotANumber),
            ("conns x", Why::NotANumber),
            ("conns{a=\"b\" 1", Why::NotThis("the Prometheus text format")),
            ("conns{a=\"b} 1", Why::NotThis("the Prometheus text format")),
            ("conns 1 x", Why::NotThis("the Prometheus text format")),
        ] {
            assert_eq!(parsed(&format!("conns 0\n{line}\n"), "conns", &[]), Err(why), "{line}");
        }
    }

    #[test]
    fn an_old_value_is_unknown_and_so_is_one_from_the_future() {
        for stamp in [NOW - 121_000, NOW + 121_000] {
            assert_eq!(parsed(&format!("conns 0 {stamp}\n"), "conns", &[]), Err(Why::Old { seconds: 121 }));
        }
        assert_eq!(parsed(&format!("conns 0 {}\n", NOW - 60_000), "conns", &[]), Ok(0));
    }

    #[test]
    fn a_body_without_its_last_line_feed_is_cut_off() {
        assert_eq!(parsed("conns 0", "conns", &[]), Err(Why::CutOff));
    }
}
