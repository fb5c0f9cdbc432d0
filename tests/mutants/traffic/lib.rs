//! What is mutated, and the procedure and the cloud whose types it speaks.
mod json;
pub mod tencent;
pub mod traffic;
mod web;
pub mod workflow;
