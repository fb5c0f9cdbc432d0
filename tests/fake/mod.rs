//! A cluster in memory, in virtual time: an API server that answers `kube::Client` as the real one
//! does (`tests/conformance` holds both to it), and around it what else acts in a cluster.
//!
//! | file | what is in it |
//! |---|---|
//! | `call.rs`, `answer.rs` | a request as the server reads it; its refusals |
//! | `store.rs`, `patch.rs`, `fields.rs` | objects, versions, patches, who wrote what |
//! | `server.rs`, `stream.rs` | the service behind a `kube::Client`; watches |
//! | `fault.rs` | what goes wrong, and at which call or event |
//! | `cluster/` | StatefulSet controller, kubelet, load balancer, clients |
//! | `judge.rs` | what may never happen, and what there is to compare at the end |
//! | `process.rs` | the real controller as a process that can be killed |
//! | `play.rs` | a whole upgrade by the real controller, with one thing that goes wrong |

pub mod answer;
pub mod call;
pub mod cluster;
pub mod fault;
mod fields;
pub mod judge;
mod patch;
pub mod play;
mod process;
pub mod server;
pub mod store;
mod stream;

/// Who deletes through the API.
pub const OPERATOR: &str = "lossless-upgrade";
