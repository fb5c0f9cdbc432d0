//! What comes of something that happens.

use super::Upgrade;
use super::actions::{Action, Cluster, Edit, Fault};
use super::normal::Age;
use super::properties::{of_act, of_going};
use super::world::{Act, Count, Image, Lever, Life, MOST, Pod, Pods, What, World};

impl Upgrade {
    /// What comes of it; none: nothing.
    pub fn after(&self, world: &World, action: Action) -> Option<World> {
        let mut next = *world;
        match action {
            Action::Look => self.operate(&mut next, Carry::Out),
            Action::Conflict(cluster) => {
                self.operate(&mut next, Carry::Nothing);
                self.cluster(&mut next, cluster);
            }
            Action::LateAct => {
                let act = next.late.take()?;
                self.deliver(&mut next, act);
            }
            Action::Cluster(cluster) => self.cluster(&mut next, cluster),
            Action::Time(age) => self.pass(&mut next, age),
            Action::Fault(fault) => {
                next.faults += 1;
                self.fault(&mut next, fault);
            }
            Action::User(edit) => {
                next.edits += 1;
                self.user(&mut next, edit);
            }
            Action::Resume => {
                next.said = None;
                self.operate(&mut next, Carry::Out);
            }
        }
        if !self.config.versions && action != Action::LateAct {
            next.late = next.late.or(world.late);
        }
        next.settle();
        next.forget(&self.records.get(next.record));
        (next != *world).then_some(next)
    }

    /// A look, its record, and its act.
    fn operate(&self, world: &mut World, carry: Carry) {
        let looked = self.look(world);
        let torn = world.half.take().is_some_and(|half| half != world.set);
        world.broken = looked.broken;
        world.record = looked.record;
        if looked.entered {
            world.pods.iter_mut().flatten().for_each(|pod| pod.fenced = false);
        }
        for (ordinal, count) in world.counts.iter_mut().enumerate() {
            *count = match (looked.counted.has(ordinal), *count) {
                (true, Count::Off) => Count::Silent,
                (true, count) => count,
                (false, _) => Count::Off,
            };
        }
        let Some(what) = looked.what else { return };
        let batch = self.config.batch.into();
        world.broken = world.broken.or_else(|| of_act(world, &self.records.get(looked.record), what, batch));
        // It has looked at an older version of the StatefulSet.
        if torn && matches!(what, What::Scale { .. } | What::Template | What::MarkSet(_)) {
            return;
        }
        let act = Act { what, excused: false };
        match carry {
            Carry::Out => self.deliver(world, act),
            Carry::Nothing => {}
            Carry::Late => world.late = Some(act),
        }
    }

    /// Everything that is recorded grows as old as this, and the operator looks.
    fn pass(&self, world: &mut World, age: Age) {
        world.record = self.records.aged(world.record, age);
        world.overdue |= age == Age::Last;
        self.operate(world, Carry::Out);
    }

    /// The API server carries out an act whose preconditions hold.
    fn deliver(&self, world: &mut World, act: Act) {
        match act.what {
            What::Scale { replicas, images } => {
                let lowered = usize::from(replicas)..usize::from(world.set.replicas);
                world.set.taken_by_us = Pods::which(|ordinal| lowered.contains(&ordinal));
                world.set.excused = act.excused;
                world.set.replicas = replicas;
                if let Some(image) = world.wish.filter(|_| images) {
                    world.set.image = image;
                }
                world.set.current = false;
                world.touch_set();
            }
            What::Template => {
                let state = self.records.get(world.record);
                let saved = state.saved.as_ref().and_then(|saved| saved.template.as_deref());
                if let Some(image) = saved.and_then(Image::named) {
                    world.set.image = image;
                    world.set.current = false;
                    world.touch_set();
                }
            }
            What::Levers { detached, again } => {
                if world.lever.value != detached || again {
                    world.lever = Lever { value: detached, pending: true, doubtful: false, ..world.lever };
                    world.touch_lever();
                }
            }
            What::Delete(ordinal) => {
                world.broken = world.broken.or_else(|| of_going(world, ordinal, act.excused));
                if let Some(pod) = &mut world.pods[ordinal] {
                    (pod.terminating, pod.deleted_by_us) = (true, true);
                }
                world.touch_pod(ordinal);
            }
            What::Fence(ordinal) => {
                if let Some(pod) = &mut world.pods[ordinal] {
                    pod.fenced = true;
                }
                world.touch_pod(ordinal);
            }
            What::MarkSet(mark) => {
                world.set.mark = mark;
                world.touch_set();
            }
            What::MarkLever(mark) => {
                world.lever.mark = mark;
                world.touch_lever();
            }
            What::Finalizer => world.gone = true,
        }
    }

