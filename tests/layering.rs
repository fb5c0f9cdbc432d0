//! The arrows of the architecture, read from the source: who may know whom.
//!
//! It looks at the text, so it needs no compiler and cannot be talked round by a re-export in between.

#![allow(clippy::unwrap_used, reason = "a test that cannot read the source fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder of `src/` and what it may know.
struct Layer {
    name: &'static str,
    /// Paths below `crate::` that it may use, each with all below it.
    crate_paths: &'static [&'static str],
    /// Dependencies that it may use; none: any.
    dependencies: Option<&'static [&'static str]>,
}

const LAYERS: [Layer; 9] = [
    Layer { name: "workflow", crate_paths: &[], dependencies: Some(&["serde", "thiserror", "jiff"]) },
    Layer { name: "web", crate_paths: &[], dependencies: None },
    Layer { name: "tencent", crate_paths: &["web"], dependencies: None },
    Layer {
        name: "traffic",
        crate_paths: &["workflow::ordinals", "workflow::span", "tencent", "json"],
        dependencies: None,
    },
    Layer {
        name: "drain",
        crate_paths: &["workflow::ordinals", "workflow::span", "tencent", "web", "json"],
        dependencies: None,
    },
    Layer { name: "api", crate_paths: &["workflow", "traffic::spec", "drain::spec"], dependencies: None },
    Layer { name: "runtime", crate_paths: &[], dependencies: None },
    Layer {
        name: "controller",
        crate_paths: &[
            "api",
            "workflow",
            "traffic",
            "drain",
            "tencent",
            // Handles that are passed to it, not the process around it.
            "runtime::clock",
            "runtime::metrics",
            "runtime::ready",
        ],
        dependencies: None,
    },
    Layer {
        name: "cli",
        crate_paths: &["api", "workflow", "controller", "runtime::clock"],
        dependencies: None,
    },
];

#[test]
fn every_arrow_of_the_architecture_points_one_way() {
    let dependencies = dependencies(&fs::read_to_string(root().join("Cargo.toml")).unwrap());
    let mut violations = Vec::new();
    for file in rust_files(&root().join("src")) {
        let inside = file.strip_prefix(root().join("src")).unwrap();
        let Some(layer) = LAYERS.iter().find(|layer| inside.starts_with(layer.name)) else { continue };
        let text = fs::read_to_string(&file).unwrap();
        violations
            .extend(check(layer, &text, &dependencies).map(|what| format!("{}: {what}", inside.display())));
    }
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn every_folder_of_the_source_has_its_arrows_written_down() {
    for entry in fs::read_dir(root().join("src")).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let known = name == "bin" || LAYERS.iter().any(|layer| layer.name == name);
        assert!(
            !entry.file_type().unwrap().is_dir() || known,
            "src/{name} has no layer in tests/layering.rs"
        );
    }
}

#[test]
fn the_lab_does_not_know_the_operator() {
    let manifest = fs::read_to_string(root().join("tests/lab/Cargo.toml")).unwrap();
    assert!(!dependencies(&manifest).contains("lossless_upgrade"), "the lab must not depend on the operator");
}

