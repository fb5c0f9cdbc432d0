//! The contract of a lever that merges JSON into what an annotation of a Service holds: foreign bytes survive.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use kube::ResourceExt;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;
use proptest::{collection, option};
use serde_json::value::RawValue;

use super::texts::{Node, closed, style, value};
use super::{Hand, annotated, ordinals};
use crate::json::Members;
use crate::traffic::{Held, Malformed, OnService, Problem, Target};
use crate::workflow::ordinals::OrdinalSet;

/// What no annotation says, in writing.
const NEUTRAL: &str = r#"{"defaultWeight":10,"groups":[]}"#;

/// Holds a lever to it, for a StatefulSet `web` and a Service that it selects, whatever the annotation holds.
pub(in crate::traffic) fn merges(lever: &dyn OnService, target: Target<'_>, service: &Service) {
    whatever_is_foreign_survives(lever, target, service);
    what_is_said_twice_is_refused(lever, target, service);
    no_text_makes_it_panic(lever, target, service);
}

fn runner() -> TestRunner {
    TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })
}

fn whatever_is_foreign_survives(lever: &dyn OnService, target: Target<'_>, service: &Service) {
    let ports = ports(service);
    let orders = collection::vec(collection::btree_set(0..8_u32, 0..4), 1..4);
    let all = (option::weighted(0.9, value()), style(), orders, closed());
    let test = |(value, style, orders, theirs): (Option<_>, _, Vec<BTreeSet<u32>>, String)| {
        let before = value.map(|value: Node| value.text(style));
        let mut live = annotated(service.clone(), lever.key(), before.as_deref());
        let (old, nobody) = (live.clone(), OrdinalSet::new());
        let hand = Hand::on(lever, target, 0, &live);
        let rest =
            |text: Option<&str>, gone: &OrdinalSet| rest(text.unwrap_or(NEUTRAL), target.set, &ports, gone);
        prop_assert_eq!(hand.held(&live), Held::Ordinals(OrdinalSet::new()));
        for order in orders {
            let detached = order.into_iter().collect();
            hand.write(&mut live, &detached);
            let is = lever.value(&live);
            prop_assert_eq!(rest(is, &nobody), rest(before.as_deref(), &detached));
            let at_once = hand.rendered(&old, &detached);
            prop_assert_eq!(at_once.as_deref(), is, "the way does not matter");
        }
        // Somebody else writes in mid-run.
        let one = ordinals(0, &[1]);
        hand.write(&mut live, &one);
        let text = lever.value(&live).unwrap().replacen('{', &format!("{{\"theirs\":{theirs},"), 1);
        hand.set(&mut live, Some(&text));
        prop_assert_eq!(hand.held(&live), Held::Ordinals(one));
        hand.write(&mut live, &nobody);
        let mut expected = rest(before.as_deref(), &nobody);
        expected.insert(0, format!("theirs: {theirs}"));
        prop_assert_eq!(rest(lever.value(&live), &nobody), expected);
        // Nobody has.
        hand.set(&mut live, hand.rendered(&old, &ordinals(0, &[2, 3])).as_deref());
        hand.write(&mut live, &nobody);
        prop_assert_eq!(lever.value(&live), before.as_deref(), "restored byte for byte");
        Ok(())
    };
    runner().run(&all, test).unwrap();
}

/// All that is not ours, as it is written and in its order. Our entries stand in it with their unknown members; of
/// these, a class whose ordinals are all `gone` is left out.
fn rest(text: &str, set: &str, ports: &BTreeSet<(String, i32)>, gone: &OrdinalSet) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, raw) in members(raw(text)) {
        if key != "groups" {
            lines.push(format!("{key}: {raw}"));
            continue;
        }
        for group in list(raw) {
            let group = rest_of_group(group, set, ports, gone);
            // One that has nothing but its port was made by us, or says nothing.
            if group.len() > 1 {
                lines.extend(group);
            }
        }
    }
    lines
}

fn rest_of_group(
    group: &RawValue,
    set: &str,
    ports: &BTreeSet<(String, i32)>,
    gone: &OrdinalSet,
) -> Vec<String> {
    let (nobody, key) = (OrdinalSet::new(), member(group, "key"));
    let proto: String = serde_json::from_str(member(key, "proto").get()).unwrap();
    let port = serde_json::from_str(member(key, "port").get()).unwrap();
    let is_of_service = ports.contains(&(proto.to_ascii_uppercase(), port));
    let mut lines = Vec::new();
    for (key, raw) in members(group) {
        if key != "statefulSets" {
            lines.push(format!("{key}: {raw}"));
            continue;
        }
        let gone = if is_of_service { gone } else { &nobody };
        lines.extend(list(raw).into_iter().flat_map(|entry| rest_of_entry(entry, set, gone)));
    }
    lines
}

