//! Whatever a pod answers to the `http` probe, a command in it prints, or its counter reports: what is read as a count
//! says so, and a part of it never counts less than all of it.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use lossless_upgrade::drain::exec;
use lossless_upgrade::drain::formats::Format;
use lossless_upgrade::drain::line::{Line, Report};
use lossless_upgrade::drain::spec::PrometheusTextSpec;
use lossless_upgrade::drain::spec::exec::ExecFormat;
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

fn printed(format: ExecFormat, body: &[u8]) -> Option<u64> {
    exec::formats::parse(format, body, &BTreeSet::from([80])).ok()
}

/// What `cat /proc/net/tcp /proc/net/tcp6` may print.
fn tables(body: &[u8]) {
    let count = |body: &[u8]| printed(ExecFormat::ProcNetTcp, body);
    let Some(all) = count(body) else { return };
    let text = str::from_utf8(body).expect("what was read is text");
    assert!(text.contains("local_address") && text.contains("remote_address"), "both tables: {text}");
    assert!(all + 2 <= text.lines().count() as u64, "each on its line: {text}");
    let another = "0: 0200F40A:0050 0100F40A:A086 01\n";
    assert_eq!(count(format!("{text}{another}").as_bytes()), Some(all + 1), "each socket counts");
    let other_port = another.replace("0050", "0051");
    assert_eq!(count(format!("{text}{other_port}").as_bytes()), Some(all), "and no other");
    assert_eq!(count(format!("{text}cat: no\n").as_bytes()), None, "what is no socket spoils the count");
    only_whole_lines(body, count);
}

/// What `ss -Htn` may print.
fn lines(body: &[u8]) {
    let count = |body: &[u8]| printed(ExecFormat::SsLines, body);
    let Some(all) = count(body) else { return };
    let text = str::from_utf8(body).expect("what was read is text");
    assert_eq!(all, text.lines().count() as u64, "each line is one: {text}");
    assert_eq!(count(format!("{text}0 0 a:80 b:1\n").as_bytes()), Some(all + 1));
    assert_eq!(count(format!("{text}ss: no\n").as_bytes()), None, "what is no connection spoils the count");
    only_whole_lines(body, count);
}

/// Between two lines nobody can tell; that is what the exit status is for.
fn only_whole_lines(body: &[u8], count: impl Fn(&[u8]) -> Option<u64>) {
    for end in (1..body.len()).rev().take(64).filter(|end| body[end - 1] != b'\n') {
        assert_eq!(count(&body[..end]), None, "a line that is cut off");
    }
}

/// A report of the counter.
fn report(body: &[u8]) {
    let read = |body: &[u8]| str::from_utf8(body).ok()?.parse::<Line>().ok();
    let Some(line) = read(body) else { return };
    let written = line.to_string().parse::<Line>().expect("what is written is read");
    assert_eq!(written.seq, line.seq);
    let Report::Seen { max, silent, .. } = &line.report else { return };
    assert_eq!(written, line, "as it was meant");
    let parts = (0..body.len()).rev().take(64).filter_map(|end| read(&body[..end]));
    for part in parts {
        let Report::Seen { max: least, silent: fewer, .. } = part.report else {
            panic!("a part of a count is no failure")
        };
        assert_eq!(least, *max, "a part of it is a smaller count");
        // Those that are silent are taken off the count.
        let (Some(all), Some(fewer)) = (silent, fewer) else { continue };
        for seconds in [0, 1, 10, 59, 60, 3600, 86_400] {
            let time = Duration::from_secs(seconds);
            assert!(fewer.at_least(time) <= all.at_least(time), "a part of it leaves out more");
        }
    }
}

fuzz_target!(|data: &[u8]| {
    match data.split_first() {
        Some((b'T', body)) => tables(body),
        Some((b'C', body)) => lines(body),
        Some((b'R', body)) => report(body),
        Some((choice, body)) => answer(*choice, body),
        None => {}
    }
});

/// What a pod may answer over HTTP.
fn answer(choice: u8, body: &[u8]) {
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
}
