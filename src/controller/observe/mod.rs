//! Reads only: the cluster as the procedure sees it. Everything is read from the API server at the
//! moment of the look, so that no cache can be behind when something is deleted.

mod complaints;
mod levers;
mod pods;
mod preflight;
mod set;
mod versions;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::api::ListParams;
use kube::runtime::reflector::Store;
use kube::{Api, ResourceExt};

use super::cloud::{self, Written};
use super::error::Error;
use super::names::{ABORT, RETRY, ROLLBACK};
use super::session::Session;
use super::{Controller, Guarded, count::Pace, names};
use crate::api::LosslessUpgrade;
use crate::drain::nudge::Nudges;
use crate::drain::socket::{CounterSettings, counted_ports};
use crate::drain::{self, Means, PodTarget, Probe};
use crate::runtime::clock::Clock;
use crate::runtime::metrics::Key;
use crate::traffic::{self, CloudQuestion, Lever, Target};
use crate::workflow::observed::{DrainView, Observed};
use crate::workflow::ordinals::Ordinal;
use crate::workflow::plan::Plan;
use crate::workflow::span::Span;
use crate::workflow::state::{State, Step};
use crate::workflow::words::Actions;

pub use crate::drain::prometheus::allow::Allowed;
pub use crate::tencent::Endpoint;
pub use levers::{lever_title, writes_pods};
pub use pods::{Listed, explained_per_second, of as pods_of, selector as pod_selector, view as pod_view};
pub use preflight::selecting;
pub use set::{first as first_ordinal, view as set_view};

/// One look: what the procedure sees, and the objects behind it, whose versions each write carries.
pub struct Look {
    /// What the procedure sees.
    pub seen: Observed,
    /// The StatefulSet.
    pub set: Option<StatefulSet>,
    /// Its pods.
    pub pods: BTreeMap<Ordinal, Pod>,
    /// The Services that the levers write, by lever in the order of the spec.
    pub levers: Vec<(Box<dyn Lever>, Vec<Service>)>,
    /// The probes.
    pub probes: Vec<Box<dyn Probe>>,
    /// What is done to a pod when its drain begins.
    pub nudges: Nudges,
    /// What a cloud is to be asked before a detach counts as confirmed.
    pub clouds: BTreeMap<Written, CloudQuestion>,
    /// What the user should know and what does not stop the run.
    pub warnings: Vec<String>,
}

/// What it takes to look: the operator has it, and whoever wants to see what the operator would.
#[derive(Clone, Copy)]
pub struct Eye<'a> {
    /// Speaks with the API server.
    pub client: &'a kube::Client,
    /// Name of the process that looks.
    pub process: &'a str,
    /// Image of drain counters.
    pub counter_image: Option<&'a str>,
    /// Which addresses the probe `prometheus` may ask.
    pub prometheus_allow: &'a Allowed,
    /// Where Tencent's API is.
    pub tencent: &'a Endpoint,
    /// Commands may be run in pods.
    pub allow_exec: bool,
    /// Time.
    pub clock: Clock,
    /// All objects, to find a second one on a target.
    pub objects: &'a Store<Guarded>,
}

impl Eye<'_> {
    /// What it asks a cloud with.
    pub fn cloud(&self, namespace: &str) -> cloud::Means {
        cloud::Means {
            client: self.client.clone(),
            namespace: namespace.to_owned(),
            tencent: self.tencent.clone(),
        }
    }
}

/// Looks at everything that concerns the object.
///
/// # Errors
/// A read that failed: then nothing is decided.
pub async fn look(
    eye: Eye<'_>,
    object: &LosslessUpgrade,
    plan: &Plan,
    state: &State,
    session: &mut Session,
) -> Result<Look, Error> {
    let (mut look, mut seen) = glance(eye, object, plan, state, session).await?;
    if state.run.is_some() {
        let question = levers::Question {
            client: eye.client,
            namespace: &object.namespace().unwrap_or_default(),
            name: &object.spec.target_ref.name,
            state,
            now: eye.clock.now(),
        };
        levers::look(&question, session, &mut look, &mut seen).await?;
        complaints::hear(&question, session, &look, &mut seen).await;
        let counted = std::mem::take(&mut seen.drains);
        seen.drains = look.still_counted(counted, object, state, session);
    } else if preflight::may_begin(plan, &seen) {
        preflight::look(eye, object, &mut look, &mut seen).await?;
    }
    look.seen = seen;
    Ok(look)
}

