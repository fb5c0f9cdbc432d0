//! What a Prometheus answers to an instant query: one number, none, or something that says nothing.
//! Form: <https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries>.

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::drain::formats::{Why as NoCount, number};

/// Why an answer says nothing. Says nothing itself of what was in the answer: it may be anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The end is missing.
    #[error("the answer is cut off")]
    CutOff,
    /// Not the answer of a Prometheus.
    #[error("the answer is not that of a Prometheus")]
    NotThis,
    /// Prometheus says that it failed.
    #[error("Prometheus says that the query failed")]
    Failed,
    /// Prometheus warns that something may be missing.
    #[error("the answer comes with warnings, so that something may be missing in it")]
    Warned,
    /// A part is missing.
    #[error("the answer says that it is partial")]
    Partial,
    /// More than one series.
    #[error("the result has {0} series, not one; add them up, for example by sum()")]
    Several(usize),
    /// A range, a text or a histogram.
    #[error("the result is not a plain number")]
    Kind,
    /// Not what was asked for: somebody in between may have kept an old one.
    #[error("the answer is about another moment than the one that was asked about")]
    OtherMoment,
    /// Not a number that can be.
    #[error(transparent)]
    Number(#[from] NoCount),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    status: Status,
    data: Option<Data>,
    warnings: Option<Vec<IgnoredAny>>,
    /// Of servers that ask others and go on without those that do not answer.
    is_partial: Option<bool>,
}

#[derive(PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Success,
    Error,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<Series>),
    Scalar(Sample),
    Matrix(IgnoredAny),
    String(IgnoredAny),
}

#[derive(Deserialize)]
struct Series {
    /// A histogram has another member in its place.
    value: Option<Sample>,
}

/// Unix time in seconds, and the value as text.
#[derive(Deserialize)]
struct Sample(f64, String);

/// A number as Prometheus wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number(String);

impl Number {
    /// As a count of connections, rounded up.
    ///
    /// # Errors
    /// It is none: negative, NaN, infinite, too large.
    pub fn count(&self) -> Result<u64, Why> {
        Ok(number::parse(&self.0)?)
    }

    /// As Unix time in seconds.
    ///
    /// # Errors
    /// It is not a finite number.
    pub fn seconds(&self) -> Result<f64, Why> {
        let seconds: f64 = self.0.parse().map_err(|_| NoCount::NotANumber)?;
        if seconds.is_finite() { Ok(seconds) } else { Err(NoCount::NotFinite.into()) }
    }
}

/// The one number in the answer to a question about this moment (in whole milliseconds); none where the result is empty.
///
/// # Errors
/// Why it says nothing.
pub fn only(body: &[u8], asked: Timestamp) -> Result<Option<Number>, Why> {
    // JSON is UTF-8 in all its parts, also in those that are not read here.
    let text = str::from_utf8(body)
        .map_err(|problem| if problem.error_len().is_none() { Why::CutOff } else { Why::NotThis })?;
    let Answer { status, data, warnings, is_partial } = serde_json::from_str(text)
        .map_err(|problem| if problem.is_eof() { Why::CutOff } else { Why::NotThis })?;
    if status != Status::Success {
        return Err(Why::Failed);
    }
    if warnings.is_some_and(|warnings| !warnings.is_empty()) {
        return Err(Why::Warned);
    }
    if is_partial.unwrap_or_default() {
        return Err(Why::Partial);
    }
    let Sample(moment, text) = match data.ok_or(Why::NotThis)? {
        Data::Scalar(sample) => sample,
        Data::Vector(mut series) => match (series.pop(), series.len()) {
            (None, _) => return Ok(None),
            (Some(Series { value }), 0) => value.ok_or(Why::Kind)?,
            (Some(_), others) => return Err(Why::Several(others + 1)),
        },
        Data::Matrix(_) | Data::String(_) => return Err(Why::Kind),
    };
    if (moment * 1000.0 - milliseconds(asked)).abs() < 1.0 {
        Ok(Some(Number(text)))
    } else {
        Err(Why::OtherMoment)
    }
}

