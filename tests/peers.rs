//! Bugs that users of other rollout controllers met, each told as a story of ours: what must not
//! happen here. `docs/safety.md` has the list, with those that cannot happen and why.
#![allow(missing_docs, reason = "tests are named as sentences")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail tests")]

#[path = "peers/deletes.rs"]
mod deletes;
#[path = "peers/drains.rs"]
mod drains;
#[path = "peers/replicas.rs"]
mod replicas;
#[path = "peers/returns.rs"]
mod returns;
mod sim;
#[path = "peers/waits.rs"]
mod waits;
