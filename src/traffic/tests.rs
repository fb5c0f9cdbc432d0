//! What belongs to no single lever.

use serde_json::json;

use super::*;
use spec::{NoneSpec, PodLabelSpec, TkePodSpec, TkeServiceSpec};

#[test]
fn an_item_is_exactly_one_lever_and_none_stands_alone() {
    let tke = LeverSpec { tke_service: Some(TkeServiceSpec::default()), ..LeverSpec::default() };
    let none = LeverSpec { none: Some(NoneSpec {}), ..LeverSpec::default() };
    let label = PodLabelSpec { key: "serving".into(), value: "true".into() };
    let label = LeverSpec { pod_label: Some(label), ..LeverSpec::default() };
    let both = LeverSpec { none: Some(NoneSpec {}), ..tke.clone() };
    let pod = LeverSpec { tke_pod: Some(TkePodSpec::default()), ..LeverSpec::default() };
    for (specs, expected) in [
        (vec![tke.clone()], Ok(1)),
        (vec![none.clone()], Ok(1)),
        (vec![tke.clone(), label.clone()], Ok(2)),
        (vec![pod.clone(), label.clone()], Ok(2)),
        (vec![pod, tke.clone()], Err(SpecProblem::TwoWeights)),
        (vec![label, none.clone()], Err(SpecProblem::NoneNotAlone)),
        (vec![], Err(SpecProblem::Empty)),
        (vec![LeverSpec::default()], Err(SpecProblem::NoMember)),
        (vec![both], Err(SpecProblem::SeveralMembers)),
        (vec![tke, none], Err(SpecProblem::NoneNotAlone)),
    ] {
        assert_eq!(levers(&specs).map(|levers| levers.len()), expected);
    }
}

#[test]
fn who_names_no_lever_is_told_which_ones_there_are() {
    let text = SpecProblem::NoMember.to_string();
    assert!(text.ends_with("tkeService, tkePod, cceService, podLabel, none"), "{text}");
}

#[test]
fn a_kind_is_written_as_its_member_in_the_spec() {
    for kind in LeverKind::ALL {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.to_string());
        assert_eq!(LeverKind::named(&kind.to_string()), Some(*kind));
        assert_eq!(of_saved(*kind, "front", None).kind(), *kind);
    }
    let schema = serde_json::to_value(schemars::schema_for!(LeverSpec)).unwrap();
    let mut members: Vec<_> = schema["properties"].as_object().unwrap().keys().cloned().collect();
    let mut kinds: Vec<_> = LeverKind::ALL.iter().map(ToString::to_string).collect();
    kinds.sort();
    members.sort();
    assert_eq!(members, kinds, "and each member is a kind");
}

#[test]
fn what_is_confirmed_is_what_every_service_confirms() {
    let (at, why) = (Timestamp::UNIX_EPOCH, || "x".to_owned());
    let all = [
        Confirmation::Confirmed { at },
        Confirmation::Pending { why: why() },
        Confirmation::Doubtful { why: why() },
        Confirmation::Unknown { why: why() },
    ];
    for (one, first) in all.iter().enumerate() {
        for (other, second) in all.iter().enumerate() {
            assert_eq!(first.clone().and(second.clone()), all[one.max(other)]);
        }
    }
    let later = Confirmation::Confirmed { at: Timestamp::MAX };
    assert_eq!(Confirmation::Confirmed { at }.and(later.clone()), later);
    let told = |why: &str| Confirmation::Pending { why: why.to_owned() };
    assert_eq!(told("first").and(told("second")), told("first"), "one thing after the other");
}

#[test]
fn a_lever_is_called_after_what_it_writes() {
    assert_eq!(LeverKind::TkeService.title("front"), "tkeService on Service front");
    assert_eq!(LeverKind::None.title("front"), "none on Service front");
    assert_eq!(LeverKind::PodLabel.title("serving"), "podLabel serving");
}

fn of(spec: Value) -> Box<dyn Lever> {
    lever(&serde_json::from_value(spec).unwrap()).unwrap()
}

#[test]
fn only_who_believes_a_synchronisation_is_belied_by_a_complaint_and_only_of_a_load_balancer() {
    let api = json!({"tkeService": {"confirmByApi": {"region": "x", "credentials": {"secret": "y"}}}});
    let service = |kind: &str| -> Service {
        serde_json::from_value(json!({
            "metadata": {"annotations": {
                (sync_stamps::BEGIN): "2026-01-01T00:00:00Z", (sync_stamps::END): "2026-01-01T00:00:01Z",
            }},
            "spec": {"type": kind},
        }))
        .unwrap()
    };
    let belied = |spec: Value, kind: &str| of(spec).belies(&service(kind), Timestamp::MAX);
    for (spec, expected) in [
        (json!({"tkeService": {}}), true),
        (json!({"tkePod": {}}), true),
        (api, false),
        (json!({"cceService": {}}), false),
        (json!({"podLabel": {"key": "x"}}), false),
        (json!({"none": {}}), false),
    ] {
        assert_eq!(belied(spec.clone(), "LoadBalancer"), expected, "{spec}");
    }
    assert!(!belied(json!({"tkePod": {}}), "ClusterIP"));
}

#[test]
fn only_levers_that_depend_on_a_version_judge_one_and_none_takes_what_is_not_told_for_a_proof() {
    for kind in LeverKind::ALL {
        let judges = of_saved(*kind, "front", None).by_version();
        let depends = match kind {
            LeverKind::CceService | LeverKind::TkePod => 1,
            LeverKind::TkeService | LeverKind::PodLabel | LeverKind::None => 0,
        };
        assert_eq!(judges.len(), depends, "{kind}");
        for ByVersion { of, judge } in judges {
            assert_eq!(of == VersionOf::ApiServer, *kind == LeverKind::CceService, "{of:?}");
            assert!(judge(Ok("v1.17.9-r0")).is_err(), "{kind}");
            assert!(matches!(judge(Err("no answer")), Ok(Some(_))), "{kind}");
        }
    }
}
