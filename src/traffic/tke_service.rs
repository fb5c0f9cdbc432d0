//! Lever `tkeService`: weight 0 for pods by ordinal, written as an annotation on each Service.
//!
//! Weight 0 keeps the connections that are there and sends no new one. The annotation names
//! ordinals, so a pod that was made again is still detached until it is attached.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use super::cover::{kind, selects};
use super::lb_rs_weight::{self, Ours, Port};
use super::spec::TkeServiceSpec;
use super::sync_stamps::{self, BEGIN};
use super::{
    Confirmation, Held, Lever, LeverKind, OnService, Problem, Selection, Site, Target, Warning, WriteRecord,
    annotation,
};
use crate::workflow::ordinals::OrdinalSet;
use crate::workflow::span::Span;

/// What the lever writes: weights of StatefulSet pods.
const WEIGHTS: &str = "service.cloud.tencent.com/lb-rs-weight";
/// `skip`: the cloud's controller leaves the Service alone.
const MODE: &str = "service.cloud.tencent.com/mode";
/// Target groups, which the vendor excludes beside weights.
const TARGET_GROUPS: &str = "service.cloud.tencent.com/target-groups";
/// Weight of a single pod, on the pod; which of the two counts is documented nowhere.
const POD_WEIGHT: &str = "service.cloud.tencent.com/custom-weight";
/// `true`: the load balancer knows pods, not nodes.
const DIRECT_ACCESS: &str = "service.cloud.tencent.com/direct-access";

/// The lever with its settings.
#[derive(Clone, Debug)]
pub(super) struct TkeService {
    /// Named by the user; empty: all that fit.
    services: BTreeSet<String>,
    confirm_after: Option<Span>,
}

impl TkeService {
    pub(super) fn new(spec: &TkeServiceSpec) -> Self {
        let TkeServiceSpec { services, confirm_after } = spec;
        Self { services: services.iter().cloned().collect(), confirm_after: *confirm_after }
    }

    /// The Services to write, before they are looked at.
    fn candidates<'a>(
        &self,
        target: &Target<'_>,
        all: &'a [Service],
    ) -> Result<Vec<&'a Service>, Vec<Problem>> {
        if self.services.is_empty() {
            let is_ours = |service: &&Service| {
                selects(target, service)
                    && service.spec.as_ref().is_some_and(|spec| kind(spec) == "LoadBalancer")
            };
            let mut found: Vec<_> = all.iter().filter(is_ours).collect();
            found.sort_by_key(|service| service.name_any());
            if found.is_empty() {
                return Err(vec![Problem::NoService { set: target.set.to_owned() }]);
            }
            return Ok(found);
        }
        let find = |name: &String| {
            all.iter()
                .find(|service| service.metadata.name.as_ref() == Some(name))
                .ok_or_else(|| Problem::Missing { service: name.clone() })
        };
        let (found, missing): (Vec<_>, Vec<_>) = self.services.iter().map(find).partition(Result::is_ok);
        let missing: Vec<_> = missing.into_iter().filter_map(Result::err).collect();
        if missing.is_empty() { Ok(found.into_iter().flatten().collect()) } else { Err(missing) }
    }

    fn warnings(&self, service: &Service) -> Vec<Warning> {
        let name = || service.name_any();
        let spec = service.spec.as_ref();
        let sticky = spec.and_then(|spec| spec.session_affinity.as_deref()) == Some("ClientIP");
        let early = spec.and_then(|spec| spec.publish_not_ready_addresses) == Some(true);
        let mut warnings = Vec::new();
        if annotation(service, DIRECT_ACCESS) != Some("true") {
            warnings.push(Warning::NoDirectAccess { service: name(), key: DIRECT_ACCESS });
        }
        if sticky {
            warnings.push(Warning::SessionAffinity { service: name() });
        }
        if early {
            warnings.push(Warning::NotReadyAddresses { service: name() });
        }
        if self.confirm_after.is_none() && annotation(service, BEGIN).is_none() {
            warnings.push(Warning::NoStamps { service: name() });
        }
        warnings
    }
}

