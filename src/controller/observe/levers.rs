//! What the levers hold: Service by Service, or pod by pod.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::{Look, services, target};
use crate::controller::error::Error;
use crate::controller::names::{FENCE, MANAGER};
use crate::controller::session::Session;
use crate::traffic::pods::{self as of_pods, SERVICE_NAME};
use crate::traffic::{self, CloudQuestion, Lever, LeverKind, OnPods, OnService, Site, Target, WriteRecord};
use crate::workflow::observed::{Confirmation, Held, LeverView, Observed, Site as WrittenSite};
use crate::workflow::ordinals::{Ordinal, OrdinalSet};
use crate::workflow::state::{SavedLever, State};

/// Levers that the run has written and that have left the spec since: they are still to be put back.
pub fn left_behind(state: &State, levers: &[Box<dyn Lever>]) -> Vec<Box<dyn Lever>> {
    let mut left: Vec<Box<dyn Lever>> = Vec::new();
    for saved in state.saved.iter().flat_map(|saved| &saved.levers) {
        let Some(kind) = LeverKind::named(&saved.lever) else { continue };
        if !levers.iter().chain(&left).any(|lever| is_of(lever.as_ref(), saved)) {
            left.push(traffic::of_saved(kind, &saved.name, saved.before.as_deref()));
        }
    }
    left
}

/// Whether what was saved is this lever's.
fn is_of(lever: &dyn Lever, saved: &SavedLever) -> bool {
    saved.lever == lever.kind().to_string()
        && match lever.site() {
            Site::Nothing | Site::Services(_) => true,
            Site::Pods(on) => on.saved().0 == saved.name,
        }
}

/// Whether the run knows what it has to put back of the lever. One that came into the spec in mid-run is the next
/// run's: what it wrote, nobody would take off again.
fn is_of_run(state: &State, lever: &dyn Lever) -> bool {
    state.saved.iter().flat_map(|saved| &saved.levers).any(|saved| is_of(lever, saved))
}

/// What a lever writes, as it is called in sentences.
pub fn lever_title(saved: &SavedLever) -> String {
    LeverKind::named(&saved.lever).map_or_else(|| saved.lever.clone(), |kind| kind.title(&saved.name))
}

/// Whether the lever writes the pods themselves, so that one that is made anew is attached.
pub fn writes_pods(saved: &SavedLever) -> bool {
    let Some(kind) = LeverKind::named(&saved.lever) else { return false };
    match traffic::of_saved(kind, &saved.name, saved.before.as_deref()).site() {
        Site::Pods(_) => true,
        Site::Nothing | Site::Services(_) => false,
    }
}

/// What a look at the levers begins with.
pub struct Question<'a> {
    /// Speaks with the API server.
    pub client: &'a kube::Client,
    /// Where.
    pub namespace: &'a str,
    /// Name of the StatefulSet.
    pub name: &'a str,
    /// What was recorded.
    pub state: &'a State,
    /// By our clock.
    pub now: Timestamp,
}

/// Looks at everything that the run has saved an old value of.
pub async fn look(
    question: &Question<'_>,
    session: &mut Session,
    look: &mut Look,
    seen: &mut Observed,
) -> Result<(), Error> {
    let none = BTreeMap::new();
    let target = target(question.name, look.set.as_ref(), &none);
    look.levers.retain(|(lever, _)| is_of_run(question.state, lever.as_ref()));
    session.serving.saw(&look.pods, question.now);
    let new = session.serving.since(&look.pods, &question.state.detached);
    let pods = Pods { all: &look.pods, new };
    for (lever, services) in &mut look.levers {
        let saved = question.state.saved.iter().flat_map(|saved| &saved.levers);
        for saved in saved.filter(|saved| is_of(lever.as_ref(), saved)) {
            match lever.site() {
                Site::Nothing => {}
                Site::Services(lever) => {
                    let wanted = Wanted {
                        detached: detached(question.state, &look.pods, seen),
                        clouds: &mut look.clouds,
                    };
                    let (view, live) =
                        on_service(question, lever, saved, &target, session, wanted, &pods).await?;
                    seen.levers.push(view);
                    services.extend(live);
                }
                Site::Pods(lever) => {
                    let (view, reaching) = on_pods(question, lever, saved, &pods, session).await?;
                    seen.levers.push(view);
                    *services = reaching;
                }
            }
        }
    }
    Ok(())
}

/// The pods that exist, and since when the last one that is to serve does.
struct Pods<'a> {
    all: &'a BTreeMap<Ordinal, Pod>,
    new: Option<Timestamp>,
}