#[test]
fn planted_violations_are_found() {
    let known = dependencies("[dependencies]\nkube.workspace = true\nk8s-openapi = \"1\"\nserde = \"1\"\n");
    let found = |layer: &str, text: &str| {
        let layer = LAYERS.iter().find(|known| known.name == layer).unwrap();
        check(layer, text, &known).collect::<Vec<_>>()
    };
    for (layer, text) in [
        ("workflow", "use crate::api::Spec;"),
        ("workflow", "use kube::Client;"),
        ("workflow", "fn x(pod: &k8s_openapi::api::core::v1::Pod) {}"),
        ("workflow", "use crate::{\n    workflow::state::State,\n    drain::{Reading},\n};"),
        ("traffic", "use super::super::controller::names;"),
        ("traffic", "fn x() -> crate::runtime::clock::Clock {}"),
        ("drain", "use crate::workflow::{span::Span, state::State};"),
        ("api", "use crate::traffic::Lever;"),
        ("runtime", "use crate::controller::run;"),
        ("controller", "use crate::runtime::config::RunArgs;"),
        ("controller", "use crate::cli::view::Painter;"),
        ("cli", "use crate::traffic::cover;"),
        ("traffic", "use lossless_upgrade::controller;"),
        ("traffic", "use crate::*;"),
    ] {
        assert_eq!(found(layer, text).len(), 1, "{layer}: {text}: {:?}", found(layer, text));
    }
    for (layer, text) in [
        ("workflow", "use crate::workflow::state::State; use serde::Serialize; use std::fmt;"),
        ("workflow", "// as kube::Client does\n/// See [`crate::api::Spec`].\nuse super::state;"),
        ("drain", "use crate::workflow::{ordinals::OrdinalSet, span::Span};"),
        ("api", "use crate::drain::spec::{ProbeSpec, HttpSpec}; use kube::CustomResource;"),
        ("controller", "use crate::runtime::{clock::Clock, metrics::Metrics};"),
    ] {
        assert_eq!(found(layer, text), Vec::<String>::new(), "{layer}: {text}");
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The names of a manifest's `[dependencies]`, as Rust spells them.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let section = manifest
        .split("\n[")
        .find_map(|section| section.trim_start_matches('[').strip_prefix("dependencies]"));
    let name = |line: &str| line.split(['.', ' ', '=']).next().map(|name| name.replace('-', "_"));
    section
        .unwrap_or_default()
        .lines()
        .filter_map(name)
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .collect()
}

/// What `text` uses and a file of `layer` may not.
fn check(layer: &Layer, text: &str, dependencies: &BTreeSet<String>) -> impl Iterator<Item = String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .fold(String::new(), |code, line| code + line + "\n");
    let mut violations = BTreeSet::new();
    for path in
        ["crate::", "lossless_upgrade::"].iter().flat_map(|start| paths(&code, start)).chain(climbing(&code))
    {
        let allowed = std::iter::once(&layer.name).chain(layer.crate_paths);
        if !allowed.into_iter().any(|allowed| path == **allowed || path.starts_with(&format!("{allowed}::")))
        {
            violations.insert(format!("`{}` must not use `crate::{path}`", layer.name));
        }
    }
    if let Some(allowed) = layer.dependencies {
        for name in dependencies.iter().filter(|name| !allowed.contains(&name.as_str())) {
            if !starts(&code, &format!("{name}::")).is_empty() {
                violations.insert(format!("`{}` must not use the dependency `{name}`", layer.name));
            }
        }
    }
    violations.into_iter()
}

/// Paths that climb with `super` into another layer. A layer that has a module named like a layer
/// would be taken for it; none has.
fn climbing(code: &str) -> Vec<String> {
    let layers = LAYERS.iter().map(|layer| layer.name);
    paths(code, "super::")
        .into_iter()
        .map(|path| path.trim_start_matches("super::").to_owned())
        .filter(|path| layers.clone().any(|layer| path == layer || path.starts_with(&format!("{layer}::"))))
        .collect()
}

/// Where `start` stands in `code` as the first part of a path.
fn starts(code: &str, start: &str) -> Vec<usize> {
    let within = |before: &str| before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
    code.match_indices(start).map(|(at, _)| at).filter(|at| !within(&code[..*at])).collect()
}

/// The paths in `code` after `start`, with the groups of `use` spelled out.
fn paths(code: &str, start: &str) -> Vec<String> {
    starts(code, start).into_iter().flat_map(|at| expand("", &code[at + start.len()..])).collect()
}

/// The paths that the front of `rest` stands for: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(before: &str, rest: &str) -> Vec<String> {
    let rest = rest.trim_start();
    let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '*').next().unwrap_or_default();
    let path = format!("{before}{name}");
    let after = &rest[name.len()..];
    if let Some(group) = rest.strip_prefix('{') {
        return members(group).into_iter().flat_map(|member| expand(before, member)).collect();
    }
    match after.strip_prefix("::") {
        Some(after) if after.starts_with(|c: char| c.is_alphanumeric() || "_*{".contains(c)) => {
            expand(&format!("{path}::"), after)
        }
        Some(_) | None => vec![path],
    }
}

/// The members of a group whose opening brace is just before `group`.
fn members(group: &str) -> Vec<&str> {
    let (mut depth, mut from, mut members) = (0_i32, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 0 => {
                members.push(&group[from..at]);
                from = at + 1;
            }
            '}' if depth == 0 => {
                members.push(&group[from..at]);
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    members.retain(|member| !member.trim().is_empty());
    members
}
