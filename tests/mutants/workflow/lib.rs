//! What is mutated, by the name under which the tests know it.
pub mod workflow;
