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
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Confirmation, annotation};
use crate::workflow::span::Span;

/// Written by the controller when it begins.
pub const BEGIN: &str = "service.cloud.tencent.com/sync-begin-time";
/// Written by the controller when it has ended.
pub const END: &str = "service.cloud.tencent.com/sync-end-time";

/// How long the end of a synchronisation is waited for before a doubt is ended by another write.
const PATIENCE: SignedDuration = SignedDuration::from_secs(3);

/// How long after a pod became Ready a synchronisation is waited for before another write asks for one.
const NOTICE: SignedDuration = SignedDuration::from_secs(10);

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
    /// The end that the answer showed: one that begins later has another.
    ended_before: Option<Timestamp>,
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
        Self { server_time: written(&answer.metadata, key, manager), ..Self::of_look(manager, answer, now) }
    }

    /// From a look at the Service after a write to something else that its controller follows.
    #[must_use]
    pub fn of_look(manager: &str, live: &Service, now: Timestamp) -> Self {
        let stamps = Stamps::read(live);
        let mut record = Self {
            manager: manager.to_owned(),
            at: Some(now),
            server_time: None,
            begun_before: stamps.as_ref().ok().and_then(|stamps| stamps.begin),
            was_idle: stamps.as_ref().is_ok_and(|stamps| stamps.is_surely_idle()),
            ended_before: stamps.ok().and_then(|stamps| stamps.end),
            under_way: None,
        };
        record.saw(live);
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
pub fn written(metadata: &ObjectMeta, key: &str, manager: &str) -> Option<Timestamp> {
    let field = format!("f:{key}");
    let entries = metadata.managed_fields.iter().flatten();
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
    let server_time = written(&live.metadata, key, &write.manager);
    // Memory of another write than the live one is worth nothing.
    let record = Some(write).filter(|write| write.at.is_some() && write.server_time == server_time);
    let made = server_time.or(record.and_then(|record| record.at));
    took_up(live, made, record, confirm_after, now)
}

/// Whether a synchronisation of the Service that surely began after the write `made` is over. `record`: what is
/// remembered of just that write.
pub(super) fn took_up(
    live: &Service,
    made: Option<Timestamp>,
    record: Option<&WriteRecord>,
    confirm_after: Option<Span>,
    now: Timestamp,
) -> Confirmation {
    let made = made.map(second);
    let (begin, end) = match over(live, made, confirm_after, now) {
        Ok(stamps) => stamps,
        Err(told) => return told,
    };
    let Some(made) = made else { return without_record() };
    if begin < made {
        return not_since(&format!("the write at {made}"), begin);
    }
    // If ours is still to come, or under way, its own stamps will tell, without another write.
    let for_a_while = |why| {
        if now < later(end, PATIENCE) {
            Confirmation::Pending { why }
        } else {
            Confirmation::Doubtful { why }
        }
    };
    if begin == made {
        let why = format!("the synchronisation began in the second of the write, {made}");
        // One that was there at the write is not ours; ours shows soon, unless it began in that second, too.
        let older = record.is_some_and(|record| record.begun_before == Some(begin));
        return if older { for_a_while(why) } else { Confirmation::Doubtful { why } };
    }
    // By the clocks it began after the write, and yet it stands in the write's own answer: they differ.
    if record.is_some_and(|record| record.server_time.is_some() && record.begun_before >= Some(begin)) {
        let why =
            format!("the synchronisation that says it began at {begin} was there before the write at {made}");
        return for_a_while(why);
    }
    let is_its_own_end = end > begin
        || record.is_some_and(|record| {
            let is_new = record.was_idle && record.ended_before.is_none_or(|before| before < begin);
            is_new || record.under_way == Some(begin)
        });
    if is_its_own_end {
        return ended(end, now);
    }
    let why = format!("the end at {end} may be that of the synchronisation before the one that began then");
    for_a_while(why)
}

/// Whether a synchronisation that began at this moment or later is over. Weaker than [`took_up`]: one that began in
/// the same second may have read before it. For what costs no request when it is believed too soon.
pub(super) fn passed(
    live: &Service,
    since: Timestamp,
    confirm_after: Option<Span>,
    now: Timestamp,
) -> Confirmation {
    let since = second(since);
    match over(live, Some(since), confirm_after, now) {
        Ok((begin, end)) if begin >= since => ended(end, now),
        Ok((begin, _)) => not_since(&since.to_string(), begin),
        Err(told) => told,
    }
}

/// Whether a synchronisation is over that began after `since`, when the last of some pods became Ready. Its controller
/// looks for pods of its own accord, so where begin, end or `since` share a second and no other one begins for a while,
/// it was that one. Doubtful: none has come, and a write would ask for one.
pub(super) fn taken(
    live: &Service,
    since: Timestamp,
    confirm_after: Option<Span>,
    now: Timestamp,
) -> Confirmation {
    let since = second(since);
    if live.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses) == Some(true) {
        // Becoming Ready changes nothing for it.
        return Confirmation::Confirmed { at: since };
    }
    let (begin, end) = match over(live, Some(since), confirm_after, now) {
        Ok(stamps) => stamps,
        Err(told) => return told,
    };
    if begin < since {
        let why = format!(
            "no synchronisation has taken in the pod that became Ready at {since}; the last began at {begin}"
        );
        return if now < later(since, NOTICE) {
            Confirmation::Pending { why }
        } else {
            Confirmation::Doubtful { why }
        };
    }
    let is_clear = begin > since && end > begin;
    if is_clear || now >= later(end, PATIENCE) {
        return ended(end, now);
    }
    let why = format!("the synchronisation that began at {begin} may be older, or not over yet");
    Confirmation::Pending { why }
}

