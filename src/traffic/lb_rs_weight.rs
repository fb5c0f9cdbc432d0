//! The value of `service.cloud.tencent.com/lb-rs-weight`:
//! ```json
//! {"defaultWeight":10,"groups":[{"key":{"proto":"TCP","port":80},
//!   "statefulSets":[{"name":"nginx","weights":[{"weight":0,"podIndexes":[0,1]}]}]}]}
//! ```
//! a weight per pod ordinal, StatefulSet and port of the Service; what is not listed has the default
//! weight. Source of shape and meaning: the vendor's procedure for lossless upgrades.
//!
//! *Ours* are the elements of `statefulSets` with our StatefulSet's name. They are always made anew
//! from those before the run: the detached ordinals leave their lists of a weight above 0 and stand
//! in one element of weight 0 at the end. That element is ours alone (a zero list of the user's is
//! left as it is), so the detached ordinals can be read back without doubt.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use serde_json::value::RawValue;

use super::Held;
use super::json::{Malformed, array, list, member, members, parse, quoted, same, with_member};
use crate::json::Members;
use crate::workflow::ordinals::{Ordinal, OrdinalSet};

/// What no annotation at all means, in writing. 10 is the cloud's default weight.
const NEUTRAL: &str = r#"{"defaultWeight":10,"groups":[]}"#;

/// Protocol (upper case) and port as the Service declares them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Port {
    /// `TCP`, `UDP` or `SCTP`.
    pub proto: String,
    /// The Service's port, not the pod's.
    pub port: u16,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.proto, self.port)
    }
}

/// Which entries are ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ours<'a> {
    /// Name of the StatefulSet.
    pub set: &'a str,
    /// All ports of the Service.
    pub ports: &'a BTreeSet<Port>,
}

/// Checks that a value can be merged into.
pub(super) fn check(text: &str, set: &str) -> Result<(), Malformed> {
    Value::read(Some(text), set).map(drop)
}

/// What of ours `live` holds, given the value from before the run.
pub(super) fn held(live: Option<&str>, before: Option<&str>, ours: Ours<'_>) -> Held {
    let (live, before) = match (Value::read(live, ours.set), Value::read(before, ours.set)) {
        (Ok(live), Ok(before)) => (live, before),
        (Err(error), _) => return Held::Unreadable { why: error.to_string() },
        (Ok(_), Err(error)) => return Held::Unreadable { why: format!("the saved value: {error}") },
    };
    // A port that left the Service is still to be cleaned.
    let mut all = ours.ports.clone();
    all.extend(live.groups.iter().chain(&before.groups).map(|group| group.port.clone()));

    let mut found: Option<(OrdinalSet, &Port)> = None;
    for port in &all {
        let (is, was) = (live.entry(port), before.entry(port));
        let candidates = [OrdinalSet::new(), is.map(Entry::last).unwrap_or_default()];
        let holds = |detached: &&OrdinalSet| match (is, Entry::detaching(was, ours.set, detached)) {
            (None, None) => true,
            (Some(is), Some(expected)) => same(is.raw.get(), &expected),
            (None, Some(_)) | (Some(_), None) => false,
        };
        let Some(detached) = candidates.iter().find(holds) else {
            return Held::Foreign {
                what: format!("the entry of StatefulSet {} for {port} was changed", ours.set),
            };
        };
        if !ours.ports.contains(port) {
            if !detached.is_empty() {
                let what = format!("{port} is no port of the Service any more and still holds {detached}");
                return Held::Foreign { what };
            }
            continue;
        }
        match &found {
            Some((other, first)) if other != detached => {
                let text =
                    |set: &OrdinalSet| if set.is_empty() { "none".to_owned() } else { set.to_string() };
                let what = format!("{first} holds {} and {port} holds {}", text(other), text(detached));
                return Held::Foreign { what };
            }
            Some(_) => {}
            None => found = Some((detached.clone(), port)),
        }
    }
    Held::Ordinals(found.map(|(detached, _)| detached).unwrap_or_default())
}

/// `live` with our entries made anew; `None` when the annotation has to go.
pub(super) fn render(
    live: Option<&str>,
    before: Option<&str>,
    ours: Ours<'_>,
    detached: &OrdinalSet,
) -> Result<Option<String>, Malformed> {
    let live = Value::read(live, ours.set)?;
    let old = Value::read(before, ours.set)?;
    let text = live.merged(&old, ours, detached);
    if !detached.is_empty() {
        return Ok(Some(text));
    }
    match before {
        Some(before) if old.merged(&old, ours, detached) == text => Ok(Some(before.to_owned())),
        // Nothing is left but the frame, and `before` was more than that or nothing.
        Some(_) | None if text == NEUTRAL => Ok(None),
        Some(_) | None => Ok(Some(text)),
    }
}

