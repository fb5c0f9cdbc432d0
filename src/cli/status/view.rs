//! What `status` shows: how far it is, what it waits for, the pods, the newest events.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::LosslessUpgrade;
use crate::api::status::{LosslessUpgradeStatus, RunStatus};
use crate::cli::explain::way;
use crate::cli::fetch::{Shown, Told};
use crate::cli::get::{NOT_SEEN, halted, phase};
use crate::cli::text::{Cell, Paint, Tone, age, bar, cell, fit, length, plain, table, wrap};
use crate::workflow::ordinals::Ordinal;
use crate::workflow::state::{BatchKind, Goal, Step};

/// What is to be seen at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The object.
    pub object: &'a LosslessUpgrade,
    /// The ordinal of the first pod of its StatefulSet.
    pub first: Ordinal,
    /// The pods of its StatefulSet.
    pub pods: &'a BTreeMap<Ordinal, Shown>,
    /// What happened, newest first.
    pub events: &'a [Told],
    /// The moment.
    pub now: Timestamp,
    /// Why what is seen may be old.
    pub trouble: Option<&'a str>,
}

/// Columns of the progress bar.
const BAR: usize = 26;
/// Events that are shown.
const EVENTS: usize = 6;
/// Pods that are shown however little room there is.
const FEWEST_PODS: usize = 4;
/// Pods that are shown where nothing limits the lines.
const MANY_PODS: usize = 40;

/// The view in lines, no longer than the paint's width; with `height` no more than so many.
pub fn lines(scene: &Scene<'_>, paint: Paint, height: Option<usize>) -> Vec<String> {
    let width = paint.width();
    let mut lines = head(scene, paint, width);
    if let Some(trouble) = scene.trouble {
        lines.push(paint.tone(Tone::Bad, &fit(trouble, width)));
    }
    let mut events = events(scene, paint, width);
    // A blank line above each block, and the heading of the pods.
    let room = height.map(|height| height.saturating_sub(lines.len() + 3));
    if let Some(room) = room {
        events.truncate(room.saturating_sub(FEWEST_PODS + 2));
    }
    let rows = room.map_or(MANY_PODS, |room| room.saturating_sub(events.len() + 1)).max(FEWEST_PODS);
    if !scene.pods.is_empty() {
        lines.push(String::new());
        lines.extend(pods(scene, paint, width, rows));
    }
    if !events.is_empty() {
        lines.push(String::new());
        lines.extend(events);
    }
    if let Some(height) = height {
        lines.truncate(height);
    }
    lines
}

fn head(scene: &Scene<'_>, paint: Paint, width: usize) -> Vec<String> {
    let Scene { object, now, .. } = scene;
    let name = format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any());
    let target = format!("StatefulSet {}", object.spec.target_ref.name);
    let Some(status) = &object.status else {
        let mut lines = vec![format!("{}  {target}", paint.tone(Tone::Strong, &name))];
        lines.extend(wrap(NOT_SEEN, width, 0));
        return lines;
    };
    let way = status.run.as_ref().map_or_else(String::new, |run| format!(", {}", way(run)));
    let name = fit(&name, width);
    let rest = fit(&format!("  {target}{way}"), width.saturating_sub(name.chars().count()));
    let mut lines = vec![format!("{}{rest}", paint.tone(Tone::Strong, &name))];
    lines.push(progress(object, status, *now, paint));
    lines.extend(wrap(&status.message, width, 2).iter().map(|line| fit(line, width)));
    lines
}

/// Phase, bar, time: one line. What does not fit is left out, the least needed first.
fn progress(
    object: &LosslessUpgrade,
    status: &LosslessUpgradeStatus,
    now: Timestamp,
    paint: Paint,
) -> String {
    let phase = phase(&object.spec, status);
    let count = |number: i32| usize::try_from(number).unwrap_or_default();
    let (done, of) = (count(status.updated_replicas), count(status.replicas));
    let mut parts = vec![format!("  {} {}", bar(done, of, BAR), status.progress)];
    if let Some(run) = &status.run {
        parts.push(format!("  {}", age(run.started_at, now)));
        let left = left(status, run, now).filter(|_| !object.spec.paused && !halted(status));
        parts.extend(left.map(|left| format!(", about {} left", length(left))));
    }
    let mut room = paint.width().saturating_sub(phase.text().chars().count());
    let fits = |part: &String| {
        let length = part.chars().count();
        let fits = length <= room;
        room = if fits { room - length } else { 0 };
        fits
    };
    parts.retain(fits);
    phase.paint(paint) + &parts.concat()
}

