//! Two levers that are moved together: weights of the load balancer, and a label of the pods that a Service
//! inside the cluster selects by.

use super::*;

#[test]
fn an_undisturbed_upgrade_with_two_levers_moves_both_for_each_pod() {
    let played = play(Story::TwoLevers, Plan::Nothing);
    assert_eq!(played.violations, Vec::<String>::new());
    assert_eq!(played.end.phase, "Succeeded");
    // One after the other; a pod that was made anew has the label from the template.
    let [nobody, zero, one, two, surge] = [&[][..], &[0], &[1], &[2], &[REPLICAS]];
    let moved = [nobody, zero, nobody, one, nobody, two, nobody, surge, nobody];
    let sets = moved.map(|ordinals| ordinals.iter().copied().collect::<BTreeSet<_>>());
    assert_eq!(played.end.labels, sets);
    assert_eq!(played.end.levers, sets);
}

#[test]
fn a_write_of_a_pods_label_that_is_refused_or_gets_no_answer_changes_nothing_about_the_end() {
    let calm = play(Story::TwoLevers, Plan::Nothing);
    let of_label = |id: &CallId| {
        (id.resource, id.part, id.dry) == (Resource::Pods, Part::Whole, false)
            && matches!(id.verb, Verb::Patch(_))
    };
    matrix(&calm, &all_of(Story::TwoLevers, of_each_write(writes(&calm).filter(of_label))));
}

#[test]
fn a_read_of_endpoint_slices_that_is_refused_or_stale_changes_nothing_about_the_end() {
    let calm = play(Story::TwoLevers, Plan::Nothing);
    // Every second one: from one to the next there is mostly nothing new.
    let is = |id: CallId| id.resource == Resource::Slices && (soaks() || id.nth.is_multiple_of(2));
    let plans = of_each_read(&calm, is);
    matrix(&calm, &all_of(Story::TwoLevers, plans));
}

#[test]
fn the_judge_sees_a_client_that_one_of_two_levers_still_sends_to_a_pod_that_drains() {
    let violations = credulous().join("\n");
    assert!(violations.contains("a client was sent to web-0, which drains"), "{violations}");
}
