//! What this process remembers of an object. Nothing here is needed to go on after a crash: without
//! it a wait takes longer, and never shorter.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt};
use tokio::task::AbortHandle;

use super::cloud::Asking;
use super::count::Counting;
use super::observe::Listed;
use super::wake::{self, Waker};
use crate::api::LosslessUpgrade;
use crate::runtime::metrics::Key;
use crate::traffic::pods::Memory;
use crate::traffic::{LeverKind, Serving, WriteRecord};
use crate::workflow::state::State;
use crate::workflow::turn::later;

/// The object that something is about.
pub fn key<K: ResourceExt>(object: &K) -> Key {
    Key { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

/// A process that took a run over and then writes nothing for so long may be gone.
const SILENCE: Duration = Duration::from_secs(30);

/// The sessions of all objects.
#[derive(Default)]
pub struct Sessions(Mutex<HashMap<Key, Arc<tokio::sync::Mutex<Session>>>>);

impl Sessions {
    /// The session of an object, made when there is none.
    pub fn of(&self, key: &Key) -> Arc<tokio::sync::Mutex<Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default().clone()
    }

    /// The object is gone.
    pub fn forget(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Reconciles of the object that failed in a row.
    pub fn failures(&self, key: &Key) -> u32 {
        self.of(key).try_lock().map_or(1, |session| session.failures)
    }
}

/// What is remembered of one object.
#[derive(Default)]
pub struct Session {
    /// Reconciles that failed in a row.
    pub failures: u32,
    /// What the last of them failed with.
    pub trouble: Option<String>,
    /// Writes of which it is not known what became of them: they may still be made.
    pub unknown_outcomes: u32,
    /// A write that is to end a doubt was put off to a better moment.
    pub put_off: bool,
    /// The version of the object that was left alone, as it cannot be read.
    pub left_alone: Option<String>,
    /// The run that this process knows of, and since when.
    known: Option<(String, Timestamp)>,
    /// The run that this process has carried.
    carried: Option<String>,
    /// The version of the object that another carrier has written, and when it was first seen.
    others: Option<(String, Timestamp)>,
    /// Our last write to each Service that a lever writes.
    pub writes: BTreeMap<(LeverKind, String), WriteRecord>,
    /// How new the pods are that were read last.
    pub listed: Listed,
    /// What was seen of the pods that serve.
    pub serving: Serving,
    /// What was seen of the pods of each lever that writes them.
    pub pods: BTreeMap<(LeverKind, String), Memory>,
    /// Since when each Service's value has been known to be in force, with that value.
    pub confirmed: BTreeMap<(LeverKind, String), (Option<String>, Timestamp)>,
    /// The tasks that ask the probes.
    pub counting: Counting,
    /// The tasks that ask a cloud.
    pub asking: Asking,
    /// When the status was last written for what is live alone.
    pub live_written: Option<Duration>,
    /// Something live is newer and waits until it may be written.
    pub live_waits: bool,
    /// When the object is to be looked at by the clock.
    pub scheduled: Option<Duration>,
    watches: Option<Watches>,
}

/// What a run is woken by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// By what its pods are found.
    pub selector: String,
    /// `EndpointSlices` too: a lever on pods is confirmed by them.
    pub slices: bool,
}

/// The watches of a run; they end with it.
struct Watches {
    wanted: Wanted,
    tasks: Vec<AbortHandle>,
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Session {
    /// The name under which this process carries the run. A write that may still be made is as good
    /// as one of another process, so that the name changes with each of them.
    pub fn process(&self, process: &str) -> String {
        format!("{process}.{}", self.unknown_outcomes)
    }

    /// Until when a run is left to another process that took it over from this one: as long as that one
    /// shows a sign of life now and then. Two that do not elect a leader would take it from each other
    /// without end.
    pub fn yields(
        &mut self,
        process: &str,
        object: &LosslessUpgrade,
        state: &State,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let run = state.run.as_ref()?;
        let ours = run.carrier.rsplit_once('.').is_some_and(|(carrier, _)| carrier == process);
        if ours {
            self.carried = Some(run.id.clone());
            self.others = None;
            return None;
        }
        if self.carried.as_ref() != Some(&run.id) {
            return None;
        }
        let version = object.resource_version().unwrap_or_default();
        let since = match &self.others {
            Some((seen, since)) if *seen == version => *since,
            Some(_) | None => now,
        };
        self.others = Some((version, since));
        Some(later(since, SILENCE))
    }

    /// Since when this process has known of the run that is recorded.
    pub fn knows(&mut self, state: &State, now: Timestamp) -> Timestamp {
        let Some(run) = &state.run else {
            self.known = None;
            return now;
        };
        match &self.known {
            Some((known, since)) if *known == run.id => *since,
            Some(_) | None => {
                self.known = Some((run.id.clone(), now));
                now
            }
        }
    }

    /// Watches what a run is about while there is a run, so that it is woken by it.
    pub fn watch(&mut self, client: &kube::Client, waker: &Waker, key: &Key, wanted: Option<Wanted>) {
        let Some(wanted) = wanted else {
            self.watches = None;
            return;
        };
        if self.watches.as_ref().is_some_and(|watches| watches.wanted == wanted) {
            return;
        }
        let all = watcher::Config::default;
        let mut tasks = vec![
            follow::<Pod>(client, waker, key, all().labels(&wanted.selector)),
            follow::<Service>(client, waker, key, all()),
        ];
        if wanted.slices {
            tasks.push(follow::<EndpointSlice>(client, waker, key, all()));
        }
        self.watches = Some(Watches { wanted, tasks });
    }
}

fn follow<K>(client: &kube::Client, waker: &Waker, key: &Key, config: watcher::Config) -> AbortHandle
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
{
    let api: Api<PartialObjectMeta<K>> = Api::namespaced(client.clone(), &key.namespace);
    tokio::spawn(wake::on_change(api, config, waker.clone(), key.clone())).abort_handle()
}
