//! A set of pod ordinals, written short however long it is.

use std::collections::BTreeSet;
use std::collections::btree_set;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The number at the end of a StatefulSet pod's name.
pub type Ordinal = u32;

/// The ordinal of a StatefulSet's pod by its name; none where the name is not one that it gives.
#[must_use]
pub fn ordinal_of(set: &str, pod: &str) -> Option<Ordinal> {
    pod.strip_prefix(set)?.strip_prefix('-')?.parse().ok()
}

/// A sorted set of ordinals. As text it is a list of ranges (`0-3,7`), so that a status that names
/// all pods of a run stays short when they are replaced in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct OrdinalSet(BTreeSet<Ordinal>);

impl OrdinalSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeSet::new())
    }

    /// The ordinals, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Ordinal> + '_ {
        self.0.iter().copied()
    }

    /// Whether `ordinal` is in the set.
    #[must_use]
    pub fn contains(&self, ordinal: Ordinal) -> bool {
        self.0.contains(&ordinal)
    }

    /// Whether the set has no ordinal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many ordinals there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds one; false when it was there.
    pub fn insert(&mut self, ordinal: Ordinal) -> bool {
        self.0.insert(ordinal)
    }

    /// Takes one out; false when it was not there.
    pub fn remove(&mut self, ordinal: Ordinal) -> bool {
        self.0.remove(&ordinal)
    }

    /// Whether every ordinal of `other` is in this set.
    #[must_use]
    pub fn is_superset(&self, other: &Self) -> bool {
        self.0.is_superset(&other.0)
    }

    /// All of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.0.union(&other.0).copied().collect()
    }

    /// Those of this set that `other` has not.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.0.difference(&other.0).copied().collect()
    }
}

impl FromIterator<Ordinal> for OrdinalSet {
    fn from_iter<I: IntoIterator<Item = Ordinal>>(ordinals: I) -> Self {
        Self(ordinals.into_iter().collect())
    }
}

impl Extend<Ordinal> for OrdinalSet {
    fn extend<I: IntoIterator<Item = Ordinal>>(&mut self, ordinals: I) {
        self.0.extend(ordinals);
    }
}

impl IntoIterator for OrdinalSet {
    type Item = Ordinal;
    type IntoIter = btree_set::IntoIter<Ordinal>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for OrdinalSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ordinals = self.iter().peekable();
        let mut separator = "";
        while let Some(first) = ordinals.next() {
            let mut last = first;
            while ordinals.next_if(|next| *next == last.saturating_add(1)).is_some() {
                last += 1;
            }
            write!(f, "{separator}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

impl From<OrdinalSet> for String {
    fn from(set: OrdinalSet) -> Self {
        set.to_string()
    }
}

/// Text that is not a list of ordinals and ranges.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a list of pod ordinals such as `0-3,7`")]
pub struct NotOrdinals(String);

/// No StatefulSet comes near this; it bounds what a hand-edited status can make us allocate.
const MOST: usize = 100_000;

impl FromStr for OrdinalSet {
    type Err = NotOrdinals;

    fn from_str(text: &str) -> Result<Self, NotOrdinals> {
        let refuse = || NotOrdinals(text.to_owned());
        let mut set = Self::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: Ordinal = first.parse().map_err(|_| refuse())?;
            let last: Ordinal = last.parse().map_err(|_| refuse())?;
            if first > last || set.len() + usize::try_from(last - first).unwrap_or(MOST) >= MOST {
                return Err(refuse());
            }
            set.extend(first..=last);
        }
        Ok(set)
    }
}

impl TryFrom<String> for OrdinalSet {
    type Error = NotOrdinals;
    fn try_from(text: String) -> Result<Self, NotOrdinals> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_of_a_set_has_the_number_at_the_end_of_its_name() {
        assert_eq!(ordinal_of("web", "web-17"), Some(17));
        for other in ["web", "web-", "web-x", "webs-1", "web-0-1", "api-1"] {
            assert_eq!(ordinal_of("web", other), None, "{other}");
        }
    }

    #[test]
    fn runs_of_ordinals_are_written_as_ranges_and_read_back() {
        for (ordinals, text) in
            [(vec![], ""), (vec![0], "0"), (vec![0, 1, 2, 3, 7], "0-3,7"), (vec![2, 4, 5], "2,4-5")]
        {
            let set: OrdinalSet = ordinals.into_iter().collect();
            assert_eq!(set.to_string(), text);
            assert_eq!(text.parse::<OrdinalSet>().unwrap(), set);
        }
    }

    #[test]
    fn they_stand_in_an_object_as_their_text() {
        let set: OrdinalSet = [0, 1, 2, 7].into_iter().collect();
        let text = String::from(set.clone());
        assert_eq!(text, "0-2,7");
        assert_eq!(OrdinalSet::try_from(text), Ok(set));
        assert!(OrdinalSet::try_from("x".to_owned()).is_err());
    }

    #[test]
    fn a_set_has_its_own_and_no_others() {
        let [some, all]: [OrdinalSet; 2] = [[1, 2].into_iter().collect(), [1, 2, 5].into_iter().collect()];
        assert!(all.is_superset(&some) && all.is_superset(&all) && !some.is_superset(&all));
        assert!(all.clone().into_iter().eq(all.iter()) && all.into_iter().eq([1, 2, 5]));
    }

    #[test]
    fn a_list_may_be_as_long_as_no_stateful_set_is() {
        assert_eq!("0-99998,200000".parse::<OrdinalSet>().unwrap().len(), 100_000);
    }

    #[test]
    fn text_that_is_no_list_of_ordinals_is_refused() {
        for text in ["x", "3-1", "-3", "0-4294967295", "1..2", "0-99999,100000", "0-60000,100000-160000"] {
            assert!(text.parse::<OrdinalSet>().is_err(), "{text}");
        }
    }
}
