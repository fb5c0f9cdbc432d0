//! The world: cluster, load balancers, the object with what is recorded in it, the operator's memory.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use lossless_upgrade::workflow::checks::{GUARDS, Guard};
use lossless_upgrade::workflow::ordinals::Ordinal;
use lossless_upgrade::workflow::plan::Plan;
use lossless_upgrade::workflow::state::{State, Step};
use lossless_upgrade::workflow::words::Actions;

use super::balancer::Balancer;
use super::cluster::Cluster;
use super::operator::{Crash, Late, Memory};

/// How the probe answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// By a counter that must be started in each pod.
    Counter,
    /// The counter is refused by the cluster.
    Refused,
    /// Nothing is to be started, and it answers.
    Http,
    /// It does not answer.
    Silent,
}

/// What was written, and how often.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Changes of the recorded state.
    pub records: usize,
    /// The steps, all that were passed through.
    pub trail: Vec<Step>,
    /// Writes to lever objects.
    pub levers: usize,
    pub counters: usize,
    pub fences: usize,
    /// Uids of the pods that were nudged.
    pub nudged: BTreeSet<String>,
    /// Deletions of ours by uid, with the image that the pod ran.
    pub deleted: BTreeMap<String, String>,
    pub scales: usize,
    pub templates: usize,
}

/// Everything.
#[derive(Clone, Debug)]
pub struct World {
    /// Seconds since the story began.
    pub now: i64,
    pub plan: Plan,
    pub guards: Vec<Guard>,
    pub cluster: Cluster,
    pub balancers: Vec<Balancer>,
    pub probe: Probe,
    /// New connections a second that no lever covers.
    pub uncovered: u32,
    /// When somebody last wrote over our entries in a lever.
    pub tampered: i64,
    pub deleting: bool,
    pub namespace_terminating: bool,
    /// The finalizer was removed: the object is gone.
    pub gone: bool,
    pub actions: Actions,
    /// What is recorded in the object's status.
    pub state: State,
    pub memory: Memory,
    /// Operators that were started, the one that runs included.
    pub processes: u32,
    /// By how many seconds the running operator's clock is ahead.
    pub skew: i64,
    /// Whether an operator knows that clocks differ; off only to show what that is for.
    pub doubts_clocks: bool,
    /// Whether our marks move the version of what they are set on; off only to show what that is for.
    pub marks_move: bool,
    /// What a stalled process may still do.
    pub late: Option<Late>,
    /// The operator dies at these decisions (counted from 0) in this way.
    pub crashes: BTreeMap<usize, Crash>,
    pub decisions: usize,
    pub counts: Counts,
    pub story: Vec<String>,
    pub violations: Vec<String>,
    /// The fewest pods that really served at any moment.
    pub fewest_serving: usize,
}

impl World {
    /// `replicas` good pods of `v1` behind one load balancer that follows within two seconds.
    pub fn new(replicas: u32, plan: Plan) -> Self {
        Self::beginning_at(0, replicas, plan)
    }

    /// The same with pods whose ordinals begin there.
    pub fn beginning_at(first: Ordinal, replicas: u32, plan: Plan) -> Self {
        let mut world = Self {
            now: 0,
            plan,
            guards: GUARDS.to_vec(),
            cluster: Cluster::new(first, replicas),
            balancers: vec![Balancer::new("web", 2)],
            probe: Probe::Counter,
            uncovered: 0,
            tampered: i64::MIN / 2,
            deleting: false,
            namespace_terminating: false,
            gone: false,
            actions: Actions::default(),
            state: State::default(),
            memory: Memory::default(),
            processes: 1,
            skew: 0,
            doubts_clocks: true,
            marks_move: true,
            late: None,
            crashes: BTreeMap::new(),
            decisions: 0,
            counts: Counts::default(),
            story: Vec::new(),
            violations: Vec::new(),
            fewest_serving: usize::MAX,
        };
        world.cluster.tick(0);
        for balancer in &mut world.balancers {
            balancer.see(&world.cluster.pods, -balancer.intake);
        }
        world.connect();
        world
    }

    /// The virtual moment, by the clock of the operator that runs.
    pub fn time(&self) -> Timestamp {
        self.time_of(self.now)
    }

