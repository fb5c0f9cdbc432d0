//! What the process still waits for before it calls itself ready.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What can keep the process from being ready. Leadership is not among them: a standby is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gate {
    /// The API server serves `LosslessUpgrade` objects and lets us list them.
    Crd,
    /// The watches of this process have seen everything once.
    Caches,
    /// The process is on its way out.
    Shutdown,
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crd => "crd",
            Self::Caches => "caches",
            Self::Shutdown => "shutdown",
        })
    }
}

/// The closed gates and why. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct ReadyGate {
    closed: Arc<Mutex<BTreeMap<Gate, String>>>,
}

impl ReadyGate {
    /// Not ready until `gate` is opened; `reason` is what `/readyz` says meanwhile. Closing a closed
    /// gate changes its reason.
    pub fn close(&self, gate: Gate, reason: impl Into<String>) {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner).insert(gate, reason.into());
    }

    /// What `gate` waited for is there.
    pub fn open(&self, gate: Gate) {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner).remove(&gate);
    }

    /// One line for each closed gate; none when ready.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        closed.iter().map(|(gate, reason)| format!("{gate}: {reason}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_when_every_gate_is_open() {
        let ready = ReadyGate::default();
        ready.close(Gate::Crd, "not seen yet");
        ready.close(Gate::Caches, "0 of 2 watches synced");
        ready.close(Gate::Caches, "1 of 2 watches synced");
        assert_eq!(ready.reasons(), ["crd: not seen yet", "caches: 1 of 2 watches synced"]);
        ready.open(Gate::Crd);
        ready.open(Gate::Caches);
        assert!(ready.reasons().is_empty());
    }
}
