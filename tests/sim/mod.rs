//! A world that is stepped in virtual time and knows the truth: which pods have connections, and
//! what the load balancer really does. `workflow::decide` acts on it, and every act is judged.

#![allow(dead_code, reason = "each test binary uses its own part of the world")]

pub mod balancer;
pub mod chance;
pub mod cluster;
pub mod judge;
pub mod moments;
pub mod observe;
pub mod operator;
pub mod plans;
pub mod telling;
pub mod words;
pub mod world;