    fn fault(&self, world: &mut World, fault: Fault) {
        match fault {
            Fault::Crash { doubtful } => {
                world.hand_over(&self.records);
                world.lever.doubtful |= doubtful;
                self.operate(world, Carry::Out);
            }
            Fault::Stall => {
                self.operate(world, Carry::Late);
                world.hand_over(&self.records);
            }
            Fault::Refused => self.operate(world, Carry::Nothing),
            Fault::HalfNotice => {
                let half = world.set;
                self.cluster(world, Cluster::Notice);
                world.half = Some(half);
            }
            Fault::HalfEdit(edit) => {
                let half = world.set;
                world.edits += 1;
                self.user(world, edit);
                world.half = Some(half);
            }
            Fault::Evict(ordinal) => world.change(ordinal, |pod| pod.terminating = true),
            Fault::Sick(ordinal) => world.change(ordinal, |pod| pod.life = Life::Sick),
            Fault::Restart(ordinal) => world.change(ordinal, |pod| {
                (pod.life, pod.restarted, pod.owing) = (Life::Down, true, false);
            }),
            Fault::Tamper => {
                world.lever = Lever { value: Pods::default(), pending: true, ..world.lever };
                world.touch_lever();
                world.excuse();
            }
            Fault::OldStatus => {
                world.record = self.records.undeletable(world.record);
                world.half = None;
                self.operate(world, Carry::Out);
            }
            Fault::Slow(age) => self.pass(world, age),
        }
    }

    fn cluster(&self, world: &mut World, cluster: Cluster) {
        match cluster {
            Cluster::Notice => {
                world.set.noticed = (world.set.replicas, world.set.image);
                world.set.current = true;
                world.touch_set();
            }
            Cluster::Create => {
                let (replicas, image) = world.set.noticed;
                for ordinal in 0..usize::from(replicas) {
                    if world.pods[ordinal].is_none() {
                        world.pods[ordinal] = Some(Pod::new(image));
                        world.counts[ordinal] = Count::Off;
                        world.record = self.records.reborn(world.record, ordinal);
                    }
                }
            }
            Cluster::Condemn => {
                for ordinal in usize::from(world.set.noticed.0)..MOST {
                    if world.pods[ordinal].is_some_and(|pod| pod.terminating) {
                        continue;
                    }
                    if world.set.taken_by_us.has(ordinal) {
                        // Past its deadline a deletion of the object waits for nothing any more.
                        let going = of_going(world, ordinal, world.set.excused || world.overdue);
                        world.broken = world.broken.or(going);
                    }
                    world.change(ordinal, |pod| pod.terminating = true);
                }
            }
            Cluster::Gone(ordinal) => world.pods[ordinal] = None,
            Cluster::Ready(ordinal) => world.change(ordinal, |pod| pod.life = Life::Ready),
            Cluster::CatchUp => {
                world.lever.pending = false;
                world.lever.in_force = world.lever.value;
                // It writes its stamps into the same object.
                world.touch_lever();
            }
            Cluster::End(ordinal) => {
                if let Some(pod) = &mut world.pods[ordinal] {
                    pod.owing = false;
                }
                // That the probe saw them until now tells nothing new.
                if world.counts[ordinal] == Count::Busy {
                    world.counts[ordinal] = Count::Quiet;
                }
            }
            Cluster::Count(ordinal, count) => world.counts[ordinal] = count,
        }
    }
}

impl World {
    fn change(&mut self, ordinal: usize, change: impl FnOnce(&mut Pod)) {
        if let Some(pod) = &mut self.pods[ordinal] {
            change(pod);
            self.touch_pod(ordinal);
        }
    }
}

impl Upgrade {
    fn user(&self, world: &mut World, edit: Edit) {
        match edit {
            Edit::Image(image) if world.wish.is_none() => {
                world.set.image = image;
                world.set.current = false;
                world.touch_set();
            }
            Edit::Replicas(replicas) => {
                world.set.replicas = replicas;
                world.set.taken_by_us = Pods::default();
                world.set.current = false;
                world.wanted = replicas;
                world.touch_set();
            }
            Edit::Image(_) | Edit::Say(_) => {
                match edit {
                    Edit::Say(said) => world.said = Some(said),
                    Edit::Image(image) => world.wish = Some(image),
                    Edit::Replicas(_) => {}
                }
                // Who has begun to look has read the object as it was, and cannot record.
                world.half = None;
                self.operate(world, Carry::Out);
            }
        }
    }
}

/// What becomes of an act.
#[derive(Clone, Copy)]
enum Carry {
    Out,
    Nothing,
    Late,
}
