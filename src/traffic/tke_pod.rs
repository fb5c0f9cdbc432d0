//! Lever `tkePod`: weight 0 on a living pod of Tencent TKE, written as annotations of the pod itself.
//!
//! Source: TKE 457/128647: one annotation for the load balancers of Services (Service controller v2.4.0 and later),
//! one for those of Ingresses (v2.6.0 and later), in direct access mode only. Both are always written, so that a
//! detached pod has weight 0 wherever one of them is read. **Not documented there**: the value 0, and that the
//! annotation of a pod that runs is followed. Where it is not, nothing confirms the detach or the count of new
//! connections holds the drain, and nothing is deleted.
//!
//! What stood there before is kept on the pod beside it: pods of two revisions may come with other weights.

mod versions;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use serde_json::{Map, Value, json};

use super::cover::{kind, selects};
use super::endpoints::is_ready;
use super::json::quoted;
use super::pods::Front;
use super::spec::TkePodSpec;
use super::sync_stamps::{self, written};
use super::tencent::{self, POD_WEIGHT, POD_WEIGHT_OF_INGRESS, SERVICE_WEIGHTS};
use super::{
    ByVersion, Confirmation, Lever, LeverKind, OnPods, PodHeld, Problem, Selection, Site, Target, Warning,
    annotation,
};
use crate::workflow::span::Span;

/// What is written, each with where the value from before is kept, see [`to_keep`].
const WEIGHTS: [(&str, &str); 2] = [
    (POD_WEIGHT, "lossless-upgrade.io/service-custom-weight"),
    (POD_WEIGHT_OF_INGRESS, "lossless-upgrade.io/ingress-custom-weight"),
];
/// Sends no new connection.
const OUT: &str = "0";
/// How a text that is kept as JSON begins. No weight does.
const QUOTED: char = '"';
/// How long a synchronisation since a pod became Ready is waited for.
const TAKEN: SignedDuration = SignedDuration::from_mins(1);
/// By what it is called in sentences and in what a run saves.
const NAME: &str = "custom-weight";

/// The lever with its settings.
#[derive(Clone, Debug)]
pub(super) struct TkePod {
    /// Services behind an Ingress, as the user names them.
    ingress_services: Vec<String>,
    confirm_after: Option<Span>,
}

/// One of the annotations on one pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// As somebody wrote it, or not there.
    Theirs,
    /// Ours.
    Out,
    /// Neither.
    Mixed,
}

impl TkePod {
    pub(super) fn new(spec: &TkePodSpec) -> Self {
        let TkePodSpec { ingress_services, confirm_after } = spec;
        Self { ingress_services: ingress_services.clone(), confirm_after: *confirm_after }
    }

    /// Enough to put it back, and to believe it by stamps.
    pub(super) fn of_saved(_: &str, _: Option<&str>) -> Self {
        Self::new(&TkePodSpec::default())
    }

    fn is_behind_ingress(&self, service: &Service) -> bool {
        self.ingress_services.contains(&service.name_any())
    }

    /// What stands against the Services and the template.
    fn problems(&self, target: &Target<'_>, all: &[Service], balanced: &[&Service]) -> Vec<Problem> {
        let mut found: Vec<Problem> = Vec::new();
        for name in &self.ingress_services {
            match all.iter().find(|service| service.name_any() == *name) {
                None => found.push(Problem::Missing { service: name.clone() }),
                Some(service) if !selects(target, service) => {
                    found.push(Problem::DoesNotSelect { service: name.clone(), set: target.set.to_owned() });
                }
                Some(service) if !is_balanced(service) => found.extend(unusable(service)),
                Some(_) => {}
            }
        }
        for service in balanced {
            found.extend(unusable(service));
            found.extend(tencent::problems(service, POD_WEIGHT));
        }
        let out =
            WEIGHTS.iter().find(|(key, _)| target.pod_annotations.get(*key).is_some_and(|it| it == OUT));
        found.extend(out.map(|(key, _)| Problem::OutByTemplate { key, set: target.set.to_owned() }));
        if balanced.is_empty() && self.ingress_services.is_empty() {
            found.push(Problem::NoBalancer { set: target.set.to_owned() });
        }
        found
    }

