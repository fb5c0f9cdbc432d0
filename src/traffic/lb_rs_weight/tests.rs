use proptest::prelude::*;
use proptest::{collection, option};
use serde_json::{Value as Json, json};

use super::*;

fn ports() -> BTreeSet<Port> {
    [("TCP", 80), ("TCP", 8080), ("UDP", 53)]
        .map(|(proto, port)| Port { proto: proto.to_owned(), port })
        .into()
}

fn tcp_80() -> BTreeSet<Port> {
    ports().into_iter().filter(|port| port.port == 80).collect()
}

fn set(ordinals: &[u32]) -> OrdinalSet {
    ordinals.iter().copied().collect()
}

/// The value for these ordinals on port 80 of StatefulSet web.
fn write(live: Option<&str>, before: Option<&str>, detached: &[u32]) -> Option<String> {
    render(live, before, Ours { set: "web", ports: &tcp_80() }, &set(detached)).unwrap()
}

fn look(live: Option<&str>, before: Option<&str>) -> Held {
    held(live, before, Ours { set: "web", ports: &tcp_80() })
}

#[test]
fn an_absent_annotation_becomes_the_vendors_example_and_goes_again() {
    let written = write(None, None, &[0]);
    let expected = concat!(
        r#"{"defaultWeight":10,"groups":[{"key":{"proto":"TCP","port":80},"#,
        r#""statefulSets":[{"name":"web","weights":[{"weight":0,"podIndexes":[0]}]}]}]}"#
    );
    assert_eq!(written.as_deref(), Some(expected));
    assert_eq!(write(written.as_deref(), None, &[]), None);
}

#[test]
fn every_port_of_the_service_gets_a_group() {
    let text = render(None, None, Ours { set: "web", ports: &ports() }, &set(&[0, 1])).unwrap().unwrap();
    let value: Json = serde_json::from_str(&text).unwrap();
    let keys: Vec<_> = value["groups"].as_array().unwrap().iter().map(|group| group["key"].clone()).collect();
    let expected = [("TCP", 80), ("TCP", 8080), ("UDP", 53)];
    assert_eq!(keys, expected.map(|(proto, port)| json!({"proto": proto, "port": port})));
}

#[test]
fn weights_of_the_users_own_are_left_by_detached_ordinals_and_come_back() {
    let before = r#"{"defaultWeight":50,"groups":[{"key":{"proto":"TCP","port":80},"statefulSets":[
        {"name":"web","weights":[{"weight":20,"podIndexes":[0,2]},{"weight":5,"podIndexes":[1]},{"weight":0,"podIndexes":[3]}],"x":1}]}]}"#;
    let text = write(Some(before), Some(before), &[0, 1, 3]).unwrap();
    let value: Json = serde_json::from_str(&text).unwrap();
    let expected = json!({"name": "web", "x": 1, "weights": [
        {"weight": 20, "podIndexes": [2]},
        {"weight": 0, "podIndexes": [3]},
        {"weight": 0, "podIndexes": [0, 1, 3]},
    ]});
    assert_eq!(value["groups"][0]["statefulSets"][0], expected);
    assert_eq!(look(Some(&text), Some(before)), Held::Ordinals(set(&[0, 1, 3])));
    assert_eq!(write(Some(&text), Some(before), &[]).as_deref(), Some(before));
}

