//! A real Kubernetes on one Linux machine, with a cloud load balancer in front, for tests and for the demo.
//!
//! | module | what it is for |
//! |---|---|
//! | [`sandbox`] | namespaces of the lab's own: whatever runs in them is gone when the program ends, however it ends |
//! | [`requirements`] | says in one line what this machine lacks |
//! | [`build`] | builds and caches the components (Go), the programs in the images (Rust) and the images |
//! | [`images`] | what is in each image |
//! | [`cluster`] | control plane and node: configuration, start, kube client |
//! | [`process`] | one running component: its recorded id, its log, its end |
//! | [`progress`] | what the user sees while he waits |
//! | [`paths`] | where the lab keeps things |
//! | [`error`] | what can go wrong, said so that the user knows what to do |
//!
//! A program that wants the lab calls [`sandbox::enter`] first thing in `main`, then [`cluster::Cluster::start`].

#[cfg(not(target_os = "linux"))]
compile_error!("the lab needs Linux: it runs a kubelet and pods in namespaces of its own");

pub mod build;
pub mod cluster;
pub mod error;
pub mod images;
pub mod paths;
pub mod process;
pub mod progress;
pub mod requirements;
pub mod sandbox;
