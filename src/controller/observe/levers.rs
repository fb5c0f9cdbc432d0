//! What the levers hold, Service by Service.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use kube::{Api, ResourceExt};

use super::{Look, target};
use crate::controller::error::Error;
use crate::controller::names::{FENCE, MANAGER};
use crate::controller::session::Session;
use crate::traffic::{self, Lever, LeverKind, Target, WriteRecord};
use crate::workflow::observed::{Confirmation, Held, LeverView, Observed};
use crate::workflow::ordinals::OrdinalSet;
use crate::workflow::state::State;

/// Levers that the run has written and that have left the spec since: they are still to be put back.
pub fn left_behind(state: &State, levers: &[Box<dyn Lever>]) -> Vec<Box<dyn Lever>> {
    let saved = state.saved.iter().flat_map(|saved| &saved.levers);
    let mut kinds: Vec<LeverKind> = LeverKind::ALL
        .into_iter()
        .filter(|kind| saved.clone().any(|saved| saved.lever == kind.to_string()))
        .collect();
    kinds.retain(|kind| levers.iter().all(|lever| lever.kind() != *kind));
    kinds.into_iter().map(traffic::of_kind).collect()
}

/// A lever's object, as it is called in sentences.
pub fn lever_title(kind: LeverKind, service: &str) -> String {
    format!("{kind} on Service {service}")
}

/// Looks at every Service that the run has saved an old value of. A Service that is gone is
/// Unreadable: nothing is known of its connections.
#[expect(clippy::too_many_arguments, reason = "everything that a look knows goes into this one")]
pub async fn look(
    client: &kube::Client,
    namespace: &str,
    name: &str,
    state: &State,
    session: &mut Session,
    look: &mut Look,
    seen: &mut Observed,
    now: Timestamp,
) -> Result<(), Error> {
    let api: Api<Service> = Api::namespaced(client.clone(), namespace);
    let none = BTreeMap::new();
    let target = target(name, look.set.as_ref(), &none);
    for (lever, services) in &mut look.levers {
        let kind = lever.kind();
        let saved = state
            .saved
            .iter()
            .flat_map(|saved| &saved.levers)
            .filter(|saved| saved.lever == kind.to_string());
        for saved in saved {
            let before = saved.before.as_deref();
            let live = api.get_opt(&saved.name).await.map_err(Error::api("reading a Service"))?;
            let Some(live) = live.filter(|live| live.metadata.deletion_timestamp.is_none()) else {
                seen.levers.push(LeverView {
                    name: lever_title(kind, &saved.name),
                    held: Held::Unreadable("the Service is gone".into()),
                    confirmed: Confirmation::Unknown("the Service is gone".into()),
                    restored: true,
                    fence: None,
                });
                continue;
            };
            seen.levers.push(view(lever.as_ref(), &live, &target, before, &saved.name, session, now));
            services.push(live);
        }
    }
    Ok(())
}

fn view(
    lever: &dyn Lever,
    live: &Service,
    target: &Target<'_>,
    before: Option<&str>,
    name: &str,
    session: &mut Session,
    now: Timestamp,
) -> LeverView {
    let key = (lever.kind(), name.to_owned());
    let value = lever.value(live).map(str::to_owned);
    let write = session.writes.entry(key.clone()).or_insert_with(|| WriteRecord::unknown(MANAGER));
    write.saw(live);
    let confirmed = lever.confirmed(live, write, now);
    let rendered = lever.render(live, target, before, &OrdinalSet::new());
    let restored = rendered.is_ok_and(|rendered| rendered == value);
    LeverView {
        name: lever_title(lever.kind(), name),
        held: held(lever.held(live, target, before)),
        confirmed: confirmation(confirmed, session, key, value, now),
        restored,
        fence: live.annotations().get(FENCE).cloned(),
    }
}

fn held(held: traffic::Held) -> Held {
    match held {
        traffic::Held::Ordinals(ordinals) => Held::Ordinals(ordinals),
        traffic::Held::Foreign { what } => Held::Foreign(what),
        traffic::Held::Unreadable { why } => Held::Unreadable(why),
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
