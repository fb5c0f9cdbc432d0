//! What levers that weigh pods by ordinal, in an annotation of Services, have in common.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use super::cover::{kind, selects};
use super::lb_rs_weight::{self, Ours, Port};
use super::{Held, Problem, Target, annotation};
use crate::workflow::ordinals::OrdinalSet;

/// The Services to write, before they are looked at: those with these names or, without names, every
/// Service of type `LoadBalancer` that selects the pods.
pub(super) fn candidates<'a>(
    names: &BTreeSet<String>,
    target: &Target<'_>,
    all: &'a [Service],
) -> Result<Vec<&'a Service>, Vec<Problem>> {
    if names.is_empty() {
        let is_ours = |service: &&Service| {
            selects(target, service) && service.spec.as_ref().is_some_and(|spec| kind(spec) == "LoadBalancer")
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
    let (found, missing): (Vec<_>, Vec<_>) = names.iter().map(find).partition(Result::is_ok);
    let missing: Vec<_> = missing.into_iter().filter_map(Result::err).collect();
    if missing.is_empty() { Ok(found.into_iter().flatten().collect()) } else { Err(missing) }
}

/// Everything that makes weights on this Service impossible or without effect, whoever its cloud is.
pub(super) fn problems(target: &Target<'_>, service: &Service, key: &'static str) -> Vec<Problem> {
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
    if let Some(Err(why)) = annotation(service, key).map(|text| lb_rs_weight::check(text, target.set)) {
        problems.push(Problem::Malformed { service: name(), key, why });
    }
    problems
}

/// What of ours the value holds.
pub(super) fn held(live: &Service, value: Option<&str>, target: &Target<'_>, before: Option<&str>) -> Held {
    lb_rs_weight::held(value, before, Ours { set: target.set, ports: &ports(live) })
}

/// The value that holds exactly these ordinals.
pub(super) fn render(
    live: &Service,
    key: &'static str,
    target: &Target<'_>,
    before: Option<&str>,
    detached: &OrdinalSet,
) -> Result<Option<String>, Problem> {
    let ours = Ours { set: target.set, ports: &ports(live) };
    let rendered = lb_rs_weight::render(annotation(live, key), before, ours, detached);
    rendered.map_err(|why| Problem::Malformed { service: live.name_any(), key, why })
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
