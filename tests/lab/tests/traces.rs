//! The lab leaves nothing behind, however it ends, and starts over what a killed run left.

#![allow(clippy::unwrap_used, reason = "a test says by a panic what is not there")]
#![allow(clippy::disallowed_methods, reason = "a test has deadlines of its own")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use lab::requirements;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long anything here may take.
const LIMIT: Duration = Duration::from_mins(3);

fn shell(command: &[&str]) -> Command {
    let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"));
    lab.args(["shell", "--"]).args(command).stdin(Stdio::null());
    // It is the lab's own cluster or none.
    lab.env("KUBECONFIG", "/nonexistent/kubeconfig");
    lab
}

fn run(command: &[&str]) -> ExitStatus {
    shell(command).stdout(Stdio::null()).status().unwrap()
}

/// A lab that is up and stays up.
fn start() -> Child {
    let mut lab = shell(&["sh", "-c", "echo up; exec sleep 600"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(lab.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line == "up")), "the lab did not come up");
    lab
}

fn signal(lab: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(lab.id()).unwrap()), signal).unwrap();
}

/// What a lab could have left on this machine.
fn traces() -> Vec<String> {
    let mut traces = processes();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let of_lab = |mount: &&str| mount.contains("target/lab") || mount.contains("/run/lab");
    traces.extend(mounts.lines().filter(of_lab).map(|mount| format!("mount {mount}")));
    if Path::new("/sys/class/net/cni0").exists() {
        traces.push("bridge cni0".to_owned());
    }
    traces
}

fn processes() -> Vec<String> {
    let is_ours = |line: &String| {
        let line = line.as_str();
        line.starts_with("lab-in") || line.contains("target/lab/bin/") || line.contains("/run/lab/")
    };
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(is_ours)
        .map(|line| format!("process {line}"))
        .collect()
}

/// Groups that are empty are left by a run that was killed; the next one removes them.
fn cgroups() -> Vec<String> {
    let folders = fs::read_dir("/sys/fs/cgroup").unwrap().filter_map(Result::ok).map(|entry| entry.path());
    let groups =
        folders.filter(|path| path.is_dir()).flat_map(|path| fs::read_dir(path).into_iter().flatten());
    groups
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("lossless-upgrade-lab."))
        .map(|name| format!("cgroup {name}"))
        .collect()
}

fn until_none(what: impl Fn() -> Vec<String>) {
    let begin = Instant::now();
    loop {
        let left = what();
        if left.is_empty() {
            return;
        }
        assert!(begin.elapsed() < LIMIT, "left behind: {left:#?}");
        sleep(Duration::from_millis(100));
    }
}

fn end(lab: &mut Child) -> ExitStatus {
    let begin = Instant::now();
    loop {
        if let Some(status) = lab.try_wait().unwrap() {
            return status;
        }
        assert!(begin.elapsed() < LIMIT, "the lab does not end");
        sleep(Duration::from_millis(100));
    }
}

#[test]
fn nothing_is_left_after_success_failure_an_interrupt_and_a_kill() {
    if let Err(missing) = requirements::check() {
        let must_run = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!must_run, "the lab cannot run here: {missing}");
        eprintln!("SKIPPED: {missing}");
        return;
    }
    // Another lab of this machine would be taken for something left behind.
    until_none(traces);
    assert!(run(&["kubectl", "get", "nodes"]).success());
    assert_eq!(traces(), Vec::<String>::new());
    assert_eq!(run(&["sh", "-c", "exit 7"]).code(), Some(7));
    assert_eq!(traces(), Vec::<String>::new());

    let mut interrupted = start();
    signal(&interrupted, Signal::SIGINT);
    assert!(!end(&mut interrupted).success());
    assert_eq!(traces(), Vec::<String>::new());
    assert_eq!(cgroups(), Vec::<String>::new());

    let mut killed = start();
    assert!(!processes().is_empty(), "a running lab is not seen, so nothing here is proven");
    signal(&killed, Signal::SIGKILL);
    end(&mut killed);
    until_none(traces);
    assert!(run(&["kubectl", "get", "nodes"]).success(), "it does not start over what a killed run left");
    assert_eq!(traces(), Vec::<String>::new());
    assert_eq!(cgroups(), Vec::<String>::new());
}