    /// Whether the load balancers of this Service have seen that a pod got its weight back: that is waited for so that
    /// the next one is not taken out before, and no request hangs on it.
    fn serves(&self, front: &Front<'_>, pod: &Pod) -> Confirmation {
        if let Some(why) = front.lag(pod, &PodHeld::Attached, false) {
            return Confirmation::Pending { why };
        }
        let moved = front.memory.moved(pod).filter(|_| is_ready(pod));
        moved.map_or(Confirmation::Confirmed { at: front.now }, |since| {
            self.ask(
                front.service,
                |after| sync_stamps::passed(front.service, since, after, front.now),
                |after| sync_stamps::after_a_while(since, after, front.now),
            )
        })
    }

    /// By the stamps where they are on the Service, by the clock where an Ingress is in front, which this operator
    /// does not read.
    fn ask(
        &self,
        service: &Service,
        by_stamps: impl FnOnce(Option<Span>) -> Confirmation,
        by_clock: impl FnOnce(Span) -> Confirmation,
    ) -> Confirmation {
        let stamps = is_balanced(service).then(|| by_stamps(self.confirm_after));
        let clock = self.is_behind_ingress(service).then(|| match self.confirm_after {
            Some(after) => by_clock(after),
            None => Confirmation::Unknown {
                why: format!(
                    "nothing tells when the Ingress in front of Service {} has followed; set `confirmAfter` on the lever",
                    service.name_any()
                ),
            },
        });
        match (stamps, clock) {
            (Some(stamps), Some(clock)) => stamps.and(clock),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => Confirmation::Unknown {
                why: format!(
                    "Service {} is of type LoadBalancer no more; make it one again",
                    service.name_any()
                ),
            },
        }
    }
}

impl Lever for TkePod {
    fn kind(&self) -> LeverKind {
        LeverKind::TkePod
    }

    fn services(&self, target: &Target<'_>, all: &[Service]) -> Result<Selection, Vec<Problem>> {
        let balanced: Vec<&Service> =
            all.iter().filter(|service| is_balanced(service) && selects(target, service)).collect();
        let problems = self.problems(target, all, &balanced);
        if !problems.is_empty() {
            return Err(problems);
        }
        let covers = |service: &&Service| is_balanced(service) || self.is_behind_ingress(service);
        let mut covered: Vec<&Service> =
            all.iter().filter(|service| selects(target, service)).filter(covers).collect();
        covered.sort_by_key(|service| service.name_any());
        // What an Ingress follows has no stamps.
        let stamped = |service| self.confirm_after.is_none() && is_balanced(service);
        let told = covered.iter().flat_map(|service| tencent::warnings(service, stamped(service)));
        Ok(Selection {
            services: covered.iter().map(|service| service.name_any()).collect(),
            warnings: told.chain([Warning::LivePodWeight { key: POD_WEIGHT }]).collect(),
        })
    }

    fn site(&self) -> Site<'_> {
        Site::Pods(self)
    }

    /// That of the Ingress controller only where there is something behind an Ingress: elsewhere nobody needs it.
    fn by_version(&self) -> Vec<ByVersion> {
        versions::asked(!self.ingress_services.is_empty())
    }

    /// No write of ours would make the controller look, so it is waited for, but not for ever: what is in doubt for so
    /// long is a matter of clocks.
    fn taken(&self, service: &Service, since: Timestamp, now: Timestamp) -> Confirmation {
        let told = self.ask(
            service,
            |after| sync_stamps::taken(service, since, after, now),
            |after| sync_stamps::after_a_while(since, after, now),
        );
        match told {
            Confirmation::Doubtful { why } if now.duration_since(since) < TAKEN => {
                Confirmation::Pending { why }
            }
            Confirmation::Doubtful { .. } => Confirmation::Confirmed { at: since },
            Confirmation::Confirmed { .. } | Confirmation::Pending { .. } | Confirmation::Unknown { .. } => {
                told
            }
        }
    }

    fn belies(&self, service: &Service, complained: Timestamp) -> bool {
        is_balanced(service) && sync_stamps::belied(service, complained)
    }
}

impl OnPods for TkePod {
    fn saved(&self) -> (&str, Option<&str>) {
        (NAME, None)
    }

    fn held(&self, pod: &Pod) -> PodHeld {
        let all = |wanted| WEIGHTS.iter().all(|(key, kept)| weight(pod, key, kept) == wanted);
        if all(Weight::Theirs) {
            return PodHeld::Attached;
        }
        if all(Weight::Out) {
            return PodHeld::Detached;
        }
        let is = |(key, _)| format!("{key} is {}", value(pod, key).unwrap_or("not there"));
        PodHeld::Foreign {
            what: format!("its weights are not as we wrote them: {}", WEIGHTS.map(is).join(", ")),
        }
    }

