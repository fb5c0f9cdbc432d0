//! A number in a JSON document, as a number or as text that is one.

use serde_json::Value;

use super::{Why, number};

/// The number at the pointer.
pub(super) fn parse(text: &str, pointer: &str) -> Result<u64, Why> {
    let document: Value = serde_json::from_str(text)
        .map_err(|problem| if problem.is_eof() { Why::CutOff } else { Why::NotThis("JSON") })?;
    let missing = || Why::Missing(format!("value at `{pointer}`"));
    match document.pointer(pointer).ok_or_else(missing)? {
        Value::Number(value) => value.as_f64().ok_or(Why::NotANumber).and_then(number::count),
        Value::String(value) => number::parse(value),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(Why::NotANumber),
    }
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
