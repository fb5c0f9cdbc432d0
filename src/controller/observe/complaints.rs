//! What a load balancer's controller says of a Service that it does not get in step: its Warning events, while a
//! lever waits to be confirmed. They explain and decide nothing.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::Look;
use super::levers::Question;
use crate::traffic::Site;
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
/// Kubernetes' own: they speak of slices, not of a load balancer.
const OTHERS: [&str; 3] = ["endpoint-controller", "endpoint-slice-controller", "endpointslice-controller"];

/// Adds to each lever that is not confirmed what was said of its Services since the step began.
pub async fn hear(question: &Question<'_>, look: &Look, seen: &mut Observed) {
    let Some(run) = &question.state.run else { return };
    let waits = seen
        .levers
        .iter()
        .any(|lever| waits(&lever.confirmed) || (run.step == Step::Soak && waits(&lever.taken)));
    let Ok(entered) = run.entered.checked_add(PATIENCE) else { return };
    if !waits || question.now < entered {
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
    for (lever, services) in &look.levers {
        match lever.site() {
            Site::Nothing => {}
            Site::Services(_) => {
                for service in services {
                    let title = lever.kind().title(&service.name_any());
                    add(seen, &title, newest(&events, std::slice::from_ref(service), since));
                }
            }
            Site::Pods(on) => {
                add(seen, &lever.kind().title(on.saved().0), newest(&events, services, since));
            }
        }
    }
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

/// The last Warning about one of these Services.
fn newest(events: &[Event], services: &[Service], since: Timestamp) -> Option<String> {
    let said = events.iter().filter_map(|event| {
        let about = event.regarding.as_ref()?;
        let service = services.iter().find(|one| one.metadata.uid == about.uid && about.uid.is_some())?;
        let by = event.reporting_controller.as_deref().filter(|by| !by.is_empty());
        let by = by.or(event.deprecated_source.as_ref().and_then(|source| source.component.as_deref()));
        let is_warning = event.type_.as_deref() == Some("Warning");
        let at = last(event).filter(|at| *at >= since && is_warning)?;
        (!OTHERS.contains(&by.unwrap_or_default())).then_some((at, service, event))
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
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::workflow::observed::{Held, LeverView, Site as WrittenSite};
    use crate::workflow::ordinals::OrdinalSet;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + second).unwrap()
    }

    fn service(name: &str) -> Service {
        serde_json::from_value(json!({"metadata": {"name": name, "uid": format!("u-{name}")}})).unwrap()
    }

    fn event(about: &str, note: &str, change: impl FnOnce(&mut Value)) -> Event {
        let mut event = json!({
            "metadata": {}, "type": "Warning", "reason": "SyncFailed", "note": note,
            "regarding": {"kind": "Service", "name": about, "uid": format!("u-{about}")},
            "reportingController": "service-controller", "eventTime": null,
            "deprecatedLastTimestamp": at(10),
        });
        change(&mut event);
        serde_json::from_value(event).unwrap()
    }

    fn said(events: &[Event]) -> Option<String> {
        newest(events, &[service("web"), service("api")], at(0))
    }

    #[test]
    fn the_last_warning_of_the_loadbalancers_controller_is_told_and_no_other() {
        let first = || event("web", "E4004 quota", |_| {});
        let again = event("web", "E4005 parameters", |it| it["deprecatedLastTimestamp"] = json!(at(20)));
        let series = event("api", "E4009 arrears", |it| {
            it["eventTime"] = json!("2026-01-01T00:00:01.000000Z");
            it["series"] = json!({"count": 7, "lastObservedTime": "2026-01-01T00:00:30.000000Z"});
        });
        assert_eq!(said(&[first()]).unwrap(), "event SyncFailed of Service web: E4004 quota");
        assert_eq!(
            said(&[again.clone(), first()]).unwrap(),
            "event SyncFailed of Service web: E4005 parameters"
        );
        assert_eq!(
            said(&[series, again, first()]).unwrap(),
            "event SyncFailed of Service api: E4009 arrears"
        );
        for (what, other) in [
            ("of another Service", event("other", "x", |_| {})),
            ("of one that had the name", event("web", "x", |it| it["regarding"]["uid"] = json!("u-old"))),
            ("before the step", event("web", "x", |it| it["deprecatedLastTimestamp"] = json!(at(-1)))),
            ("no warning", event("web", "x", |it| it["type"] = json!("Normal"))),
            (
                "of the slices",
                event("web", "x", |it| it["reportingController"] = json!("endpoint-slice-controller")),
            ),
            (
                "of the slices, as before",
                event("web", "x", |it| {
                    it["reportingController"] = json!("");
                    it["deprecatedSource"] = json!({"component": "endpoint-controller"});
                }),
            ),
        ] {
            assert_eq!(said(&[other]), None, "{what}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let told = said(&[event("web", &"负载均衡".repeat(MOST), |_| {})]).unwrap();
        assert!(told.len() <= MOST + 50 && told.contains("负载均衡"), "{told}");
    }

    #[test]
    fn a_complaint_makes_no_lever_confirmed_and_none_unconfirmed() {
        for (before, after) in [
            (Confirmation::Pending("p".into()), Confirmation::Refused("no (p)".into())),
            (Confirmation::Unknown("u".into()), Confirmation::Refused("no (u)".into())),
            (Confirmation::Doubtful("d".into()), Confirmation::Doubtful("d".into())),
            (Confirmation::Confirmed(at(0)), Confirmation::Confirmed(at(0))),
        ] {
            let lever = LeverView {
                name: "tkeService on Service web".into(),
                held: Held::Ordinals(OrdinalSet::new()),
                confirmed: before.clone(),
                taken: before,
                restored: true,
                site: WrittenSite::Object { fence: None },
            };
            let mut seen = Observed { levers: vec![lever], ..Observed::default() };
            add(&mut seen, "tkeService on Service api", Some("no".into()));
            add(&mut seen, "tkeService on Service web", None);
            add(&mut seen, "tkeService on Service web", Some("no".into()));
            assert_eq!(seen.levers[0].confirmed, after);
            assert_eq!(seen.levers[0].taken, after);
        }
    }
}
