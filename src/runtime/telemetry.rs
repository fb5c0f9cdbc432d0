//! Logs: to standard error, as text for people or as JSON for a collector.

use std::error::Error;
use std::io::{IsTerminal as _, stderr};

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
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal());
    match format {
        LogFormat::Json => lines.json().with_span_list(false).flatten_event(true).finish().try_init(),
        LogFormat::Text => lines.finish().try_init(),
    }
}

/// An error with all its causes, each said once: some errors name their cause in their own text, and
/// some leave it to the reader, who then learns `client error (Connect)` and not why.
#[must_use]
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut told = String::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let text = if let Some(kube::Error::Api(status)) = cause.downcast_ref() {
            // Its own text goes on with the whole answer, field by field, and so do its causes.
            next = None;
            status.message.clone()
        } else {
            next = cause.source();
            cause.to_string()
        };
        if told.is_empty() {
            told = text;
        } else if !told.contains(&text) {
            told = format!("{told}: {text}");
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        source: Option<Box<Link>>,
    }

    #[test]
    fn a_refusal_of_the_api_server_is_told_in_its_own_words() {
        let refusal = kube::core::Status::failure("pods is forbidden", "Forbidden").with_code(403);
        assert_eq!(with_causes(&kube::Error::Api(refusal.boxed())), "pods is forbidden");
    }

    #[test]
    fn an_error_tells_each_cause_once() {
        let link = |text, source| Link { text, source };
        let refused = link("connection refused", None);
        let connect = link("client error (Connect)", Some(Box::new(refused)));
        let list = link("cannot list: client error (Connect)", Some(Box::new(connect)));
        assert_eq!(with_causes(&list), "cannot list: client error (Connect): connection refused");
    }
}
