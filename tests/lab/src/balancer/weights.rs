//! The annotation `service.cloud.tencent.com/lb-rs-weight`, as far as Tencent documents it: weights for the pods
//! of `StatefulSets`, by listener and ordinal, and a weight for all others.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Listener;

/// The weight of a backend of which nobody said anything (the cloud's own default).
const DEFAULT: u16 = 10;

/// Highest weight that the cloud accepts.
const HIGHEST: u16 = 100;

/// The weights that one Service asks for.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Weights {
    #[serde(default = "default_weight")]
    default_weight: u16,
    #[serde(default)]
    groups: Vec<Group>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct Group {
    key: Key,
    #[serde(default)]
    stateful_sets: Vec<Set>,
}

/// Protocol and port as the Service declares them.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
struct Key {
    proto: String,
    port: u16,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
struct Set {
    name: String,
    #[serde(default)]
    weights: Vec<Class>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct Class {
    weight: u16,
    pod_indexes: Vec<u32>,
}

fn default_weight() -> u16 {
    DEFAULT
}

impl Default for Weights {
    fn default() -> Self {
        Self { default_weight: DEFAULT, groups: Vec::new() }
    }
}

/// An annotation that cannot be honoured. All sync of its Service stops for it.
#[derive(Debug, thiserror::Error)]
#[error("{annotation}: {why}")]
pub(super) struct BadAnnotation {
    /// Its name.
    pub(super) annotation: &'static str,
    /// What is wrong with it.
    pub(super) why: BadWeights,
}

/// What is wrong with weights.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadWeights {
    /// It is not of the documented form.
    #[error("the weights cannot be read: {0}")]
    Form(#[from] serde_json::Error),
    /// It asks for more than the cloud has.
    #[error("the weights ask for {0}; the highest is {HIGHEST}")]
    TooHigh(u16),
    /// The weight of a pod is no number.
    #[error("`{0}` is not a weight from 0 to {HIGHEST}")]
    NotAWeight(String),
    /// Which of the two counts, Tencent does not say; here neither does.
    #[error("it has weights beside those of the Service")]
    Twice,
}

impl Weights {
    /// Reads the annotation's value.
    pub(super) fn parse(value: &str) -> Result<Self, BadWeights> {
        // An object first: a list of the fields' values would be read as well.
        let object: Map<String, Value> = serde_json::from_str(value)?;
        let weights = Self::deserialize(Value::Object(object))?;
        let sets = weights.groups.iter().flat_map(|group| &group.stateful_sets);
        let classes = sets.flat_map(|set| &set.weights).map(|class| class.weight);
        match classes.chain([weights.default_weight]).find(|weight| *weight > HIGHEST) {
            Some(weight) => Err(BadWeights::TooHigh(weight)),
            None => Ok(weights),
        }
    }

    /// The weight of a pod on a listener. Where several entries name it, the first one holds.
    pub(super) fn of(&self, listener: Listener, pod: &str) -> u16 {
        let listed = member(pod).and_then(|(set, ordinal)| {
            let Listener { port, transport } = listener;
            let is_its = |key: &Key| key.port == port && key.proto.eq_ignore_ascii_case(transport.name());
            self.groups
                .iter()
                .filter(|group| is_its(&group.key))
                .flat_map(|group| &group.stateful_sets)
                .filter(|entry| entry.name == set)
                .flat_map(|entry| &entry.weights)
                .find(|class| class.pod_indexes.contains(&ordinal))
        });
        listed.map_or(self.default_weight, |class| class.weight)
    }
}

/// The weight that a pod has by itself.
pub(super) fn of_pod(value: &str) -> Result<u16, BadWeights> {
    let weight = value.parse().ok().filter(|weight| *weight <= HIGHEST);
    weight.ok_or_else(|| BadWeights::NotAWeight(value.to_owned()))
}

/// `StatefulSet` and ordinal of a pod, by its name. The name of another kind's pod gives one that no annotation has.
fn member(pod: &str) -> Option<(&str, u32)> {
    let (set, ordinal) = pod.rsplit_once('-')?;
    Some((set, ordinal.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_PORTS: &str = r#"{"defaultWeight":20,"groups":[
        {"key":{"proto":"TCP","port":80},"statefulSets":[{"name":"web","weights":[{"weight":0,"podIndexes":[0,2]}]}]},
        {"key":{"proto":"TCP","port":8080},"statefulSets":[{"name":"web","weights":[{"weight":5,"podIndexes":[0]}]}]}]}"#;

    #[test]
    fn a_listed_ordinal_has_its_weight_on_that_listener_only() {
        let weights = Weights::parse(TWO_PORTS).unwrap();
        assert_eq!(
            (weights.of(Listener::tcp(80), "web-0"), weights.of(Listener::tcp(8080), "web-0")),
            (0, 5)
        );
        assert_eq!(
            (weights.of(Listener::tcp(80), "web-2"), weights.of(Listener::tcp(8080), "web-2")),
            (0, 20)
        );
        assert_eq!(weights.of(Listener::udp(80), "web-0"), 20);
    }

    #[test]
    fn all_others_have_the_default() {
        let weights = Weights::parse(TWO_PORTS).unwrap();
        for pod in ["web-1", "other-0", "my-web-0", "web-00x", "lonely"] {
            assert_eq!(weights.of(Listener::tcp(80), pod), 20, "{pod}");
        }
        assert_eq!(Weights::default().of(Listener::tcp(80), "web-0"), 10);
        assert_eq!(Weights::parse("{}").unwrap().of(Listener::tcp(80), "web-0"), 10);
    }

    #[test]
    fn what_is_not_of_the_form_is_refused() {
        for bad in ["", "not json", "[]", r#"{"groups":[{"key":{"port":80}}]}"#, r#"{"defaultWeight":"10"}"#]
        {
            assert!(Weights::parse(bad).is_err(), "{bad}");
        }
        assert!(Weights::parse(r#"{"defaultWeight":101}"#).is_err());
    }

    #[test]
    fn a_pods_own_weight_is_a_number_that_the_cloud_has() {
        assert_eq!((of_pod("0").unwrap(), of_pod("100").unwrap()), (0, 100));
        for bad in ["", "101", "-1", "ten", "0 "] {
            assert!(of_pod(bad).is_err(), "{bad}");
        }
    }
}