/// The same meaning in other bytes.
pub(super) fn again(live: Option<&str>) -> String {
    match live {
        Some(text) => text.strip_suffix(' ').map_or_else(|| format!("{text} "), str::to_owned),
        None => NEUTRAL.to_owned(),
    }
}

/// A value, opened as far as needed to find our entries.
struct Value<'a> {
    members: Members<'a>,
    groups: Vec<Group<'a>>,
}

/// The entries of one port.
struct Group<'a> {
    port: Port,
    members: Members<'a>,
    /// All entries, ours too.
    sets: Vec<&'a RawValue>,
    ours: Option<(usize, Entry<'a>)>,
}

/// The weights of our StatefulSet on one port.
struct Entry<'a> {
    raw: &'a RawValue,
    members: Members<'a>,
    classes: Vec<Class<'a>>,
}

/// The ordinals of one weight.
struct Class<'a> {
    raw: &'a RawValue,
    members: Members<'a>,
    weight: u8,
    indexes: Vec<Ordinal>,
}

impl<'a> Value<'a> {
    fn read(text: Option<&'a str>, set: &str) -> Result<Self, Malformed> {
        let members = members(parse(text.unwrap_or(NEUTRAL))?, "the value")?;
        let mut groups: Vec<Group<'a>> = Vec::new();
        for (index, raw) in items(&members, "groups", "")?.into_iter().enumerate() {
            let group = Group::read(raw, set, &format!("groups[{index}]"))?;
            if groups.iter().any(|other| other.port == group.port) {
                let what = format!("a group for {}", group.port);
                return Err(Malformed::Twice { at: "groups".to_owned(), what });
            }
            groups.push(group);
        }
        Ok(Self { members, groups })
    }