/// What the cloud is asked about.
struct Wanted<'a> {
    /// The detached pods that may have connections, by uid.
    detached: BTreeMap<String, (String, IpAddr)>,
    clouds: &'a mut BTreeMap<(LeverKind, String), CloudQuestion>,
}

/// A pod without an address has no connections, and one that was never Ready owes nothing: it may well be missing in a
/// load balancer that takes in Ready pods only.
fn detached(
    state: &State,
    pods: &BTreeMap<Ordinal, Pod>,
    seen: &Observed,
) -> BTreeMap<String, (String, IpAddr)> {
    let all = pods.iter().filter(|(ordinal, _)| state.detached.contains(**ordinal));
    let all = all.filter(|(ordinal, _)| {
        seen.pods.get(ordinal).is_none_or(|view| !view.never_ready && !view.terminating)
    });
    all.filter_map(|(_, pod)| of_cloud(pod)).collect()
}

/// Uid, name and address.
pub fn of_cloud(pod: &Pod) -> Option<(String, (String, IpAddr))> {
    let ip = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    Some((pod.metadata.uid.clone()?, (pod.name_any(), ip)))
}

/// Both must say so: the controller in the cluster, and then the cloud where it is to be asked. `confirmed` is what the
/// first one says.
fn by_cloud(
    confirmed: traffic::Confirmation,
    lever: &dyn OnService,
    live: &Service,
    session: &Session,
    wanted: Wanted<'_>,
) -> traffic::Confirmation {
    let (Some(spec), traffic::Confirmation::Confirmed { at }) = (lever.confirm_by_api(), &confirmed) else {
        return confirmed;
    };
    if wanted.detached.is_empty() {
        return confirmed;
    }
    let value = lever.value(live).map(str::to_owned);
    let question = match CloudQuestion::new(spec, live, value, wanted.detached) {
        Ok(question) => question,
        Err(why) => return traffic::Confirmation::Unknown { why },
    };
    let written = (lever.kind(), live.name_any());
    let answer = session.asking.answer(&written, &question, *at);
    wanted.clouds.insert(written, question);
    answer
}

/// What has come onto the Service or a detached pod since the run began may keep a weight from being followed,
/// whatever stamps say.
fn in_force<'a>(
    lever: &dyn OnService,
    live: &Service,
    mut detached: impl Iterator<Item = &'a Pod>,
    write: &WriteRecord,
    now: Timestamp,
) -> traffic::Confirmation {
    let against = lever.obstacles(live).into_iter().next();
    match against.or_else(|| detached.find_map(|pod| lever.stands_against(pod))) {
        Some(problem) => traffic::Confirmation::Unknown { why: problem.to_string() },
        None => lever.confirmed(live, write, now),
    }
}

/// Nothing is known of the connections of a Service that is gone.
async fn on_service(
    question: &Question<'_>,
    lever: &dyn OnService,
    saved: &SavedLever,
    target: &Target<'_>,
    session: &mut Session,
    wanted: Wanted<'_>,
    pods: &Pods<'_>,
) -> Result<(LeverView, Option<Service>), Error> {
    let api: Api<Service> = Api::namespaced(question.client.clone(), question.namespace);
    let live = api.get_opt(&saved.name).await.map_err(Error::api("reading a Service"))?;
    let Some(live) = live.filter(|live| live.metadata.deletion_timestamp.is_none()) else {
        let gone = LeverView {
            name: lever_title(saved),
            held: Held::Gone,
            confirmed: Confirmation::Unknown("the Service is gone; make it again".into()),
            taken: Confirmation::Unknown("the Service is gone; make it again".into()),
            restored: true,
            site: WrittenSite::Object { fence: None },
        };
        return Ok((gone, None));
    };
    let before = saved.before.as_deref();
    let key = (lever.kind(), saved.name.clone());
    let value = lever.value(&live).map(str::to_owned);
    let write = session.writes.entry(key.clone()).or_insert_with(|| WriteRecord::unknown(MANAGER));
    write.saw(&live);
    let out = pods.all.iter().filter(|(ordinal, _)| question.state.detached.contains(**ordinal));
    let confirmed = in_force(lever, &live, out.map(|(_, pod)| pod), write, question.now);
    let confirmed = by_cloud(confirmed, lever, &live, session, wanted);
    let rendered = lever.render(&live, target, before, &OrdinalSet::new());
    let restored = rendered.is_ok_and(|rendered| rendered == value);
    let view = LeverView {
        name: lever_title(saved),
        held: held(lever.held(&live, target, before)),
        confirmed: confirmation(confirmed, session, key, value, question.now),
        taken: taken(lever, std::slice::from_ref(&live), pods.new, question.now),
        restored,
        site: WrittenSite::Object { fence: live.annotations().get(FENCE).cloned() },
    };
    Ok((view, Some(live)))
}