/// Looks as if a run were to begin now, whether or not one is wanted or under way: nothing that stands
/// against it is left out.
///
/// # Errors
/// A read that failed.
pub async fn prospect(eye: Eye<'_>, object: &LosslessUpgrade, plan: &Plan) -> Result<Look, Error> {
    let (mut look, mut seen) = glance(eye, object, plan, &State::default(), &mut Session::default()).await?;
    if look.set.is_some() {
        preflight::look(eye, object, &mut look, &mut seen).await?;
    }
    look.seen = seen;
    Ok(look)
}

/// What every look begins with.
async fn glance(
    eye: Eye<'_>,
    object: &LosslessUpgrade,
    plan: &Plan,
    state: &State,
    session: &mut Session,
) -> Result<(Look, Observed), Error> {
    let client = eye.client;
    let namespace = object.namespace().unwrap_or_default();
    let name = &object.spec.target_ref.name;
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), &namespace);
    let set = sets.get_opt(name).await.map_err(Error::api("reading the StatefulSet"))?;
    if set.is_none() && state.run.is_some() {
        gone_for_sure(&sets, name).await?;
    }
    let set_view = set.as_ref().map(set::view).transpose()?;
    let mut pods = match &set {
        Some(set) => pods::of(client, &namespace, set, &mut session.listed).await?,
        None => BTreeMap::new(),
    };
    // While it goes its pods are let go of, one after the other.
    let stays = set.as_ref().is_some_and(|set| set.metadata.deletion_timestamp.is_none());
    if state.run.is_some() && !stays {
        pods.extend(pods::left_by(client, &namespace, name).await?);
    }
    let means = Means {
        client: client.clone(),
        counter: CounterSettings {
            image: eye.counter_image.map(str::to_owned),
            manager: names::MANAGER.to_owned(),
            life: Span::seconds((plan.drain.timeout + set::COUNTER_SPARE).as_secs()),
        },
        idle_after: object.spec.drain.idle_after,
        now: {
            let clock = eye.clock;
            std::sync::Arc::new(move || clock.now())
        },
        prometheus_allow: eye.prometheus_allow.clone(),
        tencent: eye.tencent.clone(),
        allow_exec: eye.allow_exec,
    };
    let probes = object.spec.drain.probes.iter().map(|spec| drain::probe(spec, &means));
    let probes = probes.collect::<Result<Vec<_>, _>>().map_err(Error::Probe)?;
    let nudges = Nudges::new(&object.spec.drain.on_start, &means).map_err(Error::Nudge)?;
    let run = state.run.as_ref().map(|run| run.id.as_str());
    let counter = probes.iter().any(|probe| probe.counter().is_some());
    let views = pods.iter().map(|(ordinal, pod)| {
        (*ordinal, pods::view(pod, set.as_ref(), counter.then_some(run.unwrap_or_default())))
    });
    let seen = Observed {
        deleting: object.metadata.deletion_timestamp.is_some(),
        namespace_terminating: namespace_terminating(client, object, &namespace).await?,
        set: set_view,
        pods: views.collect(),
        levers: Vec::new(),
        drains: session.counting.views(eye.clock.monotonic()),
        problems: Vec::new(),
        levers_before: Vec::new(),
        templates: BTreeMap::new(),
        actions: actions(object),
        process: session.process(eye.process),
        yields_until: session.yields(eye.process, object, state, eye.clock.now()),
        known_since: session.knows(state, eye.clock.now()),
    };
    let mut levers = traffic::levers(&object.spec.traffic.levers)?;
    levers.extend(levers::left_behind(state, &levers));
    let look = Look {
        seen: Observed::default(),
        pods,
        levers: levers.into_iter().map(|lever| (lever, Vec::new())).collect(),
        probes,
        nudges,
        clouds: BTreeMap::new(),
        set,
        warnings: Vec::new(),
    };
    Ok((look, seen))
}

/// That the target of a run is gone ends the run, so it is asked in another way too.
async fn gone_for_sure(sets: &Api<StatefulSet>, name: &str) -> Result<(), Error> {
    let by_name = ListParams::default().fields(&format!("metadata.name={name}"));
    let found = sets.list(&by_name).await.map_err(Error::api("listing the StatefulSet"))?;
    let doubt = "the StatefulSet was not found by its name and stands in the list; looking again";
    if found.items.is_empty() { Ok(()) } else { Err(Error::Incomplete(doubt)) }
}

/// The target as the levers know it.
pub fn target<'a>(
    name: &'a str,
    set: Option<&'a StatefulSet>,
    none: &'a BTreeMap<String, String>,
) -> Target<'a> {
    let spec = set.and_then(|set| set.spec.as_ref());
    let template = spec.and_then(|spec| spec.template.metadata.as_ref());
    Target {
        set: name,
        governing: spec.and_then(|spec| spec.service_name.as_deref()).unwrap_or_default(),
        pod_labels: template.and_then(|meta| meta.labels.as_ref()).unwrap_or(none),
        pod_annotations: template.and_then(|meta| meta.annotations.as_ref()).unwrap_or(none),
        selector: spec.map(|spec| &spec.selector),
    }
}

