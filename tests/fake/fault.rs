//! What goes wrong, and at which call or watch event.

use std::time::Duration;

use super::call::{Part, Resource, Verb};

/// A call among those of its kind, counted from the start of the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId {
    pub verb: Verb,
    pub resource: Resource,
    pub part: Part,
    pub dry: bool,
    pub nth: usize,
}

/// A call that was made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Made {
    pub id: CallId,
    /// The phase of the upgrade at that moment.
    pub phase: String,
    /// When, from the start of the story.
    pub at: Duration,
}

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is refused with this code.
    Refused(u16),
    /// It never arrives, and nobody answers.
    LostRequest,
    /// It is carried out, and nobody answers.
    LostAnswer,
    /// The process dies before it takes effect.
    DiesBefore,
    /// The process dies after it took effect.
    DiesAfter,
    /// What is read is this old.
    Stale(Duration),
}

/// A watch event among those of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId {
    pub resource: Resource,
    pub nth: usize,
}

/// What goes wrong with a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The event is never delivered.
    Lost,
    /// It comes this late, and all others of this watch after it.
    Late(Duration),
    /// After it the first event of the watch comes again.
    GoesBack,
    /// The connection ends instead.
    Ends,
    /// The connection ends in the middle of the event.
    Torn,
    /// The server has forgotten the version: 410 in the stream.
    Expired,
}

/// The one thing that goes wrong in a story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    Nothing,
    Call(CallId, Fault),
    Event(EventId, Trouble),
    /// Every call is refused with this code from a time of the story on, for so long.
    Outage {
        from: Duration,
        length: Duration,
        code: u16,
    },
    /// There is a second object, [`BESIDE`] the one that is upgraded, and every call about it is refused.
    Beside {
        code: u16,
    },
}

/// The name of the second object.
pub const BESIDE: &str = "wiki";

impl Plan {
    /// What goes wrong with this call about an object of this name, `at` this time of the story.
    pub fn fault(self, call: CallId, name: &str, at: Duration) -> Option<Fault> {
        match self {
            Self::Beside { code } if name == BESIDE => Some(Fault::Refused(code)),
            Self::Call(id, fault) if id == call => Some(fault),
            Self::Outage { from, length, code } if at >= from && at < from + length => {
                Some(Fault::Refused(code))
            }
            Self::Nothing | Self::Call(..) | Self::Event(..) | Self::Outage { .. } | Self::Beside { .. } => {
                None
            }
        }
    }

    /// What goes wrong with this watch event.
    pub fn trouble(self, event: EventId) -> Option<Trouble> {
        match self {
            Self::Event(id, trouble) if id == event => Some(trouble),
            Self::Nothing | Self::Call(..) | Self::Event(..) | Self::Outage { .. } | Self::Beside { .. } => {
                None
            }
        }
    }
}
