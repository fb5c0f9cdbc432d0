//! When a written value is in force, by the stamps that the cloud's controller puts on the Service.
//!
//! It stamps the begin of a synchronisation and then its end, in seconds. A synchronisation is ours
//! when it began strictly after the second of our write, and is over. What is not certain is
//! doubtful, and a doubt is ended by writing again:
//! - begun in the second of the write: it may have read the Service just before.
//! - begin and end in one second: the end may be that of the synchronisation before, which was under
//!   way when we wrote and ended in the second in which ours began. Only memory tells.
//!
//! The time of the write is the API server's own record in `metadata.managedFields`, so that it
//! survives us. Seen on Kubernetes 1.34.4: it moves with each write that changes the value and with
//! no other, is gone when someone else changes the value, and comes back when we write ours again.
//! An annotation that was taken away has no such record; then our clock stands in.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Service;

use super::{Confirmation, annotation};
use crate::workflow::span::Span;

/// Written by the controller when it begins.
pub const BEGIN: &str = "service.cloud.tencent.com/sync-begin-time";
/// Written by the controller when it has ended.
pub const END: &str = "service.cloud.tencent.com/sync-end-time";

/// How long the end of a synchronisation is waited for before a doubt is ended by another write.
const PATIENCE: SignedDuration = SignedDuration::from_secs(3);

/// What this process remembers of its last write to one Service. It only ever helps: without it
/// (after a crash) a confirmation takes one write more, never less.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteRecord {
    /// The field manager that we write with; finds our record in `managedFields`.
    pub manager: String,
    /// Our clock when the answer to the write came.
    pub at: Option<Timestamp>,
    /// The API server's time of the write, from the answer.
    server_time: Option<Timestamp>,
    /// The begin that the answer showed: that synchronisation is older than the write.
    begun_before: Option<Timestamp>,
    /// In the answer no synchronisation was under way.
    was_idle: bool,
    /// The newest synchronisation that was seen under way.
    under_way: Option<Timestamp>,
}

impl WriteRecord {
    /// Nothing is remembered.
    #[must_use]
    pub fn unknown(manager: &str) -> Self {
        Self { manager: manager.to_owned(), ..Self::default() }
    }

    /// From the answer to a write of the annotation `key`.
    #[must_use]
    pub fn of_answer(manager: &str, key: &str, answer: &Service, now: Timestamp) -> Self {
        let mut record = Self {
            manager: manager.to_owned(),
            at: Some(now),
            server_time: written(answer, key, manager),
            begun_before: Stamps::read(answer).ok().and_then(|stamps| stamps.begin),
            was_idle: Stamps::read(answer).is_ok_and(Stamps::is_surely_idle),
            under_way: None,
        };
        record.saw(answer);
        record
    }

    /// Takes note of a later look at the Service: a synchronisation that was once seen without its
    /// end is recognised when the end appears.
    pub fn saw(&mut self, live: &Service) {
        if let Ok(Stamps { begin: Some(begin), end }) = Stamps::read(live)
            && end.is_none_or(|end| end < begin)
        {
            self.under_way = Some(begin);
        }
    }
}

/// The stamps of a Service, whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamps {
    begin: Option<Timestamp>,
    end: Option<Timestamp>,
}

impl Stamps {
    fn read(service: &Service) -> Result<Self, String> {
        let stamp = |key: &str| {
            let parse = |text: &str| {
                text.parse::<Timestamp>()
                    .map(second)
                    .map_err(|_| format!("annotation {key} holds `{text}`, which is no RFC 3339 time"))
            };
            annotation(service, key).map(parse).transpose()
        };
        Ok(Self { begin: stamp(BEGIN)?, end: stamp(END)? })
    }