    fn change(&self, pod: &Pod, detached: bool) -> Value {
        let mut annotations = Map::new();
        for (key, kept) in WEIGHTS {
            let before = match (value(pod, kept), value(pod, key)) {
                (Some(text), _) => of_kept(text),
                (None, Some(OUT) | None) => None,
                (None, Some(before)) => Some(before.to_owned()),
            };
            let (weight, keep) = if detached {
                (Some(OUT.to_owned()), Some(to_keep(before.as_deref())))
            } else {
                (before, None)
            };
            annotations.insert(key.to_owned(), json!(weight));
            annotations.insert(kept.to_owned(), json!(keep));
        }
        json!({"annotations": annotations})
    }

    fn reaches(&self, service: &Service, pod: &Pod) -> bool {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        (is_balanced(service) || self.is_behind_ingress(service))
            && selector.is_some_and(|all| {
                !all.is_empty() && all.iter().all(|(key, value)| pod.labels().get(key) == Some(value))
            })
    }

    fn followed(&self, front: &Front<'_>) -> Confirmation {
        let obstacle = tencent::problems(front.service, POD_WEIGHT).into_iter().next();
        if let Some(obstacle) = obstacle.filter(|_| is_balanced(front.service)) {
            return Confirmation::Unknown { why: obstacle.to_string() };
        }
        if annotation(front.service, SERVICE_WEIGHTS).is_some() {
            return Confirmation::Unknown {
                why: format!(
                    "Service {} has the annotation {SERVICE_WEIGHTS} now, and whether that or the weight of a pod counts is not documented; remove it",
                    front.service.name_any()
                ),
            };
        }
        let (mut so_far, mut made) = (Confirmation::Confirmed { at: front.now }, None);
        for pod in &front.pods {
            match self.held(pod) {
                PodHeld::Attached => so_far = so_far.and(self.serves(front, pod)),
                PodHeld::Detached => match self.detached_at(pod, front.manager) {
                    Some(at) => made = made.max(Some(at)),
                    None => return sync_stamps::without_record(),
                },
                PodHeld::Foreign { what } => so_far = so_far.and(Confirmation::Unknown { why: what }),
            }
        }
        let Some(last) = made else { return so_far };
        let record = front.memory.stamps(front.service);
        so_far.and(self.ask(
            front.service,
            |after| sync_stamps::took_up(front.service, made, record, after, front.now),
            |after| sync_stamps::after_a_while(last, after, front.now),
        ))
    }

    /// By the API server's record of our write.
    fn detached_at(&self, pod: &Pod, manager: &str) -> Option<Timestamp> {
        written(&pod.metadata, POD_WEIGHT, manager)
    }
}

/// How a value from before is kept: as it is. That there was none is kept as an empty text, so a value that is empty, or
/// that looks as if it were kept in this way, is kept as JSON.
fn to_keep(before: Option<&str>) -> String {
    match before {
        None => String::new(),
        Some(text) if text.is_empty() || text.starts_with(QUOTED) => quoted(text),
        Some(text) => text.to_owned(),
    }
}

/// The value from before, out of what was kept of it.
fn of_kept(text: &str) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let unquoted = Some(text).filter(|text| text.starts_with(QUOTED));
    Some(unquoted.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| text.to_owned()))
}

fn value<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn weight(pod: &Pod, key: &str, kept: &str) -> Weight {
    match (value(pod, key) == Some(OUT), value(pod, kept).is_some()) {
        (false, false) => Weight::Theirs,
        (true, true) => Weight::Out,
        (true, false) | (false, true) => Weight::Mixed,
    }
}

/// What stands against any Service through which weights of pods are to count.
fn unusable(service: &Service) -> Vec<Problem> {
    let mut found = Vec::new();
    if service.metadata.deletion_timestamp.is_some() {
        found.push(Problem::BeingDeleted { service: service.name_any() });
    }
    if annotation(service, SERVICE_WEIGHTS).is_some() {
        let on = format!("Service {}", service.name_any());
        found.push(Problem::Conflict { on, key: SERVICE_WEIGHTS, with: POD_WEIGHT });
    }
    found
}

fn is_balanced(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| kind(spec) == "LoadBalancer")
}

#[cfg(test)]
mod tests;
