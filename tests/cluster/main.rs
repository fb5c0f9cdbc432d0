//! The claims, on a real cluster with real traffic. One lab for all tests; each has a namespace of
//! its own. Tests that change the load balancer or the operator for everybody run alone.

#![allow(missing_docs, reason = "a test binary has no documentation")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails says so")]

mod alerts;
mod applications;
mod chart;
#[path = "../conformance/mod.rs"]
mod checks;
mod cli;
mod cloud_api;
mod conformance;
mod crash;
#[path = "../dashboard/mod.rs"]
mod dashboard;
mod dice;
mod faults;
mod gate;
mod harness;
mod idle;
mod interrupted;
mod labels;
mod memory;
mod operators;
mod own_operator;
mod pod_weights;
mod policy;
mod probes;
mod refused;
mod rights;
mod rollback;
mod token;
mod two_levers;
mod upgrades;
mod writes;

use std::process::ExitCode;

use lab::sandbox::{self, EnterError, Need};
use libtest_mimic::{Arguments, Trial};

use harness::{Case, alone, beside, loaded, outside, small};

fn cases() -> Vec<Case> {
    with_the_installed_operator().into_iter().chain(without_it()).collect()
}

/// The longest ones first, so that the machine is never idle at the end.
fn with_the_installed_operator() -> Vec<Case> {
    vec![
        loaded(beside(
            "two levers at once in a run that is aborted, gone on with and rolled back",
            two_levers::steered,
        )),
        loaded(beside(
            "an application that is deaf to SIGTERM, requests longer than the grace period",
            upgrades::deaf,
        )),
        loaded(beside(
            "four pods one by one, with the writes and the time that are promised",
            upgrades::one_by_one,
        )),
        loaded(beside("a load balancer ten seconds behind, batches of two", upgrades::far_behind)),
        beside("a surge lost to kubectl apply is made good before the next detach", policy::unguarded),
        loaded(beside(
            "a label of the pods moves the clients of kube-proxy and of a balancer that follows EndpointSlices",
            labels::by_label,
        )),
        beside("in mid-run the policy refuses other replicas, and lets an upgrade pass", policy::guarded),
        beside("a lever that somebody overwrites halts the run until a retry", faults::contested),
        beside(
            "a load balancer that never answers stalls the run, and nothing is deleted",
            interrupted::frozen,
        ),
        beside("an image that restarts in its first soak is rolled back everywhere", rollback::flaky),
        beside("a pod evicted in mid-run is not replaced once more", faults::evicted),
        beside(
            "a pod that waits for its turn to go is drained again when connections come to it",
            faults::reprieved,
        ),
        loaded(beside("another cloud's annotation, whose controller says nothing", upgrades::huawei)),
        loaded(beside("a controller that writes no stamps, by confirmAfter", upgrades::without_stamps)),
        small(beside(
            "the real clients of nginx, for downloads longer than the grace period",
            applications::downloads,
        )),
        loaded(beside(
            "weights on the pods themselves, for two load balancers and an Ingress, in batches of two",
            pod_weights::by_pod,
        )),
        loaded(beside(
            "batches of two by spec.images, two Services, two ports, weights of their own, ordinals from 5",
            upgrades::batches,
        )),
        beside("kubectl lu creates, plans, steers, follows and tells of a run", cli::through_a_run),
        small(beside("the real clients of Redis, that block, publish and subscribe", applications::redis)),
        beside("a paused run deletes nothing and goes on when told", interrupted::paused),
        beside("a cloud that refuses says why in the object, and nothing is deleted", pod_weights::told_why),
        small(beside(
            "the real clients of an MQTT broker, for messages that must come",
            applications::mosquitto,
        )),
        beside(
            "a run that stands still fires its alert, and all that is shown tells the same",
            alerts::fired,
        ),
        loaded(beside(
            "a cloud's weight and a label at once, for clients outside and inside",
            labels::beside_a_cloud,
        )),
        small(beside(
            "the real clients of HAProxy as the application, by its own count",
            applications::haproxy,
        )),
        beside("an object that is deleted in mid-run leaves everything as it was", interrupted::deleted),
        beside("a pod that was not replaced gets its own weight back", pod_weights::put_back),
        loaded(beside("connections on which nothing happens hold a drain, or are left out", idle::left_out)),
        small(beside(
            "a rolling update severs the real clients of Redis, of an MQTT broker, of HAProxy and of nginx",
            applications::control,
        )),
        beside("an image that never becomes Ready touches no serving pod", rollback::never_ready),
        loaded(beside("a rolling update loses requests through kube-proxy too", labels::control)),
        loaded(beside("a rolling update under the same load loses requests", upgrades::control)),
        beside(
            "pods that are left without their StatefulSet get their weight back too",
            pod_weights::orphaned,
        ),
        small(beside("what stands against a run blocks it, and nothing is written", refused::blocked)),
        small(beside("what the rules refuse is refused by the API server", refused::at_apply)),
        small(beside("the API server accepts what the chart renders", chart::accepted)),
        small(beside("a policy without its CRD holds up nobody", policy::without_crd)),
    ]
}

