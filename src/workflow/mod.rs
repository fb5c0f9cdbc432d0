//! The procedure, pure: no Kubernetes client, no clock, no environment.
pub mod ordinals;
pub mod span;
