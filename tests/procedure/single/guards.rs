//! What may go, and what may follow.

use lossless_upgrade::workflow::checks::{Guard, refusal};
use lossless_upgrade::workflow::observed::{Confirmation, Held};
use lossless_upgrade::workflow::ordinals::{Ordinal, OrdinalSet};
use lossless_upgrade::workflow::reasons::Reason;
use lossless_upgrade::workflow::state::{BatchKind, Step};
use lossless_upgrade::workflow::transitions::{TABLE, allowed};
use lossless_upgrade::workflow::turn::Wait;

use super::{Scene, record};

#[test]
fn only_a_broken_pod_in_a_batch_of_broken_ones_needs_no_lever() {
    for guard in [Guard::LeversHold, Guard::LeversConfirmed] {
        for (kind, is_broken, free) in [
            (BatchKind::Broken, true, true),
            (BatchKind::Broken, false, false),
            (BatchKind::Serving, true, false),
            (BatchKind::Serving, false, false),
        ] {
            let mut scene = Scene::new();
            for lever in &mut scene.seen.levers {
                lever.held = Held::Ordinals(OrdinalSet::new());
                lever.confirmed = Confirmation::Pending("not yet".to_owned());
            }
            scene.run().batch.kind = kind;
            let pod = scene.seen.pods.get_mut(&0).unwrap();
            (pod.ready, pod.running) = (!is_broken, !is_broken);
            let (pod, record) = (pod.clone(), record(&pod.uid));
            let (refused, _) = scene.decide(0, |turn, run| refusal(&[guard], turn, run, &record, &pod));
            assert_eq!(refused.is_none(), free, "{guard:?}, {kind:?}, broken: {is_broken}");
        }
    }
}

#[test]
fn only_what_the_table_has_may_follow() {
    for (step, next) in TABLE {
        assert!(allowed(*step, *step) && next.iter().all(|next| allowed(*step, *next)), "{step:?}");
    }
    for (step, next) in
        [(Step::Attach, Step::Replace), (Step::Restore, Step::Detach), (Step::Template, Step::Replace)]
    {
        assert!(!allowed(step, next), "{step:?} to {next:?}");
    }
}

#[test]
fn a_pod_that_was_seen_ready_by_us_owes_something_while_it_runs() {
    let owes = |ordinal: Ordinal, uid: &str| {
        let mut scene = Scene::new();
        scene.state.pods = vec![record("seen")];
        let mut pod = scene.seen.pods[&0].clone();
        (pod.uid, pod.ready, pod.never_ready) = (uid.to_owned(), false, true);
        scene.decide(0, |turn, _| !turn.owes_nothing(ordinal, &pod)).0
    };
    assert!(owes(0, "seen"));
    assert!(!owes(0, "another") && !owes(1, "seen"));
}

#[test]
fn a_wait_says_its_deadline_before_and_after_it() {
    let scene = Scene::new();
    let wait = |now| Wait::new("x").deadline(scene.at(10), scene.at(now), Reason::OthersNotReady);
    let said = |now| (wait(now).deadline, wait(now).until, wait(now).stalled);
    assert_eq!(said(9), (Some(scene.at(10)), Some(scene.at(10)), None));
    assert_eq!(said(10), (Some(scene.at(10)), None, Some(Reason::OthersNotReady)));
}

#[test]
fn a_lever_in_doubt_is_written_again_whatever_the_doubt_is_about() {
    let mut lever = Scene::new().seen.levers[0].clone();
    let doubt = || Confirmation::Doubtful("x".into());
    let certain = || Confirmation::Pending("x".into());
    for (confirmed, taken, is_doubtful) in [
        (certain(), certain(), false),
        (doubt(), certain(), true),
        (certain(), doubt(), true),
        (doubt(), doubt(), true),
    ] {
        (lever.confirmed, lever.taken) = (confirmed, taken);
        assert_eq!(lever.is_doubtful(), is_doubtful, "{lever:?}");
    }
}