    fn group(&self, port: &Port) -> Option<&Group<'a>> {
        self.groups.iter().find(|group| group.port == *port)
    }

    fn entry(&self, port: &Port) -> Option<&Entry<'a>> {
        self.group(port)?.ours.as_ref().map(|(_, entry)| entry)
    }

    /// This value with our entries made from those of `old`.
    fn merged(&self, old: &Self, ours: Ours<'_>, detached: &OrdinalSet) -> String {
        let nobody = OrdinalSet::new();
        let mut groups = Vec::new();
        for group in &self.groups {
            let detached = if ours.ports.contains(&group.port) { detached } else { &nobody };
            let expected = Entry::detaching(old.entry(&group.port), ours.set, detached);
            groups.extend(group.merged(old.group(&group.port), expected.as_deref()));
        }
        for port in ours.ports.iter().filter(|port| self.group(port).is_none()) {
            if let Some(entry) = Entry::detaching(old.entry(port), ours.set, detached) {
                let Port { proto, port } = port;
                let key = format!(r#"{{"proto":{},"port":{port}}}"#, quoted(proto));
                groups.push(format!(r#"{{"key":{key},"statefulSets":[{entry}]}}"#));
            }
        }
        let is_said = said(&self.members, Some(&old.members), "groups") || !groups.is_empty();
        with_member(&self.members, "groups", is_said.then(|| array(&groups)).as_deref())
    }
}

impl<'a> Group<'a> {
    fn read(raw: &'a RawValue, set: &str, at: &str) -> Result<Self, Malformed> {
        let members = members(raw, at)?;
        let port = Port::read(member(&members, "key"), &format!("{at}.key"))?;
        let sets = items(&members, "statefulSets", at)?;
        let mut ours = None;
        for (index, raw) in sets.iter().enumerate() {
            let at = format!("{at}.statefulSets[{index}]");
            let entry = self::members(raw, &at)?;
            let name: String = read(member(&entry, "name"), &format!("{at}.name"), "a text")?;
            if name != set {
                continue;
            }
            if ours.replace((index, Entry::read(raw, entry, &at)?)).is_some() {
                let what = format!("StatefulSet {set} of {port}");
                return Err(Malformed::Twice { at, what });
            }
        }
        Ok(Self { port, members, sets, ours })
    }

    /// This group with our entry in its place, at the end when new, or left out. `None` when the
    /// group is left with nothing and was not so before.
    fn merged(&self, old: Option<&Self>, expected: Option<&str>) -> Option<String> {
        let mut sets: Vec<&str> = self.sets.iter().map(|raw| raw.get()).collect();
        match (&self.ours, expected) {
            (Some((index, _)), Some(expected)) => sets[*index] = expected,
            (Some((index, _)), None) => {
                sets.remove(*index);
                let is_bare = self.members.iter().all(|(key, _)| key == "key" || key == "statefulSets");
                if sets.is_empty() && is_bare && !old.is_some_and(|old| old.sets.is_empty()) {
                    return None;
                }
            }
            (None, Some(expected)) => sets.push(expected),
            (None, None) => {}
        }
        let old = old.map(|old| &old.members);
        let is_said = said(&self.members, old, "statefulSets") || !sets.is_empty();
        Some(with_member(&self.members, "statefulSets", is_said.then(|| array(&sets)).as_deref()))
    }
}

impl Port {
    fn read(key: Option<&RawValue>, at: &str) -> Result<Self, Malformed> {
        let key = members(key.ok_or_else(|| Malformed::shape(at, "an object with proto and port"))?, at)?;
        let proto: String = read(member(&key, "proto"), &format!("{at}.proto"), "a text such as TCP")?;
        let port = read(member(&key, "port"), &format!("{at}.port"), "a port number")?;
        Ok(Self { proto: proto.to_ascii_uppercase(), port })
    }
}

impl<'a> Entry<'a> {
    fn read(raw: &'a RawValue, members: Members<'a>, at: &str) -> Result<Self, Malformed> {
        let classes = items(&members, "weights", at)?
            .into_iter()
            .enumerate()
            .map(|(index, raw)| Class::read(raw, &format!("{at}.weights[{index}]")))
            .collect::<Result<_, _>>()?;
        Ok(Self { raw, members, classes })
    }

    /// The ordinals of the last element: the detached ones, if any are and nobody changed it.
    fn last(&self) -> OrdinalSet {
        self.classes.last().map(|class| class.indexes.iter().copied().collect()).unwrap_or_default()
    }

    /// The one rule: the entry from before the run with these ordinals at weight 0.
    fn detaching(before: Option<&Self>, set: &str, detached: &OrdinalSet) -> Option<String> {
        if detached.is_empty() {
            return before.map(|entry| entry.raw.get().to_owned());
        }
        let mut classes: Vec<_> = before
            .iter()
            .flat_map(|entry| &entry.classes)
            .filter_map(|class| class.without(detached))
            .collect();
        classes.push(format!(r#"{{"weight":0,"podIndexes":{}}}"#, indexes(detached.iter())));
        let classes = array(&classes);
        Some(match before {
            Some(entry) => with_member(&entry.members, "weights", Some(&classes)),
            None => format!(r#"{{"name":{},"weights":{classes}}}"#, quoted(set)),
        })
    }
}

impl<'a> Class<'a> {
    fn read(raw: &'a RawValue, at: &str) -> Result<Self, Malformed> {
        let members = members(raw, at)?;
        let wanted = "a whole number from 0 to 100";
        let weight = read(member(&members, "weight"), &format!("{at}.weight"), wanted)?;
        if weight > 100 {
            return Err(Malformed::shape(&format!("{at}.weight"), wanted));
        }
        let indexes =
            read(member(&members, "podIndexes"), &format!("{at}.podIndexes"), "a list of pod ordinals")?;
        Ok(Self { raw, members, weight, indexes })
    }

    /// What is left of it when these ordinals are detached; a list that had some and has none goes.
    fn without(&self, detached: &OrdinalSet) -> Option<String> {
        let touches = self.indexes.iter().any(|index| detached.contains(*index));
        if self.weight == 0 || !touches {
            return Some(self.raw.get().to_owned());
        }
        let mut rest = self.indexes.iter().copied().filter(|index| !detached.contains(*index)).peekable();
        rest.peek()?;
        Some(with_member(&self.members, "podIndexes", Some(&indexes(rest))))
    }
}

/// Whether a list that is empty now is written all the same: as the live value has it, unless what
/// was there before the run did without it.
fn said(live: &Members<'_>, old: Option<&Members<'_>>, key: &str) -> bool {
    member(live, key).is_some() && old.is_none_or(|old| member(old, key).is_some())
}

/// The elements of a list member; absent is empty.
fn items<'a>(of: &Members<'a>, key: &str, at: &str) -> Result<Vec<&'a RawValue>, Malformed> {
    let at = if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    member(of, key).map_or_else(|| Ok(Vec::new()), |raw| list(raw, &at))
}

/// A small value in full.
fn read<T: serde::de::DeserializeOwned>(
    raw: Option<&RawValue>,
    at: &str,
    wanted: &'static str,
) -> Result<T, Malformed> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).ok_or_else(|| Malformed::shape(at, wanted))
}

/// A list of ordinals as JSON.
fn indexes(ordinals: impl Iterator<Item = Ordinal>) -> String {
    array(&ordinals.map(|ordinal| ordinal.to_string()).collect::<Vec<_>>())
}
