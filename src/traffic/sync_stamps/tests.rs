use proptest::{collection, prelude::*};
use serde_json::json;

use super::*;

const KEY: &str = "example/weights";
const ME: &str = "lossless-upgrade";

/// A time of the one minute in which these tests happen.
fn at(second: &str) -> Timestamp {
    format!("2026-01-04T16:24:{second}+08:00").parse().unwrap()
}

/// A Service with a begin, an end and a time of our write, seconds of that minute; empty is absent.
fn service(begin: &str, end: &str, wrote: &str) -> Service {
    let mut annotations = serde_json::Map::new();
    for (key, second) in [(BEGIN, begin), (END, end)] {
        if !second.is_empty() {
            annotations.insert(key.to_owned(), json!(format!("2026-01-04T16:24:{second}+08:00")));
        }
    }
    let fields = json!({"f:metadata": {"f:annotations": {format!("f:{KEY}"): {}}}});
    let entry = |manager: &str, second: &str| {
        json!({"manager": manager, "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "time": at(second), "fieldsV1": fields})
    };
    let managed = if wrote.is_empty() { vec![] } else { vec![entry(ME, wrote), entry("someone", "59")] };
    let metadata = json!({"name": "web", "annotations": annotations, "managedFields": managed});
    serde_json::from_value(json!({"metadata": metadata})).unwrap()
}

#[derive(Debug, PartialEq)]
enum Is {
    Confirmed,
    Pending,
    Doubtful,
    Unknown,
}

fn judge(live: &Service, record: &WriteRecord, confirm_after: Option<Span>, now: &str) -> Is {
    what(&confirm(live, KEY, record, confirm_after, at(now)), now)
}

fn what(told: &Confirmation, now: &str) -> Is {
    match told {
        Confirmation::Confirmed { at: since } => {
            assert!(*since <= at(now), "confirmed in the future");
            Is::Confirmed
        }
        Confirmation::Pending { .. } => Is::Pending,
        Confirmation::Doubtful { .. } => Is::Doubtful,
        Confirmation::Unknown { .. } => Is::Unknown,
    }
}

#[test]
fn without_memory_only_a_synchronisation_that_surely_began_later_and_ended_confirms() {
    for (begin, end, expected) in [
        ("11", "12", Is::Confirmed),
        ("11", "14", Is::Confirmed),
        ("11", "11", Is::Doubtful), // the end may be that of the one before
        ("10", "10", Is::Doubtful), // may have read before our write
        ("10", "12", Is::Doubtful),
        ("09", "09", Is::Pending),
        ("09", "12", Is::Pending), // it read the old value, the next one is ours
        ("11", "10", Is::Pending), // under way
        ("10", "09", Is::Pending),
        ("11", "", Is::Pending), // the first ever, under way
        ("", "11", Is::Unknown),
        ("", "", Is::Unknown),
    ] {
        let live = service(begin, end, "10");
        let judged = judge(&live, &WriteRecord::unknown(ME), None, "20");
        assert_eq!(judged, expected, "begin {begin}, end {end}");
    }
}

#[test]
fn begin_and_end_in_one_second_are_believed_when_nothing_was_under_way_at_our_write() {
    for (begin, end, expected) in [
        ("", "", Is::Confirmed),
        ("05", "06", Is::Confirmed),
        ("06", "06", Is::Doubtful), // idle or under way: not known
        ("09", "06", Is::Doubtful), // under way: its end may be the 11
        ("09", "", Is::Doubtful),
    ] {
        let record = WriteRecord::of_answer(ME, KEY, &service(begin, end, "10"), at("10.4"));
        let judged = judge(&service("11", "11", "10"), &record, None, "20");
        assert_eq!(judged, expected, "in the answer: begin {begin}, end {end}");
    }
}

#[test]
fn begin_and_end_in_one_second_are_believed_when_the_end_was_seen_to_come_after_the_begin() {
    let mut record = WriteRecord::of_answer(ME, KEY, &service("09", "06", "10"), at("10.4"));
    record.saw(&service("11", "10", "10"));
    assert_eq!(judge(&service("11", "11", "10"), &record, None, "20"), Is::Confirmed);
    assert_eq!(judge(&service("12", "12", "10"), &record, None, "20"), Is::Doubtful);
}

#[test]
fn a_synchronisation_that_stands_in_the_writes_own_answer_is_not_the_one_after_it_whatever_the_clocks_say() {
    // The controller's clock is ahead: it began before the write, and says it did after it.
    let record = WriteRecord::of_answer(ME, KEY, &service("11", "", "10"), at("10.4"));
    let ended = |now| judge(&service("11", "12", "10"), &record, None, now);
    assert_eq!([ended("14"), ended("20")], [Is::Pending, Is::Doubtful]);
    assert_eq!(judge(&service("13", "14", "10"), &record, None, "20"), Is::Confirmed);
}

#[test]
fn memory_of_an_earlier_write_is_not_used_for_a_later_one() {
    let record = WriteRecord::of_answer(ME, KEY, &service("01", "02", "05"), at("05.4"));
    assert_eq!(judge(&service("11", "11", "10"), &record, None, "20"), Is::Doubtful);
    assert_eq!(judge(&service("11", "12", ""), &record, None, "20"), Is::Doubtful);
}

#[test]
fn an_annotation_taken_away_leaves_no_record_so_our_clock_or_another_write_has_to_tell() {
    let taken_away = service("05", "06", "");
    let record = WriteRecord::of_answer(ME, KEY, &taken_away, at("10.4"));
    assert_eq!(judge(&taken_away, &record, None, "20"), Is::Pending);
    assert_eq!(judge(&service("10", "11", ""), &record, None, "20"), Is::Doubtful);
    assert_eq!(judge(&service("11", "11", ""), &record, None, "20"), Is::Confirmed);
    assert_eq!(judge(&service("11", "12", ""), &WriteRecord::unknown(ME), None, "20"), Is::Doubtful);
}

#[test]
fn without_stamps_the_users_word_counts_from_the_end_of_the_second_of_the_write() {
    let (live, after) = (service("", "", "10"), Some(Span::seconds(5)));
    for (now, expected) in [("15.9", Is::Pending), ("16", Is::Confirmed), ("30", Is::Confirmed)] {
        assert_eq!(judge(&live, &WriteRecord::unknown(ME), after, now), expected, "{now}");
    }
    assert_eq!(judge(&service("", "", ""), &WriteRecord::unknown(ME), after, "30"), Is::Doubtful);
    assert_eq!(judge(&service("09", "09", "10"), &WriteRecord::unknown(ME), after, "30"), Is::Pending);
}

#[test]
fn a_missing_stamp_names_the_setting_that_helps() {
    let confirmation = confirm(&service("", "", "10"), KEY, &WriteRecord::unknown(ME), None, at("20"));
    assert!(matches!(confirmation, Confirmation::Unknown { why } if why.contains("confirmAfter")));
}

#[test]
fn stamps_that_are_no_times_are_unknown() {
    for text in ["", "soon", "2026-01-04T16:24:11", "11"] {
        let mut live = service("", "12", "10");
        live.metadata.annotations.as_mut().unwrap().insert(BEGIN.to_owned(), text.to_owned());
        assert_eq!(judge(&live, &WriteRecord::unknown(ME), None, "20"), Is::Unknown, "`{text}`");
    }
}

#[test]
fn confirmed_since_is_never_before_the_real_end() {
    let live = service("11", "12", "10");
    for (now, since) in [("12.3", "12.3"), ("13", "13"), ("20", "13")] {
        let confirmation = confirm(&live, KEY, &WriteRecord::unknown(ME), None, at(now));
        assert_eq!(confirmation, Confirmation::Confirmed { at: at(since) }, "{now}");
    }
}

/// Milliseconds of a minute as a time.
fn ms(at: u32) -> Timestamp {
    self::at("00").checked_add(SignedDuration::from_millis(at.into())).unwrap()
}

/// The Service at an instant, as a controller leaves it that synchronises from `.0` to `.1`.
fn seen_at(now: u32, syncs: &[(u32, u32)], wrote: u32) -> Service {
    let text = |at: Option<u32>| at.map(|at| format!("{:02}", at / 1000)).unwrap_or_default();
    let begin = syncs.iter().map(|sync| sync.0).rfind(|begin| *begin <= now);
    let end = syncs.iter().map(|sync| sync.1).rfind(|end| *end <= now);
    service(&text(begin), &text(end), &format!("{:02}", wrote / 1000))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    /// Whatever the timing: confirmed means that a synchronisation which began after the write is
    /// over, at the instant named and with memory or without.
    #[test]
    fn no_timing_confirms_too_soon(
        pace in collection::vec((1..1500_u32, 0..2500_u32), 1..10),
        wrote in 0..6000_u32,
        answered in 0..300_u32,
        mut looks in collection::vec(0..12_000_u32, 1..12),
    ) {
        let mut free = 0;
        let syncs: Vec<_> = pace.iter().map(|(gap, length)| {
            let begin = free + gap;
            free = begin + length;
            (begin, free)
        }).collect();
        let answer = seen_at(wrote, &syncs, wrote);
        let mut remembered = WriteRecord::of_answer(ME, KEY, &answer, ms(wrote + answered));
        // Of a write to something else: what was there before it is first seen at a later look.
        let mut seen_later = None;
        looks.sort_unstable();
        for look in looks.into_iter().map(|look| wrote + look) {
            let live = seen_at(look, &syncs, wrote);
            remembered.saw(&live);
            let seen_later = seen_later.get_or_insert_with(|| WriteRecord::of_look(ME, &live, ms(look)));
            seen_later.saw(&live);
            for told in [
                confirm(&live, KEY, &remembered, None, ms(look)),
                confirm(&live, KEY, &WriteRecord::unknown(ME), None, ms(look)),
                took_up(&live, Some(ms(wrote)), Some(seen_later), None, ms(look)),
            ] {
                if let Confirmation::Confirmed { at } = told {
                    let is_true = syncs.iter().any(|(begin, end)| *begin > wrote && ms(*end) <= at);
                    prop_assert!(is_true, "wrote {wrote}, looked {look}, syncs {syncs:?}");
                }
            }
        }
    }
}

#[test]
fn a_synchronisation_that_was_there_at_our_write_is_not_ours_and_ours_is_waited_for() {
    // Under way in the second of the write, and in the answer to it: older than the write.
    let record = WriteRecord::of_answer(ME, KEY, &service("10", "05", "10"), at("10.7"));
    assert_eq!(judge(&service("10", "11", "10"), &record, None, "11.2"), Is::Pending);
    assert_eq!(judge(&service("12", "13", "10"), &record, None, "13.2"), Is::Confirmed);
    // Nothing more came: ours may have begun in that second, too. Only another write tells.
    assert_eq!(judge(&service("10", "11", "10"), &record, None, "14"), Is::Doubtful);
}

#[test]
fn a_pod_that_is_to_get_connections_needs_a_synchronisation_since_then_and_no_more() {
    for (begin, end, expected) in [
        ("10", "10", Is::Confirmed),
        ("11", "12", Is::Confirmed),
        ("09", "12", Is::Pending),
        ("11", "10", Is::Pending),
        ("", "11", Is::Unknown),
        ("", "", Is::Unknown),
    ] {
        let told = passed(&service(begin, end, ""), at("10.8"), None, at("20"));
        assert_eq!(what(&told, "20"), expected, "begin {begin}, end {end}");
    }
    let by_the_clock = |now: &str| passed(&service("", "", ""), at("10"), Some(Span::seconds(5)), at(now));
    assert!(matches!(by_the_clock("15.9"), Confirmation::Pending { .. }));
    assert!(matches!(by_the_clock("16"), Confirmation::Confirmed { .. }));
}

#[test]
fn who_serves_is_taken_in_by_a_synchronisation_that_began_later_and_one_is_asked_for_where_none_comes() {
    for (begin, end, now, expected) in [
        ("11", "12", "12", Is::Confirmed),
        ("11", "11", "13.9", Is::Pending), // the end may be that of the one before
        ("11", "11", "14", Is::Confirmed),
        ("10", "12", "14.9", Is::Pending), // it may have read the pods before
        ("10", "12", "15", Is::Confirmed),
        ("08", "09", "13", Is::Pending),
        ("08", "09", "19.9", Is::Pending),
        ("08", "09", "20", Is::Doubtful),
        ("08", "07", "20", Is::Pending), // one is under way, and what it takes in will show
        ("", "", "13", Is::Unknown),
    ] {
        let told = taken(&service(begin, end, ""), at("10.8"), None, at(now));
        assert_eq!(what(&told, now), expected, "begin {begin}, end {end}, at {now}");
    }
    let by_the_clock = |now: &str| taken(&service("", "", ""), at("10"), Some(Span::seconds(5)), at(now));
    assert_eq!(what(&by_the_clock("15.9"), "15.9"), Is::Pending);
    assert_eq!(what(&by_the_clock("16"), "16"), Is::Confirmed);
    let mut live = service("08", "09", "");
    live.spec = serde_json::from_value(json!({"publishNotReadyAddresses": true})).unwrap();
    assert_eq!(what(&taken(&live, at("10"), None, at("11")), "11"), Is::Confirmed, "it had it before");
}

#[test]
fn a_synchronisation_is_belied_by_a_complaint_that_came_when_it_had_begun_and_no_older_one() {
    for (begin, end, complained, expected) in [
        ("11", "12", "11.5", true),
        ("11", "12", "12.9", true),
        ("11", "12", "30", true),    // of one since, which was not stamped
        ("11", "11", "11", true),    // begun in that second: it may be the one that failed
        ("11", "10", "11.5", true),  // and another end would not mend it
        ("11", "12", "10.9", false), // tried again since
        ("11", "", "10", false),
        ("", "", "30", false),
        ("", "12", "30", false),
    ] {
        let told = belied(&service(begin, end, "10"), at(complained));
        assert_eq!(told, expected, "begin {begin}, end {end}, complained {complained}");
    }
}