/// Seconds that the run will still take, if what is to come goes as what was. None before the first
/// batch is over, and on the way back.
pub fn left(status: &LosslessUpgradeStatus, run: &RunStatus, now: Timestamp) -> Option<i64> {
    let surge = i64::from(run.surge.max(1));
    let pods = i64::from(status.replicas);
    let batch = i64::try_from(run.batch.len()).ok()?;
    let updated = i64::try_from(run.updated.len()).ok().filter(|updated| *updated > 0)?;
    // In tenths of a pod: a batch has 10, the surge 6 to come (no lever, no drain) and 4 to go.
    let done = match run.batch_kind {
        BatchKind::None | BatchKind::Canary => 6 * surge + 10 * updated,
        BatchKind::Serving | BatchKind::Broken | BatchKind::Found => {
            6 * surge + 10 * updated + batch * tenths(run.step)
        }
        BatchKind::Retiring => 6 * surge + 10 * pods + surge * tenths(run.step).min(4),
    };
    let all = 6 * surge + 10 * pods + 4 * surge;
    let took = now.duration_since(run.started_at).as_secs();
    (run.goal == Goal::Upgrade).then(|| took * (all - done).max(0) / done)
}

/// How much of a batch is done when it is in this step.
const fn tenths(step: Step) -> i64 {
    match step {
        Step::Preflight | Step::Surge | Step::Template => 0,
        Step::Detach => 1,
        Step::Drain => 3,
        Step::Replace | Step::Retire | Step::Restore => 5,
        Step::Verify => 6,
        Step::Attach => 8,
        Step::Soak => 9,
    }
}

fn pods(scene: &Scene<'_>, paint: Paint, width: usize, rows: usize) -> Vec<String> {
    let status = scene.object.status.clone().unwrap_or_default();
    let all: Vec<Ordinal> = scene.pods.keys().copied().collect();
    let chosen = choose(scene, &status, &all, rows);
    let cells =
        chosen.iter().filter_map(|ordinal| Some(pod(scene, *ordinal, scene.pods.get(ordinal)?, &status)));
    let heading = ["POD", "REVISION", "ATTACHED", "READY", "CONN", "RESTARTS", "AGE", ""];
    let mut lines = table(paint, &heading, cells.collect(), Some(width));
    let others: Vec<&Shown> =
        scene.pods.iter().filter(|(ordinal, _)| !chosen.contains(ordinal)).map(|(_, shown)| shown).collect();
    if !others.is_empty() {
        let mut by: BTreeMap<&str, usize> = BTreeMap::new();
        for shown in &others {
            *by.entry(&shown.pod.revision).or_default() += 1;
        }
        let by: Vec<String> = by.iter().map(|(revision, count)| format!("{count} at {revision}")).collect();
        let ready = others.iter().filter(|shown| shown.pod.ready).count();
        let text = format!("and {} more: {}; {ready} ready", others.len(), by.join(", "));
        lines.push(paint.tone(Tone::Faint, &fit(&text, width)));
    }
    lines
}

/// The pods to show, ascending: first those that something is done with, then those that are not Ready.
fn choose(scene: &Scene<'_>, status: &LosslessUpgradeStatus, all: &[Ordinal], rows: usize) -> Vec<Ordinal> {
    if all.len() <= rows {
        return all.to_vec();
    }
    let rank = |ordinal: &Ordinal| {
        let ready = scene.pods.get(ordinal).is_some_and(|shown| shown.pod.ready);
        let batch = status.run.as_ref().is_some_and(|run| run.batch.contains(*ordinal));
        (!batch && !status.detached.contains(*ordinal), ready, !is_surge(scene, *ordinal, status), *ordinal)
    };
    let mut chosen = all.to_vec();
    chosen.sort_by_key(rank);
    // One line says what the others are.
    chosen.truncate(rows.saturating_sub(1));
    chosen.sort_unstable();
    chosen
}

