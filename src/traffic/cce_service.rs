//! Lever `cceService`: weight 0 for pods by ordinal on Huawei CCE Turbo, written as an annotation on each
//! Service.
//!
//! Source: Huawei's page `cce_10_1026` (key, purpose, versions, what excludes it; weights from 0 to 100, for
//! pods of `StatefulSets`). That what stands below `groups` has the form of Tencent's annotation is not
//! printed there; it is taken over from the likeness of what is. Nothing on the Service tells when a weight is
//! in force, so that counts by the clock: `elb_faq_0125` says within 5 seconds.

mod release;

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use super::spec::CceServiceSpec;
use super::{
    ByVersion, Confirmation, Held, Lever, LeverKind, OnService, Problem, Selection, Site, Target, VersionOf,
    Warning, WriteRecord, annotation, cover, lb_rs_weight, sync_stamps, weighed,
};
use crate::workflow::ordinals::OrdinalSet;
use crate::workflow::span::Span;

/// What the lever writes: weights of StatefulSet pods.
const WEIGHTS: &str = "kubernetes.io/elb.custom-backend-weights";
/// `performance`: a dedicated load balancer, which alone knows weights of pods.
const CLASS: &str = "kubernetes.io/elb.class";
/// Weights that the cloud finds itself.
const ADAPTIVE: &str = "kubernetes.io/elb.adaptive-weight";
/// Weights between clusters.
const MULTICLUSTER: &str = "kubernetes.io/elb.multicluster-loadbalancer-weight";

/// The lever with its settings.
#[derive(Clone, Debug)]
pub(super) struct CceService {
    /// Named by the user; empty: all that fit.
    services: BTreeSet<String>,
    confirm_after: Span,
}

impl CceService {
    pub(super) fn new(spec: &CceServiceSpec) -> Self {
        let CceServiceSpec { services, confirm_after } = spec;
        Self { services: services.iter().cloned().collect(), confirm_after: *confirm_after }
    }

    pub(super) fn of_saved(_: &str, _: Option<&str>) -> Self {
        Self::new(&CceServiceSpec::default())
    }
}

/// What Huawei's controller does not go together with.
fn problems(service: &Service) -> Vec<Problem> {
    let name = service.name_any();
    let conflicts = [ADAPTIVE, MULTICLUSTER].into_iter().filter(|key| annotation(service, key).is_some());
    let mut problems: Vec<Problem> = conflicts
        .map(|key| Problem::Conflict { on: format!("Service {name}"), key, with: WEIGHTS })
        .collect();
    if annotation(service, CLASS) != Some("performance") {
        problems.push(Problem::NeedsAnnotation { service: name, key: CLASS, value: "performance" });
    }
    problems
}

impl Lever for CceService {
    fn kind(&self) -> LeverKind {
        LeverKind::CceService
    }

    fn services(&self, target: &Target<'_>, all: &[Service]) -> Result<Selection, Vec<Problem>> {
        let found = weighed::candidates(&self.services, target, all)?;
        let of_all = |service: &&Service| weighed::problems(target, service, WEIGHTS);
        let mut problems: Vec<_> = found.iter().flat_map(of_all).collect();
        problems.extend(found.iter().flat_map(|service| self.obstacles(service)));
        if !problems.is_empty() {
            return Err(problems);
        }
        let cut = |service: &Service| Warning::CutsWithoutDelay { service: service.name_any() };
        Ok(Selection {
            services: found.iter().map(|service| service.name_any()).collect(),
            warnings: found
                .iter()
                .flat_map(|service| cover::warnings(service).into_iter().chain([cut(service)]))
                .collect(),
        })
    }

    fn site(&self) -> Site<'_> {
        Site::Services(self)
    }

    fn by_version(&self) -> Vec<ByVersion> {
        vec![ByVersion { of: VersionOf::ApiServer, judge: release::judge }]
    }

    fn taken(&self, _: &Service, since: Timestamp, now: Timestamp) -> Confirmation {
        sync_stamps::after_a_while(since, self.confirm_after, now)
    }
}

