//! `explain`: what it waits for, since when, what would end that, and what you can do.

use std::fmt::Write as _;

use jiff::Timestamp;
use kube::ResourceExt;

use super::Answer;
use super::code::CliError;
use super::fetch::Cluster;
use super::get::{NOT_SEEN, halted, phase};
use super::text::{Paint, Tone, age, length, wrap};
use crate::api::LosslessUpgrade;
use crate::api::spec::{OnFailure, OnTimeout};
use crate::api::status::{LosslessUpgradeStatus, RunStatus, condition};
use crate::workflow::state::{BatchKind, Goal, Phase, Step};

/// Columns of the headings.
const HEAD: usize = 12;

/// Fetches and shows.
///
/// # Errors
/// No such object, or no answer.
pub async fn run(cluster: &Cluster, name: &str, paint: Paint) -> Result<Answer, CliError> {
    let object = cluster.upgrade(name).await?;
    Ok(Answer::done(view(&object, cluster.clock.now(), paint)))
}

/// A few sentences, each under its heading.
pub fn view(object: &LosslessUpgrade, now: Timestamp, paint: Paint) -> String {
    let name = object.name_any();
    let Some(status) = &object.status else { return format!("{name}: {NOT_SEEN}\n") };
    let mut parts =
        vec![("Phase", format!("{}: {}", phase(&object.spec, status).text(), meaning(status.phase)))];
    parts.push(("Now", status.message.clone()));
    if let Some(run) = &status.run {
        parts.push(("Since", since(run, now)));
        if let Some(cause) = &run.cause {
            parts.push(("Because", format!("{}: {}", cause.reason, cause.text)));
        }
    }
    parts.push(("Ends when", end(object, status)));
    if let Some(deadline) = status.run.as_ref().and_then(|run| run.deadline) {
        parts.push(("Deadline", overdue(object, status, deadline, now)));
    }
    if object.spec.paused {
        parts.push((
            "Paused",
            "by spec.paused: nothing moves forward and nothing is deleted until `kubectl lu resume`".into(),
        ));
    }
    parts.push(("You can", words(&name, status, object.spec.paused)));
    let line = |(head, text): (&str, String)| {
        let lines = wrap(&text, paint.width().saturating_sub(HEAD), 0);
        let mut out = String::new();
        for (at, line) in lines.iter().enumerate() {
            let head = if at == 0 { head } else { "" };
            let _ = writeln!(out, "{}{line}", paint.tone(Tone::Strong, &format!("{head:HEAD$}")));
        }
        out
    };
    parts.into_iter().map(line).collect()
}

/// What a phase is, in the words of the README.
pub const fn meaning(phase: Phase) -> &'static str {
    match phase {
        Phase::Idle => "the pods run what is wanted, or nothing was wanted yet",
        Phase::Preflight => "checks, and the first count on a pod that serves; nothing is written yet",
        Phase::Blocked => "a run is wanted and may not begin; no pod is out of the load balancer",
        Phase::Surge => "extra pods come at the new version and are checked and watched",
        Phase::Detach => "the load balancer is told to send the batch no new connections",
        Phase::Drain => "the batch gets no new connections; those that it has run out",
        Phase::Replace => "the batch is deleted and comes back at the new version",
        Phase::Verify => "the new pods are checked: Ready, right revision, right image, no restarts",
        Phase::Attach => "the load balancer is told to send the batch connections again",
        Phase::Soak => "the new pods are watched under live traffic",
        Phase::Reclaim => "the surge is drained and removed, the load balancer's settings are put back",
        Phase::Succeeded => "every pod runs the new version",
        Phase::RollingBack => "the old version goes back to every pod by the same steps",
        Phase::RolledBack => "every pod runs the old version; the new one is not tried again by itself",
        Phase::Aborting => "all pods serve again, the surge is drained and removed",
        Phase::Aborted => "the run was given up; it is not tried again by itself",
    }
}

fn since(run: &RunStatus, now: Timestamp) -> String {
    let (step, whole) = (age(run.entered, now), age(run.started_at, now));
    format!("{step} ago (the run began {whole} ago, {})", way(run))
}

/// Where a run comes from and goes to.
pub fn way(run: &RunStatus) -> String {
    let to = if run.to.is_empty() { "spec.images" } else { &run.to };
    match run.goal {
        Goal::Upgrade => format!("from {} to {to}", run.from),
        Goal::RollBack => format!("back to {}", run.from),
        Goal::Abort | Goal::Release => format!("on the way to {to}"),
    }
}