fn is_surge(scene: &Scene<'_>, ordinal: Ordinal, status: &LosslessUpgradeStatus) -> bool {
    let base = status.saved.as_ref().map(|saved| saved.replicas);
    let surge = status.run.as_ref().map_or(0, |run| run.surge);
    base.is_some_and(|base| surge > 0 && ordinal >= scene.first.saturating_add(base))
}

fn pod(scene: &Scene<'_>, ordinal: Ordinal, shown: &Shown, status: &LosslessUpgradeStatus) -> Vec<Cell> {
    let pod = &shown.pod;
    let run = status.run.as_ref();
    let in_batch = run.is_some_and(|run| run.batch.contains(ordinal));
    let detached = status.detached.contains(ordinal);
    let confirmed = !in_batch || run.is_none_or(|run| run.step != Step::Detach);
    let attached = match (detached, confirmed) {
        (true, true) => cell(Tone::Busy, "no"),
        (true, false) => cell(Tone::Busy, "leaving"),
        (false, _) if in_batch && run.is_some_and(|run| run.step == Step::Attach) => {
            cell(Tone::Busy, "joining")
        }
        (false, _) => plain("yes"),
    };
    let is_new = run.is_some_and(|run| run.to == pod.revision);
    let ready = match (pod.terminating, pod.ready) {
        (true, _) => cell(Tone::Busy, "ending"),
        (false, true) => plain("yes"),
        (false, false) => cell(Tone::Bad, "no"),
    };
    let left = status.pods.iter().find(|record| record.uid == pod.uid).and_then(|record| record.connections);
    vec![
        plain(&pod.name),
        cell(if is_new { Tone::Good } else { Tone::Plain }, &pod.revision),
        attached,
        ready,
        plain(left.map_or_else(|| "-".to_owned(), |left| left.to_string())),
        cell(if pod.restarts > 0 { Tone::Busy } else { Tone::Plain }, pod.restarts.to_string()),
        plain(shown.created.map_or_else(|| "-".to_owned(), |created| age(created, scene.now))),
        cell(Tone::Faint, note(scene, ordinal, shown, status, in_batch)),
    ]
}

/// What is done with the pod, or what ails it.
fn note(
    scene: &Scene<'_>,
    ordinal: Ordinal,
    shown: &Shown,
    status: &LosslessUpgradeStatus,
    in_batch: bool,
) -> String {
    let mut notes = Vec::new();
    if is_surge(scene, ordinal, status) {
        notes.push("surge".to_owned());
    }
    if let Some(run) = status.run.as_ref().filter(|run| in_batch && run.batch_kind != BatchKind::None) {
        notes.push(doing(run.step).to_owned());
    }
    notes.extend(shown.pod.trouble.clone());
    notes.join(", ")
}

const fn doing(step: Step) -> &'static str {
    match step {
        Step::Preflight => "counted",
        Step::Surge => "coming",
        Step::Detach => "detaching",
        Step::Drain => "draining",
        Step::Replace => "replacing",
        Step::Verify => "verifying",
        Step::Attach => "attaching",
        Step::Soak => "soaking",
        Step::Retire => "going",
        Step::Restore | Step::Template => "done",
    }
}

fn events(scene: &Scene<'_>, paint: Paint, width: usize) -> Vec<String> {
    let told = scene.events.iter().take(EVENTS).map(|told| {
        let tone = if told.warning { Tone::Busy } else { Tone::Plain };
        vec![
            cell(Tone::Faint, format!("{} ago", age(told.at, scene.now))),
            cell(tone, &told.reason),
            plain(&told.text),
        ]
    });
    let rows: Vec<_> = told.collect();
    if rows.is_empty() { Vec::new() } else { table(paint, &["LAST SEEN", "EVENT", ""], rows, Some(width)) }
}
