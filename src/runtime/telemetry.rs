//! Logs: to standard error, as text for people or as JSON for a collector.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// What a log line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For reading in a terminal.
    Text,
}

/// Starts logging for the whole process.
///
/// # Errors
/// When a subscriber was installed before.
pub fn init(format: LogFormat, filter: EnvFilter) -> Result<(), TryInitError> {
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
        LogFormat::Text => lines.finish().try_init(),
    }
}
