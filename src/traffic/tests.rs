//! What belongs to no single lever.

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
