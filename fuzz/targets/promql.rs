//! Whatever a Prometheus answers: what is read as a number is one, of the moment that was asked about, and no part of an
//! answer is an answer. And whatever a pod is called, its name stays inside its string in the PromQL.

#![no_main]

use std::collections::BTreeSet;

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use lossless_upgrade::drain::PodTarget;
use lossless_upgrade::drain::prometheus::answer::only;
use lossless_upgrade::drain::prometheus::template::Template;

/// What one number may say at most.
const MOST: u64 = 1_000_000_000_000;

fn answer(body: &[u8]) {
    let asked = Timestamp::from_millisecond(1_700_000_000_250).expect("a moment");
    let Ok(number) = only(body, asked) else { return };
    let text = str::from_utf8(body).expect("what was read is text");
    assert!(text.contains("success") || text.contains('\\'), "{text}");
    for end in (0..body.len()).rev().take(64) {
        if let Ok(part) = only(&body[..end], asked) {
            assert_eq!(part, number, "a part of it is another answer");
        }
    }
    let Some(number) = number else { return };
    if let Ok(count) = number.count() {
        assert!(count <= MOST);
    }
    if let Ok(seconds) = number.seconds() {
        assert!(seconds.is_finite());
    }
    let later = Timestamp::from_millisecond(1_700_000_000_252).expect("a moment");
    assert!(only(body, later).is_err(), "an answer about another moment");
}

/// PromQL without what stands in its strings, and how many strings there are. Names are of anything, so what is in them
/// must make no difference here.
fn skeleton(promql: &str) -> Option<(String, usize)> {
    let (mut bones, mut strings) = (String::new(), 0);
    let mut rest = promql.chars();
    while let Some(character) = rest.next() {
        bones.push(character);
        match character {
            '"' | '\'' => {
                strings += 1;
                loop {
                    match rest.next()? {
                        '\\' => drop(rest.next()?),
                        '\n' => return None,
                        end if end == character => break,
                        _ => {}
                    }
                }
            }
            '`' => {
                strings += 1;
                rest.find(|end| *end == '`')?;
            }
            '#' => drop(rest.find(|end| matches!(end, '\n' | '\r'))),
            _ => {}
        }
    }
    Some((bones, strings))
}

fn template(text: &str, name: &str) {
    let Ok(template) = Template::parse(text) else { return };
    let pod = |name: &str| PodTarget {
        namespace: name.to_owned(),
        name: name.to_owned(),
        uid: String::new(),
        ip: Some([10, 0, 0, 1].into()),
        ordinal: 0,
        run: String::new(),
        ports: BTreeSet::new(),
        fronts: BTreeSet::new(),
        host_network: false,
        node: Some(name.to_owned()),
    };
    let Ok(promql) = template.render(&pod(name)) else { return };
    let plain = template.render(&pod("web-0")).expect("it is not longer");
    let bones = skeleton(&promql);
    assert!(bones.is_some(), "a string without an end: {promql}");
    assert_eq!(bones, skeleton(&plain), "{promql}");
}

fuzz_target!(|data: &[u8]| {
    match data.split_first() {
        Some((b'A', body)) => answer(body),
        Some((b'T', text)) => {
            let Ok(text) = str::from_utf8(text) else { return };
            if let Some((text, name)) = text.split_once('\0') {
                template(text, name);
            }
        }
        _ => {}
    }
});
