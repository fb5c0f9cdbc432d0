//! Texts as users may have them in an annotation of weights: any spelling and order, unknown members anywhere.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::{collection, option};

use crate::traffic::json::quoted;

type Member = (String, Node);

/// JSON as a merge for the StatefulSet `web` reads it.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// Not opened, so it keeps its bytes.
    Closed(String),
    /// A list whose items are opened.
    List(Vec<Node>),
    /// An object that is opened.
    Object(Vec<Member>),
}

/// How it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// Around each token of what is opened.
    space: &'static str,
    /// Its keys as `\u0061`.
    is_escaped: bool,
}

impl Style {
    fn key(self, key: &str) -> String {
        if !self.is_escaped {
            return quoted(key);
        }
        let units: Vec<_> = key.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        format!("\"{}\"", units.concat())
    }

    fn between(self, brackets: [char; 2], items: &[String]) -> String {
        let Self { space, .. } = self;
        let items = items.join(&format!("{space},{space}"));
        format!("{}{space}{items}{space}{}", brackets[0], brackets[1])
    }
}

impl Node {
    pub(super) fn text(&self, style: Style) -> String {
        let Style { space, .. } = style;
        match self {
            Self::Closed(text) => text.clone(),
            Self::List(items) => {
                style.between(['[', ']'], &items.iter().map(|item| item.text(style)).collect::<Vec<_>>())
            }
            Self::Object(members) => {
                let member =
                    |(key, value): &Member| format!("{}{space}:{space}{}", style.key(key), value.text(style));
                style.between(['{', '}'], &members.iter().map(member).collect::<Vec<_>>())
            }
        }
    }

    /// Says a member of an opened object twice, and tells which object and which member. None: none has a member.
    pub(super) fn doubled(&mut self, picks: [Index; 3]) -> Option<(String, String)> {
        let objects = self.objects();
        let mut nth = if objects == 0 { return None } else { picks[0].index(objects) };
        self.double("", &mut nth, picks)
    }

    /// How many opened objects have members.
    fn objects(&self) -> usize {
        match self {
            Self::Closed(_) => 0,
            Self::List(items) => items.iter().map(Self::objects).sum(),
            Self::Object(members) => {
                usize::from(!members.is_empty())
                    + members.iter().map(|(_, value)| value.objects()).sum::<usize>()
            }
        }
    }

    fn double(&mut self, at: &str, nth: &mut usize, picks: [Index; 3]) -> Option<(String, String)> {
        let members = match self {
            Self::Closed(_) => return None,
            Self::List(items) => {
                let mut items = items.iter_mut().enumerate();
                return items.find_map(|(index, item)| item.double(&format!("{at}[{index}]"), nth, picks));
            }
            Self::Object(members) => members,
        };
        let top = at.is_empty();
        if !members.is_empty() && *nth == 0 {
            let key = members[picks[1].index(members.len())].0.clone();
            members.insert(picks[2].index(members.len() + 1), (key.clone(), Self::Closed("null".to_owned())));
            return Some((if top { "the value".to_owned() } else { at.to_owned() }, key));
        }
        *nth -= usize::from(!members.is_empty());
        members.iter_mut().find_map(|(key, value)| {
            let at = if top { key.clone() } else { format!("{at}.{key}") };
            value.double(&at, nth, picks)
        })
    }
}

pub(super) fn style() -> impl Strategy<Value = Style> {
    (select(vec!["", " ", "\r\n\t"]), any::<bool>())
        .prop_map(|(space, is_escaped)| Style { space, is_escaped })
}

/// Any small JSON, also what readers differ in: spellings of numbers and letters, keys that are there twice.
pub(super) fn closed() -> BoxedStrategy<String> {
    let odd = [
        "null",
        "true",
        "-0.0",
        "-0",
        "1.10",
        "1E400",
        "0e-9",
        "18446744073709551616",
        r#""""#,
        r#""\u0041""#,
        r#""\ud800""#,
        r#""\/é""#,
    ];
    let leaf = prop_oneof![
        select(odd.map(str::to_owned).to_vec()),
        "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?",
        "\"[ a-zé{}:,]{0,4}\"",
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        let member = ("[ab]", inner.clone()).prop_map(|(key, value)| format!("\"{key}\" :{value}"));
        prop_oneof![
            collection::vec(inner, 0..3).prop_map(|items| format!("[ {}]", items.join(" ,"))),
            collection::vec(member, 0..3).prop_map(|members| format!("{{{} }}", members.join(", "))),
        ]
    })
    .boxed()
}

/// These members and unknown ones, in any order.
fn object(known: impl Strategy<Value = Vec<(&'static str, Node)>> + 'static) -> BoxedStrategy<Node> {
    (known, collection::btree_map("u.{0,2}", closed(), 0..2))
        .prop_map(|(known, unknown)| {
            let known = known.into_iter().map(|(key, value)| (key.to_owned(), value));
            known.chain(unknown.into_iter().map(|(key, text)| (key, Node::Closed(text)))).collect::<Vec<_>>()
        })
        .prop_shuffle()
        .prop_map(Node::Object)
        .boxed()
}

/// A list of these, in any order; or none.
fn list(
    key: &'static str,
    items: impl Strategy<Value = Vec<Node>> + 'static,
) -> BoxedStrategy<Option<(&'static str, Node)>> {
    option::weighted(0.9, items.prop_shuffle().prop_map(move |items| (key, Node::List(items)))).boxed()
}

fn class() -> BoxedStrategy<Node> {
    object((0..=100_u8, collection::vec(0..8_u32, 0..4)).prop_map(|(weight, indexes)| {
        let indexes = Node::Closed(format!("{indexes:?}"));
        vec![("weight", Node::Closed(weight.to_string())), ("podIndexes", indexes)]
    }))
}

fn ours() -> BoxedStrategy<Node> {
    let name = select(vec![r#""web""#, r#""\u0077eb""#]);
    let weights = list("weights", collection::vec(class(), 0..4));
    object((name, weights).prop_map(|(name, weights)| {
        [("name", Node::Closed(name.to_owned()))].into_iter().chain(weights).collect()
    }))
}

/// Another StatefulSet's, whose weights nobody opens.
fn theirs(name: &'static str) -> BoxedStrategy<Node> {
    object(
        closed().prop_map(|weights| {
            vec![("name", Node::Closed(quoted(name))), ("weights", Node::Closed(weights))]
        }),
    )
}

fn group(protos: [&'static str; 2], port: u16) -> BoxedStrategy<Node> {
    let key = object(select(protos.to_vec()).prop_map(move |proto| {
        vec![("proto", Node::Closed(quoted(proto))), ("port", Node::Closed(port.to_string()))]
    }));
    let sets = (option::of(theirs("db")), option::of(ours()), option::of(theirs("web-2")));
    let sets = list("statefulSets", sets.prop_map(|(a, b, c)| [a, b, c].into_iter().flatten().collect()));
    object((key, sets).prop_map(|(key, sets)| [("key", key)].into_iter().chain(sets).collect()))
}

/// A whole value.
pub(super) fn value() -> BoxedStrategy<Node> {
    let (dns, web) = (group(["UDP", "udp"], 53), group(["TCP", "tcp"], 80));
    let groups = (option::of(dns), option::of(web), option::of(group(["TCP", "Tcp"], 9999)));
    let groups = list("groups", groups.prop_map(|(a, b, c)| [a, b, c].into_iter().flatten().collect()));
    let weight = option::of(closed().prop_map(|text| ("defaultWeight", Node::Closed(text))));
    object((weight, groups).prop_map(|(weight, groups)| weight.into_iter().chain(groups).collect()))
}