/// What would end the wait.
fn end(object: &LosslessUpgrade, status: &LosslessUpgradeStatus) -> String {
    let Some(run) = &status.run else { return rest(object, status.phase) };
    if let Some(why) = &run.halted {
        return format!("you say so: the run is halted ({})", why.reason);
    }
    let spec = &object.spec;
    let (drain, verify) = (&spec.drain, &spec.verify);
    match run.step {
        Step::Preflight => "the first number comes from the probe".into(),
        Step::Surge => format!("the surge pods ({}) exist", run.surge),
        Step::Detach | Step::Attach => {
            format!("the load balancer has confirmed it and {} are over", spec.traffic.settle)
        }
        Step::Drain => {
            let idle = drain.idle_after.map(|time| format!("; connections silent for {time} do not count"));
            format!(
                "every probe is at its threshold or below for {} without a break, and {} are over since the detach{}",
                drain.stable_for,
                drain.minimum,
                idle.unwrap_or_default()
            )
        }
        Step::Replace => "the old pods are gone and new ones exist".into(),
        Step::Verify => "the new pods are Ready at the right revision and image".into(),
        Step::Soak if run.batch_kind == BatchKind::None => "the next batch may be taken out".into(),
        Step::Soak => {
            format!("they stayed Ready without restarts for {}, and the load balancer has them", verify.soak)
        }
        Step::Retire => "the surge pods are gone".into(),
        Step::Restore => "the load balancer's settings are as they were before the run".into(),
        Step::Template => "the old template is back in the StatefulSet".into(),
    }
}

fn rest(object: &LosslessUpgrade, phase: Phase) -> String {
    let new = if object.spec.images.is_empty() {
        "the StatefulSet gets a new template"
    } else {
        "spec.images or the StatefulSet's template changes"
    };
    match phase {
        Phase::Blocked => {
            "the reason is gone: it looks again by itself, every 20 s and when something changes".into()
        }
        Phase::RolledBack | Phase::Aborted => format!("{new}, or you retry"),
        _ => new.into(),
    }
}

/// What comes when the deadline is over.
fn overdue(
    object: &LosslessUpgrade,
    status: &LosslessUpgradeStatus,
    deadline: Timestamp,
    now: Timestamp,
) -> String {
    let at = deadline.strftime("%H:%M:%S UTC");
    let left = deadline.duration_since(now).as_secs();
    let when = if left > 0 {
        format!("{at}, in {}; then", length(left))
    } else {
        format!("{at}, {} ago:", length(-left))
    };
    let Some(run) = &status.run else { return at.to_string() };
    let failing = match (object.spec.on_failure, run.goal) {
        (OnFailure::Rollback, Goal::Upgrade) => "the run rolls back",
        (OnFailure::Pause, _) | (_, Goal::RollBack | Goal::Abort | Goal::Release) => {
            "the run halts until you say how to go on"
        }
    };
    let then = match run.step {
        Step::Drain => match object.spec.drain.on_timeout {
            OnTimeout::Pause => "the run halts until you say how to go on (drain.onTimeout: Pause)",
            OnTimeout::Proceed => {
                "the pods are replaced with connections left (drain.onTimeout: Proceed); never with an unknown count"
            }
            OnTimeout::Rollback => "the run rolls back (drain.onTimeout: Rollback)",
        },
        Step::Verify if run.batch_kind != BatchKind::None => failing,
        Step::Surge => "pods that were not created are given up and the run is Blocked; nothing was touched",
        Step::Preflight => "the run is Blocked; nothing was touched",
        Step::Detach
        | Step::Replace
        | Step::Verify
        | Step::Attach
        | Step::Soak
        | Step::Retire
        | Step::Restore
        | Step::Template => {
            "it is Stalled and waits on; nothing is deleted and nothing is rolled back by that"
        }
    };
    format!("{when} {then}")
}

/// The commands that make sense now.
fn words(name: &str, status: &LosslessUpgradeStatus, paused: bool) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut word = |verb: &str, what: &str| words.push(format!("`kubectl lu {verb} {name}` ({what})"));
    let running = status.run.is_some();
    if halted(status) {
        word("retry", "go on");
    } else if !running && matches!(status.phase, Phase::RolledBack | Phase::Aborted | Phase::Blocked) {
        word("retry", "try it again now");
    }
    if paused {
        word("resume", "go on");
    } else if running {
        word("pause", "hold it as it is");
    }
    if running && !matches!(status.phase, Phase::RollingBack | Phase::Aborting) {
        word("rollback", "back to the old version");
    }
    if running && status.phase != Phase::Aborting {
        word("abort", "end it, leave upgraded pods as they are");
    }
    if status.phase == Phase::Blocked || condition(&status.conditions, "Stalled").is_some() {
        word("lint", "all that stands against a run");
    }
    if !running && matches!(status.phase, Phase::Idle | Phase::Succeeded) {
        word("plan", "what a run would do");
    }
    words.join(", ")
}
