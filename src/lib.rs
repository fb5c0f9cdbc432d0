//! The operator, a folder a concern. Arrows point one way: `bin` -> `cli`, `controller`, `runtime`;
//! `cli` -> `controller`, `api`, `workflow`; `controller` -> `api`, `workflow`, `traffic`, `drain`;
//! `traffic`, `drain` -> `tencent` -> `web`, and `json`; `workflow` -> nothing.

pub mod api;
pub mod cli;
pub mod controller;
pub mod drain;
mod json;
pub mod runtime;
pub mod tencent;
pub mod traffic;
mod web;
pub mod workflow;
