//! Runs that are interrupted at every moment: the world is copied at each second of a run, and the
//! copy is interrupted and played to its end.

use std::fmt::Debug;
use std::ops::Range;

use lossless_upgrade::workflow::plan::{Amount, Plan};
use lossless_upgrade::workflow::state::{BatchKind, Goal, Outcome, Step};

use super::balancer::Balancer;
use super::cluster::Manner;
use super::plans::{one_by_one, with_image};
use super::telling::{images, until};
use super::world::World;

/// A run that is interrupted, from the moment at which it differs from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    OneByOne,
    /// Two pods at a time, behind two load balancers.
    InBatches,
    /// Some clients come by a label of the pods.
    ByLabel,
    /// One pod fewer serves meanwhile.
    WithoutSurge,
    /// The operator writes the template.
    Images,
    /// The StatefulSet starts its pods in order.
    OrderedReady,
    /// The new version turns out to be bad when one serving pod has it.
    RollingBack,
    /// The user has aborted it.
    Aborting,
    /// One pod was broken before the run, another one came to the new version without our hand.
    Mending,
    /// All is done, and a lever cannot be read and so not be put back.
    PuttingBack,
}

pub const ALL: &[Story] = &[
    Story::OneByOne,
    Story::InBatches,
    Story::ByLabel,
    Story::WithoutSurge,
    Story::Images,
    Story::OrderedReady,
    Story::RollingBack,
    Story::Aborting,
    Story::Mending,
    Story::PuttingBack,
];

/// Those that lead to the new version.
pub const GOOD: &[Story] = &[
    Story::OneByOne,
    Story::InBatches,
    Story::ByLabel,
    Story::WithoutSurge,
    Story::Images,
    Story::OrderedReady,
];

/// Seconds that a story takes at most; only one that waits for something takes so long.
pub const LONGEST: i64 = 250;

impl Story {
    pub fn replicas(self) -> u32 {
        if self == Self::InBatches { 4 } else { 3 }
    }

    /// What all pods run in the end; none: they are left as they are.
    pub fn ends(self) -> Option<&'static str> {
        match self {
            Self::OneByOne
            | Self::InBatches
            | Self::ByLabel
            | Self::WithoutSurge
            | Self::Images
            | Self::OrderedReady
            | Self::Mending
            | Self::PuttingBack => Some("v2"),
            Self::RollingBack => Some("v1"),
            Self::Aborting => None,
        }
    }

    /// Serving pods that there must be at each moment where nobody takes some away from outside.
    pub fn floor(self) -> usize {
        match self {
            Self::OneByOne
            | Self::ByLabel
            | Self::Images
            | Self::OrderedReady
            | Self::Aborting
            | Self::PuttingBack => 3,
            Self::InBatches => 4,
            Self::WithoutSurge => 2,
            // One pod is broken, and one was evicted.
            Self::Mending => 1,
            // A bad version is not Ready now and then.
            Self::RollingBack => 0,
        }
    }

    pub fn begin(self) -> World {
        let plan = match self {
            Self::OneByOne
            | Self::OrderedReady
            | Self::RollingBack
            | Self::Aborting
            | Self::ByLabel
            | Self::Mending
            | Self::PuttingBack => one_by_one(),
            Self::InBatches => Plan { batch: Amount::Count(2), ..one_by_one() },
            Self::WithoutSurge => Plan { surge: Some(Amount::Count(0)), ..one_by_one() },
            Self::Images => with_image("v2"),
        };
        let mut world = if self == Self::Mending { mending(plan) } else { World::new(self.replicas(), plan) };
        world.cluster.lag = 2;
        world.cluster.set.as_mut().unwrap().ordered_ready = self == Self::OrderedReady;
        if self == Self::InBatches {
            world.balancers.push(Balancer::new("web-more", 3));
        }
        if self == Self::ByLabel {
            world.balancers.push(Balancer::by_label("serving", 1));
        }
        if self != Self::Images {
            world.set_image("v2");
        }
        let begun = world.run_until(10, |world| world.state.run.is_some());
        assert!(begun, "{}", world.tale());
        self.go_on(&mut world);
        world
    }

    /// To where the story differs from the others.
    fn go_on(self, world: &mut World) {
        match self {
            Self::OneByOne
            | Self::InBatches
            | Self::ByLabel
            | Self::WithoutSurge
            | Self::Images
            | Self::OrderedReady
            | Self::Mending => {}
            Self::RollingBack => {
                until(world, Step::Soak, BatchKind::Serving);
                world.happens("from now on v2 restarts now and then");
                world.cluster.manners.insert("v2".into(), Manner::Restarts(8));
            }
            Self::Aborting => {
                until(world, Step::Drain, BatchKind::Serving);
                world.act("abort");
                world.tick();
            }
            Self::PuttingBack => {
                until(world, Step::Retire, BatchKind::Retiring);
                // Before that its replica would come back.
                let goes = |world: &World| world.cluster.pods.values().any(|pod| pod.terminating.is_some());
                assert!(world.run_until(10, goes), "{}", world.tale());
                world.balancers[0].unreadable = true;
                until(world, Step::Restore, BatchKind::Retiring);
            }
        }
    }
}

