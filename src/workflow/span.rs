//! Lengths of time as users write them: `30s`, `10m`, `1h30m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A length of time of whole milliseconds, never negative. Text form: hours, minutes, seconds and
/// milliseconds in this order, each at most once (`1h30m`, `45s`, `500ms`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Span(u64);

/// What the API server checks a length of time by; the parser here accepts exactly this.
pub const PATTERN: &str = r"^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?([0-9]{1,6}ms)?$";

impl Span {
    /// A span of whole seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds * 1000)
    }

    /// The same as a `Duration`.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.duration()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let parts = [
            (self.0 / 3_600_000, "h"),
            (self.0 / 60_000 % 60, "m"),
            (self.0 / 1000 % 60, "s"),
            (self.0 % 1000, "ms"),
        ];
        parts.iter().filter(|(count, _)| *count > 0).try_for_each(|(count, unit)| write!(f, "{count}{unit}"))
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

/// Text that is not a length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a length of time; write for example `30s`, `10m` or `1h30m`")]
pub struct NotASpan(String);

impl FromStr for Span {
    type Err = NotASpan;

    fn from_str(text: &str) -> Result<Self, NotASpan> {
        let refuse = || NotASpan(text.to_owned());
        // Longest unit names first, so that `m` does not take the `m` of `ms`.
        let units = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
        let mut rest = text;
        let mut next = 0;
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
            let (number, tail) = rest.split_at(digits);
            let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit);
            let place =
                units.iter().skip(next).position(|(name, _)| *name == unit).ok_or_else(refuse)? + next;
            if number.is_empty() || number.len() > 6 {
                return Err(refuse());
            }
            total += number.parse::<u64>().map_err(|_| refuse())? * units[place].1;
            next = place + 1;
            rest = tail;
        }
        if text.is_empty() { Err(refuse()) } else { Ok(Self(total)) }
    }
}

impl TryFrom<String> for Span {
    type Error = NotASpan;
    fn try_from(text: String) -> Result<Self, NotASpan> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_write_is_read_and_written_back_in_the_largest_units() {
        for (text, seconds, written) in [
            ("30s", 30, "30s"),
            ("10m", 600, "10m"),
            ("1h30m", 5400, "1h30m"),
            ("90s", 90, "1m30s"),
            ("0s", 0, "0s"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span, Span::seconds(seconds));
            assert_eq!(span.to_string(), written);
        }
        assert_eq!("500ms".parse::<Span>().unwrap().duration(), Duration::from_millis(500));
    }

    #[test]
    fn it_stands_in_an_object_as_its_text_and_is_a_duration() {
        let span = Span::try_from("90s".to_owned()).unwrap();
        assert_eq!(String::from(span), "1m30s");
        assert_eq!(Duration::from(span), Duration::from_secs(90));
        assert!(Span::try_from("90".to_owned()).is_err());
        assert_eq!("999999h".parse::<Span>().unwrap().duration(), Duration::from_hours(999_999));
    }

    #[test]
    fn negative_unknown_and_disordered_lengths_are_refused() {
        for text in ["-3m", "1d", "", "10", "s", "5s1m", "1m1m", "1.5s", "10000000s"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
