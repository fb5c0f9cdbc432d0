//! `kubectl lu`: every view of every phase, every check of `lint`, what `plan` foretells, what `wait` ends
//! by. The objects are made by the simulated operator, so that they cannot drift from what it writes.
#![allow(missing_docs, reason = "tests are named as sentences")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail tests")]

#[allow(dead_code, reason = "each test binary uses its own part of the fake cluster")]
mod fake;
mod sim;

mod cli {
    mod creation;
    mod fake_cluster;
    mod fixtures;
    mod foresight;
    mod linting;
    mod program;
    mod terminal;
    mod verdicts;
    mod views;
    mod words;
}
