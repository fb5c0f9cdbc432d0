//! `kubectl lu`: see an upgrade, steer it, be warned before it. One file a subcommand; what is shown is
//! made by pure functions from what was fetched, with the time as an argument.
//!
//! | file | what is in it |
//! |---|---|
//! | `get.rs`, `status/`, `explain.rs`, `history.rs` | to see |
//! | `plan/`, `lint/` | to know beforehand; nothing is written |
//! | `steer.rs`, `create.rs` | to write: pause, resume, abort, rollback, retry; a first object |
//! | `wait.rs`, `changes.rs`, `verdict.rs` | to wait in a script: what is followed; whether a run is over, and how |
//! | `fetch.rs`, `text.rs`, `code.rs`, `completion.rs` | what they share |

pub mod changes;
pub mod code;
pub mod completion;
pub mod create;
pub mod explain;
pub mod fetch;
pub mod get;
pub mod history;
pub mod lint;
pub mod plan;
pub mod status;
pub mod steer;
pub mod text;
pub mod verdict;
pub mod wait;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

use crate::workflow::span::Span;
use code::{CliError, Code};
use fetch::Cluster;
use text::Paint;

/// See an upgrade, steer it, and be warned before it.
#[derive(Debug, Parser)]
#[command(name = "kubectl-lu", bin_name = "kubectl lu", version, after_help = code::HELP)]
pub struct Cli {
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// What.
    #[command(subcommand)]
    pub command: Command,
}

/// Which cluster and namespace.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub struct Place {
    /// Namespace [default: that of the context]
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Context of the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Path of the kubeconfig [default: as kubectl finds it]
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List upgrades
    Get(get::GetArgs),
    /// Show one upgrade with its pods and events; -w follows it until the run is over
    Status(status::StatusArgs),
    /// Say what a run would do, batch by batch, with times; nothing is written
    Plan(plan::PlanArgs),
    /// Look for everything that stands against a run, or would lose requests in it; nothing is written
    Lint(lint::LintArgs),
    /// Say what it waits for, since when, what would end that, and what you can do
    Explain(Named),
    /// Hold everything: what is detached stays detached, nothing is deleted
    Pause(Named),
    /// Take a pause back
    Resume(Named),
    /// Wait until the revision that is set now has arrived, or has failed
    Wait(wait::WaitArgs),
    /// End the run: all pods serve again, the surge goes, upgraded pods stay as they are
    Abort(Named),
    /// Go back to the old version by the same lossless steps
    Rollback(Named),
    /// Go on where the run waits for you, or try again what was given up
    Retry(Named),
    /// List the last runs
    History(history::HistoryArgs),
    /// Print a `LosslessUpgrade` for a StatefulSet, with what can be worked out from its Services
    Create(create::CreateArgs),
    /// Print the completion script of a shell
    Completion(completion::CompletionArgs),
    /// What kubectl asks for when somebody presses Tab
    #[command(name = "__complete", hide = true)]
    Words(completion::WordsArgs),
}

/// One object by its name.
#[derive(Clone, Debug, Args)]
pub struct Named {
    /// Name of the `LosslessUpgrade`
    #[arg(value_parser = object_name)]
    pub name: String,
}

/// How an answer for programs is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// The answer of a subcommand.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// What goes to standard output.
    pub text: String,
    /// How the process ends.
    pub code: Code,
}

impl Answer {
    /// An answer that says that all is well.
    pub fn done(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: Code::Done }
    }
}

/// The name alone, where it was given as kubectl writes it (`lu/web`).
fn object_name(text: &str) -> Result<String, String> {
    let (kind, name) = text.split_once('/').map_or((None, text), |(kind, name)| (Some(kind), name));
    let kind = kind.map(|kind| kind.split('.').next().unwrap_or(kind));
    match kind {
        None | Some("lu" | "losslessupgrade" | "losslessupgrades") if !name.is_empty() => Ok(name.to_owned()),
        _ => Err("write the name of a LosslessUpgrade, for example `web`".to_owned()),
    }
}

/// A limit of time; none without a limit.
fn limit(text: &str) -> Result<Span, String> {
    text.parse::<Span>().map_err(|error| error.to_string())
}

/// Does what was asked for. Where a view is live it is drawn while this runs; all else is in the answer.
///
/// # Errors
/// What keeps the question from being answered.
pub async fn run(command: Command, cluster: &Cluster, paint: Paint) -> Result<Answer, CliError> {
    match command {
        Command::Get(args) => get::run(cluster, &args, paint).await,
        Command::Status(args) => status::run(cluster, &args, paint).await,
        Command::Plan(args) => plan::run(cluster, &args, paint).await,
        Command::Lint(args) => lint::run(cluster, &args, paint).await,
        Command::Explain(Named { name }) => explain::run(cluster, &name, paint).await,
        Command::Pause(Named { name }) => steer::pause(cluster, &name, true).await,
        Command::Resume(Named { name }) => steer::pause(cluster, &name, false).await,
        Command::Wait(args) => Box::pin(wait::run(cluster, &args)).await,
        Command::Abort(Named { name }) => steer::say(cluster, &name, steer::Word::Abort).await,
        Command::Rollback(Named { name }) => steer::say(cluster, &name, steer::Word::Rollback).await,
        Command::Retry(Named { name }) => steer::say(cluster, &name, steer::Word::Retry).await,
        Command::History(args) => history::run(cluster, &args, paint).await,
        Command::Create(args) => create::run(cluster, &args).await,
        Command::Completion(args) => Ok(completion::script(&args)),
        Command::Words(args) => Ok(completion::words(cluster, &args).await),
    }
}

/// Something for a program to read.
fn written<T: Serialize>(value: &T, format: Format) -> Result<String, CliError> {
    match format {
        Format::Json => Ok(serde_json::to_string_pretty(value).map_err(CliError::unwritable)? + "\n"),
        Format::Yaml => serde_saphyr::to_string(value).map_err(CliError::unwritable),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_name_may_be_given_as_kubectl_prints_it() {
        for text in ["web", "lu/web", "losslessupgrade.lossless-upgrade.io/web"] {
            assert_eq!(object_name(text).as_deref(), Ok("web"));
        }
        for text in ["pod/web", "lu/", ""] {
            assert!(object_name(text).is_err(), "{text}");
        }
    }
}
