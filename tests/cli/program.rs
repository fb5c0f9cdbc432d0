//! The program as it is, against the fake API server: what it prints, its exit codes, its requests.

use std::process::{Command, Output};

use super::fake_cluster::FakeCluster;
use super::fixtures::{Moment, all};

pub fn at(name: &str) -> Moment {
    all().into_iter().find(|moment| moment.name == name).unwrap()
}

fn lu(cluster: &FakeCluster, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-lu"));
    command.arg("--kubeconfig").arg(&cluster.kubeconfig).args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[track_caller]
fn ends(cluster: &FakeCluster, args: &[&str], code: i32, says: &str) -> String {
    let output = lu(cluster, args);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    assert!(text.contains(says), "{args:?}: {text}");
    text
}

#[test]
fn the_list_costs_one_request() {
    let cluster = FakeCluster::start("list", &at("Drain"));
    let before = cluster.requests();
    let text = ends(&cluster, &["get"], 0, "Drain");
    assert_eq!(cluster.requests() - before, 1);
    assert!(!text.contains('\u{1b}'), "colours although it is no terminal: {text:?}");
    ends(&cluster, &["get", "-o", "name"], 0, "losslessupgrade.lossless-upgrade.io/web\n");
    ends(&cluster, &["get", "web", "-o", "json"], 0, "\"phase\": \"Drain\"");
    ends(&cluster, &["get", "-A", "-o", "yaml"], 0, "kind: List");
    ends(&cluster, &["get", "-A", "-o", "wide"], 0, "CONNECTIONS");
    ends(&cluster, &["get", "-n", "elsewhere"], 0, "There is no LosslessUpgrade in namespace elsewhere");
    ends(&cluster, &["get", "other"], 2, "there is no LosslessUpgrade other in namespace shop");
    cluster.was_understood();
}

#[test]
fn what_a_user_says_is_written_once_and_in_the_way_that_the_operator_reads() {
    let cluster = FakeCluster::start("steer", &at("Drain"));
    ends(&cluster, &["pause", "lu/web"], 0, "losslessupgrade/web paused");
    assert!(cluster.object().spec.paused);
    ends(&cluster, &["pause", "web"], 0, "already paused");
    ends(&cluster, &["resume", "web"], 0, "losslessupgrade/web resumed");
    assert!(!cluster.object().spec.paused);
    ends(&cluster, &["abort", "web"], 0, "is told to abort");
    let value = |key: &str| cluster.object().metadata.annotations.unwrap_or_default().get(key).cloned();
    let first = value("lossless-upgrade.io/abort").unwrap();
    ends(&cluster, &["abort", "web"], 0, "is told to abort");
    assert_ne!(value("lossless-upgrade.io/abort").unwrap(), first, "each value counts once");
    ends(&cluster, &["rollback", "web"], 0, "is told to roll back");
    assert!(value("lossless-upgrade.io/rollback").is_some());
    ends(&cluster, &["retry", "web"], 2, "the run goes on by itself");
    assert!(value("lossless-upgrade.io/retry").is_none());
    ends(&cluster, &["retry", "other"], 2, "there is no LosslessUpgrade other");
    cluster.put(&at("Drain, halted"));
    ends(&cluster, &["retry", "web"], 0, "is told to retry");
    assert!(value("lossless-upgrade.io/retry").is_some());
    cluster.was_understood();
}

#[test]
fn waiting_ends_with_the_code_of_what_became_of_the_run() {
    let cluster = FakeCluster::start("wait", &at("Succeeded"));
    ends(&cluster, &["wait", "web"], 0, "All 3 pods run revision web-v2");
    cluster.put(&at("RolledBack"));
    ends(&cluster, &["wait", "web"], 1, "did not stay good");
    cluster.put(&at("Blocked"));
    ends(&cluster, &["wait", "web"], 4, "OnDelete");
    cluster.put(&at("Drain"));
    ends(
        &cluster,
        &["wait", "web", "--timeout", "500ms"],
        3,
        "not over after 500ms; at last: Draining: web-1",
    );
    ends(&cluster, &["wait", "web", "--timeout", "soon"], 2, "is not a length of time");
    // It is over while somebody waits.
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| lu(&cluster, &["wait", "web", "--timeout", "1m"]));
        let before = cluster.requests();
        let deadline = std::time::Duration::from_secs(30);
        until(deadline, || cluster.requests() >= before + 4, || "it watches".to_owned());
        cluster.put(&at("Succeeded"));
        waiting.join().unwrap()
    });
    assert_eq!(waiting.status.code(), Some(0), "{}", text(&waiting));
    cluster.was_understood();
}

