//! Lever `podLabel`: the label by which Services select the pod is taken off it.
//!
//! Who follows EndpointSlices (kube-proxy, ingress controllers, most load balancers) then sends it no
//! new connection. What becomes of those that are there is theirs to say: kube-proxy keeps them. The
//! label comes back with the pod that is made anew, as the template has it.

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::cover::{is_governing, selects, warnings};
use super::labels::{POD_INDEX, POD_NAME, REVISION};
use super::pods::Front;
use super::spec::PodLabelSpec;
use super::{Confirmation, Lever, LeverKind, OnPods, PodHeld, Problem, Selection, Site, Target};

/// Labels that are the StatefulSet controller's own.
const RESERVED: [&str; 3] = [POD_NAME, POD_INDEX, REVISION];

/// The lever with its settings.
#[derive(Clone, Debug)]
pub(super) struct PodLabel {
    key: String,
    value: String,
}

impl PodLabel {
    pub(super) fn new(spec: &PodLabelSpec) -> Self {
        let PodLabelSpec { key, value } = spec;
        Self { key: key.clone(), value: value.clone() }
    }

    pub(super) fn of_saved(key: &str, value: Option<&str>) -> Self {
        Self { key: key.to_owned(), value: value.unwrap_or_default().to_owned() }
    }

    fn label(&self) -> String {
        format!("{}={}", self.key, self.value)
    }

    fn is_selected_by(&self, service: &Service) -> bool {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|selector| selector.get(&self.key) == Some(&self.value))
    }

    /// What stands against this label, whatever the Services are.
    fn problems(&self, target: &Target<'_>) -> Vec<Problem> {
        let (label, set) = (self.label(), target.set.to_owned());
        let selector = target.selector;
        let named = selector.is_some_and(|one| {
            one.match_labels.as_ref().is_some_and(|labels| labels.contains_key(&self.key))
        });
        let mut expressions = selector.and_then(|one| one.match_expressions.as_ref()).into_iter().flatten();
        if RESERVED.contains(&self.key.as_str()) {
            return vec![Problem::LabelReserved { label }];
        }
        if named || expressions.any(|expression| expression.key == self.key) {
            // Without it the StatefulSet would let the pod go and make another one of that name.
            return vec![Problem::LabelInSelector { label, set }];
        }
        if target.pod_labels.get(&self.key) != Some(&self.value) {
            return vec![Problem::LabelNotInTemplate { label, set }];
        }
        Vec::new()
    }
}

impl Lever for PodLabel {
    fn kind(&self) -> LeverKind {
        LeverKind::PodLabel
    }

    fn services(&self, target: &Target<'_>, all: &[Service]) -> Result<Selection, Vec<Problem>> {
        let mut problems = self.problems(target);
        if !problems.is_empty() {
            return Err(problems);
        }
        let found: Vec<&Service> =
            all.iter().filter(|service| self.is_selected_by(service) && selects(target, service)).collect();
        let governing = found.iter().filter(|service| is_governing(target, service));
        problems.extend(
            governing.map(|service| Problem::LabelInGoverning {
                label: self.label(),
                service: service.name_any(),
            }),
        );
        if found.is_empty() {
            problems.push(Problem::LabelUnused { label: self.label(), set: target.set.to_owned() });
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let warnings = found.iter().flat_map(|service| warnings(service)).collect();
        let mut services: Vec<String> = found.iter().map(|service| service.name_any()).collect();
        services.sort();
        Ok(Selection { services, warnings })
    }

    fn site(&self) -> Site<'_> {
        Site::Pods(self)
    }
}

impl OnPods for PodLabel {
    fn saved(&self) -> (&str, Option<&str>) {
        (&self.key, Some(&self.value))
    }

    fn held(&self, pod: &Pod) -> PodHeld {
        match pod.labels().get(&self.key) {
            None => PodHeld::Detached,
            Some(value) if *value == self.value => PodHeld::Attached,
            Some(value) => PodHeld::Foreign { what: format!("its label {} is {value}", self.key) },
        }
    }

    fn change(&self, _: &Pod, detached: bool) -> Value {
        json!({"labels": {&self.key: (!detached).then_some(&self.value)}})
    }

    fn reaches(&self, service: &Service, pod: &Pod) -> bool {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        self.is_selected_by(service)
            && selector
                .into_iter()
                .flatten()
                .all(|(key, value)| *key == self.key || pod.labels().get(key) == Some(value))
    }

