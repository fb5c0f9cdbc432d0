//! The values: each does something, and what makes no sense is refused with the name of the value.

use std::collections::BTreeSet;
use std::fs;

use libtest_mimic::Failed;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::helm::{NAME, chart, render, run};

/// A value, and what of the installed objects shows that it was heard.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Effect {
    set: Value,
    #[serde(rename = "in", default = "operator")]
    object: String,
    #[serde(default)]
    at: String,
    #[serde(default)]
    is: Value,
}

fn operator() -> String {
    format!("Deployment/{NAME}")
}

/// Values that are refused, and what the refusal names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nonsense {
    set: Value,
    names: String,
}

fn yaml<T: DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).expect("it can be read")
}

fn list() -> Vec<Effect> {
    yaml(include_str!("effects.yaml"))
}

impl Effect {
    fn pointer(&self) -> String {
        let container =
            self.at.strip_prefix("container/").map(|at| format!("/spec/template/spec/containers/0/{at}"));
        let pod = self.at.strip_prefix("pod/").map(|at| format!("/spec/template/spec/{at}"));
        container.or(pod).unwrap_or_else(|| self.at.clone())
    }
}

pub fn effects() -> Result<(), Failed> {
    let mut untried = promised();
    for effect in list() {
        leaves(&effect.set, "", &mut |path, _| {
            untried.retain(|value| !format!("{path}/").starts_with(&format!("{value}/")));
        });
        let objects = render(&[&effect.set.to_string()])?;
        let named = objects.iter().find(|((kind, _, name), _)| format!("{kind}/{name}") == effect.object);
        let shown = named.and_then(|(_, object)| object.pointer(&effect.pointer())).unwrap_or(&Value::Null);
        if *shown != effect.is {
            return Err(format!("{effect:?} shows {shown}").into());
        }
    }
    if untried.is_empty() { Ok(()) } else { Err(format!("no effect is known of {untried:?}").into()) }
}

/// Every value of values.yaml. A list or an empty map is one value.
fn promised() -> BTreeSet<String> {
    let values: Value = yaml(&fs::read_to_string(chart().join("values.yaml")).expect("it is there"));
    let mut all = BTreeSet::new();
    leaves(&values, "", &mut |path, _| {
        // Kubernetes' own fields, handed through as one.
        let passed = ["/resources/requests", "/resources/limits", "/podSecurityContext"];
        let whole = passed.into_iter().find(|whole| path.starts_with(whole));
        all.insert(whole.unwrap_or(path).to_owned());
    });
    all
}

fn leaves(value: &Value, path: &str, found: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                leaves(value, &format!("{path}/{name}"), found);
            }
        }
        Value::Object(_)
        | Value::Array(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_) => {
            found(path, value);
        }
    }
}

pub fn nonsense() -> Result<(), Failed> {
    let refused: Vec<Nonsense> = yaml(include_str!("nonsense.yaml"));
    for Nonsense { set, names } in refused {
        match render(&[&set.to_string()]) {
            Ok(_) => return Err(format!("{set} was accepted").into()),
            Err(complaint) if complaint.contains(&names) => {}
            Err(complaint) => return Err(format!("{set} is refused without `{names}`: {complaint}").into()),
        }
    }
    Ok(())
}

/// As it is shipped, and with everything that can be switched on or off.
pub fn lint() -> Result<(), Failed> {
    let chart = chart().display().to_string();
    run("helm", &["lint", "--strict", &chart])?;
    for effect in list() {
        let set = effect.set.to_string();
        run("helm", &["lint", "--strict", "--quiet", &chart, "--set-json", &set])?;
    }
    Ok(())
}