/// Those that bring an operator of their own or need none, as the installed one would write the status of every
/// object; and those that strike it.
fn without_it() -> Vec<Case> {
    vec![
        outside("an operator killed at random moments ends as if nothing had been", crash::at_random),
        outside(
            "an operator that meets one fault of each kind at random calls ends as if nothing had been",
            gate::in_trouble,
        ),
        outside(
            "an operator killed in five phases, with two levers, ends as if nothing had been",
            crash::killed,
        ),
        outside("a leader deleted, killed and frozen is followed within 20 s", operators::struck),
        small(outside("a Prometheus counts, and while it is away nothing goes on", probes::prometheus)),
        outside("a token that is refused in mid-run and replaced costs nothing but time", token::refused),
        outside(
            "the chart in one namespace, upgraded from itself in mid-run, leaves nothing when removed",
            chart::whole_life,
        ),
        outside(
            "an operator whose delete comes late meets a conflict, and two at once do no harm",
            gate::late_delete,
        ),
        small(outside("a command in the pods counts, and another one nudges once", probes::exec)),
        small(outside("an operator's memory stays where it was, look after look", memory::flat)),
        outside(
            "Tencent's API confirms a detach of two Services on one balancer, and while it refuses nothing goes on",
            cloud_api::confirmed,
        ),
        outside("the API server is as the fake one claims", conformance::real),
        alone("a kubelet, an API server, an etcd and a cloud that fail for a while", faults::parts),
    ]
}

/// With `SOAK=1` only. The cloud's numbers are of whole minutes, so this one takes ten.
fn long_ones() -> Vec<Case> {
    let what = "Tencent's API confirms a detach and its monitoring counts, in whole minutes";
    dice::soaks().then(|| outside(what, cloud_api::monitored)).into_iter().collect()
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if arguments.list {
        let all = trials(false).into_iter().chain([rights(false)]);
        return libtest_mimic::run(&arguments, all.collect()).exit_code();
    }
    match sandbox::enter(Need::Helm) {
        Ok(inside) => {
            harness::set_stage(&inside);
            let arguments = Arguments { test_threads: Some(harness::THREADS), ..arguments };
            let conclusion = libtest_mimic::run(&arguments, trials(false));
            let whole = conclusion.num_filtered_out == 0 && !conclusion.has_failed();
            // It looks at what all others did, so it comes when they are over.
            let rights = rights(whole);
            let wrong = !arguments.is_filtered_out(&rights)
                && libtest_mimic::run(&arguments, vec![rights]).has_failed();
            let failed = conclusion.has_failed() || wrong;
            if failed {
                harness::keep_operator_log();
            }
            match harness::sum_up(whole) {
                Ok(()) if failed => ExitCode::FAILURE,
                Ok(()) => ExitCode::SUCCESS,
                Err(why) => {
                    eprintln!("{why}");
                    ExitCode::FAILURE
                }
            }
        }
        Err(EnterError::Missing(missing)) => {
            println!("SKIPPED: the tests on a real cluster cannot run here: {missing}");
            let _ = libtest_mimic::run(&arguments, trials(true));
            if in_ci() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!("the lab did not start: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A skipped test must not pass for a run one where nobody looks.
#[expect(clippy::disallowed_methods, reason = "CI says so in its environment")]
fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

fn rights(whole: bool) -> Trial {
    Trial::ignorable_test("the rights that are granted are those that were used", move || {
        harness::judge_rights(whole)
    })
}

fn trials(skipped: bool) -> Vec<Trial> {
    cases()
        .into_iter()
        .chain(long_ones())
        .map(|case| Trial::test(case.name, move || harness::play(case)).with_ignored_flag(skipped))
        .collect()
}