    /// By the slices: nobody tells whether who follows them has done so.
    fn followed(&self, front: &Front<'_>) -> Confirmation {
        let lag = front.pods.iter().find_map(|pod| front.lag(pod, &self.held(pod), true));
        lag.map_or(Confirmation::Confirmed { at: front.now }, |why| Confirmation::Pending { why })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

    use super::*;
    use crate::traffic::Warning;
    use crate::traffic::contract::{Cloud, contract_on_pods};

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn service(name: &str, cluster_ip: &str, selector: &[(&str, &str)]) -> Service {
        let spec = json!({"clusterIP": cluster_ip, "selector": map(selector)});
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
    }

    fn pod(labels: &[(&str, &str)]) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "web-0", "uid": "u-0", "labels": map(labels)}}))
            .unwrap()
    }

    fn lever() -> PodLabel {
        PodLabel::of_saved("serving", Some("true"))
    }

    fn selected(
        selector: &LabelSelector,
        template: &[(&str, &str)],
        all: &[Service],
    ) -> Result<Selection, Vec<Problem>> {
        let (labels, none) = (map(template), BTreeMap::new());
        let target = Target {
            set: "web",
            governing: "peers",
            pod_labels: &labels,
            pod_annotations: &none,
            selector: Some(selector),
        };
        lever().services(&target, all)
    }

    #[test]
    fn it_keeps_the_contract_of_levers_on_pods() {
        let both = [("app", "web"), ("serving", "true")];
        let all = [pod(&both), pod(&[("app", "web"), ("serving", "true"), ("serving-too", "yes")])];
        let foreign = ["maintenance", "", "True"].map(|value| pod(&[("app", "web"), ("serving", value)]));
        // Nothing is stamped: the slices tell all.
        let cloud = Cloud { follows: |service| service, fails: &[] };
        contract_on_pods(&lever(), &all, &foreign, &service("inside", "10.0.0.1", &both), &cloud);
    }

    #[test]
    fn it_covers_the_services_that_select_by_the_label_and_no_others() {
        let all = [
            service("inside", "10.0.0.1", &[("app", "web"), ("serving", "true")]),
            service("also", "10.0.0.2", &[("serving", "true")]),
            service("without", "10.0.0.3", &[("app", "web")]),
            service("peers", "None", &[("app", "web")]),
            service("another-value", "10.0.0.4", &[("app", "web"), ("serving", "no")]),
            service("another-app", "10.0.0.5", &[("app", "db"), ("serving", "true")]),
        ];
        let by = LabelSelector { match_labels: Some(map(&[("app", "web")])), ..LabelSelector::default() };
        let found = selected(&by, &[("app", "web"), ("serving", "true")], &all).unwrap();
        assert_eq!(found.services, ["also", "inside"]);
    }

    #[test]
    fn what_may_disturb_is_a_warning() {
        let both = [("app", "web"), ("serving", "true")];
        let mut bad = service("inside", "10.0.0.1", &both);
        let spec = bad.spec.as_mut().unwrap();
        (spec.session_affinity, spec.publish_not_ready_addresses) = (Some("ClientIP".into()), Some(true));
        let by = LabelSelector { match_labels: Some(map(&[("app", "web")])), ..LabelSelector::default() };
        let expected = [
            Warning::SessionAffinity { service: "inside".into() },
            Warning::NotReadyAddresses { service: "inside".into() },
        ];
        assert_eq!(selected(&by, &both, &[bad]).unwrap().warnings, expected);
    }

    #[test]
    fn a_label_that_would_cost_the_set_its_pod_or_the_pod_its_name_is_refused() {
        let app = LabelSelector { match_labels: Some(map(&[("app", "web")])), ..LabelSelector::default() };
        let both = [("app", "web"), ("serving", "true")];
        let inside = || service("inside", "10.0.0.1", &both);
        let by = LabelSelector { match_labels: Some(map(&both)), ..LabelSelector::default() };
        let told = |result: Result<Selection, Vec<Problem>>| result.unwrap_err()[0].to_string();
        assert!(told(selected(&by, &both, &[inside()])).contains("selector of StatefulSet web"));
        let missing = told(selected(&app, &[("app", "web")], &[inside()]));
        assert!(missing.contains("pod template") && missing.contains("serving=true"), "{missing}");
        let required = |key: &str| {
            let rule = LabelSelectorRequirement { key: key.into(), operator: "Exists".into(), values: None };
            LabelSelector { match_expressions: Some(vec![rule]), ..app.clone() }
        };
        assert!(told(selected(&required("serving"), &both, &[inside()])).contains("selector of StatefulSet"));
        assert!(selected(&required("tier"), &both, &[inside()]).is_ok());
        let peers = service("peers", "None", &both);
        assert!(told(selected(&app, &both, &[inside(), peers])).contains("headless Service peers"));
        let without = service("without", "10.0.0.3", &[("app", "web")]);
        assert!(told(selected(&app, &both, &[without])).contains("no Service"));
        let reserved = PodLabel::of_saved("statefulset.kubernetes.io/pod-name", Some("web-0"));
        let (labels, none) = (map(&both), BTreeMap::new());
        let target = Target {
            set: "web",
            governing: "",
            pod_labels: &labels,
            pod_annotations: &none,
            selector: Some(&app),
        };
        assert!(told(reserved.services(&target, &[inside()])).contains("Kubernetes"));
    }

    #[test]
    fn a_service_reaches_the_pods_that_have_the_rest_of_its_selector() {
        let both = [("app", "web"), ("serving", "true")];
        let reaches =
            |selector, labels| lever().reaches(&service("inside", "10.0.0.1", selector), &pod(labels));
        assert!(reaches(&both, &both));
        assert!(reaches(&both, &[("app", "web")]), "also while it is detached");
        assert!(!reaches(&both, &[("app", "db"), ("serving", "true")]), "another app's");
        assert!(!reaches(&both, &[("serving", "true")]));
        assert!(!reaches(&[("app", "web")], &both), "not by the label");
    }
}