#[test]
fn an_edit_that_changes_nothing_else_is_shown_as_seen_so_that_waiting_ends() {
    let cluster = FakeCluster::start("edit", &at("Idle"));
    cluster.operate();
    for time in ["2m", "3m"] {
        cluster.edit(|spec| spec["drain"]["timeout"] = time.into());
        ends(&cluster, &["wait", "web", "--timeout", "20s"], 0, "All 3 pods run");
        let object = cluster.object();
        assert_eq!(object.status.map(|status| status.observed_generation), object.metadata.generation);
    }
    cluster.was_understood();
}

#[test]
fn each_view_is_shown_by_its_command() {
    let cluster = FakeCluster::start("views", &at("Drain"));
    let shown = ends(&cluster, &["status", "web"], 0, "web-1");
    assert!(shown.contains("RESTARTS") && shown.contains("Detached"), "{shown}");
    ends(&cluster, &["explain", "web"], 0, "Ends when");
    ends(&cluster, &["history", "web"], 0, "under way");
    ends(&cluster, &["history", "web", "-o", "json"], 0, "[]");
    ends(&cluster, &["create", "web"], 0, "kind: LosslessUpgrade");
    ends(&cluster, &["create", "other"], 2, "there is no StatefulSet other");
    ends(&cluster, &["completion", "bash"], 0, "kubectl-lu");
    ends(&cluster, &["--help"], 0, "Exit codes:");
    assert_eq!(ends(&cluster, &["__complete", "status", "w"], 0, ""), "web\n:4\n");
    assert_eq!(ends(&cluster, &["__complete", "-n", "elsewhere", "status", ""], 0, ""), ":4\n");
    ends(&cluster, &["status", "web", "--timeout", "1s"], 2, "--watch");
    cluster.put(&at("RolledBack"));
    ends(&cluster, &["status", "web"], 1, "RolledBack");
    cluster.was_understood();
}

#[test]
fn where_the_output_is_no_terminal_each_change_is_a_line() {
    let cluster = FakeCluster::start("lines", &at("Drain"));
    let output = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| lu(&cluster, &["status", "web", "-w", "--timeout", "1m"]));
        let before = cluster.requests();
        let deadline = std::time::Duration::from_secs(30);
        until(deadline, || cluster.requests() >= before + 6, || "it watches".to_owned());
        cluster.put(&at("Succeeded"));
        waiting.join().unwrap()
    });
    let text = text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("Drain 1/3: Draining: web-1") && text.contains("Succeeded 3/3"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn a_cluster_that_is_not_there_and_a_context_that_is_not_are_said_so() {
    let nowhere = Command::new(env!("CARGO_BIN_EXE_kubectl-lu"))
        .args(["get", "--kubeconfig", "/nonexistent/kubeconfig"])
        .output()
        .unwrap();
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(text(&nowhere).contains("the kubeconfig cannot be used"), "{}", text(&nowhere));
    let cluster = FakeCluster::start("context", &at("Idle"));
    ends(&cluster, &["get", "--context", "other"], 2, "other");
}

/// Looks until it is so.
#[track_caller]
pub fn until(limit: std::time::Duration, is: impl Fn() -> bool, what: impl Fn() -> String) {
    let clock = lossless_upgrade::runtime::clock::Clock::system();
    while !is() {
        assert!(clock.monotonic() < limit, "waited {limit:?}: {}", what());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
