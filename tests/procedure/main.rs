//! The procedure, played second by second in a simulated cluster and judged at every step. One program, so
//! that the simulation is compiled once.
#![allow(missing_docs, reason = "tests are named as sentences")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail tests")]

mod bounds;
mod diagram;
mod disturbances;
mod edges;
mod interruptions;
mod nudges;
mod ordinals;
mod peers;
mod properties;
#[path = "../sim/mod.rs"]
mod sim;
mod single;
mod stories;
mod takeover;
