//! A number in a JSON document, as a number or as text that is one.

use serde_json::value::RawValue;

use super::{Why, number};
use crate::json::object;

/// The number at the pointer.
pub(super) fn parse(text: &str, pointer: &str) -> Result<u64, Why> {
    let document: &RawValue = serde_json::from_str(text)
        .map_err(|problem| if problem.is_eof() { Why::CutOff } else { Why::NotThis("JSON") })?;
    let value = at(document, pointer)?.get();
    match value.as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => number::parse(value),
        Some(b'"') => {
            let text: String = serde_json::from_str(value).map_err(|_| Why::NotThis("JSON"))?;
            number::parse(&text)
        }
        _ => Err(Why::NotANumber),
    }
}

/// The value at a pointer (RFC 6901), as it was written: a number keeps all its digits, and a key on the
/// way that is there twice is seen.
fn at<'a>(document: &'a RawValue, pointer: &str) -> Result<&'a RawValue, Why> {
    let missing = || Why::Missing(format!("value at `{pointer}`"));
    let mut value = document;
    let mut tokens = pointer.split('/');
    // The pointer is empty, or begins with a slash.
    if tokens.next() != Some("") {
        return Err(missing());
    }
    for token in tokens {
        let token = token.replace("~1", "/").replace("~0", "~");
        value = if let Ok(members) = object(value) {
            let mut named = members.into_iter().filter(|(key, _)| *key == token).map(|(_, value)| value);
            match (named.next(), named.next()) {
                (Some(value), None) => value,
                (Some(_), Some(_)) => return Err(Why::Twice(format!("a key of `{pointer}`"))),
                (None, _) => return Err(missing()),
            }
        } else {
            let list: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(|_| missing())?;
            // As RFC 6901 has it: digits without a leading zero.
            let index = token.parse().ok().filter(|index: &usize| index.to_string() == token);
            index.and_then(|index| list.get(index).copied()).ok_or_else(missing)?
        };
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_at_the_pointer_is_read_as_number_or_text() {
        let envoy = r#"{"stats":[{"name":"listener.0.0.0.0_80.downstream_cx_active","value":3}]}"#;
        assert_eq!(parse(envoy, "/stats/0/value"), Ok(3));
        assert_eq!(parse(r#"{"a/b":"2.5"}"#, "/a~1b"), Ok(3));
        assert_eq!(parse("0", ""), Ok(0));
        assert_eq!(parse(r#"{"": {"0": [1, [7]]}}"#, "//0/1/0"), Ok(7));
        assert_eq!(parse("0", "n"), Err(Why::Missing("value at `n`".to_owned())));
    }

    #[test]
    fn a_number_is_what_its_text_says() {
        assert_eq!(parse(r#"{"n": 1e-400}"#, "/n"), Ok(1));
        assert_eq!(parse(r#"{"n": 1e400}"#, "/n"), Err(Why::NotFinite));
    }

    #[test]
    fn a_key_on_the_way_that_is_there_twice_is_unknown_and_others_do_not_matter() {
        let twice = Err(Why::Twice("a key of `/a/n`".to_owned()));
        assert_eq!(parse(r#"{"a":{"n":0,"n":5}}"#, "/a/n"), twice);
        assert_eq!(parse(r#"{"a":{"n":0},"a":{"n":5}}"#, "/a/n"), twice);
        assert_eq!(parse(r#"{"b":1,"b":2,"a":{"n":5,"c":0,"c":0}}"#, "/a/n"), Ok(5));
    }

    #[test]
    fn a_place_in_a_list_is_a_plain_number() {
        for pointer in ["/01", "/-", "/+1", "/2", "/x", "/1/0"] {
            let missing = Err(Why::Missing(format!("value at `{pointer}`")));
            assert_eq!(parse("[0, 1]", pointer), missing);
        }
        assert_eq!(parse("[0, 1]", "/1"), Ok(1));
    }

    #[test]
    fn a_missing_null_or_odd_value_is_unknown() {
        for body in
            [r#"{"n":null}"#, r#"{"n":false}"#, r#"{"n":[]}"#, r#"{"n":{}}"#, r#"{"n":""}"#, r#"{"n":"x"}"#]
        {
            assert_eq!(parse(body, "/n"), Err(Why::NotANumber), "{body}");
        }
        assert_eq!(parse("{}", "/n"), Err(Why::Missing("value at `/n`".to_owned())));
        assert_eq!(parse(r#"{"n":-1}"#, "/n"), Err(Why::Negative));
        assert_eq!(parse(r#"{"n":"NaN"}"#, "/n"), Err(Why::NotFinite));
    }

    #[test]
    fn a_body_that_is_cut_off_or_no_json_is_unknown() {
        assert_eq!(parse(r#"{"n":0"#, "/n"), Err(Why::CutOff));
        assert_eq!(parse("<html>", "/n"), Err(Why::NotThis("JSON")));
        assert_eq!(parse(r#"{"n":0} {"n":1}"#, "/n"), Err(Why::NotThis("JSON")));
    }
}