fn rest_of_entry(entry: &RawValue, set: &str, gone: &OrdinalSet) -> Vec<String> {
    let name: String = serde_json::from_str(member(entry, "name").get()).unwrap();
    if name != set {
        return vec![entry.to_string()];
    }
    let mut lines = Vec::new();
    for (key, raw) in members(entry) {
        match key.as_str() {
            "name" => {}
            "weights" => {
                lines.extend(list(raw).into_iter().flat_map(|class| rest_of_class(class, gone)));
            }
            _ => lines.push(format!("{key}: {raw}")),
        }
    }
    lines
}

fn rest_of_class(class: &RawValue, gone: &OrdinalSet) -> Vec<String> {
    let indexes: Vec<u32> = serde_json::from_str(member(class, "podIndexes").get()).unwrap();
    let serves = member(class, "weight").get() != "0" && !indexes.is_empty();
    if serves && indexes.iter().all(|index| gone.contains(*index)) {
        return Vec::new();
    }
    let unknown = members(class).into_iter().filter(|(key, _)| key != "weight" && key != "podIndexes");
    unknown.map(|(key, raw)| format!("{key}: {raw}")).collect()
}

fn ports(service: &Service) -> BTreeSet<(String, i32)> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref()).unwrap();
    let port = |port: &ServicePort| (port.protocol.clone().unwrap_or("TCP".to_owned()), port.port);
    ports.iter().map(port).collect()
}

fn raw(text: &str) -> &RawValue {
    serde_json::from_str(text).unwrap()
}

fn members(raw: &RawValue) -> Members<'_> {
    crate::json::object(raw).unwrap()
}

fn member<'a>(raw: &'a RawValue, key: &str) -> &'a RawValue {
    members(raw).into_iter().find(|(name, _)| name == key).unwrap().1
}

fn list(raw: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(raw.get()).unwrap()
}

/// At every level that is opened, with its place.
fn what_is_said_twice_is_refused(lever: &dyn OnService, target: Target<'_>, service: &Service) {
    let all = (value(), style(), any::<[Index; 3]>());
    let test = |(mut value, style, picks): (Node, _, _)| {
        let Some((at, key)) = value.doubled(picks) else {
            return Err(TestCaseError::reject("nothing is said"));
        };
        let text = value.text(style);
        let why = Malformed::Twice { at, what: format!("the key `{key}`") };
        let said = why.to_string();
        let live = annotated(service.clone(), lever.key(), Some(&text));
        let hand = Hand::on(lever, target, 0, &live);
        let refused = Problem::Malformed { service: service.name_any(), key: lever.key(), why };
        prop_assert_eq!(hand.held(&live), Held::Unreadable { why: said.clone() });
        let found = lever.services(&target, std::slice::from_ref(&live));
        prop_assert_eq!(found, Err(vec![refused.clone()]));
        // In what is there, and in what was saved.
        for live in [&live, service] {
            let is_refused = matches!(hand.held(live), Held::Unreadable { why } if why.ends_with(&said));
            prop_assert!(is_refused);
            let written = lever.render(live, &target, hand.before.as_deref(), &ordinals(0, &[0]));
            prop_assert_eq!(written, Err(refused.clone()));
        }
        Ok(())
    };
    runner().run(&all, test).unwrap();
}

fn no_text_makes_it_panic(lever: &dyn OnService, target: Target<'_>, service: &Service) {
    let all = (".{0,40}", option::of(value()), style());
    let test = |(text, value, style): (String, Option<Node>, _)| {
        let value = value.map(|value| value.text(style));
        for (live, before) in [(Some(&text), value.as_ref()), (value.as_ref(), Some(&text))] {
            let before = before.map(String::as_str);
            let live = annotated(service.clone(), lever.key(), live.map(String::as_str));
            let _ = lever.held(&live, &target, before);
            let _ = lever.render(&live, &target, before, &ordinals(0, &[0]));
        }
        Ok(())
    };
    runner().run(&all, test).unwrap();
}
