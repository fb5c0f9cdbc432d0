//! `history`: the last runs.

use clap::Args;
use jiff::Timestamp;

use super::code::CliError;
use super::fetch::Cluster;
use super::text::{Cell, Paint, Tone, age, cell, length, plain, table};
use super::{Answer, Format, object_name, written};
use crate::api::LosslessUpgrade;
use crate::api::status::PastStatus;
use crate::workflow::state::{AfterTimeout, Outcome};

/// Options of `history`.
#[derive(Clone, Debug, Args)]
pub struct HistoryArgs {
    /// Name of the `LosslessUpgrade`
    #[arg(value_parser = object_name)]
    name: String,
    /// How it is written
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
}

/// Fetches and shows.
///
/// # Errors
/// No such object, or no answer.
pub async fn run(cluster: &Cluster, args: &HistoryArgs, paint: Paint) -> Result<Answer, CliError> {
    let object = cluster.upgrade(&args.name).await?;
    if let Some(format) = args.output {
        return Ok(Answer::done(written(&object.status.unwrap_or_default().history, format)?));
    }
    Ok(Answer::done(view(&object, cluster.clock.now(), paint)))
}

/// The runs, newest first; the one under way on top.
pub fn view(object: &LosslessUpgrade, now: Timestamp, paint: Paint) -> String {
    let status = object.status.clone().unwrap_or_default();
    let going = status.run.as_ref().map(|run| {
        vec![
            plain(age(run.started_at, now)),
            plain(&run.from),
            plain(if run.to.is_empty() { "spec.images" } else { &run.to }),
            cell(Tone::Busy, "under way"),
            plain(run.updated.len().to_string()),
            plain(length(now.duration_since(run.started_at).as_secs())),
            plain(""),
        ]
    });
    let rows: Vec<Vec<Cell>> =
        going.into_iter().chain(status.history.iter().map(|past| row(past, now))).collect();
    if rows.is_empty() {
        return "No run has been made yet.\n".to_owned();
    }
    let heading = ["STARTED", "FROM", "TO", "OUTCOME", "PODS", "TOOK", "REASON"];
    table(paint, &heading, rows, None).join("\n") + "\n"
}

fn row(past: &PastStatus, now: Timestamp) -> Vec<Cell> {
    // A run is one line: its text is for `-o yaml`.
    let PastStatus { from, to, started_at, finished_at, outcome, pods, reason, text: _, drain_timeouts } =
        past;
    let tone = match outcome {
        Outcome::Succeeded => Tone::Good,
        Outcome::RolledBack | Outcome::Aborted | Outcome::Blocked => Tone::Bad,
    };
    let mut why: Vec<String> = reason.iter().map(ToString::to_string).collect();
    why.extend(drain_timeouts.iter().map(|timeout| {
        let then = match timeout.then {
            AfterTimeout::Paused => "paused",
            AfterTimeout::Proceeded => "replaced with connections left",
            AfterTimeout::RolledBack => "rolled back",
        };
        format!("drain of {} timed out: {then}", timeout.ordinals)
    }));
    vec![
        plain(age(*started_at, now)),
        plain(from),
        plain(if to.is_empty() { "-" } else { to }),
        cell(tone, format!("{outcome:?}")),
        plain(pods.to_string()),
        plain(length(finished_at.duration_since(*started_at).as_secs())),
        plain(why.join("; ")),
    ]
}