impl OnService for CceService {
    fn key(&self) -> &'static str {
        WEIGHTS
    }

    fn obstacles(&self, live: &Service) -> Vec<Problem> {
        problems(live)
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
        sync_stamps::by_the_clock(live, WEIGHTS, write, self.confirm_after, now)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::traffic::contract::{Cloud, annotated, contract, merges};

    fn service(name: &str, annotations: &Value) -> Service {
        let mut all = json!({CLASS: "performance"});
        for (key, value) in annotations.as_object().unwrap() {
            all[key] = value.clone();
        }
        let spec = json!({"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 80}]});
        serde_json::from_value(json!({"metadata": {"name": name, "annotations": all}, "spec": spec})).unwrap()
    }

    fn lever() -> CceService {
        CceService::new(&CceServiceSpec::default())
    }

    fn with_target<T>(test: impl FnOnce(Target<'_>) -> T) -> T {
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        let none = BTreeMap::new();
        test(Target {
            set: "web",
            governing: "web",
            pod_labels: &labels,
            pod_annotations: &none,
            selector: None,
        })
    }

    #[test]
    fn it_keeps_the_contract_whatever_the_annotation_held() {
        let own = r#"{ "defaultWeight": 12, "groups": [ {"key":{"proto":"TCP","port":80}, "statefulSets":
            [{"name":"db","weights":[{"weight":3,"podIndexes":[0]}]}]} ], "extra": 1.50 }"#;
        let all = [
            service("absent", &json!({})),
            service("own", &json!({WEIGHTS: own})),
            service("frame", &json!({WEIGHTS: r#"{"defaultWeight":12,"groups":[]}"#})),
        ];
        // It counts by the clock, and nothing on the Service tells.
        let cloud = Cloud {
            follows: |service| service,
            fails: &[
                |service| annotated(service, ADAPTIVE, Some("true")),
                |service| annotated(service, MULTICLUSTER, Some("[]")),
                |service| annotated(service, CLASS, None),
            ],
        };
        with_target(|target| contract(&lever(), target, &all, &cloud));
    }

    #[test]
    fn it_merges_into_whatever_json_the_annotation_held() {
        with_target(|target| merges(&lever(), target, &service("s", &json!({}))));
    }

    #[test]
    fn what_may_disturb_is_a_warning() {
        let mut bad = service("s", &json!({}));
        let spec = bad.spec.as_mut().unwrap();
        (spec.session_affinity, spec.publish_not_ready_addresses) = (Some("ClientIP".into()), Some(true));
        let expected = [
            Warning::SessionAffinity { service: "s".into() },
            Warning::NotReadyAddresses { service: "s".into() },
            Warning::CutsWithoutDelay { service: "s".into() },
        ];
        let found = with_target(|target| lever().services(&target, &[bad])).unwrap();
        assert_eq!(found.warnings, expected);
    }

    #[test]
    fn what_huawei_excludes_is_refused_with_the_reason() {
        for (annotations, reason) in [
            (json!({ADAPTIVE: "true"}), "cannot be combined"),
            (json!({MULTICLUSTER: "[]"}), "cannot be combined"),
            (json!({CLASS: "union"}), "needs the annotation kubernetes.io/elb.class: performance"),
            (json!({WEIGHTS: "{"}), "it is not JSON"),
        ] {
            let problems =
                with_target(|target| lever().services(&target, &[service("s", &annotations)])).unwrap_err();
            assert!(problems[0].to_string().contains(reason), "{problems:?}");
        }
    }

    #[test]
    fn a_weight_counts_as_in_force_by_the_clock_and_no_stamp_of_another_cloud_is_believed() {
        let live = service(
            "s",
            &json!({WEIGHTS: "{}", sync_stamps::BEGIN: "2030-01-01T00:00:00Z", sync_stamps::END: "2030-01-01T00:00:01Z"}),
        );
        let at = |second: i64| Timestamp::from_second(1_767_225_600 + second).unwrap();
        let write = WriteRecord::of_answer("us", WEIGHTS, &live, at(0));
        let told = |second: i64| lever().confirmed(&live, &write, at(second));
        assert!(matches!(told(5), Confirmation::Pending { .. }));
        assert!(matches!(told(12), Confirmation::Confirmed { .. }));
        // Another process does not know when it was written, and nothing else tells.
        let unknown = WriteRecord::unknown("us");
        assert!(matches!(lever().confirmed(&live, &unknown, at(60)), Confirmation::Doubtful { .. }));
    }
}
