//! The line that the drain counter prints and the operator reads: `lu1 seq=12 max=3 opened=2 ms=1000`,
//! or `lu1 seq=13 error=...` for a period that it could not see whole. `silent=0:1,17:2` follows where the
//! kernel tells how long each connection has been silent.

use std::fmt;
use std::str::FromStr;

use super::silence::Silence;

/// Version of the line. Another one is garbage to this reader.
const VERSION: &str = "lu1";

/// One report of the counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Grows by one with each report.
    pub seq: u64,
    /// What it reports.
    pub report: Report,
}

/// What the counter saw in one period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Every look of the period succeeded.
    Seen {
        /// The most connections at one moment.
        max: u64,
        /// Connections that clients opened, on every port of the pod.
        opened: u64,
        /// Length of the period in milliseconds, never 0.
        ms: u64,
        /// How long each established one had been silent at the end of the period. None: the kernel does not tell.
        silent: Option<Silence>,
    },
    /// A look failed, so the period is unknown.
    Failed {
        /// What went wrong, on one line.
        why: String,
    },
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION} seq={}", self.seq)?;
        match &self.report {
            Report::Seen { max, opened, ms, silent } => {
                write!(f, " max={max} opened={opened} ms={ms}")?;
                silent.as_ref().map_or(Ok(()), |silent| write!(f, " silent={silent}"))
            }
            Report::Failed { why } => write!(f, " error={}", why.replace(['\n', '\r'], " ")),
        }
    }
}

/// Text that is not a report of a drain counter of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line of the drain counter's log is not a report of version {VERSION}")]
pub struct NotALine;

impl FromStr for Line {
    type Err = NotALine;

    fn from_str(text: &str) -> Result<Self, NotALine> {
        let (seq, rest) = text
            .strip_prefix(VERSION)
            .and_then(|rest| rest.strip_prefix(" seq="))
            .and_then(|rest| rest.split_once(' '))
            .ok_or(NotALine)?;
        let seq = number(seq)?;
        if let Some(why) = rest.strip_prefix("error=") {
            return Ok(Self { seq, report: Report::Failed { why: why.to_owned() } });
        }
        let mut fields = rest.split(' ');
        let mut field = |name: &str| {
            fields.next().and_then(|field| field.strip_prefix(name)).ok_or(NotALine).and_then(number)
        };
        let (max, opened, ms) = (field("max=")?, field("opened=")?, field("ms=")?);
        let silent = match fields.next() {
            Some(field) => Some(field.strip_prefix("silent=").ok_or(NotALine)?.parse()?),
            None => None,
        };
        if ms == 0 || fields.next().is_some() {
            return Err(NotALine);
        }
        Ok(Self { seq, report: Report::Seen { max, opened, ms, silent } })
    }
}

/// Plain digits only: `u64::from_str` would also take a sign.
pub(super) fn number(text: &str) -> Result<u64, NotALine> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_err(|_| NotALine)
    } else {
        Err(NotALine)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let seen = |silent| Line { seq: 12, report: Report::Seen { max: 3, opened: 2, ms: 1000, silent } };
        assert_eq!(seen(None).to_string(), "lu1 seq=12 max=3 opened=2 ms=1000");
        assert_eq!(seen(None).to_string().parse(), Ok(seen(None)));
        let silent = "17:2".parse().ok();
        assert_eq!(seen(silent.clone()).to_string(), "lu1 seq=12 max=3 opened=2 ms=1000 silent=17:2");
        assert_eq!(seen(silent.clone()).to_string().parse(), Ok(seen(silent)));

        let failed = Line { seq: 13, report: Report::Failed { why: "no\nsuch file".to_owned() } };
        assert_eq!(failed.to_string(), "lu1 seq=13 error=no such file");
        assert_eq!(failed.to_string().parse::<Line>().unwrap().seq, 13);
    }

    #[test]
    fn anything_else_is_no_report() {
        for text in [
            "",
            "lu1",
            "lu1 seq=1",
            "lu1 seq=1 ",
            "lu2 seq=1 max=0 opened=0 ms=1000",
            "lu1 seq=x max=0 opened=0 ms=1000",
            "lu1 seq=1 max= opened=0 ms=1000",
            "lu1 seq=1 max=-1 opened=0 ms=1000",
            "lu1 seq=1 max=+1 opened=0 ms=1000",
            "lu1 seq=1 max=0 opened=0",
            "lu1 seq=1 max=0 opened=0 ms=0",
            "lu1 seq=1 max=0 opened=0 ms=10 more=1",
            "lu1 seq=1 opened=0 max=0 ms=10",
            "lu1 seq=1 max=0 opened=0 ms=10 silent=",
            "lu1 seq=1 max=0 opened=0 ms=10 silent=none more=1",
            "unable to retrieve container logs",
        ] {
            assert_eq!(text.parse::<Line>(), Err(NotALine), "{text}");
        }
    }

    fn reports() -> impl Strategy<Value = Report> {
        let silences = prop::collection::vec(0..400_000_u64, 0..40).prop_map(|all| {
            let mut silence = Silence::default();
            for seconds in all {
                silence.add(Duration::from_secs(seconds));
            }
            silence
        });
        let seen = (any::<u64>(), any::<u64>(), 1..=u64::MAX, prop::option::of(silences));
        prop_oneof![
            seen.prop_map(|(max, opened, ms, silent)| Report::Seen { max, opened, ms, silent }),
            ".{0,20}".prop_map(|why| Report::Failed { why }),
        ]
    }

    proptest! {
        #[test]
        fn any_report_is_read_as_it_was_written_and_no_part_of_it_counts_less(
            seq in any::<u64>(), report in reports(), other in ".{0,60}", cut in any::<prop::sample::Index>(),
        ) {
            let line = Line { seq, report };
            let text = line.to_string();
            // The reason is written on one line.
            let same_but_reason = |read: &Line| matches!((&read.report, &line.report), (Report::Failed { .. }, Report::Failed { .. }));
            let read: Line = text.parse().unwrap();
            prop_assert!(read == line || same_but_reason(&read), "{}", text);
            let end = text.char_indices().map(|(place, _)| place).nth(cut.index(text.chars().count())).unwrap_or(0);
            for part in [&text[..end], other.as_str()] {
                if let (Ok(Line { report: Report::Seen { max, .. }, .. }), Report::Seen { max: whole, .. }) = (part.parse(), &line.report) {
                    prop_assert_eq!(max, *whole);
                }
            }
        }
    }
}
