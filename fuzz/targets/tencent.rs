//! Whatever answers in the place of Tencent's API: a pod that counts as detached is in the answer, minutes are minutes, and
//! no part of an answer is another answer.

#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use lossless_upgrade::tencent::clb::{self, Standing, Transport};
use lossless_upgrade::tencent::monitor::{self, Backend, MINUTE};
use lossless_upgrade::tencent::{Code, Problem};

/// What one number may say at most.
const MOST: u64 = 1_000_000_000_000;

fn ip(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

/// What is said of a refusal goes into messages.
fn plain<T>(read: Result<T, Problem>) -> Option<T> {
    if let Err(Problem::Refused {
        code: Code::NotHere(text) | Code::Theirs(text) | Code::Other(text), ..
    }) = &read
    {
        assert!(text.len() <= 100 && !text.contains(char::is_control), "{text}");
    }
    read.ok()
}

fn targets(body: &[u8]) {
    let standing = |body: &[u8]| {
        let listeners = plain(clb::parse(body))?;
        Some([Transport::Tcp, Transport::Udp].map(|transport| listeners.standing(80, transport, ip(7))))
    };
    let Some(whole) = standing(body) else { return };
    let text = str::from_utf8(body).expect("what was read is text");
    if whole.contains(&Ok(Standing::Detached)) {
        assert!(text.contains("10.0.0.7") || text.contains('\\'), "{text}");
        assert!(text.contains('0'));
    }
    for end in (0..body.len()).rev().take(64) {
        if let Some(part) = standing(&body[..end]) {
            assert_eq!(part, whole, "a part of it is another answer");
        }
    }
}

fn minutes(body: &[u8]) {
    let backend = |listener| Backend { vip: ip(1), listener, ip: ip(7), port: 8080, vpc: None };
    let backends = [backend(80), backend(443)];
    let Some(series) = plain(monitor::parse(body, &backends)) else { return };
    assert_eq!(series.len(), backends.len());
    for (stamp, count) in series.iter().flatten() {
        assert!(stamp % MINUTE == 0 && *stamp >= 0 && *count <= MOST);
    }
    for end in (0..body.len()).rev().take(64) {
        if let Ok(part) = monitor::parse(&body[..end], &backends) {
            assert_eq!(part, series, "a part of it is another answer");
        }
    }
}

fuzz_target!(|data: &[u8]| {
    match data.split_first() {
        Some((b'T', body)) => targets(body),
        Some((b'M', body)) => minutes(body),
        _ => {}
    }
});
