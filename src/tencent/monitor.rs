//! `GetMonitorData` for the metric `ConNum`: the connections from a CLB to one backend, minute by minute
//! (<https://cloud.tencent.com/document/api/248/31014>; metrics: <https://www.tencentcloud.com/document/product/248/10997>).

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value, json};

use super::{Action, Answer, Api, Problem, read};

/// The finest that there is of single backends, in seconds.
pub const MINUTE: i64 = 60;
/// Of the numbers that the documents give (10 and 50) the smaller one.
pub const MOST_BACKENDS: usize = 10;
const METRIC: &str = "ConNum";
/// Bit 2: the largest value of each minute.
const MAXIMUM: u32 = 2;

/// Which load balancers a metric is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Network {
    /// With a public address: `QCE/LB_PUBLIC`.
    #[default]
    Public,
    /// With an address of a VPC: `QCE/LB_PRIVATE`.
    Private,
}

impl Network {
    const fn namespace(self) -> &'static str {
        match self {
            Self::Public => "QCE/LB_PUBLIC",
            Self::Private => "QCE/LB_PRIVATE",
        }
    }
}

/// A pod behind one listener, as the metric tells them apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    /// Address of the load balancer.
    pub vip: IpAddr,
    /// Port of the listener, which carries TCP.
    pub listener: u16,
    /// Address of the pod.
    pub ip: IpAddr,
    /// Port of the pod.
    pub port: u16,
    /// VPC of the pod, where it is said.
    pub vpc: Option<String>,
}

impl Backend {
    fn dimensions(&self) -> Vec<(&'static str, String)> {
        let Self { vip, listener, ip, port, vpc } = self;
        let mut all = vec![
            ("vip", vip.to_string()),
            ("loadBalancerPort", listener.to_string()),
            ("protocol", "TCP".to_owned()),
            ("lanIp", ip.to_string()),
            ("port", port.to_string()),
        ];
        all.extend(vpc.iter().map(|vpc| ("vpcId", vpc.clone())));
        all
    }
}

/// What is known of one backend: the most connections of a minute, by the time stamp of the minute (Unix time in
/// seconds). A minute that is missing was lost, or never counted.
pub type Series = BTreeMap<i64, u64>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Data {
    period: i64,
    metric_name: String,
    #[serde(rename = "DataPoints")]
    points: Vec<DataPoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DataPoint {
    dimensions: Vec<Dimension>,
    timestamps: Option<Vec<f64>>,
    values: Option<Vec<Option<Number>>>,
    max_values: Option<Vec<Option<Number>>>,
    avg_values: Option<Vec<Option<Number>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Dimension {
    name: String,
    value: String,
}

/// What an answer says of each of these backends, in their order.
///
/// # Errors
/// See [`Problem`]. An answer about anything else than what was asked is none.
pub fn parse(body: &[u8], backends: &[Backend]) -> Result<Vec<Series>, Problem> {
    let action = Action::GetMonitorData;
    let Data { period, metric_name, points } = read(action, body)?;
    let mut found: Vec<Option<Series>> = vec![None; backends.len()];
    let whole = period == MINUTE && metric_name.eq_ignore_ascii_case(METRIC);
    let fits = whole
        && points.iter().all(|point| {
            let mut places = backends.iter().zip(&mut found).filter(|(backend, _)| point.is_of(backend));
            match (places.next(), places.next()) {
                (Some((_, place @ None)), None) => {
                    *place = point.series();
                    place.is_some()
                }
                (Some((_, Some(_))) | None, _) | (Some(_), Some(_)) => false,
            }
        });
    // A backend that the answer leaves out has no points.
    if fits {
        Ok(found.into_iter().map(Option::unwrap_or_default).collect())
    } else {
        Err(Problem::NotThis(action))
    }
}

impl DataPoint {
    fn is_of(&self, backend: &Backend) -> bool {
        let says = |(name, value): &(&str, String)| {
            let mut same = self.dimensions.iter().filter(|dimension| dimension.name == *name);
            matches!((same.next(), same.next()), (Some(one), None) if one.value == *value)
        };
        backend.dimensions().iter().all(says)
    }

    /// Its minutes; none where the lists do not fit together, or a number is none that can be.
    fn series(&self) -> Option<Series> {
        let stamps = self.timestamps.as_deref().unwrap_or_default();
        let lists = [&self.values, &self.max_values, &self.avg_values];
        let lists: Vec<_> = lists.into_iter().flatten().filter(|list| !list.is_empty()).collect();
        if lists.is_empty() != stamps.is_empty() || lists.iter().any(|list| list.len() != stamps.len()) {
            return None;
        }
        let mut series = Series::new();
        for (at, stamp) in stamps.iter().enumerate() {
            let said: Option<Vec<&Number>> = lists.iter().map(|list| list[at].as_ref()).collect();
            // One that is left out in any list was lost.
            let Some(said) = said else { continue };
            let counts: Option<Vec<u64>> = said.into_iter().map(count).collect();
            if series.insert(minute(*stamp)?, counts?.into_iter().max()?).is_some() {
                return None;
            }
        }
        Some(series)
    }
}

/// The time stamp of a whole minute, within what can be a time.
fn minute(stamp: f64) -> Option<i64> {
    if !(0.0..1e11).contains(&stamp) || stamp.fract() != 0.0 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "a whole number below 1e11, as was just checked")]
    let stamp = stamp as i64;
    (stamp % MINUTE == 0).then_some(stamp)
}

