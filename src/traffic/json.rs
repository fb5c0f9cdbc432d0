//! JSON opened one level at a time: what is not opened keeps its bytes, and what is opened keeps
//! its order and its unknown members.

use std::collections::BTreeSet;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::json::{Members, object};

/// A text that cannot be merged into without guessing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not JSON at all.
    #[error("it is not JSON ({0})")]
    NotJson(String),
    /// JSON of another shape than the documented one.
    #[error("{at} is not {wanted}")]
    Shape {
        /// Path of the value.
        at: String,
        /// What should be there.
        wanted: &'static str,
    },
    /// Said twice, and readers differ in which of the two counts.
    #[error("{at} has {what} twice")]
    Twice {
        /// Path of the object or list.
        at: String,
        /// What it has twice.
        what: String,
    },
}

impl Malformed {
    pub(super) fn shape(at: &str, wanted: &'static str) -> Self {
        Self::Shape { at: at.to_owned(), wanted }
    }
}

/// Any JSON text.
pub(super) fn parse(text: &str) -> Result<&RawValue, Malformed> {
    serde_json::from_str(text).map_err(|error| Malformed::NotJson(error.to_string()))
}

/// Opens an object; a key that is there twice is refused.
pub(super) fn members<'a>(raw: &'a RawValue, at: &str) -> Result<Members<'a>, Malformed> {
    let members = object(raw).map_err(|_| Malformed::shape(at, "an object"))?;
    let mut seen = BTreeSet::new();
    match members.iter().find(|(key, _)| !seen.insert(key.as_str())) {
        Some((key, _)) => Err(Malformed::Twice { at: at.to_owned(), what: format!("the key `{key}`") }),
        None => Ok(members),
    }
}

/// Opens a list.
pub(super) fn list<'a>(raw: &'a RawValue, at: &str) -> Result<Vec<&'a RawValue>, Malformed> {
    serde_json::from_str(raw.get()).map_err(|_| Malformed::shape(at, "a list"))
}

/// The member of this name.
pub(super) fn member<'a>(members: &Members<'a>, key: &str) -> Option<&'a RawValue> {
    members.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
}

/// The object with one member put in its place, at the end when it is new, or left out.
pub(super) fn with_member(members: &Members<'_>, key: &str, value: Option<&str>) -> String {
    let mut texts: Vec<(&str, &str)> = Vec::with_capacity(members.len() + 1);
    for (name, raw) in members {
        match value {
            Some(value) if name == key => texts.push((name, value)),
            None if name == key => {}
            Some(_) | None => texts.push((name, raw.get())),
        }
    }
    if let Some(value) = value.filter(|_| member(members, key).is_none()) {
        texts.push((key, value));
    }
    let texts: Vec<_> = texts.iter().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
    format!("{{{}}}", texts.join(","))
}

/// A list of texts that are JSON already.
pub(super) fn array<S: AsRef<str>>(items: &[S]) -> String {
    let items: Vec<_> = items.iter().map(AsRef::as_ref).collect();
    format!("[{}]", items.join(","))
}

/// A string as JSON.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Whether two texts say the same, white space and the order of members aside.
pub(super) fn same(left: &str, right: &str) -> bool {
    let read = |text| serde_json::from_str::<Value>(text).ok();
    left == right || read(left).is_some_and(|left| Some(left) == read(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_member_is_put_in_its_place_and_all_others_stay_as_they_are() {
        let text = r#"{"a":1.10,"b":{ },"c":[ 0 ]}"#;
        let raw: &RawValue = serde_json::from_str(text).unwrap();
        let read = members(raw, "").unwrap();
        assert_eq!(with_member(&read, "b", Some("7")), r#"{"a":1.10,"b":7,"c":[ 0 ]}"#);
        assert_eq!(with_member(&read, "d", Some("7")), r#"{"a":1.10,"b":{ },"c":[ 0 ],"d":7}"#);
        assert_eq!(with_member(&read, "b", None), r#"{"a":1.10,"c":[ 0 ]}"#);
        assert_eq!(with_member(&read, "d", None), text);
    }

    #[test]
    fn white_space_and_order_say_nothing_and_what_cannot_be_read_is_the_same_as_itself_only() {
        assert!(same(r#"{"a":1,"b":[2]}"#, r#"{ "b": [2], "a": 1 }"#));
        assert!(!same(r#"{"a":1}"#, r#"{"a":2}"#));
        assert!(same("1E400", "1E400"));
        assert!(!same("1E400", "1E401"));
    }
}