/// A moment as Prometheus counts it: floating point, which milliseconds fit into for 285,000 years.
pub(super) fn milliseconds(moment: Timestamp) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "as said above")]
    let milliseconds = moment.as_millisecond() as f64;
    milliseconds
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn asked() -> Timestamp {
        Timestamp::from_millisecond(1_795_272_538_453).unwrap()
    }

    fn read(body: &Value) -> Result<Option<Number>, Why> {
        only(body.to_string().as_bytes(), asked())
    }

    fn vector(series: &Value) -> Value {
        json!({"status": "success", "data": {"resultType": "vector", "result": series}})
    }

    fn one(value: &Value) -> Value {
        vector(&json!([{"metric": {"pod": "web-0"}, "value": value}]))
    }

    #[test]
    fn one_number_is_read_from_a_vector_and_from_a_scalar() {
        let three = Ok(Some(Number("3".to_owned())));
        assert_eq!(read(&one(&json!([1_795_272_538.453, "3"]))), three);
        let scalar = json!([1_795_272_538.453, "3"]);
        assert_eq!(
            read(
                &json!({"status": "success", "data": {"resultType": "scalar", "result": scalar}, "infos": ["x"], "warnings": [], "isPartial": false})
            ),
            three
        );
        assert_eq!(Number("2.5".to_owned()).count(), Ok(3));
        assert_eq!(Number("1795272538.323".to_owned()).seconds(), Ok(1_795_272_538.323));
    }

    #[test]
    fn an_empty_result_is_no_number() {
        assert_eq!(read(&vector(&json!([]))), Ok(None));
    }

    #[test]
    fn several_series_are_unknown() {
        let sample = json!({"metric": {}, "value": [1_795_272_538.453, "0"]});
        assert_eq!(read(&vector(&json!([sample, sample]))), Err(Why::Several(2)));
    }

    #[test]
    fn a_failure_a_warning_and_a_partial_answer_are_unknown() {
        assert_eq!(
            read(&json!({"status": "error", "errorType": "bad_data", "error": "x"})),
            Err(Why::Failed)
        );
        for (member, value, why) in [
            ("warnings", json!(["no answer from store-1"]), Why::Warned),
            ("isPartial", json!(true), Why::Partial),
            ("status", json!("error"), Why::Failed),
        ] {
            for mut answer in [one(&json!([1_795_272_538.453, "0"])), vector(&json!([]))] {
                answer[member] = value.clone();
                assert_eq!(read(&answer), Err(why.clone()), "{member}");
            }
        }
    }

    #[test]
    fn an_answer_about_another_moment_is_unknown() {
        for moment in [1_795_272_538.455, 1_795_272_238.453, 0.0, -1.0] {
            assert_eq!(read(&one(&json!([moment, "0"]))), Err(Why::OtherMoment), "{moment}");
        }
    }

    #[test]
    fn what_is_no_plain_number_is_unknown() {
        for (kind, result) in [("matrix", json!([])), ("string", json!([1_795_272_538.453, "0"]))] {
            let answer = json!({"status": "success", "data": {"resultType": kind, "result": result}});
            assert_eq!(read(&answer), Err(Why::Kind), "{kind}");
        }
        assert_eq!(
            read(&vector(&json!([{"metric": {}, "histogram": [1_795_272_538.453, {}]}]))),
            Err(Why::Kind)
        );
    }

    #[test]
    fn values_that_are_no_counts_are_unknown() {
        for (text, why) in [
            ("NaN", NoCount::NotFinite),
            ("+Inf", NoCount::NotFinite),
            ("-Inf", NoCount::NotFinite),
            ("-1", NoCount::Negative),
            ("1e13", NoCount::TooLarge),
            ("", NoCount::NotANumber),
            ("x", NoCount::NotANumber),
        ] {
            let number = read(&one(&json!([1_795_272_538.453, text]))).unwrap().unwrap();
            assert_eq!(number.count(), Err(Why::Number(why)), "{text}");
        }
        for text in ["NaN", "+Inf", "", "x"] {
            assert!(Number(text.to_owned()).seconds().is_err(), "{text}");
        }
    }

    #[test]
    fn anything_else_is_unknown() {
        for value in [
            json!(0),
            json!("0"),
            json!([]),
            json!([1_795_272_538.453]),
            json!([1_795_272_538.453, 0]),
            json!([0, "0", 0]),
        ] {
            assert_eq!(read(&one(&value)), Err(Why::NotThis), "{value}");
        }
        for answer in [
            json!({}),
            json!({"status": "success"}),
            json!({"status": "success", "data": {}}),
            json!({"status": "success", "data": {"resultType": "vector"}}),
            json!({"status": "fine", "data": {"resultType": "vector", "result": []}}),
            json!([]),
            json!(0),
        ] {
            assert_eq!(read(&answer), Err(Why::NotThis), "{answer}");
        }
        for text in [
            "<html>0</html>",
            "{\"status\":\"success\",\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[]}}",
        ] {
            assert_eq!(only(text.as_bytes(), asked()), Err(Why::NotThis), "{text}");
        }
    }

    #[test]
    fn an_answer_that_is_no_text_in_a_part_that_is_not_read_is_unknown() {
        let text = one(&json!([1_795_272_538.453, "0"])).to_string();
        let mut bytes = text.clone().into_bytes();
        bytes[text.find("web").unwrap()] = 0xbb;
        assert_eq!(only(&bytes, asked()), Err(Why::NotThis));
    }

    proptest! {
        #[test]
        fn no_part_of_an_answer_is_an_answer(count in 0_u64..1_000_000, cut in any::<prop::sample::Index>()) {
            let text = one(&json!([1_795_272_538.453, count.to_string()])).to_string();
            let number = only(text.as_bytes(), asked()).unwrap().unwrap();
            prop_assert_eq!(number.count(), Ok(count));
            prop_assert_eq!(only(&text.as_bytes()[..cut.index(text.len())], asked()), Err(Why::CutOff));
        }
    }
}