/// Three pods of which one is broken and one has the new version already.
fn mending(plan: Plan) -> World {
    let mut world = World::new(3, Plan { paused: true, ..plan });
    world.cluster.manners.insert("v0".into(), Manner::Crashes);
    for (image, ordinal) in [("v0", 2), ("v2", 1)] {
        world.set_image(image);
        world.run_until(5, |_| false);
        world.evict(ordinal);
        world.run_until(5, |_| false);
    }
    world.pause(false);
    world
}

/// What a run was about to do when it was interrupted.
pub fn goal(before: &World) -> Goal {
    before.state.run.as_ref().unwrap().goal
}

pub fn outcome(world: &World) -> Option<Outcome> {
    world.state.history.first().map(|past| past.outcome)
}

pub fn replicas(world: &World) -> u32 {
    world.cluster.set.as_ref().unwrap().replicas
}

/// A claim about the end of an interrupted run, told with the whole story where it does not hold.
#[track_caller]
pub fn same<T: Copy + PartialEq + Debug>(world: &World, what: &str, is: T, must: T) {
    assert_eq!(is, must, "{what}\n{}", world.tale());
}

/// Nothing is under way, and nothing of a run is left.
pub fn finish(world: &mut World) {
    world.run_until(30, |world| world.cluster.set.is_none() && world.state.run.is_none());
    world.balancers.iter_mut().for_each(|balancer| balancer.unreadable = false);
    world.run_until(3, |_| false);
    // A run that is tried again later is not over yet, nor is one that waits for the controller.
    let rests = |world: &World| world.at_rest() && world.cluster.update_revision().is_some();
    let over = world.run_until(4000, |world| world.gone || rests(world) || world.cluster.set.is_none());
    assert!(over, "it does not end\n{}", world.tale());
    world.judge_end();
    world.acquit();
}

/// Interrupts the stories at each of their seconds; `ends` gets the world as it was when it was
/// interrupted, and as it is in the end.
pub fn at_every_moment(
    stories: &[Story],
    interrupt: impl Fn(&mut World),
    ends: impl Fn(Story, &World, &World),
) {
    at_moments(stories, 0..1, interrupt, ends);
}

/// The same at each second of which `every.start` is left when it is divided by `every.end`: an
/// interruption that is one of several like it shares the seconds with them.
pub fn at_moments(
    stories: &[Story],
    every: Range<i64>,
    interrupt: impl Fn(&mut World),
    ends: impl Fn(Story, &World, &World),
) {
    let sample = sample();
    for story in stories {
        let mut calm = story.begin();
        let end = calm.now + LONGEST;
        while calm.state.run.is_some() && calm.now < end {
            if calm.now % every.end == every.start && calm.now / every.end % sample == 0 {
                let mut world = calm.clone();
                interrupt(&mut world);
                finish(&mut world);
                ends(*story, &calm, &world);
            }
            calm.tick();
        }
    }
}

/// What plays these stories thousands of times asks for one moment of so many.
#[expect(clippy::disallowed_methods, reason = "`make mutants` chooses, and nobody else")]
fn sample() -> i64 {
    std::env::var("ONE_MOMENT_OF").ok().and_then(|number| number.parse().ok()).unwrap_or(1)
}

/// No pod but the surge was taken after the interruption, and enough served all the time.
pub fn nothing_more_is_replaced(story: Story, before: &World, world: &World) {
    same(world, "deletions", &world.counts.deleted, &before.counts.deleted);
    enough_served(story, world);
}

pub fn enough_served(story: Story, world: &World) {
    assert!(world.fewest_serving >= story.floor(), "{} served\n{}", world.fewest_serving, world.tale());
}

pub fn all_at(world: &World, image: &str) {
    let all = vec![image; replicas(world) as usize];
    same(world, "images", &images(world), &all);
}

/// That end, and no fewer served meanwhile than the story keeps.
pub fn as_undisturbed_and_served(story: Story, before: &World, world: &World) {
    as_undisturbed(story, before, world);
    enough_served(story, world);
}

/// The end that the story has when nobody interrupts it.
pub fn as_undisturbed(story: Story, _: &World, world: &World) {
    same(world, "replicas", replicas(world), story.replicas());
    all_at(world, story.ends().unwrap_or("v1"));
    let ends = match story.ends() {
        Some("v2") => Outcome::Succeeded,
        Some(_) => Outcome::RolledBack,
        None => Outcome::Aborted,
    };
    same(world, "outcome", outcome(world), Some(ends));
}
