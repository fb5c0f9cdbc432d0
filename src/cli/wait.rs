//! `wait`: until the revision that is set now has arrived, or has failed.

use std::time::Duration;

use clap::Args;
use futures::StreamExt;
use k8s_openapi::api::apps::v1::StatefulSet;

use super::changes::{Change, changes};
use super::code::{CliError, Code};
use super::fetch::Cluster;
use super::verdict::{Verdict, verdict};
use super::{Answer, limit, object_name};
use crate::api::LosslessUpgrade;
use crate::workflow::span::Span;

/// Options of `wait`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
It waits for what is set at this moment: a new template that nobody has taken notice of yet is waited for too.
It ends with 0 when every pod runs it, 1 when it was rolled back or aborted, 4 when it is blocked or halted,
3 when the time is over. A run that `spec.paused` holds is waited for.")]
pub struct WaitArgs {
    /// Name of the `LosslessUpgrade`
    #[arg(value_parser = object_name)]
    name: String,
    /// Give up after this long, for example 30m [default: never]
    #[arg(long, value_parser = limit, value_name = "TIME")]
    timeout: Option<Span>,
}

/// Waits, by watches.
///
/// # Errors
/// No such object, or no answer.
pub async fn run(cluster: &Cluster, args: &WaitArgs) -> Result<Answer, CliError> {
    let object = cluster.upgrade(&args.name).await?;
    // Where the first look ends it, no watch is needed.
    let set = cluster.set(&object.spec.target_ref.name).await?;
    let now = verdict(&object, set.as_ref());
    if let Some(code) = now.code() {
        return Ok(Answer { text: line(&args.name, now.text()), code });
    }
    let mut last = now.text().to_owned();
    let waited = Box::pin(follow(cluster, object, set, &mut last));
    let Some(waited) = within(args.timeout, waited).await else {
        let time = args.timeout.unwrap_or_default();
        let text = format!("not over after {time}; at last: {last}");
        return Ok(Answer { text: line(&args.name, &text), code: Code::TimeOut });
    };
    let over = waited?;
    Ok(Answer { text: line(&args.name, over.text()), code: over.code().unwrap_or_default() })
}

/// The outcome, or none when the time is over.
pub async fn within<T>(limit: Option<Span>, work: impl Future<Output = T>) -> Option<T> {
    match limit {
        Some(limit) => tokio::time::timeout(Duration::from(limit), work).await.ok(),
        None => Some(work.await),
    }
}

fn line(name: &str, text: &str) -> String {
    format!("losslessupgrade/{name}: {text}\n")
}

async fn follow(
    cluster: &Cluster,
    mut object: LosslessUpgrade,
    mut set: Option<StatefulSet>,
    last: &mut String,
) -> Result<Verdict, CliError> {
    let mut changes = changes(cluster, &object);
    while let Some(next) = changes.next().await {
        match next {
            Change::Object(new) => object = *new,
            Change::Set(new) => set = new.map(|set| *set),
            Change::Over(error) => return Err(error),
            // The watch begins anew by itself.
            Change::Trouble(_) => continue,
        }
        let verdict = verdict(&object, set.as_ref());
        if verdict.code().is_some() {
            return Ok(verdict);
        }
        verdict.text().clone_into(last);
    }
    Err(CliError::Senseless("the watch ended".into()))
}
