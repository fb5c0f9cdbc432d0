//! Helm and kustomize, as a user runs them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// Of an object: kind, namespace, name.
pub type Identity = (String, String, String);

/// What is installed, by who it is.
pub type Objects = BTreeMap<Identity, Value>;

pub const NAME: &str = "lossless-upgrade";
pub const NAMESPACE: &str = "lossless-upgrade-system";

pub fn chart() -> PathBuf {
    lab::paths::workspace().join("deploy/chart")
}

/// What the program printed, or what it complained of.
pub fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.env("PATH", lab::paths::search_path()).env("HELM_CACHE_HOME", lab::paths::scratch()).args(args);
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// What a release of the chart installs; each value is written as `--set-json` has it.
pub fn release(name: &str, namespace: &str, values: &[&str]) -> Result<Objects, String> {
    let chart = chart().display().to_string();
    let mut args = vec!["template", name, &chart, "--namespace", namespace];
    args.extend(values.iter().flat_map(|value| ["--set-json", value]));
    run("helm", &args).map(|text| objects(&text))
}

/// The release that has the names of the base.
pub fn render(values: &[&str]) -> Result<Objects, String> {
    release(NAME, NAMESPACE, values)
}

/// The kustomize base.
pub fn base() -> Objects {
    let deploy = lab::paths::workspace().join("deploy").display().to_string();
    objects(&run("kubectl", &["kustomize", &deploy]).expect("the base renders"))
}

fn objects(yaml: &str) -> Objects {
    let all: Vec<Value> = serde_saphyr::from_multiple(yaml).expect("it is YAML");
    let mut objects = Objects::new();
    for object in all.into_iter().filter(|object| !object.is_null()) {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let identity = (text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
        let identity = (identity.0.to_owned(), identity.1.to_owned(), identity.2.to_owned());
        assert_eq!(objects.insert(identity.clone(), object), None, "twice: {identity:?}");
    }
    objects
}
