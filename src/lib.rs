//! The operator, a folder a concern. Arrows point one way: `bin` -> `controller`, `runtime`;
//! `controller` -> `api`, `workflow`, `traffic`, `drain`; `workflow` -> nothing.

pub mod api;
pub mod controller;
pub mod drain;
pub mod runtime;
pub mod traffic;
pub mod workflow;