/// The Services are looked for at each look: which of them send to the pods is what the lever is about.
async fn on_pods(
    question: &Question<'_>,
    lever: &dyn OnPods,
    saved: &SavedLever,
    pods: &Pods<'_>,
    session: &mut Session,
) -> Result<(LeverView, Vec<Service>), Error> {
    let Pods { all: pods, new } = *pods;
    let mut reaching = services(question.client, question.namespace).await?;
    reaching.retain(|service| pods.values().any(|pod| lever.reaches(service, pod)));
    let slices = slices(question, &reaching).await?;
    let held_now = of_pods::held(lever, pods, &question.state.detached);
    let key = (lever.kind(), saved.name.clone());
    let seen_by_us = (MANAGER, question.now);
    let memory = session.pods.entry(key.clone()).or_default();
    memory.saw(lever, pods, &reaching, seen_by_us);
    let confirmed = of_pods::confirmed(lever, pods, &reaching, &slices, memory, seen_by_us);
    let basis = of_pods::basis(lever, pods);
    let view = LeverView {
        name: lever_title(saved),
        restored: of_pods::next(lever, pods, &OrdinalSet::new()).is_none(),
        held: held(held_now),
        confirmed: confirmation(confirmed, session, key, Some(basis), question.now),
        taken: taken(lever, &reaching, new, question.now),
        site: WrittenSite::Pods,
    };
    Ok((view, reaching))
}

/// The `EndpointSlices` of these Services.
async fn slices(question: &Question<'_>, of: &[Service]) -> Result<Vec<EndpointSlice>, Error> {
    if of.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<String> = of.iter().map(ResourceExt::name_any).collect();
    let by_service = ListParams::default().labels(&format!("{SERVICE_NAME} in ({})", names.join(",")));
    let api: Api<EndpointSlice> = Api::namespaced(question.client.clone(), question.namespace);
    Ok(api.list(&by_service).await.map_err(Error::api("listing the EndpointSlices"))?.items)
}

fn held(held: traffic::Held) -> Held {
    match held {
        traffic::Held::Ordinals(ordinals) => Held::Ordinals(ordinals),
        traffic::Held::Foreign { what } => Held::Foreign(what),
        traffic::Held::Unreadable { why } => Held::Unreadable(why),
    }
}

/// What all of the Services say of the new pods, of which the last became Ready at `new`.
fn taken<L: Lever + ?Sized>(
    lever: &L,
    services: &[Service],
    new: Option<Timestamp>,
    now: Timestamp,
) -> Confirmation {
    let Some(new) = new else { return Confirmation::Confirmed(Timestamp::UNIX_EPOCH) };
    let told = services.iter().map(|service| lever.taken(service, new, now));
    match told.fold(traffic::Confirmation::Confirmed { at: new }, traffic::Confirmation::and) {
        traffic::Confirmation::Confirmed { at } => Confirmation::Confirmed(at),
        traffic::Confirmation::Pending { why } => Confirmation::Pending(why),
        traffic::Confirmation::Doubtful { why } => Confirmation::Doubtful(why),
        traffic::Confirmation::Unknown { why } => Confirmation::Unknown(why),
    }
}

/// Settling is counted from when this process first knew: the stamps have seconds only, and another
/// clock.
fn confirmation(
    confirmation: traffic::Confirmation,
    session: &mut Session,
    key: (LeverKind, String),
    value: Option<String>,
    now: Timestamp,
) -> Confirmation {
    match confirmation {
        traffic::Confirmation::Confirmed { at: _ } => {
            let known =
                session.confirmed.get(&key).filter(|(known, _)| *known == value).map(|(_, since)| *since);
            let since = known.unwrap_or(now);
            session.confirmed.insert(key, (value, since));
            Confirmation::Confirmed(since)
        }
        traffic::Confirmation::Pending { why } => unconfirmed(session, &key, Confirmation::Pending(why)),
        traffic::Confirmation::Doubtful { why } => unconfirmed(session, &key, Confirmation::Doubtful(why)),
        traffic::Confirmation::Unknown { why } => unconfirmed(session, &key, Confirmation::Unknown(why)),
    }
}

fn unconfirmed(session: &mut Session, key: &(LeverKind, String), confirmation: Confirmation) -> Confirmation {
    session.confirmed.remove(key);
    confirmation
}

#[cfg(test)]
mod tests;
