//! A number as text, and the one way from any number to a count.

use super::Why;

/// More connections than any host can have, and small enough to add up without care.
const MOST: f64 = 1e12;

/// The whole text is the number.
pub(in crate::drain) fn parse(text: &str) -> Result<u64, Why> {
    let text = text.trim();
    let value: f64 = text.parse().map_err(|_| Why::NotANumber)?;
    // Floating point takes 1e-999 for 0; the text does not say 0.
    let digits = text.split(['e', 'E']).next().unwrap_or_default();
    let says_zero = !digits.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
    match count(value)? {
        0 if !says_zero => Ok(1),
        count => Ok(count),
    }
}

/// A number as a count, rounded up.
pub(super) fn count(value: f64) -> Result<u64, Why> {
    if !value.is_finite() {
        Err(Why::NotFinite)
    } else if value < 0.0 {
        Err(Why::Negative)
    } else if value > MOST {
        Err(Why::TooLarge)
    } else {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number between 0 and MOST, as was just checked"
        )]
        Ok(value.ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_and_a_fraction_rounded_up() {
        for (text, count) in [("0", 0), ("0.0\n", 0), (" 3 ", 3), ("2.1", 3), ("1e3", 1000), ("0.0001", 1)] {
            assert_eq!(parse(text), Ok(count), "{text}");
        }
    }

    #[test]
    fn what_does_not_say_zero_is_not_zero() {
        assert_eq!(parse("1e-999"), Ok(1));
        assert_eq!(parse("0e5"), Ok(0));
    }

    #[test]
    fn anything_else_is_unknown() {
        for (text, why) in [
            ("NaN", Why::NotFinite),
            ("inf", Why::NotFinite),
            ("-inf", Why::NotFinite),
            ("1e999", Why::NotFinite),
            ("-1", Why::Negative),
            ("1e13", Why::TooLarge),
            ("none", Why::NotANumber),
            ("3 connections", Why::NotANumber),
            ("<html>0</html>", Why::NotANumber),
            ("0x10", Why::NotANumber),
        ] {
            assert_eq!(parse(text), Err(why), "{text}");
        }
    }
}
