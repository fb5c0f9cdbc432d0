//! The place in a drain counter's log up to which it was read.

use std::time::Duration;

use crate::drain::line::{Line, Report};

/// What is new in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing since the last look.
    None,
    /// Every period since the last look, put together.
    Seen {
        /// The most connections at one moment, less those that have been silent for long enough.
        max: u64,
        /// Connections opened.
        opened: u64,
        /// Length of all the periods in milliseconds.
        ms: u64,
    },
    /// Something of what is new cannot be read, was not seen by the counter, or is missing.
    Broken(String),
}

/// How far the log of one container was read.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    /// Connections that have been silent for so long are left out.
    idle_after: Option<Duration>,
    /// Number of the last line that was looked at; 0 where the log was still empty (the first is 1).
    last: Option<u64>,
}

impl Cursor {
    /// At the begin of a log.
    pub(super) fn new(idle_after: Option<Duration>) -> Self {
        Self { idle_after, last: None }
    }

    /// Number of the last line that was looked at.
    pub(super) const fn last(&self) -> Option<u64> {
        self.last
    }

    /// Takes what is new. The first look only finds the place: how old its lines are, nobody knows.
    pub(super) fn take(&mut self, log: &str) -> News {
        // What has no line feed yet is still being written.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        let lines: Result<Vec<Line>, _> = whole.lines().map(str::parse).collect();
        let lines = match lines {
            Ok(lines) => lines,
            Err(garbage) => {
                // Begin anew: the lines around garbage are not to be trusted either.
                self.last = None;
                return News::Broken(garbage.to_string());
            }
        };
        let newest = lines.last().map_or(0, |line| line.seq);
        let Some(last) = self.last.replace(newest) else { return News::None };
        if newest < last {
            return News::Broken(format!("the drain counter's log went back from report {last} to {newest}"));
        }
        let mut news = News::None;
        let new = lines.into_iter().filter(|line| line.seq > last);
        for (line, expected) in new.zip(last + 1..) {
            if line.seq != expected {
                return News::Broken(format!("report {expected} is missing in the drain counter's log"));
            }
            news = match self.busy(line.report).and_then(|report| news.and(report)) {
                Ok(news) => news,
                Err(broken) => return broken,
            };
        }
        news
    }
}

/// One report, without the connections that are left out.
struct Busy {
    max: u64,
    opened: u64,
    ms: u64,
}

impl Cursor {
    /// What has been silent since before the period was there at each look in it: so it is in the most that
    /// was seen. The kernel is asked a moment after the period, hence the double of its length.
    fn busy(&self, report: Report) -> Result<Busy, News> {
        let (max, opened, ms, silent) = match report {
            Report::Seen { max, opened, ms, silent } => (max, opened, ms, silent),
            Report::Failed { why } => {
                return Err(News::Broken(format!("the drain counter could not look: {why}")));
            }
        };
        let idle = match (self.idle_after, silent) {
            (None, _) => 0,
            (Some(time), Some(silent)) => {
                silent.at_least(time.max(Duration::from_millis(ms.saturating_mul(2))))
            }
            (Some(_), None) => {
                let why = "the drain counter does not tell how long a connection has been silent: the node's kernel does not (sock_diag), or the counter is of an older version. Take out spec.drain.idleAfter";
                return Err(News::Broken(why.to_owned()));
            }
        };
        match max.checked_sub(idle) {
            Some(max) => Ok(Busy { max, opened, ms }),
            // One of the two is wrong, and nobody knows which.
            None => Err(News::Broken(format!("{idle} connections are silent, and at most {max} were seen"))),
        }
    }
}

