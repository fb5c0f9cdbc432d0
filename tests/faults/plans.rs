//! Which call goes wrong, and how.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::fake::call::{Resource, Verb};
use super::fake::fault::{CallId, Fault, Made, Plan};
use super::fake::play::{Played, Story, Word};

/// What the API server may say instead of an answer.
const CODES: [u16; 9] = [401, 404, 409, 410, 422, 429, 500, 503, 504];

/// How old a stale read is: older than the latest write, and older than the cluster's controllers and the load
/// balancer need.
const AGES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

pub fn writes(calm: &Played) -> impl Iterator<Item = CallId> {
    calm.calls.iter().map(|made| made.id).filter(|id| id.verb.is_write())
}

/// Before and after each write of the good story. In the others without what that one has shown, and only after each:
/// before the next one comes to the same. `SOAK=1` plays both there too.
pub fn crashes(story: Story, calm: &Played) -> Vec<Plan> {
    let both = [Fault::DiesBefore, Fault::DiesAfter];
    let from = match story {
        Story::Good => {
            return writes(calm).flat_map(|id| both.map(|fault| Plan::Call(id, fault))).collect();
        }
        // Until then it is as in the story of the abort.
        Story::Told(Word::Rollback) => calm.told.expect("the user says it"),
        Story::BeginsAt(_)
        | Story::Flaky
        | Story::Told(Word::Abort)
        | Story::TwoLevers
        | Story::TakenOver { .. }
        | Story::NodeLost { .. } => Duration::ZERO,
    };
    let counts: BTreeSet<_> = writes_that_count(calm).collect();
    let made = calm.calls.iter().filter(|made| made.at >= from && counts.contains(&made.id));
    let deaths = if soaks() { &both[..] } else { &both[1..] };
    made.flat_map(|made| deaths.iter().map(|fault| Plan::Call(made.id, *fault))).collect()
}

/// Nobody waits for an event, so that one in each phase is enough.
pub fn writes_that_count(calm: &Played) -> impl Iterator<Item = CallId> {
    let events = first_of_its_kind(calm, |id| id.resource == Resource::Events);
    writes(calm).filter(|id| id.resource != Resource::Events).chain(events)
}

/// Which ways to go wrong were met by the calls of each kind.
#[derive(Default)]
struct Turns(BTreeMap<CallId, usize>);

impl Turns {
    /// The next ones for this call, so many; `SOAK=1` has all of them at each call.
    fn next(&mut self, id: CallId, ways: &[Fault], many: usize) -> Vec<Fault> {
        // Kinds of which there are few calls do not all begin with the same one.
        let known = self.0.len();
        let next = self.0.entry(CallId { nth: 0, ..id }).or_insert(known);
        let many = if soaks() { ways.len() } else { many };
        let faults = ways.iter().copied().cycle().skip(*next).take(many).collect();
        *next += many;
        faults
    }
}

/// What goes wrong with each of these writes: it gets lost, its answer gets lost, and it is refused in three ways.
pub fn of_each_write(ids: impl Iterator<Item = CallId>) -> Vec<Plan> {
    let mut turns = Turns::default();
    let refusals = CODES.map(Fault::Refused);
    ids.flat_map(|id| {
        let faults = turns.next(id, &refusals, 3).into_iter().chain([Fault::LostRequest, Fault::LostAnswer]);
        faults.map(move |fault| Plan::Call(id, fault))
    })
    .collect()
}

/// The first call of each kind in each phase.
fn first_of_its_kind(calm: &Played, is: impl Fn(CallId) -> bool) -> Vec<CallId> {
    let mut known = BTreeSet::new();
    let mut first =
        |made: &&Made| is(made.id) && known.insert((CallId { nth: 0, ..made.id }, made.phase.clone()));
    calm.calls.iter().filter(|made| first(made)).map(|made| made.id).collect()
}

/// `SOAK=1` plays everything that can go wrong with each call, and each crash of each story: more than half an hour.
#[expect(clippy::disallowed_methods, reason = "a setting of the test, not of the program")]
pub fn soaks() -> bool {
    std::env::var("SOAK").is_ok_and(|soak| soak == "1")
}

/// What can go wrong with a read, each refusal followed by a stale answer: a watch is never stale.
fn of_reads(verb: Verb) -> Vec<Fault> {
    let refusals = CODES.map(Fault::Refused).into_iter().chain([Fault::LostRequest]);
    if verb == Verb::Watch {
        return refusals.collect();
    }
    let stale = AGES.map(Fault::Stale).into_iter();
    if soaks() {
        return refusals.chain(stale).collect();
    }
    refusals.zip(stale.cycle()).flat_map(|(refusal, stale)| [refusal, stale]).collect()
}

/// Each of these reads of the run goes wrong, in one way: the next one among the reads of its kind, so that of
/// the kinds that are read over a hundred times each meets everything several times, in other moments. `SOAK=1`
/// tries each way at each read.
pub fn of_each_read(calm: &Played, is: impl Fn(CallId) -> bool) -> Vec<Plan> {
    let reads = calm.calls.iter().map(|made| made.id).filter(|id| !id.verb.is_write() && is(*id));
    let mut turns = Turns::default();
    reads
        .flat_map(|id| {
            turns.next(id, &of_reads(id.verb), 1).into_iter().map(move |fault| Plan::Call(id, fault))
        })
        .collect()
}
