use std::collections::BTreeSet;

use serde_json::json;

use super::*;

#[test]
fn what_was_counted_says_nothing_of_another_spec_another_address_or_a_pod_that_still_served() {
    let object = |interval: &str| -> LosslessUpgrade {
        serde_json::from_value(json!({
            "apiVersion": "lossless-upgrade.io/v1alpha1", "kind": "LosslessUpgrade", "metadata": {"name": "web"},
            "spec": {"targetRef": {"name": "web"}, "drain": {"interval": interval}, "traffic": {"levers": [{"tkeService": {}}]}},
        }))
        .unwrap()
    };
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "web-0", "uid": "u"}})).unwrap();
    let target = pods::target(0, &pod, &[], "1a2b".to_owned());
    let moved = PodTarget { ip: Some([10, 0, 0, 9].into()), ..target.clone() };
    let all = [
        basis(&object("1s"), &target, false),
        basis(&object("2s"), &target, false),
        basis(&object("1s"), &moved, false),
        basis(&object("1s"), &target, true),
    ];
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:#?}");
    assert_eq!(basis(&object("1s"), &target, false), all[0]);
}
