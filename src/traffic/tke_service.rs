//! Lever `tkeService`: weight 0 for pods by ordinal, written as an annotation on each Service.
//!
//! Weight 0 keeps the connections that are there and sends no new one. The annotation names
//! ordinals, so a pod that was made again is still detached until it is attached.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;

use super::spec::TkeServiceSpec;
use super::tencent::{POD_WEIGHT, SERVICE_WEIGHTS as WEIGHTS};
use super::{
    Confirmation, Held, Lever, LeverKind, OnService, Problem, Selection, Site, Target, WriteRecord,
    lb_rs_weight, sync_stamps, tencent, weighed,
};
use crate::tencent::spec::ConfirmByApiSpec;
use crate::workflow::ordinals::OrdinalSet;
use crate::workflow::span::Span;

/// The lever with its settings.
#[derive(Clone, Debug)]
pub(super) struct TkeService {
    /// Named by the user; empty: all that fit.
    services: BTreeSet<String>,
    confirm_after: Option<Span>,
    confirm_by_api: Option<ConfirmByApiSpec>,
}

impl TkeService {
    pub(super) fn new(spec: &TkeServiceSpec) -> Self {
        let TkeServiceSpec { services, confirm_after, confirm_by_api } = spec;
        Self {
            services: services.iter().cloned().collect(),
            confirm_after: *confirm_after,
            confirm_by_api: confirm_by_api.clone(),
        }
    }

    pub(super) fn of_saved(_: &str, _: Option<&str>) -> Self {
        Self::new(&TkeServiceSpec::default())
    }
}

impl Lever for TkeService {
    fn kind(&self) -> LeverKind {
        LeverKind::TkeService
    }

    fn services(&self, target: &Target<'_>, all: &[Service]) -> Result<Selection, Vec<Problem>> {
        let found = weighed::candidates(&self.services, target, all)?;
        let of_all = |service: &&Service| weighed::problems(target, service, WEIGHTS);
        let mut problems: Vec<_> = found.iter().flat_map(of_all).collect();
        problems.extend(found.iter().flat_map(|service| self.obstacles(service)));
        if target.pod_annotations.contains_key(POD_WEIGHT) {
            let on = format!("the pod template of StatefulSet {}", target.set);
            problems.push(Problem::Conflict { on, key: POD_WEIGHT, with: WEIGHTS });
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Selection {
            services: found.iter().map(|service| service.name_any()).collect(),
            warnings: found
                .iter()
                .flat_map(|service| tencent::warnings(service, self.confirm_after.is_none()))
                .collect(),
        })
    }

    fn site(&self) -> Site<'_> {
        Site::Services(self)
    }

    fn stands_against(&self, pod: &Pod) -> Option<Problem> {
        tencent::weighed_twice(pod)
    }

    fn taken(&self, live: &Service, since: Timestamp, now: Timestamp) -> Confirmation {
        sync_stamps::taken(live, since, self.confirm_after, now)
    }

    /// Where the load balancer itself is asked it knows better.
    fn belies(&self, live: &Service, complained: Timestamp) -> bool {
        self.confirm_by_api.is_none() && sync_stamps::belied(live, complained)
    }
}

impl OnService for TkeService {
    fn key(&self) -> &'static str {
        WEIGHTS
    }

    fn obstacles(&self, live: &Service) -> Vec<Problem> {
        tencent::problems(live, WEIGHTS)
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

    fn confirm_by_api(&self) -> Option<&ConfirmByApiSpec> {
        self.confirm_by_api.as_ref()
    }
}

#[cfg(test)]
mod tests;
