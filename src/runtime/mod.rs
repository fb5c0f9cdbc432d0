//! What a process needs around the controller: settings, a clock, a client, logs, metrics, health,
//! leadership, and an orderly end. Nothing here knows what an upgrade is.

pub mod client;
pub mod clock;
pub mod config;
pub mod health;
pub mod leader;
pub mod metrics;
pub mod ready;
pub mod served;
pub mod shutdown;
pub mod telemetry;