/// Only asked when the object goes: whether it is worth putting anything back.
async fn namespace_terminating(
    client: &kube::Client,
    object: &LosslessUpgrade,
    name: &str,
) -> Result<bool, Error> {
    if object.metadata.deletion_timestamp.is_none() {
        return Ok(false);
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = match namespaces.get_opt(name).await {
        // Confined to some namespaces by its rights: then it is not known, and the orderly end is the safe one.
        Err(kube::Error::Api(status)) if status.is_forbidden() => return Ok(false),
        other => other.map_err(Error::api("reading the namespace"))?,
    };
    Ok(namespace.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()))
}

fn actions(object: &LosslessUpgrade) -> Actions {
    let word = |name: &str| object.annotations().get(name).filter(|value| !value.is_empty()).cloned();
    Actions { abort: word(ABORT), rollback: word(ROLLBACK), retry: word(RETRY) }
}

impl Look {
    /// Begins to count the pods that are to be counted, and ends the counting of all others.
    pub fn count(
        &self,
        controller: &Controller,
        object: &LosslessUpgrade,
        state: &State,
        session: &mut Session,
        key: &Key,
    ) {
        let uids = crate::workflow::counted(state, &self.seen);
        session.counting.keep(&uids);
        if self.probes.is_empty() {
            return;
        }
        let drain = &object.spec.drain;
        for (ordinal, pod) in &self.pods {
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            if !uids.contains(uid) {
                continue;
            }
            let pace = Pace {
                interval: drain.interval.into(),
                stable_for: drain.stable_for.into(),
                new_per_second: f64::from(drain.max_new_per_second) + explained_per_second(pod),
                first: is_first_count(state),
            };
            let wake = (controller.waker.clone(), key.clone());
            let target = self.pod_target(*ordinal, pod, state);
            let basis = basis(object, &target, pace.first);
            if !session.counting.has(uid, &basis) {
                session.counting.start(basis, &self.probes, &target, pace, controller.context.clock, wake);
            }
        }
    }

    /// What was counted, of the pods that are counted as they are to be from now on.
    fn still_counted(
        &self,
        mut counted: BTreeMap<String, DrainView>,
        object: &LosslessUpgrade,
        state: &State,
        session: &Session,
    ) -> BTreeMap<String, DrainView> {
        let mut still = BTreeMap::new();
        for (ordinal, pod) in &self.pods {
            let target = self.pod_target(*ordinal, pod, state);
            if session.counting.has(&target.uid, &basis(object, &target, is_first_count(state)))
                && let Some(view) = counted.remove(&target.uid)
            {
                still.insert(target.uid.clone(), self.on_other_ports(pod, &target).unwrap_or(view));
            }
        }
        still
    }

    /// A counter that was started before a Service got another port does not count on it.
    fn on_other_ports(&self, pod: &Pod, target: &PodTarget) -> Option<DrainView> {
        let wanted = self.probes.iter().find_map(|probe| probe.counter())?.ports(target);
        let counted = counted_ports(pod, &target.run)?;
        (counted != *wanted).then(|| {
            DrainView::Unknown(format!(
                "its drain counter counts on the ports {counted:?}, and the Services send to {wanted:?} now"
            ))
        })
    }

    /// A pod as the probes need it.
    pub fn pod_target(&self, ordinal: Ordinal, pod: &Pod, state: &State) -> PodTarget {
        let services: Vec<Service> =
            self.levers.iter().flat_map(|(_, services)| services.iter().cloned()).collect();
        let run = state.run.as_ref().map(|run| run.id.clone()).unwrap_or_default();
        pods::target(ordinal, pod, &services, run)
    }
}

/// Another spec or another address: what was counted until then says nothing, nor does the first count of a drain.
fn basis(object: &LosslessUpgrade, target: &PodTarget, first: bool) -> String {
    format!("{:?} {target:?} {first}", object.spec.drain)
}

/// Nothing is detached yet; it is found out whether the probes work.
fn is_first_count(state: &State) -> bool {
    state.run.as_ref().is_some_and(|run| run.step == Step::Preflight)
}

/// All Services of a namespace.
async fn services(client: &kube::Client, namespace: &str) -> Result<Vec<Service>, Error> {
    let api: Api<Service> = Api::namespaced(client.clone(), namespace);
    let list = api.list(&ListParams::default()).await.map_err(Error::api("listing the Services"))?;
    Ok(list.items)
}
