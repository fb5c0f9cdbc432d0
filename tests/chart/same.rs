//! One operator, whichever way it is installed.

use std::fs;

use libtest_mimic::Failed;
use serde_json::Value;

use crate::helm::{Identity, NAME, NAMESPACE, Objects, base, release, render};

/// What Helm and its users expect on each object, and the base does not have.
const OF_HELM: [&str; 4] = [
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "helm.sh/chart",
];

/// Helm makes the namespace when it is asked to, and takes the Lease away in the end, which the base's goes with.
pub fn as_the_base() -> Result<(), Failed> {
    let base: Objects = base().into_iter().filter_map(as_installed).collect();
    let mut chart = render(&[r#"image.tag="dev""#, "crds.keep=false"])?;
    chart.retain(|(kind, _, _), _| kind != "Lease");
    chart.values_mut().for_each(without_labels_of_helm);
    let only = |these: &Objects, others: &Objects| {
        these.keys().filter(|identity| !others.contains_key(*identity)).cloned().collect::<Vec<_>>()
    };
    let (missing, added) = (only(&base, &chart), only(&chart, &base));
    if !missing.is_empty() || !added.is_empty() {
        return Err(format!("the chart lacks {missing:?} and has {added:?}").into());
    }
    for (identity, object) in &base {
        if chart.get(identity) != Some(object) {
            let (base, chart) = (text(object), text(&chart[identity]));
            return Err(format!("{identity:?} is in the base\n{base}\nand in the chart\n{chart}").into());
        }
    }
    Ok(())
}

/// What Helm does not make is left out. kustomize does not know that policies have no namespace, and
/// the API server does not mind.
fn as_installed(base: (Identity, Value)) -> Option<(Identity, Value)> {
    let ((kind, namespace, name), mut object) = base;
    match kind.as_str() {
        "Namespace" => None,
        "ValidatingAdmissionPolicy" | "ValidatingAdmissionPolicyBinding" => {
            object["metadata"].as_object_mut()?.remove("namespace");
            Some(((kind, String::new(), name), object))
        }
        _ => Some(((kind, namespace, name), object)),
    }
}

fn text(object: &Value) -> String {
    serde_json::to_string_pretty(object).expect("JSON")
}

/// Takes them away wherever they are: at the object, its pods and what selects them.
fn without_labels_of_helm(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !OF_HELM.contains(&name.as_str()));
            fields.values_mut().for_each(without_labels_of_helm);
        }
        Value::Array(items) => items.iter_mut().for_each(without_labels_of_helm),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The alerts too, with whatever stands in braces for Prometheus and not for Helm.
pub fn same_alerts() -> Result<(), Failed> {
    let rule = lab::paths::workspace().join("deploy/alerts/prometheus-rule.yaml");
    let rule: Value = serde_saphyr::from_str(&fs::read_to_string(rule)?).expect("it is YAML");
    let chart = render(&["prometheusRule.enabled=true"])?;
    assert_eq!(pointed(&chart, "PrometheusRule", "/spec"), &rule["spec"]);
    Ok(())
}

/// Neither takes the other's objects, pods, Lease or rights.
pub fn two_releases() -> Result<(), Failed> {
    let without_crd = "crds.install=false";
    let (one, other) = (render(&[without_crd])?, release("team-b", NAMESPACE, &[without_crd])?);
    if let Some(both) = one.keys().find(|identity| other.contains_key(*identity)) {
        return Err(format!("both have {both:?}").into());
    }
    let selector =
        |objects: &Objects| pointed(objects, "Deployment", "/spec/selector/matchLabels").to_string();
    let arguments = |objects: &Objects| {
        pointed(objects, "Deployment", "/spec/template/spec/containers/0/args").to_string()
    };
    assert_ne!(selector(&one), selector(&other));
    assert!(arguments(&other).contains("--lease-name=team-b-lossless-upgrade"), "{}", arguments(&other));
    let own = pointed(&other, "Role", "/rules/1/resourceNames").to_string();
    assert_eq!(own, r#"["team-b-lossless-upgrade"]"#, "the Lease that it may write");
    for (identity, object) in &other {
        let (account, named) = (object.pointer("/subjects/0/name"), object.pointer("/roleRef/name"));
        for name in account.into_iter().chain(named).filter_map(Value::as_str) {
            assert!(name.starts_with("team-b"), "{identity:?} is about {name}");
        }
    }
    Ok(())
}

/// The field of the first object of a kind.
fn pointed<'a>(objects: &'a Objects, kind: &str, pointer: &str) -> &'a Value {
    let mut of_kind = objects.iter().filter(|((other, _, _), _)| other == kind);
    let (_, object) = of_kind.next().expect("one of the kind");
    object.pointer(pointer).expect("the field")
}

/// Least rights: what the cluster roles say is given in one namespace, and the policy holds there.
pub fn one_namespace() -> Result<(), Failed> {
    let objects = render(&[r#"watchNamespace="shop""#])?;
    let bindings: Vec<_> = objects.keys().filter(|(kind, _, _)| kind.ends_with("RoleBinding")).collect();
    let wanted = [
        ("RoleBinding", NAMESPACE, "lossless-upgrade-leader-election"),
        ("RoleBinding", "shop", NAME),
        ("RoleBinding", "shop", "lossless-upgrade-drain-counter"),
    ];
    let wanted = wanted.map(|(kind, namespace, name)| (kind.into(), namespace.into(), name.into()));
    assert_eq!(bindings, wanted.iter().collect::<Vec<_>>());
    let arguments = pointed(&objects, "Deployment", "/spec/template/spec/containers/0/args").to_string();
    assert!(arguments.contains("--namespace=shop"), "{arguments}");
    let there = "/spec/matchResources/namespaceSelector/matchLabels/kubernetes.io~1metadata.name";
    assert_eq!(pointed(&objects, "ValidatingAdmissionPolicyBinding", there), "shop");
    Ok(())
}