#[test]
fn foreign_parts_keep_bytes_order_numbers_and_unknown_members() {
    let foreign = r#"{ "b" : 1.10, "a":1E400,"c":"\u0041" }"#;
    let other = r#"{"name":"db","weights":[{"weight":7 ,"podIndexes":[ 0 ]}],"note":  "é"}"#;
    let before = format!(
        r#"{{"z":{foreign},"groups":[{{"key":{{"port":80,"proto":"tcp","k":-0.0}},"y":{foreign},"statefulSets":[{other}]}}],"defaultWeight":10}}"#
    );
    let text = write(Some(&before), Some(&before), &[0]).unwrap();
    let expected = before
        .replace(other, &format!(r#"{other},{{"name":"web","weights":[{{"weight":0,"podIndexes":[0]}}]}}"#));
    assert_eq!(text, expected);
}

#[test]
fn what_others_write_in_mid_run_stays_when_we_leave() {
    let before = r#"{"defaultWeight":10,"groups":[]}"#;
    let ours = write(Some(before), Some(before), &[0]).unwrap();
    let theirs = ours.replace(r#""defaultWeight":10"#, r#""defaultWeight":30,"new":[1.0]"#);
    let left = write(Some(&theirs), Some(before), &[]);
    assert_eq!(left.as_deref(), Some(r#"{"defaultWeight":30,"new":[1.0],"groups":[]}"#));
    let none = write(Some(&theirs), None, &[]);
    assert_eq!(none, left);
    let noted = ours.replace(r#"{"key""#, r#"{"note":"theirs","key""#);
    let left = write(Some(&noted), None, &[]).unwrap();
    assert!(
        left.contains(r#"{"note":"theirs","key":{"proto":"TCP","port":80},"statefulSets":[]}"#),
        "{left}"
    );
}

#[test]
fn a_change_of_our_entries_by_someone_else_is_seen_and_mended() {
    let before = r#"{"defaultWeight":10,"groups":[{"key":{"proto":"TCP","port":80},"statefulSets":[{"name":"web","weights":[{"weight":20,"podIndexes":[0]}]}]}]}"#;
    let ours = write(Some(before), Some(before), &[1]).unwrap();
    for (live, why) in [
        (ours.replace(r#""weight":20"#, r#""weight":21"#), "another weight"),
        (ours.replace(r#""weight":0"#, r#""weight":1"#), "a pod attached by hand"),
        (ours.replace(r#""name":"web""#, r#""name":"bew""#), "no entry of ours"),
    ] {
        assert!(matches!(look(Some(&live), Some(before)), Held::Foreign { .. }), "{why}");
        let mended = write(Some(&live), Some(before), &[1]).unwrap();
        assert_eq!(look(Some(&mended), Some(before)), Held::Ordinals(set(&[1])), "{why}");
    }
    assert!(matches!(look(None, Some(before)), Held::Foreign { .. }), "taken away whole");
}

#[test]
fn a_detach_that_is_not_on_every_port_is_not_a_detach() {
    let one = write(None, None, &[0]);
    let Held::Foreign { what } = held(one.as_deref(), None, Ours { set: "web", ports: &ports() }) else {
        panic!("taken for a detach")
    };
    assert_eq!(what, "TCP/80 holds 0 and TCP/8080 holds none");
}

#[test]
fn a_port_that_left_the_service_is_cleaned() {
    let all = render(None, None, Ours { set: "web", ports: &ports() }, &set(&[0])).unwrap();
    let Held::Foreign { what } = look(all.as_deref(), None) else { panic!("taken for clean") };
    assert!(what.starts_with("TCP/8080 is no port of the Service any more"), "{what}");
    assert_eq!(write(all.as_deref(), None, &[0]), write(None, None, &[0]));
}

#[test]
fn a_value_that_would_have_to_be_guessed_is_refused_with_the_place() {
    let group = |rest: &str| format!(r#"{{"groups":[{{"key":{{"proto":"TCP","port":80}},{rest}}}]}}"#);
    let entry = |rest: &str| group(&format!(r#""statefulSets":[{{"name":"web",{rest}}}]"#));
    for (text, place) in [
        (String::new(), "not JSON"),
        ("{".to_owned(), "not JSON"),
        ("{} {}".to_owned(), "not JSON"),
        ("[]".to_owned(), "the value is not an object"),
        ("null".to_owned(), "the value is not an object"),
        (r#"{"groups":null}"#.to_owned(), "groups is not a list"),
        (r#"{"groups":{}}"#.to_owned(), "groups is not a list"),
        (r#"{"groups":[1]}"#.to_owned(), "groups[0] is not an object"),
        (r#"{"groups":[{}]}"#.to_owned(), "groups[0].key is not"),
        (r#"{"groups":[{"key":{"proto":"TCP","port":"80"}}]}"#.to_owned(), "groups[0].key.port is not"),
        (r#"{"groups":[],"groups":[]}"#.to_owned(), "the key `groups` twice"),
        (r#"{"groups":[],"gr\u006fups":[]}"#.to_owned(), "the key `groups` twice"),
        (group(r#""statefulSets":[{}]"#), "groups[0].statefulSets[0].name is not"),
        (group(r#""statefulSets":[{"name":"web"},{"name":"web"}]"#), "StatefulSet web of TCP/80 twice"),
        (entry(r#""weights":0"#), "weights is not a list"),
        (entry(r#""weights":[{"podIndexes":[0]}]"#), "weights[0].weight is not"),
        (entry(r#""weights":[{"weight":101,"podIndexes":[0]}]"#), "weights[0].weight is not"),
        (entry(r#""weights":[{"weight":1}]"#), "weights[0].podIndexes is not"),
        (entry(r#""weights":[{"weight":1,"podIndexes":["0"]}]"#), "weights[0].podIndexes is not"),
        (
            r#"{"groups":[{"key":{"proto":"TCP","port":80}},{"key":{"proto":"tcp","port":80}}]}"#.to_owned(),
            "groups has a group for TCP/80 twice",
        ),
    ] {
        let error = check(&text, "web").expect_err(&text).to_string();
        assert!(error.contains(place), "{text}: {error}");
        assert!(matches!(look(Some(&text), None), Held::Unreadable { .. }), "{text}");
        assert!(matches!(look(None, Some(&text)), Held::Unreadable { .. }), "{text}");
    }
}

#[test]
fn lists_that_were_left_out_are_left_out_again() {
    for before in [
        "{}",
        r#" {"defaultWeight":10} "#,
        r#"{"groups":[{"key":{"proto":"TCP","port":80}}]}"#,
        r#"{"groups":[{"key":{"proto":"TCP","port":80},"statefulSets":[{"name":"web"}]}]}"#,
        r#"{"groups":[{"key":{"proto":"TCP","port":80},"statefulSets":[ ]}]}"#,
    ] {
        let text = write(Some(before), Some(before), &[0]);
        assert_eq!(look(text.as_deref(), Some(before)), Held::Ordinals(set(&[0])), "{before}");
        assert_eq!(write(text.as_deref(), Some(before), &[]).as_deref(), Some(before));
    }
}

/// Any small JSON.
fn foreign() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".{0,4}".prop_map(Json::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..3).prop_map(Json::from),
            collection::btree_map(".{0,3}", inner, 0..3).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// The members given, with unknown ones among them.
fn object(known: Vec<(&'static str, Json)>) -> impl Strategy<Value = Json> {
    collection::btree_map("u.{0,3}", foreign(), 0..2).prop_map(move |unknown| {
        let mut members: Vec<_> = unknown.into_iter().collect();
        let middle = members.len() / 2;
        members.splice(middle..middle, known.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        members.into_iter().collect()
    })
}

fn classes() -> impl Strategy<Value = Json> {
    let class = (0..=100_u8, collection::vec(0..6_u32, 0..4)).prop_flat_map(|(weight, indexes)| {
        object(vec![("weight", json!(weight)), ("podIndexes", json!(indexes))])
    });
    collection::vec(class, 0..4).prop_map(Json::from)
}

fn entry(name: &'static str) -> impl Strategy<Value = Json> {
    classes().prop_flat_map(move |classes| object(vec![("name", json!(name)), ("weights", classes)]))
}

fn group(proto: &'static str, port: u16) -> impl Strategy<Value = Json> {
    let sets = (option::of(entry("db")), option::of(entry("web")), option::of(entry("web-2")));
    sets.prop_flat_map(move |(a, b, c)| {
        let sets: Vec<_> = [a, b, c].into_iter().flatten().collect();
        let key = json!({"proto": proto, "port": port});
        object(vec![("key", key), ("statefulSets", Json::from(sets))])
    })
}

/// A value as a user may have it, compact or pretty; or none.
fn value() -> impl Strategy<Value = Option<String>> {
    let groups = (option::of(group("UDP", 53)), option::of(group("TCP", 80)), option::of(group("TCP", 9999)));
    let value = (groups, 0..=100_u8).prop_flat_map(|((a, b, c), weight)| {
        let groups: Vec<_> = [a, b, c].into_iter().flatten().collect();
        object(vec![("defaultWeight", json!(weight)), ("groups", Json::from(groups))])
    });
    let text = (value, any::<bool>())
        .prop_map(|(value, is_pretty)| if is_pretty { format!("{value:#}\n") } else { value.to_string() });
    option::of(text)
}

/// The value without anything of ours, for comparison.
fn without_ours(text: Option<&str>) -> Json {
    let mut value: Json = serde_json::from_str(text.unwrap_or(NEUTRAL)).unwrap();
    let groups = value["groups"].as_array_mut().unwrap();
    for group in groups.iter_mut() {
        group["statefulSets"].as_array_mut().unwrap().retain(|entry| entry["name"] != "web");
    }
    groups.retain(|group| {
        group.as_object().unwrap().len() > 2 || !group["statefulSets"].as_array().unwrap().is_empty()
    });
    value
}

proptest! {
    #[test]
    fn whatever_was_there_ordinals_are_held_foreign_json_survives_and_the_bytes_come_back(
        before in value(),
        orders in collection::vec(collection::btree_set(0..8_u32, 0..4), 1..5),
    ) {
        let ports = ports();
        let ours = Ours { set: "web", ports: &ports };
        let before = before.as_deref();
        prop_assert_eq!(held(before, before, ours), Held::Ordinals(OrdinalSet::new()));
        let mut live = before.map(str::to_owned);
        for order in orders {
            let detached: OrdinalSet = order.into_iter().collect();
            let next = render(live.as_deref(), before, ours, &detached).unwrap();
            prop_assert_eq!(held(next.as_deref(), before, ours), Held::Ordinals(detached.clone()));
            prop_assert_eq!(without_ours(next.as_deref()), without_ours(before));
            prop_assert_eq!(&render(next.as_deref(), before, ours, &detached).unwrap(), &next);
            prop_assert_eq!(&render(before, before, ours, &detached).unwrap(), &next, "the way does not matter");
            live = next;
        }
        let restored = render(live.as_deref(), before, ours, &OrdinalSet::new()).unwrap();
        prop_assert_eq!(restored.as_deref(), before);
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,40}", live in value()) {
        let ports = ports();
        let ours = Ours { set: "web", ports: &ports };
        for (live, before) in [(Some(text.as_str()), live.as_deref()), (live.as_deref(), Some(text.as_str()))] {
            let _ = (held(live, before, ours), render(live, before, ours, &set(&[0])));
        }
    }
}
