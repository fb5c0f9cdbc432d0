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
//! | [`balancer`] | the cloud's load balancer and its controller, which lags and can be told to misbehave |
//! | [`load`] | a steady load of three kinds of clients |
//! | [`oracle`] | counts every request that got no whole answer |
//! | [`prometheus`] | scrapes the operator and judges its alerts, as its users' would |
//! | [`watcher`] | an independent witness of what each pod had open when it was deleted |
//! | [`scenario`] | deploy an application, change its version under load, see what that cost |
//! | [`demo`] | plays three ways to upgrade under load, live, and compares them |
//! | [`audit`] | which rights a user of the API server used, and which ones he has |
//! | [`clock`] | the one reading of the wall clock |
//! | [`gate`] | stands between a program and the API server, holds requests and gives faulty answers |
//! | [`error`] | what can go wrong, said so that the user knows what to do |
//!
//! A program that wants the lab calls [`sandbox::enter`] first thing in `main`, then [`cluster::Cluster::start`].

#[cfg(not(target_os = "linux"))]
compile_error!("the lab needs Linux: it runs a kubelet and pods in namespaces of its own");

pub mod audit;
pub mod balancer;
pub mod build;
pub mod clock;
pub mod cluster;
pub mod demo;
pub mod error;
pub mod gate;
pub mod images;
pub mod load;
pub mod oracle;
pub mod paths;
pub mod process;
pub mod progress;
pub mod prometheus;
pub mod requirements;
pub mod sandbox;
pub mod scenario;
pub mod watcher;
