//! The Helm chart without a cluster: what it renders, against the kustomize base and against its values.

#![allow(missing_docs, reason = "a test binary has no documentation")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails says so")]

mod helm;
mod same;
mod values;

use std::process::ExitCode;

use lab::sandbox::{EnterError, Need, enter};
use libtest_mimic::{Arguments, Failed, Trial};

type Case = (&'static str, fn() -> Result<(), Failed>);

const CASES: [Case; 7] = [
    ("helm lint finds nothing", values::lint),
    ("the chart installs what the kustomize base installs", same::as_the_base),
    ("its alerts are those of deploy/alerts", same::same_alerts),
    ("two releases have nothing in common but the CRD", same::two_releases),
    ("with one namespace to watch, nothing is bound in the whole cluster", same::one_namespace),
    ("each value has the effect that it promises", values::effects),
    ("the schema refuses nonsense", values::nonsense),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(false)).exit_code();
    }
    match enter(Need::Helm) {
        Ok(_inside) => libtest_mimic::run(&arguments, trials(false)).exit_code(),
        Err(EnterError::Missing(missing)) => {
            println!("SKIPPED: the tests of the chart cannot run here: {missing}");
            let _ = libtest_mimic::run(&arguments, trials(true));
            #[expect(clippy::disallowed_methods, reason = "CI says so in its environment")]
            let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
            if in_ci { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!("the lab did not start: {error}");
            ExitCode::FAILURE
        }
    }
}

fn trials(skipped: bool) -> Vec<Trial> {
    CASES.into_iter().map(|(name, case)| Trial::test(name, case).with_ignored_flag(skipped)).collect()
}
