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

#[test]
fn a_list_that_was_not_there_before_the_run_goes_with_our_entry_also_where_somebody_wrote_meanwhile() {
    let before = r#"{"defaultWeight":10}"#;
    let live = write(Some(before), Some(before), &[0]).unwrap().replace("10", "20");
    assert_eq!(write(Some(&live), Some(before), &[]).as_deref(), Some(r#"{"defaultWeight":20}"#));
}

#[test]
fn a_weight_is_at_most_a_hundred() {
    let of = |weight: u32| {
        format!(
            r#"{{"groups":[{{"key":{{"proto":"TCP","port":80}},"statefulSets":[{{"name":"web","weights":[{{"weight":{weight},"podIndexes":[0]}}]}}]}}]}}"#
        )
    };
    assert_eq!(look(Some(&of(100)), Some(&of(100))), Held::Ordinals(set(&[])));
    assert!(matches!(look(Some(&of(101)), Some(&of(101))), Held::Unreadable { .. }));
}