/// A number of connections, rounded up; more than any host can have is none.
fn count(number: &Number) -> Option<u64> {
    let number = number.as_f64().filter(|number| (0.0..=1e12).contains(number))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 1e12, as was just checked"
    )]
    Some(number.ceil() as u64)
}

fn question(network: Network, backends: &[Backend], from: Timestamp, to: Timestamp) -> Value {
    let time = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string();
    let instance = |backend: &Backend| {
        let dimension = |(name, value): (&str, String)| json!({"Name": name, "Value": value});
        json!({"Dimensions": backend.dimensions().into_iter().map(dimension).collect::<Vec<_>>()})
    };
    json!({
        "Namespace": network.namespace(),
        "MetricName": METRIC,
        "Period": MINUTE,
        "StartTime": time(from),
        "EndTime": time(to),
        "Instances": backends.iter().map(instance).collect::<Vec<_>>(),
        "SpecifyStatistics": MAXIMUM,
    })
}

impl Api {
    /// One question about all these backends, [`MOST_BACKENDS`] at most.
    ///
    /// # Errors
    /// See [`Problem`].
    pub(crate) async fn connections(
        &self,
        network: Network,
        backends: &[Backend],
        from: Timestamp,
        now: Timestamp,
    ) -> Result<Answer, Problem> {
        self.ask(Action::GetMonitorData, &question(network, backends, from, now), now).await
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-11-20T12:00:00Z.
    const NOON: i64 = 1_795_176_000;

    fn backend(port: u16) -> Backend {
        let ip = |last| IpAddr::from([10, 0, 0, last]);
        Backend { vip: ip(1), listener: port, ip: ip(7), port: 8080, vpc: None }
    }

    fn point(backend: &Backend, stamps: &Value, values: &Value) -> Value {
        let dimension = |(name, value): (&str, String)| json!({"Name": name, "Value": value});
        let all: Vec<_> = backend.dimensions().into_iter().map(dimension).collect();
        json!({"Dimensions": all, "Timestamps": stamps, "Values": [], "MaxValues": values, "MinValues": [], "AvgValues": null})
    }

    fn answered(points: &[Value]) -> Value {
        json!({"Response": {"StartTime": "2026-11-20 12:00:00", "EndTime": "2026-11-20 12:15:00", "Period": 60,
            "MetricName": "ConNum", "DataPoints": points, "Msg": "", "RequestId": "r"}})
    }

    fn read(answer: &Value, backends: &[Backend]) -> Option<Vec<Series>> {
        parse(answer.to_string().as_bytes(), backends).ok()
    }

    fn series(points: &[(i64, u64)]) -> Series {
        points.iter().copied().collect()
    }

    #[test]
    fn the_question_is_as_the_documents_show_it() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let vpc = Backend { vpc: Some("vpc-1".to_owned()), ..backend(80) };
        assert_eq!(
            question(Network::Private, &[vpc], at(NOON - 900), at(NOON)),
            json!({"Namespace": "QCE/LB_PRIVATE", "MetricName": "ConNum", "Period": 60,
                "StartTime": "2026-11-20T11:45:00+00:00", "EndTime": "2026-11-20T12:00:00+00:00",
                "Instances": [{"Dimensions": [{"Name": "vip", "Value": "10.0.0.1"},
                    {"Name": "loadBalancerPort", "Value": "80"}, {"Name": "protocol", "Value": "TCP"},
                    {"Name": "lanIp", "Value": "10.0.0.7"}, {"Name": "port", "Value": "8080"},
                    {"Name": "vpcId", "Value": "vpc-1"}]}],
                "SpecifyStatistics": 2})
        );
    }

