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
}
