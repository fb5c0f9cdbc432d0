//! Random plans and random things that happen.

use std::time::Duration;

use lossless_upgrade::workflow::plan::{Amount, DrainPlan, OnFailure, OnTimeout, Order, Plan, VerifyPlan};
use proptest::prelude::*;
use proptest::sample::select;

use super::balancer;
use super::cluster::Manner;
use super::operator::Crash;
use super::plans::{one_by_one, with_image};
use super::world::{Probe, World};

/// Something that is not the operator's doing.
#[derive(Clone, Debug)]
pub enum Event {
    Image(&'static str),
    Pause(bool),
    Act(&'static str),
    Delete,
    Replicas(u32),
    Evict(u32),
    Sick(u32, i64),
    Stays(u32, i64),
    Crash,
    Balancer(usize, balancer::Manner),
    Unreadable(usize, bool),
    Overwrite(usize),
    Foreign(usize),
    Touch(usize),
    Probe(Probe),
    NewSet,
}

impl Event {
    pub fn happen(&self, world: &mut World) {
        let now = world.now;
        let balancers = world.balancers.len();
        match *self {
            Self::Image(image) => world.set_image(image),
            Self::Pause(paused) => world.pause(paused),
            Self::Act(action) => world.act(action),
            Self::Delete => world.delete_object(),
            Self::Replicas(replicas) => world.set_replicas(replicas),
            Self::Evict(ordinal) => world.evict(ordinal),
            Self::Crash => world.crash(),
            Self::NewSet => {
                world.happens("the StatefulSet is made anew");
                world.cluster.replace_set(now);
            }
            Self::Sick(ordinal, seconds) => {
                world.happens(&format!("web-{ordinal} is not Ready for {seconds}s"));
                if let Some(pod) = world.cluster.pods.get_mut(&ordinal) {
                    pod.sick_until = now + seconds;
                }
            }
            Self::Stays(ordinal, seconds) => {
                let attached = world.attached(ordinal);
                if let Some(pod) = world.cluster.pods.get_mut(&ordinal).filter(|pod| pod.ready && attached) {
                    pod.connections.push(now + seconds);
                    world.happens(&format!("a client of web-{ordinal} stays for {seconds}s"));
                }
            }
            Self::Balancer(index, manner) => {
                world.happens(&format!("load balancer {index}: {manner:?}"));
                world.balancers[index % balancers].manner = manner;
            }
            Self::Unreadable(index, unreadable) => {
                world.happens(&format!("lever {index} unreadable: {unreadable}"));
                world.balancers[index % balancers].unreadable = unreadable;
            }
            Self::Overwrite(index) => {
                world.happens(&format!("somebody writes over lever {index}"));
                world.tampered = now;
                world.balancers[index % balancers].overwrite(now);
            }
            Self::Foreign(index) if world.balancers[index % balancers].value.is_empty() => {}
            Self::Foreign(index) => {
                world.happens(&format!("somebody garbles our entries in lever {index}"));
                world.tampered = now;
                let balancer = &mut world.balancers[index % balancers];
                balancer.overwrite(now);
                balancer.foreign = Some("our entries were changed".into());
            }
            Self::Touch(index) => {
                world.happens(&format!("somebody writes their own into lever {index}"));
                world.balancers[index % balancers].touch(now);
            }
            Self::Probe(probe) => {
                world.happens(&format!("probe: {probe:?}"));
                world.probe = probe;
            }
        }
    }
}

/// One of the things that happen; what ends a run for good is rare.
pub fn event() -> impl Strategy<Value = Event> {
    let ordinal = 0..6_u32;
    prop_oneof![
        4 => select(vec!["v1", "v2", "v3", "v4"]).prop_map(Event::Image),
        2 => any::<bool>().prop_map(Event::Pause),
        2 => select(vec!["abort", "rollback", "retry", "retry"]).prop_map(Event::Act),
        1 => Just(Event::Delete),
        2 => (1..6_u32).prop_map(Event::Replicas),
        4 => ordinal.clone().prop_map(Event::Evict),
        4 => (ordinal.clone(), 1..60_i64).prop_map(|(ordinal, seconds)| Event::Sick(ordinal, seconds)),
        3 => (ordinal, 1..200_i64).prop_map(|(ordinal, seconds)| Event::Stays(ordinal, seconds)),
        3 => Just(Event::Crash),
        3 => (0..2_usize, select(vec![balancer::Manner::Follows, balancer::Manner::Deaf, balancer::Manner::Vague]))
            .prop_map(|(index, manner)| Event::Balancer(index, manner)),
        1 => (0..2_usize, any::<bool>()).prop_map(|(index, hidden)| Event::Unreadable(index, hidden)),
        3 => (0..2_usize).prop_map(Event::Overwrite),
        1 => (0..2_usize).prop_map(Event::Foreign),
        3 => (0..2_usize).prop_map(Event::Touch),
        2 => select(vec![Probe::Counter, Probe::Silent, Probe::Http]).prop_map(Event::Probe),
        1 => Just(Event::NewSet),
    ]
}

/// A manner of a new version, mostly good.
pub fn manner() -> impl Strategy<Value = Manner> {
    prop_oneof![
        5 => Just(Manner::Good),
        1 => Just(Manner::NeverReady),
        1 => Just(Manner::Crashes),
        1 => (3..60_i64).prop_map(Manner::Restarts),
        1 => Just(Manner::FindsNoRoom),
    ]
}

pub fn crash() -> impl Strategy<Value = Crash> {
    select(vec![Crash::BeforeRecord, Crash::AfterRecord, Crash::AfterEffect])
}

/// A plan with short times.
pub fn plan() -> impl Strategy<Value = Plan> {
    let surge = prop_oneof![2 => Just(None), 3 => (0..3_u32).prop_map(|surge| Some(Amount::Count(surge)))];
    let batch = prop_oneof![(1..4_u32).prop_map(Amount::Count), (10..100_u32).prop_map(Amount::Percent)];
    let drain = (
        any::<bool>(),
        0..8_u64,
        0..8_u64,
        select(vec![OnTimeout::Pause, OnTimeout::Proceed, OnTimeout::Rollback]),
    );
    let verify = (0..12_u64, 0..2_u32, any::<bool>());
    (any::<bool>(), surge, batch, any::<bool>(), 0..6_u64, drain, verify).prop_map(
        |(
            images,
            surge,
            batch,
            ascending,
            settle,
            (_, stable, minimum, on_timeout),
            (soak, max_restarts, pause),
        )| {
            let base = if images { with_image("v2") } else { one_by_one() };
            Plan {
                surge,
                batch,
                order: if ascending { Order::Ascending } else { Order::Descending },
                settle: Duration::from_secs(settle),
                drain: DrainPlan {
                    stable_for: Duration::from_secs(stable),
                    minimum: Duration::from_secs(minimum),
                    on_timeout,
                    ..base.drain.clone()
                },
                verify: VerifyPlan { soak: Duration::from_secs(soak), max_restarts, ..base.verify.clone() },
                on_failure: if pause { OnFailure::Pause } else { OnFailure::Rollback },
                ..base
            }
        },
    )
}
