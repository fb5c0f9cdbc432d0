//! How long connections have been silent, in the form in which a drain counter reports it:
//! `17:1,60:2` is one for 17 seconds and two for a minute, `none` is no connection at all.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::line::{NotALine, number};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
/// Longer silences are all taken for this one.
const LONGEST: u64 = 99 * HOUR;

/// Connections by how long they have been silent, in seconds. To the second below a minute, to the
/// minute below an hour, else to the hour, always rounded down: one that speaks is never taken for a
/// silent one, and the report of ten thousand connections is as short as that of ten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Silence(BTreeMap<u64, u64>);

impl Silence {
    /// Takes in one more connection.
    pub fn add(&mut self, silent: Duration) {
        let seconds = silent.as_secs().min(LONGEST);
        let unit = match seconds {
            0..MINUTE => 1,
            MINUTE..HOUR => MINUTE,
            HOUR.. => HOUR,
        };
        *self.0.entry(seconds - seconds % unit).or_default() += 1;
    }

    /// How many have been silent for at least so long, for sure.
    #[must_use]
    pub fn at_least(&self, time: Duration) -> u64 {
        let whole = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        self.0.range(whole..).fold(0, |all, (_, count)| all.saturating_add(*count))
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (place, (seconds, count)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{seconds}:{count}")?;
        }
        Ok(())
    }
}

impl FromStr for Silence {
    type Err = NotALine;

    fn from_str(text: &str) -> Result<Self, NotALine> {
        if text == "none" {
            return Ok(Self::default());
        }
        let mut all = BTreeMap::new();
        for item in text.split(',') {
            let (seconds, count) = item.split_once(':').ok_or(NotALine)?;
            let (seconds, count) = (number(seconds)?, number(count)?);
            let ascends = all.last_key_value().is_none_or(|(before, _)| *before < seconds);
            if count == 0 || !ascends {
                return Err(NotALine);
            }
            all.insert(seconds, count);
        }
        Ok(Self(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seconds: &[u64]) -> Silence {
        let mut silence = Silence::default();
        for seconds in seconds {
            silence.add(Duration::from_secs(*seconds));
        }
        silence
    }

    #[test]
    fn a_silence_is_rounded_down_and_reads_as_it_was_written() {
        let all = of(&[0, 1, 59, 59, 60, 119, 3599, 3600, 7300, 99 * 3600, 1_000_000]);
        assert_eq!(all.to_string(), "0:1,1:1,59:2,60:2,3540:1,3600:1,7200:1,356400:2");
        assert_eq!(all.to_string().parse(), Ok(all));
        assert_eq!((of(&[]).to_string(), "none".parse()), ("none".to_owned(), Ok(of(&[]))));
    }

    #[test]
    fn only_what_is_silent_for_sure_counts_as_silent() {
        let all = of(&[9, 10, 119, 3599]);
        let at_least = |ms| all.at_least(Duration::from_millis(ms));
        assert_eq!([9_000, 9_001, 10_000, 10_001].map(at_least), [4, 3, 3, 2]);
        // 119 s are reported as a minute, which is not yet 90 s.
        assert_eq!([60_000, 90_000, 3_540_000, 3_599_000].map(at_least), [2, 1, 1, 0]);
    }

    #[test]
    fn anything_else_is_no_silence() {
        for text in ["", "1", "1:", ":1", "1:0", "-1:1", "1:1,", "2:1,1:1", "1:1,1:1", "1:1 ", "x:1"] {
            assert_eq!(text.parse::<Silence>(), Err(NotALine), "{text}");
        }
    }
}
