//! The cloud's load balancer, with the controller that keeps it in step with the cluster as Tencent's does.
//!
//! Each Service of type `LoadBalancer` gets a balancer of its own, as in the cloud: one `HAProxy` on an address
//! 127.77.y.z, with a listener for each port, whose backends are the pods themselves ("direct access").
//! A pod at weight 0 gets no new connections and keeps those it has. Services that name the same existing balancer share
//! its address and its id, and each has its own listeners there, which are synced with that Service alone.
//!
//! The controller lags. A change waits in its queue for half of the lag, then the sync begins: stamp, reading of
//! the Service, the other half of the lag as the call to the cloud, the change of the balancer, stamp. What
//! changes while a sync runs is in the next one. A write that changes nothing causes no sync.
//!
//! An Ingress gets one as well, which obeys its pods' weights and writes no stamps.

pub mod cloud_api;
mod front;
mod haproxy;
mod ingress;
mod listener;
mod owner;
mod service;
mod serving;
mod slots;
mod sync;
mod wanted;
mod watch;
mod weights;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use kube::{
    Client,
    runtime::events::{Recorder, Reporter},
};
use tokio::{sync::watch as watched, task::JoinHandle};
use tokio_util::task::AbortOnDropHandle;

use front::Front;
pub use listener::{Listener, Transport};
pub use owner::{Kind, Owner};
pub use service::Cloud;
pub(crate) use service::EXISTING;
pub use serving::{Serving, serving};
pub use slots::Change;

/// How the controller behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// From a change in the cluster to the change of the balancer.
    pub lag: Duration,
    /// What is wrong with it, if anything.
    pub fault: Option<Fault>,
}

impl Behaviour {
    /// A controller that does what it should, this far behind.
    #[must_use]
    pub fn lagging(lag: Duration) -> Self {
        Self { lag, fault: None }
    }
}

impl Default for Behaviour {
    /// 2 s behind, as a cloud's controller is on a good day.
    fn default() -> Self {
        Self::lagging(Duration::from_secs(2))
    }
}

/// How it behaves towards whom.
#[derive(Debug)]
struct Behaviours {
    all: Behaviour,
    /// By namespace.
    of: BTreeMap<String, Behaviour>,
}

impl Behaviours {
    fn towards(&self, owner: &Owner) -> Behaviour {
        self.of.get(&owner.namespace).copied().unwrap_or(self.all)
    }
}

/// Ways to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Changes stay in the queue until this is over.
    NeverSync,
    /// Every sync begins, fails with a Warning event, and is tried again.
    Fail,
    /// The same, and the end of each is stamped as if it had not failed.
    FailStamped,
    /// Everything is done, but no stamps are written.
    NoStamps,
}

/// One pod behind one listener, as the balancer has it at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Whose balancer has it.
    pub owner: Owner,
    /// The listener.
    pub listener: Listener,
    /// Name of the pod.
    pub pod: String,
    /// Its uid.
    pub uid: String,
    /// Where the connections go.
    pub address: SocketAddr,
    /// 0: no new ones.
    pub weight: u16,
    /// Open ones.
    pub sessions: u64,
}

/// One change of the balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// When the controller noticed that something had changed.
    pub noticed: Timestamp,
    /// When `HAProxy` had made the change.
    pub at: Timestamp,
    /// Whose balancer has it.
    pub owner: Owner,
    /// The listener.
    pub listener: Listener,
    /// Name of the pod.
    pub pod: String,
    /// Its uid.
    pub uid: String,
    /// What was done.
    pub change: Change,
}

/// The balancers of all Services and Ingresses, and their controller. All of it ends when this is dropped.
#[derive(Debug)]
pub struct Balancer {
    shared: Arc<Shared>,
    controller: Mutex<Option<AbortOnDropHandle<()>>>,
}

/// The controller is stopped. A new one starts when this is dropped, which must happen within a tokio runtime.
#[derive(Debug)]
#[must_use = "a new controller starts when this is dropped"]
pub struct Stopped<'a>(&'a Balancer);

impl Stopped<'_> {
    /// Starts a new one, which knows nothing and syncs every Service.
    pub fn start(self) {}
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.start_controller();
    }
}

/// What the controller's tasks and the readers share.
struct Shared {
    client: Client,
    recorder: Recorder,
    directory: PathBuf,
    behaviour: watched::Sender<Behaviours>,
    fronts: Mutex<BTreeMap<Owner, Arc<Front>>>,
    log: Mutex<Vec<Applied>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Balancer {
    /// Starts the controller for all namespaces of the cluster behind `client`. The files of the balancers go to
    /// `directory`; its path must be short, for a socket's may have 107 bytes only. Must be called within a tokio runtime.
    #[must_use]
    pub fn start(client: Client, directory: PathBuf, behaviour: Behaviour) -> Self {
        let reporter = Reporter { controller: "service-controller".to_owned(), instance: None };
        let shared = Arc::new(Shared {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            directory,
            behaviour: watched::Sender::new(Behaviours { all: behaviour, of: BTreeMap::new() }),
            fronts: Mutex::default(),
            log: Mutex::default(),
        });
        let balancer = Self { shared, controller: Mutex::default() };
        balancer.start_controller();
        balancer
    }

    /// Ends the controller wherever it is, perhaps between its two stamps, until what is returned is dropped. The
    /// balancers go on with what they have.
    pub fn stop_controller(&self) -> Stopped<'_> {
        self.controller.lock().unwrap_or_else(PoisonError::into_inner).take();
        Stopped(self)
    }

    /// Starts a controller that knows nothing yet and syncs every Service.
    fn start_controller(&self) {
        let controller: JoinHandle<()> = tokio::spawn(watch::run(Arc::clone(&self.shared)));
        let controller = AbortOnDropHandle::new(controller);
        self.controller.lock().unwrap_or_else(PoisonError::into_inner).replace(controller);
    }

    /// Behaves differently from now on. What waits in the queue keeps the lag it came in with.
    pub fn set(&self, behaviour: Behaviour) {
        self.shared.behaviour.send_modify(|now| now.all = behaviour);
    }

    /// The same for the Services of one namespace, whatever is set for all.
    pub fn set_in(&self, namespace: &str, behaviour: Behaviour) {
        self.shared.behaviour.send_modify(|now| {
            now.of.insert(namespace.to_owned(), behaviour);
        });
    }

    /// Where the balancer of a Service or an Ingress listens, once the controller has seen it.
    #[must_use]
    pub fn address(&self, owner: &Owner) -> Option<IpAddr> {
        self.shared.fronts().get(owner).map(|front| front.address)
    }

    /// Every pod behind every listener, at this moment. A balancer that does not answer has none.
    pub async fn backends(&self) -> Vec<Backend> {
        let fronts: Vec<_> = self.shared.fronts().values().cloned().collect();
        let backends = fronts.iter().map(|front| front.backends());
        futures::future::join_all(backends).await.into_iter().flatten().collect()
    }

    /// All changes so far, in their order.
    #[must_use]
    pub fn applied(&self) -> Vec<Applied> {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shared {
    fn fronts(&self) -> std::sync::MutexGuard<'_, BTreeMap<Owner, Arc<Front>>> {
        self.fronts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, applied: impl IntoIterator<Item = Applied>) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).extend(applied);
    }
}