/// Whether no synchronisation has begun since its controller complained, by its own clock: what it complained of may be
/// the last one, whatever its end says, or one that was not stamped.
pub(super) fn belied(live: &Service, complained: Timestamp) -> bool {
    match last(live) {
        // Begun in the second of the complaint it may be the one that failed.
        Last::Ended { begin, .. } | Last::UnderWay(begin) => begin <= complained,
        Last::None | Last::Unreadable(_) => false,
    }
}

/// Begin and end of the last synchronisation, if it is over. Else what that says of something that is to be followed
/// since `made`.
fn over(
    live: &Service,
    made: Option<Timestamp>,
    confirm_after: Option<Span>,
    now: Timestamp,
) -> Result<(Timestamp, Timestamp), Confirmation> {
    match (last(live), confirm_after) {
        (Last::Ended { begin, end }, _) => Ok((begin, end)),
        (Last::None, Some(after)) => {
            Err(made.map_or_else(without_record, |made| after_a_while(made, after, now)))
        }
        (last, _) => Err(last.confirms_nothing()),
    }
}

/// What the stamps say of the last synchronisation.
enum Last {
    /// There never was one.
    None,
    /// It is under way since then.
    UnderWay(Timestamp),
    /// It is over.
    Ended { begin: Timestamp, end: Timestamp },
    /// They make no sense.
    Unreadable(String),
}

impl Last {
    /// What that means where it is not a synchronisation that is over.
    fn confirms_nothing(self) -> Confirmation {
        match self {
            Self::None => Confirmation::Unknown {
                why: format!(
                    "the load balancer's controller has put no {BEGIN} on the Service; set `confirmAfter` on the lever if it never does"
                ),
            },
            Self::UnderWay(begin) | Self::Ended { begin, .. } => {
                Confirmation::Pending { why: format!("a synchronisation is under way since {begin}") }
            }
            Self::Unreadable(why) => Confirmation::Unknown { why },
        }
    }
}

fn last(live: &Service) -> Last {
    match Stamps::read(live) {
        Err(why) => Last::Unreadable(why),
        Ok(Stamps { begin: None, end: None }) => Last::None,
        Ok(Stamps { begin: None, end: Some(_) }) => {
            Last::Unreadable(format!("there is an {END} without a {BEGIN}"))
        }
        Ok(Stamps { begin: Some(begin), end: Some(end) }) if end >= begin => Last::Ended { begin, end },
        Ok(Stamps { begin: Some(begin), end: _ }) => Last::UnderWay(begin),
    }
}

fn not_since(what: &str, begin: Timestamp) -> Confirmation {
    let why = format!("no synchronisation has begun since {what}; the last began at {begin}");
    Confirmation::Pending { why }
}

/// Seconds are cut off: it was over at the end of that second, and now.
fn ended(end: Timestamp, now: Timestamp) -> Confirmation {
    Confirmation::Confirmed { at: now.min(later(end, SignedDuration::from_secs(1))) }
}

/// Whether the value is in force where nothing tells but the time since it was written.
pub(super) fn by_the_clock(
    live: &Service,
    key: &str,
    write: &WriteRecord,
    after: Span,
    now: Timestamp,
) -> Confirmation {
    let server_time = written(&live.metadata, key, &write.manager);
    // Memory of another write than the live one is worth nothing.
    let clock = write.at.filter(|_| write.server_time == server_time);
    server_time.or(clock).map_or_else(without_record, |made| after_a_while(made, after, now))
}

pub(super) fn without_record() -> Confirmation {
    Confirmation::Doubtful { why: "nothing tells when the annotation was written last".to_owned() }
}

/// Without stamps: by the user's word, from the end of the second of the write.
pub(super) fn after_a_while(made: Timestamp, after: Span, now: Timestamp) -> Confirmation {
    let span = SignedDuration::try_from(after.duration()).unwrap_or(SignedDuration::MAX);
    let at = later(later(second(made), SignedDuration::from_secs(1)), span);
    if now >= at {
        return Confirmation::Confirmed { at };
    }
    Confirmation::Pending {
        why: format!("counts as in force at {at}, `confirmAfter` {after} after the write"),
    }
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
