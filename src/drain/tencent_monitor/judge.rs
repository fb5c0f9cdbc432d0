//! When minutes of a metric that comes late say that a pod is quiet. Pure.
//!
//! Tencent does not say whether the stamp of a minute is its beginning or its end, so the first one after the detach does
//! not count: it may have begun before.

use crate::drain::spec::OnNoData;
use crate::tencent::monitor::{MINUTE, Series};

/// How late a minute may come, in seconds: tools of Tencent's own users look 1 to 3 minutes back.
const LAG: i64 = 3 * MINUTE;

/// What it takes. Moments are Unix time in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// When the question was asked.
    pub(super) asked: i64,
    /// Minutes with an earlier stamp say nothing.
    pub(super) earliest: i64,
    /// So many in a row.
    pub(super) minutes: u8,
    /// How old the newest may be, in seconds.
    pub(super) max_age: i64,
    /// What one that is missing means.
    pub(super) on_no_data: OnNoData,
    /// At or below it the pod is quiet.
    pub(super) threshold: u64,
}

/// The connections of a pod by these series, one for each listener, added up. A count above the threshold may be of the
/// newest minutes alone; one at or below it holds for the whole row and all that came since.
///
/// # Errors
/// What is missing to tell.
pub(super) fn judge(series: &[Series], rule: &Rule, now: i64) -> Result<u64, String> {
    let Rule { asked, earliest, minutes, max_age, on_no_data, threshold } = *rule;
    if series.is_empty() || series.iter().any(|one| one.range(now + MINUTE..).next().is_some()) {
        return Err("the answer has no listeners, or minutes to come".to_owned());
    }
    let from = earliest.max(now - max_age);
    let newest: u64 =
        series.iter().filter_map(|one| one.range(from..).next_back()).map(|(_, count)| count).sum();
    if newest > threshold {
        return Ok(newest);
    }
    let end = match on_no_data {
        OnNoData::Unknown => {
            let all = |stamp: &&i64| series.iter().all(|one| one.contains_key(stamp));
            series[0].range(from..).map(|(stamp, _)| stamp).rev().find(all).copied()
        }
        OnNoData::Zero => {
            // By the moment of the question: an answer does not learn of minutes while it is kept.
            let settled = (asked.min(now) - MINUTE - LAG).div_euclid(MINUTE) * MINUTE;
            Some(settled).filter(|settled| *settled >= earliest)
        }
    };
    let end = end.ok_or("there is no minute yet that counts; they come 1 to 3 minutes late, and after a detach only those that began after it count")?;
    let start = end - i64::from(minutes - 1) * MINUTE;
    if start < earliest {
        let have = (end - earliest).div_euclid(MINUTE) + 1;
        return Err(format!("{have} of {minutes} minutes are known since it is out, and they come late"));
    }
    let row = || (0..i64::from(minutes)).map(|at| start + at * MINUTE);
    match on_no_data {
        OnNoData::Zero => {}
        OnNoData::Unknown if series.iter().all(|one| row().all(|stamp| one.contains_key(&stamp))) => {}
        OnNoData::Unknown => return Err("a minute in between was lost".to_owned()),
    }
    // What came since is no part of the row, and counts against it.
    Ok(series.iter().filter_map(|one| one.range(start..).map(|(_, count)| count).max()).sum())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Ten minutes after the beginning of what counts.
    const NOW: i64 = 1_795_176_000;

    fn rule(on_no_data: OnNoData) -> Rule {
        Rule { asked: NOW, earliest: NOW - 600, minutes: 3, max_age: 360, on_no_data, threshold: 0 }
    }

    /// Minutes before now, and their counts.
    fn series(minutes: &[(i64, u64)]) -> Series {
        minutes.iter().map(|(before, count)| (NOW - before * MINUTE, *count)).collect()
    }

    fn judged(minutes: &[(i64, u64)], on_no_data: OnNoData) -> Result<u64, String> {
        judge(&[series(minutes)], &rule(on_no_data), NOW)
    }

    #[test]
    fn a_minute_is_missing_only_when_the_question_came_late_enough_for_it() {
        let rule = |asked| Rule { asked, earliest: NOW - 360, ..rule(OnNoData::Zero) };
        let nothing = [Series::new()];
        assert_eq!(judge(&nothing, &rule(NOW), NOW), Ok(0));
        // The same answer, kept for a minute: that minute has not been asked about.
        assert!(judge(&nothing, &rule(NOW - 1), NOW).is_err());
    }

    #[test]
    fn three_minutes_of_nothing_in_a_row_are_zero_and_two_are_not() {
        assert_eq!(judged(&[(4, 0), (3, 0), (2, 0)], OnNoData::Unknown), Ok(0));
        let short = Rule { earliest: NOW - 180, ..rule(OnNoData::Unknown) };
        let why = judge(&[series(&[(4, 0), (3, 0), (2, 0)])], &short, NOW).unwrap_err();
        assert!(why.contains("2 of 3 minutes"), "{why}");
        assert!(judge(&[series(&[(4, 0)])], &short, NOW).unwrap_err().contains("no minute yet"));
    }

    #[test]
    fn a_lost_minute_breaks_the_row_unless_the_user_says_that_it_is_nothing() {
        assert!(judged(&[(5, 0), (3, 0), (2, 0)], OnNoData::Unknown).unwrap_err().contains("was lost"));
        assert!(judged(&[], OnNoData::Unknown).is_err());
        assert_eq!(judged(&[(5, 0), (3, 0), (2, 0)], OnNoData::Zero), Ok(0));
        assert_eq!(judged(&[], OnNoData::Zero), Ok(0));
    }

    #[test]
    fn a_missing_minute_that_may_still_come_is_no_zero() {
        for (earliest, known) in [(NOW - 360, true), (NOW - 359, false), (NOW - 60, false)] {
            let rule = Rule { earliest, ..rule(OnNoData::Zero) };
            assert_eq!(judge(&[Series::new()], &rule, NOW).is_ok(), known, "{earliest}");
        }
    }

    #[test]
    fn one_connection_in_the_row_or_since_counts_and_one_before_it_does_not() {
        for on_no_data in [OnNoData::Unknown, OnNoData::Zero] {
            assert_eq!(judged(&[(8, 0), (7, 9), (6, 0), (5, 0), (4, 0)], on_no_data), Ok(0));
            assert_eq!(judged(&[(6, 0), (5, 2), (4, 0)], on_no_data), Ok(2));
            assert_eq!(judged(&[(6, 0), (5, 0), (4, 0), (3, 0), (2, 4)], on_no_data), Ok(4));
        }
    }

    #[test]
    fn a_pod_with_connections_is_busy_after_one_minute() {
        let young = Rule { earliest: NOW - 120, ..rule(OnNoData::Unknown) };
        assert_eq!(judge(&[series(&[(2, 7)])], &young, NOW), Ok(7));
        let tolerant = Rule { threshold: 7, ..young };
        assert!(judge(&[series(&[(2, 7)])], &tolerant, NOW).is_err(), "few enough, and not for long enough");
    }

    #[test]
    fn each_listener_must_be_quiet_and_known() {
        let (quiet, busy) = (series(&[(4, 0), (3, 0), (2, 0)]), series(&[(4, 0), (3, 1), (2, 0)]));
        let all = |other: Series| judge(&[quiet.clone(), other], &rule(OnNoData::Unknown), NOW);
        assert_eq!(all(quiet.clone()), Ok(0));
        assert_eq!(all(busy.clone()), Ok(1));
        let both = judge(&[busy.clone(), busy], &Rule { threshold: 1, ..rule(OnNoData::Unknown) }, NOW);
        assert_eq!(both, Ok(2), "they are added up");
        assert!(all(Series::new()).is_err());
        assert!(all(series(&[(5, 0), (4, 0), (2, 0)])).is_err());
    }

    #[test]
    fn old_minutes_and_those_to_come_say_nothing() {
        assert!(judged(&[(10, 0), (9, 0), (8, 0), (7, 0)], OnNoData::Unknown).is_err());
        assert!(
            judged(&[(4, 0), (3, 0), (2, 0), (-2, 0)], OnNoData::Unknown).unwrap_err().contains("to come")
        );
        assert!(judge(&[], &rule(OnNoData::Zero), NOW).is_err());
    }

    fn some_minutes() -> impl Strategy<Value = Vec<(i64, u64)>> {
        prop::collection::vec((1_i64..14, prop_oneof![4 => Just(0_u64), 1 => 1_u64..5]), 0..14)
    }

    proptest! {
        #[test]
        fn what_counts_as_quiet_was_quiet_for_so_many_known_minutes_after_the_detach(
            minutes in some_minutes(), earliest in 0_i64..800, wanted in 2_u8..=5,
        ) {
            let series = series(&minutes);
            let rule = Rule { earliest: NOW - earliest, minutes: wanted, ..rule(OnNoData::Unknown) };
            if judge(std::slice::from_ref(&series), &rule, NOW) == Ok(0) {
                let row = series.range(NOW - earliest..).rev().take(wanted.into()).collect::<Vec<_>>();
                prop_assert_eq!(row.len(), usize::from(wanted));
                prop_assert!(row.iter().all(|(_, count)| **count == 0));
                prop_assert!(row.windows(2).all(|pair| pair[0].0 - pair[1].0 == MINUTE));
            }
        }

        #[test]
        fn one_busy_minute_since_the_row_began_is_never_overlooked(minutes in some_minutes(), before in 1_i64..=6) {
            for on_no_data in [OnNoData::Unknown, OnNoData::Zero] {
                let mut series = series(&minutes);
                series.insert(NOW - before * MINUTE, 1);
                let zero = judge(&[series.clone()], &rule(on_no_data), NOW) == Ok(0);
                // The row of known minutes may begin later than that of settled ones.
                let since = series.range(NOW - before * MINUTE + 1..).count();
                prop_assert!(!zero || (on_no_data == OnNoData::Unknown && since >= 3));
            }
        }
    }
}
