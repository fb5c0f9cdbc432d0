//! What `plan` shows.

use std::fmt::Write as _;

use kube::ResourceExt;

use super::forecast::{Forecast, Leg, Why};
use crate::api::LosslessUpgrade;
use crate::cli::text::{Cell, Paint, Tone, cell, length, plain, table, wrap};
use crate::workflow::ordinals::OrdinalSet;
use crate::workflow::state::{BatchKind, Step};

/// Batches that are shown one by one; of more the first and the last are.
const ALL_SHOWN: usize = 12;
/// Of many, so many at the begin.
const FIRST_SHOWN: usize = 3;

/// The plan as a table.
pub fn view(object: &LosslessUpgrade, forecast: &Forecast, paint: Paint) -> String {
    let name = format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any());
    let target = &object.spec.target_ref.name;
    let mut text = format!("{}  StatefulSet {target}\n", paint.tone(Tone::Strong, &name));
    let width = paint.width();
    let mut say = |sentence: &str| {
        for line in wrap(sentence, width, 0) {
            let _ = writeln!(text, "{line}");
        }
    };
    if !forecast.obstacles.is_empty() {
        say("A run may not begin now; nothing would be touched:");
        for obstacle in &forecast.obstacles {
            for line in wrap(&format!("- {}: {}", obstacle.reason, obstacle.text), width, 2) {
                let _ = writeln!(text, "{line}");
            }
        }
        return text;
    }
    say(forecast.why.words());
    if forecast.paused {
        say("It is held by spec.paused; the times count from `kubectl lu resume`.");
    }
    if !forecast.to.is_empty() {
        say(&format!(
            "{} replicas and {} of surge, from {} to {}. Nothing is written by this plan.",
            forecast.replicas, forecast.surge, forecast.from, forecast.to
        ));
    }
    text.push('\n');
    let heading = ["AT", "WHAT", "PODS", "TAKES"];
    let mut rows = rows(target, forecast);
    if let Some(seconds) = forecast.seconds {
        let end = forecast.end.split(':').next().unwrap_or_default();
        rows.push(vec![plain(at(seconds)), cell(Tone::Good, end), plain(""), plain("")]);
    }
    for line in table(paint, &heading, rows, Some(width)) {
        let _ = writeln!(text, "{line}");
    }
    text.push('\n');
    for sentence in footer(object, forecast) {
        for line in wrap(&sentence, width, 0) {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

fn footer(object: &LosslessUpgrade, forecast: &Forecast) -> Vec<String> {
    let mut sentences = Vec::new();
    // The last one is whole, also where the first is half over.
    let whole = forecast.legs.iter().rfind(|leg| leg.kind == BatchKind::Serving);
    sentences.extend(whole.map(|leg| format!("A batch: {}.", steps(leg))));
    match forecast.seconds {
        Some(seconds) => sentences.push(format!("About {} in all, if all goes well.", length(seconds))),
        None => sentences.push(format!("Then it waits: {}", forecast.end)),
    }
    let start = if forecast.start_seen { "as those that run did" } else { "nobody has seen one start" };
    sentences.push(format!(
        "Estimated: a pod is Ready after {} ({start}), the load balancer confirms within {}, clients leave at once.",
        length(i64::try_from(forecast.start_seconds).unwrap_or(i64::MAX)),
        length(i64::try_from(forecast.follow_seconds).unwrap_or(i64::MAX)),
    ));
    sentences.push(format!(
        "Clients that stay make a drain longer, up to {} for each batch (then drain.onTimeout: {:?}).",
        object.spec.drain.timeout, object.spec.drain.on_timeout
    ));
    sentences
}

fn rows(target: &str, forecast: &Forecast) -> Vec<Vec<Cell>> {
    let serving: Vec<&Leg> = forecast.legs.iter().filter(|leg| leg.kind == BatchKind::Serving).collect();
    let all = serving.len();
    let (mut number, mut hidden, mut rows) = (0, 0, Vec::new());
    for leg in forecast.legs.iter().filter(|leg| is_worth_a_line(leg)) {
        if leg.kind == BatchKind::Serving {
            number += 1;
            if all > ALL_SHOWN && number > FIRST_SHOWN && number < all {
                hidden += 1;
                continue;
            }
        }
        if hidden > 0 {
            rows.push(vec![plain("..."), plain(format!("{hidden} more batches like these"))]);
            hidden = 0;
        }
        rows.push(row(target, forecast, leg, number, all));
    }
    rows
}

/// Between two batches the next one is chosen, which takes no time.
fn is_worth_a_line(leg: &Leg) -> bool {
    leg.kind != BatchKind::None || leg.seconds() > 0 || leg.steps.iter().any(|(step, _)| *step == Step::Surge)
}

fn row(target: &str, forecast: &Forecast, leg: &Leg, number: usize, all: usize) -> Vec<Cell> {
    let what = match leg.kind {
        BatchKind::None => "preflight".to_owned(),
        BatchKind::Canary => "surge, the canary".to_owned(),
        BatchKind::Serving if forecast.why == Why::UnderWay => format!("batch {number} of {all} left"),
        BatchKind::Serving => format!("batch {number} of {all}"),
        BatchKind::Broken => "broken pods".to_owned(),
        BatchKind::Found => "found at the target".to_owned(),
        BatchKind::Retiring => "reclaim".to_owned(),
    };
    vec![plain(at(leg.at)), plain(what), plain(pods(target, &leg.ordinals)), plain(length(leg.seconds()))]
}

fn at(seconds: i64) -> String {
    format!("+{}:{:02}", seconds / 60, seconds % 60)
}

fn pods(target: &str, ordinals: &OrdinalSet) -> String {
    match ordinals.len() {
        0 => "-".to_owned(),
        1 => format!("{target}-{ordinals}"),
        _ => format!("{target}-{{{ordinals}}}"),
    }
}

fn steps(leg: &Leg) -> String {
    let step = |(step, seconds): &(Step, i64)| {
        let name = format!("{step:?}").to_lowercase();
        (*seconds > 0).then(|| format!("{name} {}", length(*seconds)))
    };
    leg.steps.iter().filter_map(step).collect::<Vec<_>>().join(", ")
}