impl News {
    fn and(self, Busy { max, opened, ms }: Busy) -> Result<Self, Self> {
        match self {
            Self::None => Ok(Self::Seen { max, opened, ms }),
            Self::Seen { max: before, opened: more, ms: longer } => Ok(Self::Seen {
                max: max.max(before),
                opened: opened.saturating_add(more),
                ms: ms.saturating_add(longer),
            }),
            Self::Broken(why) => Err(Self::Broken(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[(u64, u64, u64)]) -> String {
        let line = |(seq, max, opened): &(u64, u64, u64)| {
            format!("lu1 seq={seq} max={max} opened={opened} ms=1000\n")
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn the_first_look_only_finds_the_place_and_the_next_counts_what_came_after_it() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.take(&log(&[(1, 9, 9), (2, 8, 8)])), News::None);
        assert_eq!(cursor.take(&log(&[(1, 9, 9), (2, 8, 8)])), News::None);
        let grown = log(&[(2, 8, 8), (3, 5, 1), (4, 2, 2)]);
        assert_eq!(cursor.take(&grown), News::Seen { max: 5, opened: 3, ms: 2000 });
        assert_eq!(cursor.take(&grown), News::None);
    }

    #[test]
    fn all_of_a_log_that_was_empty_at_the_first_look_is_new() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.take(""), News::None);
        assert_eq!(cursor.take(&log(&[(1, 0, 4)])), News::Seen { max: 0, opened: 4, ms: 1000 });
    }

    #[test]
    fn a_line_that_is_still_being_written_is_left_for_later() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.take("lu1 seq=1 max=0 op"), News::None);
        assert_eq!(cursor.take("lu1 seq=1 max=0 opened=0 ms=1"), News::None);
        assert_eq!(cursor.take(&log(&[(1, 7, 0)])), News::Seen { max: 7, opened: 0, ms: 1000 });
    }

    #[test]
    fn missing_reports_failed_looks_and_a_log_that_goes_back_are_broken_once() {
        let mut cursor = Cursor::default();
        cursor.take(&log(&[(5, 0, 0)]));
        assert!(matches!(cursor.take(&log(&[(7, 0, 0)])), News::Broken(_)));
        assert!(matches!(cursor.take(&log(&[(8, 0, 0)])), News::Seen { .. }));
        assert!(matches!(cursor.take("lu1 seq=9 error=no file\n"), News::Broken(_)));
        assert!(matches!(cursor.take(&log(&[(1, 0, 0)])), News::Broken(_)));
    }

    #[test]
    fn garbage_is_broken_and_the_place_is_lost() {
        let mut cursor = Cursor::default();
        cursor.take(&log(&[(5, 0, 0)]));
        assert!(matches!(cursor.take("unable to retrieve container logs\n"), News::Broken(_)));
        assert_eq!(cursor.take(&log(&[(9, 0, 0)])), News::None);
    }

    #[test]
    fn connections_that_are_silent_for_long_enough_are_left_out_where_that_is_asked_for() {
        let news = |idle_after: Option<u64>, log: &str| {
            let mut cursor = Cursor::new(idle_after.map(Duration::from_secs));
            cursor.take("");
            cursor.take(log)
        };
        let log = "lu1 seq=1 max=5 opened=0 ms=1000 silent=0:1,30:2,60:2\n";
        let max = |idle_after, log| match news(idle_after, log) {
            News::Seen { max, .. } => max,
            other @ (News::None | News::Broken(_)) => panic!("{other:?}"),
        };
        assert_eq!([None, Some(10), Some(31), Some(61)].map(|after| max(after, log)), [5, 1, 3, 5]);
        // The busiest period counts, each by its own silences.
        let two = "lu1 seq=1 max=3 opened=0 ms=1000 silent=30:3\nlu1 seq=2 max=3 opened=0 ms=1000 silent=0:2,31:1\n";
        assert_eq!(max(Some(10), two), 2);
        // A period that was longer than the silence: nobody knows what was there at its begin.
        assert_eq!(max(Some(10), "lu1 seq=1 max=2 opened=0 ms=40000 silent=30:1,60:1\n"), 2);
        let torn = news(Some(10), "lu1 seq=1 max=2 opened=0 ms=1000 silent=60:3\n");
        assert!(matches!(torn, News::Broken(why) if why.contains("3 connections are silent")));
        let blind = "lu1 seq=1 max=0 opened=0 ms=1000\n";
        assert_eq!(max(None, blind), 0);
        assert!(matches!(news(Some(10), blind), News::Broken(why) if why.contains("idleAfter")));
    }
}
