//! Random plans and random things that happen.

use std::time::Duration;

use lossless_upgrade::workflow::ordinals::Ordinal;
use lossless_upgrade::workflow::plan::{Amount, DrainPlan, OnFailure, OnTimeout, Order, Plan, VerifyPlan};
use proptest::prelude::*;
use proptest::sample::select;

use super::balancer;
use super::cluster::Manner;
use super::operator::Crash;
use super::plans::{one_by_one, with_image};
use super::world::{Probe, World};

/// Something that is not the operator's doing. Pods are counted from the first one.
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
    /// The operator dies; the next one's clock is ahead by so many seconds.
    Crash(i64),
    /// A process that stalled before an effect wakes up.
    Late,
    /// The node of a pod is lost for so long.
    NodeLost(u32, i64),
    /// One of the edits of the spec.
    Edit(Edit),
    OnDelete(bool),
    Balancer(usize, balancer::Manner),
    Unreadable(usize, bool),
    Gone(usize, bool),
    Overwrite(usize),
    Foreign(usize),
    Touch(usize),
    Probe(Probe),
    NewSet,
    NoSet,
}

/// What a user changes in the spec in mid-run.
#[derive(Clone, Debug)]
pub enum Edit {
    Batch(Amount),
    Surge(Option<Amount>),
    Order(Order),
    Drain { stable: u64, minimum: u64, timeout: u64, on_timeout: OnTimeout },
    Soak(u64),
    OnFailure(OnFailure),
    Image(&'static str),
}

impl Edit {
    fn apply(&self, plan: &mut Plan) {
        match *self {
            Self::Batch(batch) => plan.batch = batch,
            Self::Surge(surge) => plan.surge = surge,
            Self::Order(order) => plan.order = order,
            Self::Drain { stable, minimum, timeout, on_timeout } => {
                plan.drain.stable_for = Duration::from_secs(stable);
                plan.drain.minimum = Duration::from_secs(minimum);
                plan.drain.timeout = Duration::from_secs(timeout);
                plan.drain.on_timeout = on_timeout;
            }
            Self::Soak(soak) => plan.verify.soak = Duration::from_secs(soak),
            Self::OnFailure(on_failure) => plan.on_failure = on_failure,
            Self::Image(image) => plan.images = with_image(image).images,
        }
    }
}

impl Event {
    pub fn happen(&self, world: &mut World) {
        let now = world.now;
        let (first, balancers) = (world.cluster.first, world.balancers.len());
        match *self {
            Self::Image(image) => world.set_image(image),
            Self::Pause(paused) => world.pause(paused),
            Self::Act(action) => world.act(action),
            Self::Delete => world.delete_object(),
            Self::Replicas(replicas) => world.set_replicas(replicas),
            Self::Evict(pod) => world.evict(first + pod),
            Self::Crash(skew) => {
                world.crash();
                world.skew = skew;
            }
            Self::Late => {
                world.late_lands();
            }
            Self::NodeLost(pod, seconds) => {
                let ordinal = first + pod;
                world.happens(&format!("the node of web-{ordinal} is lost for {seconds}s"));
                if let Some(pod) = world.cluster.pods.get_mut(&ordinal) {
                    pod.sick_until = i64::MAX;
                    pod.terminating.get_or_insert(now + seconds);
                }
            }
            Self::Edit(ref edit) => {
                world.happens(&format!("spec: {edit:?}"));
                edit.apply(&mut world.plan);
                world.memory.last = None;
            }
            Self::OnDelete(on_delete) => {
                world.happens(&format!("OnDelete: {on_delete}"));
                if let Some(set) = &mut world.cluster.set {
                    set.on_delete = on_delete;
                }
            }
            Self::NewSet => {
                world.happens("the StatefulSet is made anew");
                world.cluster.replace_set(now);
            }
            Self::NoSet => {
                world.happens("the StatefulSet is deleted");
                world.cluster.delete_set(now);
            }
            Self::Sick(pod, seconds) => {
                let ordinal = first + pod;
                world.happens(&format!("web-{ordinal} is not Ready for {seconds}s"));
                if let Some(pod) = world.cluster.pods.get_mut(&ordinal) {
                    pod.sick_until = now + seconds;
                }
            }
            Self::Stays(pod, seconds) => {
                let ordinal = first + pod;
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
            Self::Gone(index, gone) => {
                world.happens(&format!("Service of lever {index} gone: {gone}"));
                world.vanish(index % balancers, gone);
            }
            Self::Overwrite(index) => {
                world.happens(&format!("somebody writes over lever {index}"));
                world.overwrite(index % balancers);
            }
            Self::Foreign(index) if world.balancers[index % balancers].value.is_empty() => {}
            Self::Foreign(index) => {
                world.happens(&format!("somebody garbles our entries in lever {index}"));
                world.overwrite(index % balancers);
                world.balancers[index % balancers].foreign = Some("our entries were changed".into());
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
    let pod = 0..6_u32;
    prop_oneof![
        4 => select(vec!["v1", "v2", "v3", "v4"]).prop_map(Event::Image),
        2 => any::<bool>().prop_map(Event::Pause),
        2 => select(vec!["abort", "rollback", "retry", "retry"]).prop_map(Event::Act),
        1 => Just(Event::Delete),
        2 => (1..6_u32).prop_map(Event::Replicas),
        4 => pod.clone().prop_map(Event::Evict),
        4 => (pod.clone(), 1..60_i64).prop_map(|(pod, seconds)| Event::Sick(pod, seconds)),
        3 => (pod.clone(), 1..200_i64).prop_map(|(pod, seconds)| Event::Stays(pod, seconds)),
        3 => select(vec![-30, 0, 30]).prop_map(Event::Crash),
        1 => Just(Event::Late),
        2 => (pod, 1..120_i64).prop_map(|(pod, seconds)| Event::NodeLost(pod, seconds)),
        4 => edit().prop_map(Event::Edit),
        1 => any::<bool>().prop_map(Event::OnDelete),
        3 => (0..2_usize, select(balancer::Manner::ALL.to_vec()))
            .prop_map(|(index, manner)| Event::Balancer(index, manner)),
        1 => (0..2_usize, any::<bool>()).prop_map(|(index, hidden)| Event::Unreadable(index, hidden)),
        1 => (0..2_usize, any::<bool>()).prop_map(|(index, gone)| Event::Gone(index, gone)),
        3 => (0..2_usize).prop_map(Event::Overwrite),
        1 => (0..2_usize).prop_map(Event::Foreign),
        3 => (0..2_usize).prop_map(Event::Touch),
        2 => select(vec![Probe::Counter, Probe::Silent, Probe::Http]).prop_map(Event::Probe),
        1 => Just(Event::NewSet),
        1 => Just(Event::NoSet),
    ]
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        2 => batch().prop_map(Edit::Batch),
        2 => surge().prop_map(Edit::Surge),
        1 => order().prop_map(Edit::Order),
        2 => (0..8_u64, 0..8_u64, 0..120_u64, on_timeout())
            .prop_map(|(stable, minimum, timeout, on_timeout)| Edit::Drain { stable, minimum, timeout, on_timeout }),
        1 => (0..12_u64).prop_map(Edit::Soak),
        1 => on_failure().prop_map(Edit::OnFailure),
        1 => select(vec!["v2", "v3"]).prop_map(Edit::Image),
    ]
}

fn batch() -> impl Strategy<Value = Amount> {
    prop_oneof![(1..4_u32).prop_map(Amount::Count), (10..100_u32).prop_map(Amount::Percent)]
}

fn surge() -> impl Strategy<Value = Option<Amount>> {
    prop_oneof![2 => Just(None), 3 => (0..3_u32).prop_map(|surge| Some(Amount::Count(surge)))]
}

fn order() -> impl Strategy<Value = Order> {
    select(vec![Order::Ascending, Order::Descending])
}

fn on_timeout() -> impl Strategy<Value = OnTimeout> {
    select(vec![OnTimeout::Pause, OnTimeout::Proceed, OnTimeout::Rollback])
}

fn on_failure() -> impl Strategy<Value = OnFailure> {
    select(vec![OnFailure::Rollback, OnFailure::Pause])
}

/// `spec.ordinals.start`, mostly none.
pub fn first() -> impl Strategy<Value = Ordinal> {
    prop_oneof![3 => Just(0_u32), 1 => Just(5_u32)]
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
    select(vec![Crash::BeforeRecord, Crash::AfterRecord, Crash::AfterEffect, Crash::Stalled])
}

/// A plan with short times.
pub fn plan() -> impl Strategy<Value = Plan> {
    let drain = (0..8_u64, 0..8_u64, on_timeout(), any::<bool>());
    let verify = (0..12_u64, 0..2_u32, on_failure());
    (any::<bool>(), surge(), batch(), order(), 0..6_u64, drain, verify).prop_map(
        |(
            images,
            surge,
            batch,
            order,
            settle,
            (stable, minimum, on_timeout, nudged),
            (soak, max_restarts, on_failure),
        )| {
            let base = if images { with_image("v2") } else { one_by_one() };
            Plan {
                surge,
                batch,
                order,
                settle: Duration::from_secs(settle),
                drain: DrainPlan {
                    idle_after: None,
                    nudged,
                    stable_for: Duration::from_secs(stable),
                    minimum: Duration::from_secs(minimum),
                    on_timeout,
                    ..base.drain.clone()
                },
                verify: VerifyPlan { soak: Duration::from_secs(soak), max_restarts, ..base.verify.clone() },
                on_failure,
                ..base
            }
        },
    )
}