/// Everything that makes weights on this Service impossible or without effect.
fn problems(target: &Target<'_>, service: &Service) -> Vec<Problem> {
    let name = || service.name_any();
    let set = || target.set.to_owned();
    let mut problems = Vec::new();
    if service.metadata.deletion_timestamp.is_some() {
        problems.push(Problem::BeingDeleted { service: name() });
    }
    if !selects(target, service) {
        problems.push(Problem::DoesNotSelect { service: name(), set: set() });
    }
    let is = service.spec.as_ref().map_or("unknown", kind);
    if is != "LoadBalancer" {
        problems.push(Problem::NotLoadBalancer { service: name(), is: is.to_owned() });
    }
    if ports(service).is_empty() {
        problems.push(Problem::NoPorts { service: name() });
    }
    if annotation(service, MODE) == Some("skip") {
        problems.push(Problem::Skipped { service: name(), key: MODE });
    }
    if annotation(service, TARGET_GROUPS).is_some() {
        let on = format!("Service {}", name());
        problems.push(Problem::Conflict { on, key: TARGET_GROUPS, with: WEIGHTS });
    }
    if let Some(Err(why)) = annotation(service, WEIGHTS).map(|text| lb_rs_weight::check(text, target.set)) {
        problems.push(Problem::Malformed { service: name(), key: WEIGHTS, why });
    }
    problems
}

/// All ports of the Service as the annotation names them.
fn ports(service: &Service) -> BTreeSet<Port> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let proto = port.protocol.as_deref().unwrap_or("TCP").to_ascii_uppercase();
            Some(Port { proto, port: u16::try_from(port.port).ok()? })
        })
        .collect()
}

impl Lever for TkeService {
    fn kind(&self) -> LeverKind {
        LeverKind::TkeService
    }

    fn services(&self, target: &Target<'_>, all: &[Service]) -> Result<Selection, Vec<Problem>> {
        let found = self.candidates(target, all)?;
        let mut problems: Vec<_> = found.iter().flat_map(|service| problems(target, service)).collect();
        if target.pod_annotations.contains_key(POD_WEIGHT) {
            let on = format!("the pod template of StatefulSet {}", target.set);
            problems.push(Problem::Conflict { on, key: POD_WEIGHT, with: WEIGHTS });
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Selection {
            services: found.iter().map(|service| service.name_any()).collect(),
            warnings: found.iter().flat_map(|service| self.warnings(service)).collect(),
        })
    }

    fn site(&self) -> Site<'_> {
        Site::Services(self)
    }
}

impl OnService for TkeService {
    fn key(&self) -> &'static str {
        WEIGHTS
    }

    fn held(&self, live: &Service, target: &Target<'_>, before: Option<&str>) -> Held {
        let ours = Ours { set: target.set, ports: &ports(live) };
        lb_rs_weight::held(self.value(live), before, ours)
    }

    fn render(
        &self,
        live: &Service,
        target: &Target<'_>,
        before: Option<&str>,
        detached: &OrdinalSet,
    ) -> Result<Option<String>, Problem> {
        let ours = Ours { set: target.set, ports: &ports(live) };
        lb_rs_weight::render(self.value(live), before, ours, detached).map_err(|why| Problem::Malformed {
            service: live.name_any(),
            key: WEIGHTS,
            why,
        })
    }

    fn again(&self, live: &Service) -> Option<String> {
        Some(lb_rs_weight::again(self.value(live)))
    }

    fn confirmed(&self, live: &Service, write: &WriteRecord, now: Timestamp) -> Confirmation {
        sync_stamps::confirm(live, WEIGHTS, write, self.confirm_after, now)
    }
}

#[cfg(test)]
mod tests;
