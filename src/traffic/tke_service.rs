//! Lever `tkeService`: weight 0 for pods by ordinal, written as an annotation on each Service.
//!
//! Weight 0 keeps the connections that are there and sends no new one. The annotation names
//! ordinals, so a pod that was made again is still detached until it is attached.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use super::lb_rs_weight;
use super::spec::TkeServiceSpec;
use super::sync_stamps::{self, BEGIN};
use super::{
    Confirmation, Held, Lever, LeverKind, OnService, Problem, Selection, Site, Target, Warning, WriteRecord,
    annotation, weighed,
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

    pub(super) fn of_saved(_: &str, _: Option<&str>) -> Self {
        Self::new(&TkeServiceSpec::default())
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

/// What Tencent's controller does not go together with.
fn problems(service: &Service) -> Vec<Problem> {
    let mut problems = Vec::new();
    if annotation(service, MODE) == Some("skip") {
        problems.push(Problem::Skipped { service: service.name_any(), key: MODE });
    }
    if annotation(service, TARGET_GROUPS).is_some() {
        let on = format!("Service {}", service.name_any());
        problems.push(Problem::Conflict { on, key: TARGET_GROUPS, with: WEIGHTS });
    }
    problems
}

impl Lever for TkeService {
    fn kind(&self) -> LeverKind {
        LeverKind::TkeService
    }

    fn services(&self, target: &Target<'_>, all: &[Service]) -> Result<Selection, Vec<Problem>> {
        let found = weighed::candidates(&self.services, target, all)?;
        let of_all = |service: &&Service| weighed::problems(target, service, WEIGHTS);
        let mut problems: Vec<_> = found.iter().flat_map(of_all).collect();
        problems.extend(found.iter().flat_map(|service| self::problems(service)));
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
        weighed::held(live, self.value(live), target, before)
    }

    fn render(
        &self,
        live: &Service,
        target: &Target<'_>,
        before: Option<&str>,
        detached: &OrdinalSet,
    ) -> Result<Option<String>, Problem> {
        weighed::render(live, WEIGHTS, target, before, detached)
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
