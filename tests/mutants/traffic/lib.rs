//! What is mutated, and the procedure whose types it speaks.
pub mod traffic;
pub mod workflow;
