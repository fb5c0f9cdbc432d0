//! What the documents say of the tests and of the source, compared with both.
#![allow(missing_docs, reason = "tests are named as sentences")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Path and text of each Rust file in these folders.
fn sources(folders: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in folders {
        gather(&root().join(folder), &mut found);
    }
    found
}

fn gather(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
}

/// What stands between backquotes in the document, and the names of cases between quotation marks.
fn named(document: &str, mark: char) -> BTreeSet<String> {
    document.lines().flat_map(|line| line.split(mark).skip(1).step_by(2)).map(str::to_owned).collect()
}

#[test]
fn each_invariant_has_what_holds_it_who_would_notice_and_what_is_assumed() {
    let document = fs::read_to_string(root().join("docs/safety.md")).unwrap();
    let (invariants, _) = document.split_once("## What each interruption leads to").unwrap();
    let invariants: Vec<_> =
        invariants.split("\n**").skip(1).filter(|text| text.starts_with(char::is_numeric)).collect();
    assert_eq!(invariants.len(), 10);
    for invariant in invariants {
        for part in ["\nHeld by: ", "\nNoticed by: ", "\nAssumed: "] {
            assert!(invariant.contains(part), "no {part:?} in {invariant}");
        }
    }
}

#[test]
fn every_test_that_the_document_names_exists_and_every_lesson_is_in_it() {
    let document = fs::read_to_string(root().join("docs/safety.md")).unwrap();
    let sources = sources(&["src", "tests"]);
    let functions: BTreeSet<&str> = sources
        .iter()
        .flat_map(|(_, text)| text.split("fn ").skip(1))
        .filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next())
        .collect();
    // A test's name is a sentence, so it has more words than anything else between backquotes.
    let told: Vec<String> = named(&document, '`')
        .into_iter()
        .filter(|name| name.matches('_').count() > 4 || name.starts_with("g_"))
        .collect();
    assert!(told.len() > 80, "only {} names were found", told.len());
    let lesson = |name: &str| name.starts_with("g_");
    let missing: Vec<_> = told
        .iter()
        .filter(|name| {
            !functions
                .iter()
                .any(|function| function == name || (lesson(name) && function.starts_with(name.as_str())))
        })
        .collect();
    assert!(missing.is_empty(), "no such test: {missing:?}");
    let untold: Vec<_> = functions
        .iter()
        .filter(|function| lesson(function) && !told.iter().any(|name| function.starts_with(name.as_str())))
        .collect();
    assert!(untold.is_empty(), "not in docs/safety.md: {untold:?}");
    let cases: Vec<_> = named(&document, '"')
        .into_iter()
        .filter(|case| case.split(' ').count() > 5)
        .filter(|case| !sources.iter().any(|(_, text)| text.contains(&format!("\"{case}\""))))
        .collect();
    assert!(cases.is_empty(), "no such case on the cluster: {cases:?}");
}

#[test]
fn g_opensearch_464_neither_the_current_revision_nor_the_count_of_updated_pods_is_read() {
    let found = sources(&["src/controller", "src/workflow"]);
    assert!(found.iter().any(|(_, text)| text.contains("update_revision")), "the sources were not found");
    let reads = |text: &str| {
        // Our own status has a count of that name, which is what users see and nothing else.
        let product = text.split("#[cfg(test)]").next().unwrap();
        let theirs = product.replace("status.updated_replicas", "");
        ["current_revision", "currentRevision", "current_replicas", "updated_replicas", "updatedReplicas"]
            .iter()
            .any(|field| theirs.contains(field))
    };
    let reading: Vec<&String> = found.iter().filter(|(_, text)| reads(text)).map(|(path, _)| path).collect();
    assert!(reading.is_empty(), "{reading:?}");
}