    #[test]
    fn each_backend_gets_its_own_minutes_whatever_their_order() {
        let (one, other, silent) = (backend(80), backend(443), backend(8443));
        let answer = answered(&[
            point(&other, &json!([NOON]), &json!([0.2])),
            point(&one, &json!([NOON + 60, NOON]), &json!([3, 4])),
        ]);
        let expected = vec![series(&[(NOON, 4), (NOON + 60, 3)]), series(&[(NOON, 1)]), Series::new()];
        assert_eq!(read(&answer, &[one, other, silent]), Some(expected));
    }

    #[test]
    fn of_several_statistics_the_largest_counts_and_a_minute_that_lacks_one_is_lost() {
        let mut point = point(&backend(80), &json!([NOON, NOON + 60, NOON + 120]), &json!([0, 2, 0]));
        point["Values"] = json!([1, null, 0]);
        let read = read(&answered(&[point]), &[backend(80)]);
        assert_eq!(read, Some(vec![series(&[(NOON, 1), (NOON + 120, 0)])]));
    }

    #[test]
    fn an_answer_about_something_else_or_that_does_not_fit_together_is_none() {
        let good = answered(&[point(&backend(80), &json!([NOON]), &json!([0]))]);
        assert!(read(&good, &[backend(80)]).is_some());
        let changed = |pointer: &str, value: Value| {
            let mut answer = good.clone();
            *answer.pointer_mut(pointer).unwrap() = value;
            read(&answer, &[backend(80)])
        };
        let first = "/Response/DataPoints/0";
        for (pointer, value) in [
            ("/Response/Period".to_owned(), json!(300)),
            ("/Response/MetricName".to_owned(), json!("ClientConnum")),
            (format!("{first}/Dimensions/3/Value"), json!("10.0.0.8")),
            (format!("{first}/Dimensions/3/Name"), json!("vip")),
            (format!("{first}/Timestamps"), json!([NOON, NOON + 60])),
            (format!("{first}/Timestamps"), json!([])),
            (format!("{first}/Timestamps"), json!([NOON + 1])),
            (format!("{first}/Timestamps"), json!([0.5])),
            (format!("{first}/Timestamps"), json!([-60])),
            (format!("{first}/MaxValues"), json!([])),
            (format!("{first}/MaxValues"), json!(["0"])),
            (format!("{first}/MaxValues"), json!([-1])),
            (format!("{first}/MaxValues"), json!([1e13])),
        ] {
            assert_eq!(changed(&pointer, value), None, "{pointer}");
        }
        let twice = point(&backend(80), &json!([NOON]), &json!([0]));
        assert_eq!(read(&answered(&[twice.clone(), twice]), &[backend(80)]), None);
        assert_eq!(read(&good, &[backend(443)]), None, "an answer to another question");
        let text = good.to_string();
        assert!((0..text.len()).all(|end| parse(&text.as_bytes()[..end], &[backend(80)]).is_err()));
    }

    proptest! {
        #[test]
        fn what_is_read_was_said(values in prop::collection::vec(prop::option::of(0_u64..9), 0..8)) {
            let stamps: Vec<_> = (0_i64..).take(values.len()).map(|at| NOON + at * MINUTE).collect();
            let answer = answered(&[point(&backend(80), &json!(stamps), &json!(values))]);
            let said = stamps.iter().zip(&values).filter_map(|(stamp, value)| Some((*stamp, (*value)?)));
            prop_assert_eq!(read(&answer, &[backend(80)]), Some(vec![said.collect()]));
        }
    }
}
