//! What the API server says when it says no.

use serde_json::{Value, json};

/// A refusal, as its `Status` object says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub code: u16,
    reason: &'static str,
    message: String,
}

impl Refused {
    pub fn not_found(what: &str) -> Self {
        Self { code: 404, reason: "NotFound", message: format!("{what} not found") }
    }

    pub fn exists(what: &str) -> Self {
        Self { code: 409, reason: "AlreadyExists", message: format!("{what} already exists") }
    }

    pub fn conflict(message: impl Into<String>) -> Self {
        Self { code: 409, reason: "Conflict", message: message.into() }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self { code: 422, reason: "Invalid", message: message.into() }
    }

    pub fn bad(message: impl Into<String>) -> Self {
        Self { code: 400, reason: "BadRequest", message: message.into() }
    }

    /// What only a node could answer, where the node does not.
    pub fn unreachable() -> Self {
        Self {
            code: 500,
            reason: "InternalError",
            message: "dial tcp 10.0.0.9:10250: i/o timeout".to_owned(),
        }
    }

    pub fn expired(version: u64) -> Self {
        Self { code: 410, reason: "Expired", message: format!("too old resource version: {version}") }
    }

    /// A fault: this code, whatever the call.
    pub fn by_fault(code: u16) -> Self {
        let reason = match code {
            401 => "Unauthorized",
            404 => "NotFound",
            409 => "Conflict",
            410 => "Expired",
            422 => "Invalid",
            429 => "TooManyRequests",
            500 => "InternalError",
            503 => "ServiceUnavailable",
            504 => "Timeout",
            _ => "Unknown",
        };
        Self { code, reason, message: format!("a fault of the test: {reason}") }
    }

    pub fn status(&self) -> Value {
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        })
    }
}
