//! What a load balancer's controller says of a Service that it does not get in step: its Warning events. While a lever
//! waits to be confirmed they explain it. While pods are being detached they also take back a confirmation by a
//! synchronisation that the controller has complained of: it may have stamped the end of one that failed.
//!
//! Events that cannot be read, or come late, change nothing: then the stamps count as they stand, and behind them the
//! count of connections.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::Look;
use super::levers::Question;
use crate::controller::session::Session;
use crate::traffic::{Lever, Site};
use crate::workflow::observed::{Confirmation, Observed};
use crate::workflow::state::Step;

/// A confirmation that takes no longer needs no explanation.
const PATIENCE: Duration = Duration::from_secs(5);
/// Nobody waits longer for an explanation.
const MOMENT: Duration = Duration::from_secs(2);
/// How far the clock that dates an event may be behind ours.
const SKEW: Duration = Duration::from_secs(30);
/// More of an event's text is left out.
const MOST: usize = 400;
/// They speak of slices and of policies, not of a load balancer: Kubernetes' own controllers, and what Kyverno's begin
/// with (<https://github.com/kyverno/kyverno/blob/main/pkg/event/source.go>), which warn of a Service at each change.
const OTHERS: [&str; 4] =
    ["endpoint-controller", "endpoint-slice-controller", "endpointslice-controller", "kyverno-"];

/// Adds to each lever that is not confirmed what was said of its Services since the step began, and takes back what is
/// confirmed by a synchronisation that its controller complained of.
pub async fn hear(question: &Question<'_>, session: &mut Session, look: &Look, seen: &mut Observed) {
    let Some(run) = &question.state.run else { return };
    let waits = seen
        .levers
        .iter()
        .any(|lever| waits(&lever.confirmed) || (run.step == Step::Soak && waits(&lever.taken)));
    let explains = waits && run.entered.checked_add(PATIENCE).is_ok_and(|patient| question.now >= patient);
    // What was in force once stays so when a later synchronisation fails, so that nothing is taken back later on.
    let doubts = run.step == Step::Detach && is_believed_by_stamps(look, seen);
    if !explains && !doubts {
        return;
    }
    let api: Api<Event> = Api::namespaced(question.client.clone(), question.namespace);
    let warnings = ListParams::default().fields("regarding.kind=Service,type=Warning");
    let events = match tokio::time::timeout(MOMENT, api.list(&warnings)).await {
        Ok(Ok(list)) => list.items,
        Ok(Err(error)) => {
            tracing::debug!(%error, "the events of the Services were not read");
            return;
        }
        Err(_) => return,
    };
    let since = run.entered.checked_sub(SKEW).unwrap_or(run.entered);
    let mut weigh = |lever: &dyn Lever, name: &str, services: &[Service]| {
        let title = lever.kind().title(name);
        let belied = newest(&events, services, |service, at| doubts && lever.belies(service, at));
        if disbelieve(seen, &title, belied) {
            // It settles anew when it is confirmed anew.
            session.confirmed.remove(&(lever.kind(), name.to_owned()));
        }
        add(seen, &title, newest(&events, services, |_, at| explains && at >= since));
    };
    for (lever, services) in &look.levers {
        match lever.site() {
            Site::Nothing => {}
            Site::Services(_) => {
                for service in services {
                    weigh(lever.as_ref(), &service.name_any(), std::slice::from_ref(service));
                }
            }
            Site::Pods(on) => weigh(lever.as_ref(), on.saved().0, services),
        }
    }
}

/// Whether a complaint could take something back: else nobody need ask for one.
fn is_believed_by_stamps(look: &Look, seen: &Observed) -> bool {
    let confirmed = seen.levers.iter().any(|lever| matches!(lever.confirmed, Confirmation::Confirmed(_)));
    let mut all = look.levers.iter();
    confirmed && all.any(|(lever, services)| services.iter().any(|one| lever.belies(one, Timestamp::MAX)))
}

const fn waits(confirmed: &Confirmation) -> bool {
    match confirmed {
        Confirmation::Pending(_) | Confirmation::Unknown(_) => true,
        Confirmation::Confirmed(_) | Confirmation::Doubtful(_) | Confirmation::Refused(_) => false,
    }
}

fn add(seen: &mut Observed, title: &str, complaint: Option<String>) {
    let Some(complaint) = complaint else { return };
    for lever in seen.levers.iter_mut().filter(|lever| lever.name == title) {
        for told in [&mut lever.confirmed, &mut lever.taken] {
            if let Confirmation::Pending(why) | Confirmation::Unknown(why) = told {
                *told = Confirmation::Refused(format!("{complaint} ({why})"));
            }
        }
    }
}

/// A confirmation that is belied is none; whether there was one.
fn disbelieve(seen: &mut Observed, title: &str, complaint: Option<String>) -> bool {
    let Some(complaint) = complaint else { return false };
    let of_title = seen.levers.iter_mut().filter(|lever| lever.name == title);
    let mut confirmed = of_title.filter(|lever| matches!(lever.confirmed, Confirmation::Confirmed(_)));
    let Some(lever) = confirmed.next() else { return false };
    lever.confirmed = Confirmation::Refused(format!(
        "{complaint} (and no synchronisation has begun since; any change of the Service asks for one)"
    ));
    true
}

/// The last Warning about one of these Services, of those that count at their moment.
fn newest(
    events: &[Event],
    services: &[Service],
    counts: impl Fn(&Service, Timestamp) -> bool,
) -> Option<String> {
    let said = events.iter().filter_map(|event| {
        let about = event.regarding.as_ref()?;
        let service = services.iter().find(|one| one.metadata.uid == about.uid && about.uid.is_some())?;
        let by = event.reporting_controller.as_deref().filter(|by| !by.is_empty());
        let by = by.or(event.deprecated_source.as_ref().and_then(|source| source.component.as_deref()));
        let is_warning = event.type_.as_deref() == Some("Warning");
        let at = last(event).filter(|at| is_warning && counts(service, *at))?;
        let by = by.unwrap_or_default();
        (!OTHERS.iter().any(|other| by.starts_with(other))).then_some((at, service, event))
    });
    let (_, service, event) = said.max_by_key(|(at, ..)| *at)?;
    let note = event.note.as_deref().unwrap_or_default();
    let reason = event.reason.as_deref().unwrap_or("Warning");
    Some(format!("event {reason} of Service {}: {}", service.name_any(), cut(note)))
}

/// When it was last observed; the older form of events has that in another place.
fn last(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().map(|series| series.last_observed_time.0);
    let single = event.event_time.as_ref().map(|at| at.0);
    let older = event.deprecated_last_timestamp.as_ref().map(|at| at.0);
    [series, single, older].into_iter().flatten().max()
}

fn cut(text: &str) -> &str {
    let end = (0..=MOST.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests;