    /// The same of another moment.
    pub fn time_of(&self, second: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + second + self.skew).unwrap()
    }

    /// One second.
    pub fn tick(&mut self) {
        self.now += 1;
        let condemned = self.cluster.tick(self.now);
        self.judge_scale_down(&condemned);
        for balancer in &mut self.balancers {
            balancer.meet(&self.cluster.pods);
            balancer.see(&self.cluster.pods, self.now);
            balancer.tick(self.now);
        }
        self.connect();
        self.fewest_serving = self.fewest_serving.min(self.serving());
        self.operate();
    }

    /// Whether a load balancer that has the pod sends it something new.
    pub fn attached(&self, ordinal: Ordinal) -> bool {
        self.balancers.iter().any(|balancer| !balancer.gone && !balancer.in_force.contains(ordinal))
    }

    /// The pods that really serve.
    pub fn serving(&self) -> usize {
        let sent =
            |ordinal, pod| self.balancers.iter().any(|balancer| balancer.sends(ordinal, pod, self.now));
        self.cluster.pods.iter().filter(|(ordinal, pod)| pod.ready && sent(**ordinal, pod)).count()
    }

    /// Clients connect.
    fn connect(&mut self) {
        let (now, lengths, balancers) = (self.now, &self.cluster.lengths, &self.balancers);
        for (ordinal, pod) in self.cluster.pods.iter_mut().filter(|(_, pod)| pod.ready) {
            let sending = balancers.iter().filter(|balancer| balancer.sends(*ordinal, pod, now)).count();
            for one in 0..sending {
                let turn = usize::try_from(now).unwrap() + *ordinal as usize + one;
                pod.connections.push(now + lengths[turn % lengths.len()]);
                pod.opened += 1;
            }
            pod.opened += self.uncovered;
        }
    }

    /// Runs until `over`, at most for so many seconds; false when it was not over by then.
    pub fn run_until(&mut self, most: i64, over: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + most;
        while self.now < end {
            if over(self) {
                return true;
            }
            self.tick();
        }
        over(self)
    }

    /// Nothing is under way and nothing is owed any more.
    pub fn at_rest(&self) -> bool {
        self.state.run.is_none() && self.memory.asleep
    }

    /// Something happens that is not the operator's doing.
    pub fn happens(&mut self, what: &str) {
        self.story.push(format!("{}  >> {what}", self.clock()));
    }

    /// The user (or a pipeline) sets the image.
    pub fn set_image(&mut self, image: &str) {
        self.happens(&format!("kubectl set image web={image}"));
        self.cluster.write(self.now, None, Some(image), false);
    }

    /// The user (or a pipeline) sets the replicas.
    pub fn set_replicas(&mut self, replicas: u32) {
        self.happens(&format!("kubectl scale --replicas {replicas}"));
        self.cluster.write(self.now, Some(replicas), None, false);
    }

    /// A pod is evicted.
    pub fn evict(&mut self, ordinal: Ordinal) {
        self.happens(&format!("web-{ordinal} is evicted"));
        self.cluster.delete(ordinal, self.now, false);
    }

    /// Somebody takes our entries out of a lever.
    pub fn overwrite(&mut self, balancer: usize) {
        self.tampered = self.now;
        self.balancers[balancer].overwrite(self.now);
    }

    /// The Service of a load balancer is deleted, or made anew. One that comes back has none of our entries, as after
    /// a hand that wrote over them.
    pub fn vanish(&mut self, balancer: usize, gone: bool) {
        let balancer = &mut self.balancers[balancer];
        if balancer.gone && !gone {
            self.tampered = self.now;
        }
        balancer.vanish(gone, self.now);
    }

    /// The user pauses or resumes.
    pub fn pause(&mut self, paused: bool) {
        self.happens(if paused { "spec.paused: true" } else { "spec.paused: false" });
        self.plan.paused = paused;
        self.memory.last = None;
    }

    /// The user deletes the object.
    pub fn delete_object(&mut self) {
        self.happens("kubectl delete lu web");
        self.deleting = true;
    }

    /// The user sets an action annotation.
    pub fn act(&mut self, action: &str) {
        self.happens(&format!("annotation {action}={}", self.now));
        let value = Some(self.now.to_string());
        match action {
            "abort" => self.actions.abort = value,
            "rollback" => self.actions.rollback = value,
            "retry" => self.actions.retry = value,
            other => panic!("no such action: {other}"),
        }
    }

    /// The operator's process ends and another begins: only the recorded state is left.
    pub fn crash(&mut self) {
        self.happens("the operator dies and is started again");
        self.processes += 1;
        self.memory = Memory::default();
    }
}
