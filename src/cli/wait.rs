//! `wait`: until the revision that is set now has arrived, or has failed.

use std::time::Duration;

use clap::Args;
use futures::{StreamExt, stream};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::Api;
use kube::runtime::watcher::{Error as WatchError, watch_object};

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

enum News {
    Object(Option<Box<LosslessUpgrade>>),
    Set(Option<Box<StatefulSet>>),
}

async fn follow(
    cluster: &Cluster,
    mut object: LosslessUpgrade,
    mut set: Option<StatefulSet>,
    last: &mut String,
) -> Result<Verdict, CliError> {
    let name = object.metadata.name.clone().unwrap_or_default();
    let sets: Api<StatefulSet> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let objects = watch_object(cluster.upgrades(), &name)
        .map(|news| news.map(|object| News::Object(object.map(Box::new))))
        .boxed();
    let sets = watch_object(sets, &object.spec.target_ref.name)
        .map(|news| news.map(|set| News::Set(set.map(Box::new))))
        .boxed();
    let mut news = stream::select(objects, sets);
    while let Some(next) = news.next().await {
        match next {
            Ok(News::Object(Some(new))) => object = *new,
            Ok(News::Object(None)) => {
                return Err(CliError::Senseless(format!("LosslessUpgrade {name} was deleted meanwhile")));
            }
            Ok(News::Set(new)) => set = new.map(|set| *set),
            Err(error) if is_for_good(&error) => {
                return Err(CliError::Senseless(format!("{name} cannot be watched: {}", told(&error))));
            }
            // The watch begins anew by itself.
            Err(_) => continue,
        }
        let verdict = verdict(&object, set.as_ref());
        if verdict.code().is_some() {
            return Ok(verdict);
        }
        verdict.text().clone_into(last);
    }
    Err(CliError::Senseless("the watch ended".into()))
}

/// A failure of a watch without the wrapping.
pub fn told(error: &WatchError) -> String {
    match error {
        WatchError::InitialListFailed(kube::Error::Api(status))
        | WatchError::WatchStartFailed(kube::Error::Api(status))
        | WatchError::WatchError(status) => status.message.clone(),
        WatchError::InitialListFailed(error)
        | WatchError::WatchStartFailed(error)
        | WatchError::WatchFailed(error) => error.to_string(),
        WatchError::NoResourceVersion => error.to_string(),
    }
}

/// Trying again would not help: the user has not the right, or the object cannot be read.
pub fn is_for_good(error: &WatchError) -> bool {
    match error {
        WatchError::InitialListFailed(error) | WatchError::WatchStartFailed(error) => match error {
            kube::Error::Api(status) => matches!(status.code, 401 | 403 | 404),
            kube::Error::SerdeError(_) => true,
            _ => false,
        },
        WatchError::WatchError(_) | WatchError::WatchFailed(_) | WatchError::NoResourceVersion => false,
    }
}