    fn is_surely_idle(self) -> bool {
        match (self.begin, self.end) {
            (None, None) => true,
            (Some(begin), Some(end)) => end > begin,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

/// The API server's time of the last write by `manager` that changed the annotation `key`; `None`
/// when that manager does not own it, above all when it is not there.
#[must_use]
pub fn written(service: &Service, key: &str, manager: &str) -> Option<Timestamp> {
    let field = format!("f:{key}");
    let entries = service.metadata.managed_fields.iter().flatten();
    entries
        .filter(|entry| entry.manager.as_deref() == Some(manager))
        .filter(|entry| {
            let owned =
                entry.fields_v1.as_ref().and_then(|owned| owned.0.pointer("/f:metadata/f:annotations"));
            owned.is_some_and(|owned| owned.get(&field).is_some())
        })
        .filter_map(|entry| entry.time.as_ref().map(|time| time.0))
        .max()
}

/// Whether the value of the annotation `key` is in force. The caller has found it to be ours.
pub(super) fn confirm(
    live: &Service,
    key: &str,
    write: &WriteRecord,
    confirm_after: Option<Span>,
    now: Timestamp,
) -> Confirmation {
    let stamps = match Stamps::read(live) {
        Ok(stamps) => stamps,
        Err(why) => return Confirmation::Unknown { why },
    };
    let server_time = written(live, key, &write.manager);
    // Memory of another write than the live one is worth nothing.
    let is_of_this_write = write.at.is_some() && write.server_time == server_time;
    let clock = write.at.filter(|_| is_of_this_write);
    let made = server_time.or(clock).map(second);
    let (begin, end) = match (stamps.begin, stamps.end, confirm_after) {
        (None, None, Some(after)) => return by_the_clock(live, key, write, after, now),
        (None, None, None) => {
            let why = format!(
                "the load balancer's controller has put no {BEGIN} on the Service; set `confirmAfter` on the lever if it never does"
            );
            return Confirmation::Unknown { why };
        }
        (None, Some(_), _) => {
            return Confirmation::Unknown { why: format!("there is an {END} without a {BEGIN}") };
        }
        (Some(begin), None, _) => return Confirmation::Pending { why: under_way(begin) },
        (Some(begin), Some(end), _) => (begin, end),
    };
    let Some(made) = made else { return without_record() };
    if end < begin {
        return Confirmation::Pending { why: under_way(begin) };
    }
    if begin < made {
        let why =
            format!("no synchronisation has begun since the write at {made}; the last began at {begin}");
        return Confirmation::Pending { why };
    }
    if begin == made {
        let why = format!("the synchronisation began in the second of the write, {made}");
        // One that was there at the write is not ours; ours shows soon, unless it began in that second, too.
        let older = is_of_this_write && write.begun_before == Some(begin);
        return if older && now < later(end, PATIENCE) {
            Confirmation::Pending { why }
        } else {
            Confirmation::Doubtful { why }
        };
    }
    let is_its_own_end =
        end > begin || (is_of_this_write && write.was_idle) || write.under_way == Some(begin);
    if is_its_own_end {
        // Seconds are cut off: it was over at the end of that second, and now.
        return Confirmation::Confirmed { at: now.min(later(end, SignedDuration::from_secs(1))) };
    }
    let why = format!("the end at {end} may be that of the synchronisation before the one that began then");
    // If ours is still under way its own end will tell, without another write.
    if now < later(end, PATIENCE) { Confirmation::Pending { why } } else { Confirmation::Doubtful { why } }
}

/// Whether the value is in force where nothing tells but the time since it was written.
pub(super) fn by_the_clock(
    live: &Service,
    key: &str,
    write: &WriteRecord,
    after: Span,
    now: Timestamp,
) -> Confirmation {
    let server_time = written(live, key, &write.manager);
    // Memory of another write than the live one is worth nothing.
    let clock = write.at.filter(|_| write.server_time == server_time);
    match server_time.or(clock).map(second) {
        Some(made) => after_a_while(made, after, now),
        None => without_record(),
    }
}

fn without_record() -> Confirmation {
    Confirmation::Doubtful { why: "nothing tells when the annotation was written last".to_owned() }
}

/// Without stamps: by the user's word, from the end of the second of the write.
fn after_a_while(made: Timestamp, after: Span, now: Timestamp) -> Confirmation {
    let span = SignedDuration::try_from(after.duration()).unwrap_or(SignedDuration::MAX);
    let at = later(later(made, SignedDuration::from_secs(1)), span);
    if now >= at {
        return Confirmation::Confirmed { at };
    }
    Confirmation::Pending {
        why: format!("counts as in force at {at}, `confirmAfter` {after} after the write"),
    }
}

fn under_way(begin: Timestamp) -> String {
    format!("a synchronisation is under way since {begin}")
}

/// Fractions cut off, as the stamps and `managedFields` have them.
fn second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
