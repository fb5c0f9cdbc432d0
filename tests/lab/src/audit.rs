//! Which rights a user of the API server used, by that server's own log, and which ones a service account has.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use kube::{Api, Client, api::ListParams};
use serde_json::Value;

/// A verb on a kind of object, as a rule of RBAC grants it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The API group; empty for the core one.
    pub group: String,
    /// The resource, with its subresource after a slash.
    pub resource: String,
    /// What is done with it.
    pub verb: String,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, resource, verb } = self;
        if group.is_empty() {
            write!(f, "{verb} {resource}")
        } else {
            write!(f, "{verb} {resource} of {group}")
        }
    }
}

/// What a user did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// The rights that let him, with how often he used each.
    pub rights: BTreeMap<Right, usize>,
    /// What he had no right to, once each. What admission refused is not among it: there he had the right. Neither is
    /// what he was later let do in the same namespace: an API server that has just started refuses everybody until it
    /// has read the roles.
    pub refused: BTreeSet<Right>,
}

/// Reads the lines of an audit log as far as they are about `user`.
#[must_use]
pub fn used(log: &str, user: &str) -> Used {
    let mut rights: BTreeMap<Right, usize> = BTreeMap::new();
    let mut refused: BTreeSet<(String, Right)> = BTreeSet::new();
    for line in log.lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        // A watch has another line when it ends.
        let again = (text("/verb"), text("/stage")) == ("watch", "ResponseComplete");
        if text("/user/username") != user || again {
            continue;
        }
        let resource = match (text("/objectRef/resource"), text("/objectRef/subresource")) {
            // No object: a path such as /version.
            ("", _) => text("/requestURI").to_owned(),
            (resource, "") => resource.to_owned(),
            (resource, sub) => format!("{resource}/{sub}"),
        };
        let right =
            Right { group: text("/objectRef/apiGroup").to_owned(), resource, verb: text("/verb").to_owned() };
        let place = (text("/objectRef/namespace").to_owned(), right);
        if text("/annotations/authorization.k8s.io~1decision") == "forbid" {
            refused.insert(place);
        } else {
            refused.remove(&place);
            *rights.entry(place.1).or_default() += 1;
        }
    }
    Used { rights, refused: refused.into_iter().map(|(_, right)| right).collect() }
}

/// The rights that bindings give to this service account itself; what everybody has is left out.
///
/// # Errors
/// When the roles cannot be read.
pub async fn granted(client: &Client, namespace: &str, account: &str) -> kube::Result<BTreeSet<Right>> {
    let all = ListParams::default();
    let is_bound = |subjects: &Option<Vec<Subject>>| {
        subjects.iter().flatten().any(|subject| {
            let place = (subject.namespace.as_deref(), subject.name.as_str());
            subject.kind == "ServiceAccount" && place == (Some(namespace), account)
        })
    };
    let mut bound: BTreeSet<(Option<String>, String)> = BTreeSet::new();
    for binding in Api::<ClusterRoleBinding>::all(client.clone()).list(&all).await? {
        if is_bound(&binding.subjects) {
            bound.insert((None, binding.role_ref.name));
        }
    }
    for binding in Api::<RoleBinding>::all(client.clone()).list(&all).await? {
        if is_bound(&binding.subjects) {
            let RoleRef { kind, name, .. } = binding.role_ref;
            bound.insert((binding.metadata.namespace.filter(|_| kind == "Role"), name));
        }
    }
    let mut rights = BTreeSet::new();
    for (namespace, name) in bound {
        let rules = match namespace {
            Some(namespace) => Api::<Role>::namespaced(client.clone(), &namespace).get(&name).await?.rules,
            None => Api::<ClusterRole>::all(client.clone()).get(&name).await?.rules,
        };
        rights.extend(rules.iter().flatten().flat_map(of_rule));
    }
    Ok(rights)
}

/// Each right that the rule names. A wildcard stays one, and is never what somebody used.
fn of_rule(rule: &PolicyRule) -> Vec<Right> {
    let mut rights = Vec::new();
    for group in rule.api_groups.iter().flatten() {
        for resource in rule.resources.iter().flatten() {
            for verb in &rule.verbs {
                rights.push(Right { group: group.clone(), resource: resource.clone(), verb: verb.clone() });
            }
        }
    }
    rights
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn right(verb: &str, resource: &str, group: &str) -> Right {
        Right { group: group.into(), resource: resource.into(), verb: verb.into() }
    }

    fn event(user: &str, verb: &str, stage: &str, object: &Value, decision: &str) -> String {
        let event = json!({
            "user": {"username": user}, "verb": verb, "stage": stage, "objectRef": object, "requestURI": "/path",
            "annotations": {"authorization.k8s.io/decision": decision},
        });
        event.to_string() + "\n"
    }

    #[test]
    fn rights_are_counted_by_group_resource_and_verb_and_refusals_stand_apart() {
        let log = json!({"resource": "pods", "subresource": "log"});
        let sets = json!({"resource": "statefulsets", "apiGroup": "apps"});
        let done = "ResponseComplete";
        let text = [
            event("us", "get", done, &log, "allow"),
            event("us", "get", done, &log, "allow"),
            event("us", "watch", "ResponseStarted", &sets, "allow"),
            event("us", "watch", done, &sets, "allow"),
            event("us", "delete", done, &sets, "forbid"),
            event("us", "get", done, &Value::Null, "allow"),
            event("somebody", "create", done, &sets, "allow"),
        ];
        let used = used(&text.concat(), "us");
        let counted = [
            (right("get", "/path", ""), 1),
            (right("get", "pods/log", ""), 2),
            (right("watch", "statefulsets", "apps"), 1),
        ];
        assert_eq!(used.rights, BTreeMap::from(counted));
        assert_eq!(used.refused, BTreeSet::from([right("delete", "statefulsets", "apps")]));
    }

    #[test]
    fn what_an_api_server_that_has_just_started_refuses_and_then_allows_is_no_missing_right() {
        let pods = |namespace| json!({"resource": "pods", "namespace": namespace});
        let text = [
            event("us", "get", "ResponseComplete", &pods("a"), "forbid"),
            event("us", "get", "ResponseComplete", &pods("a"), "allow"),
        ];
        assert_eq!(used(&text.concat(), "us").refused, BTreeSet::new());
        // Allowed elsewhere, or only before: that is something else.
        let refused = BTreeSet::from([right("get", "pods", "")]);
        let elsewhere = [
            event("us", "get", "ResponseComplete", &pods("a"), "forbid"),
            event("us", "get", "ResponseComplete", &pods("b"), "allow"),
        ];
        assert_eq!(used(&elsewhere.concat(), "us").refused, refused);
        let before = [
            event("us", "get", "ResponseComplete", &pods("a"), "allow"),
            event("us", "get", "ResponseComplete", &pods("a"), "forbid"),
        ];
        assert_eq!(used(&before.concat(), "us").refused, refused);
    }

    #[test]
    fn a_rule_grants_each_verb_on_each_of_its_resources() {
        let text = |items: &[&str]| Some(items.iter().map(|item| (*item).to_owned()).collect());
        let rule = PolicyRule {
            api_groups: text(&["", "apps"]),
            resources: text(&["pods"]),
            verbs: text(&["get", "list"]).unwrap_or_default(),
            ..PolicyRule::default()
        };
        assert_eq!(of_rule(&rule).len(), 4);
        assert!(of_rule(&rule).contains(&right("list", "pods", "apps")));
    }
}
