//! `status`: one upgrade with its pods and events, once or live.
//!
//! | file | what is in it |
//! |---|---|
//! | `view.rs` | what is shown, from what was fetched |
//! | `follow.rs` | `-w`: the watches behind it |
//! | `screen.rs` | drawing in place, and leaving the terminal clean |

pub mod follow;
pub mod screen;
pub mod view;

use clap::Args;

use super::code::CliError;
use super::fetch::{Cluster, shown};
use super::text::Paint;
use super::verdict::verdict;
use super::{Answer, limit, object_name};
use crate::controller::observe::first_ordinal;
use crate::workflow::span::Span;
use view::Scene;

/// Options of `status`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
The exit code is that of `wait`, and 0 while a run goes on. With -w it ends when the run is over; one that is
blocked or halted is followed on.
Where the output is no terminal, each change is a line.")]
pub struct StatusArgs {
    /// Name of the `LosslessUpgrade`
    #[arg(value_parser = object_name)]
    pub name: String,
    /// Follow it until the run is over
    #[arg(short, long)]
    pub watch: bool,
    /// End after this long, for example 30m, with exit code 3
    #[arg(long, value_parser = limit, requires = "watch", value_name = "TIME")]
    pub timeout: Option<Span>,
}

/// Fetches and shows, once or until the run is over.
///
/// # Errors
/// No such object, or no answer.
pub async fn run(cluster: &Cluster, args: &StatusArgs, paint: Paint) -> Result<Answer, CliError> {
    let object = cluster.upgrade(&args.name).await?;
    let set = cluster.set(&object.spec.target_ref.name).await?;
    if args.watch {
        return Box::pin(follow::run(cluster, args, object, set, paint)).await;
    }
    let pods = match &set {
        Some(set) => cluster.pods(set).await?,
        None => std::collections::BTreeMap::new(),
    };
    let pods = shown(pods.iter().map(|(ordinal, pod)| (*ordinal, pod)), set.as_ref());
    let events = cluster.events(&object).await?;
    let scene = Scene {
        object: &object,
        first: set.as_ref().map_or(0, first_ordinal),
        pods: &pods,
        events: &events,
        now: cluster.clock.now(),
        trouble: None,
    };
    let text = view::lines(&scene, paint, None).join("\n") + "\n";
    let code = verdict(&object, set.as_ref()).code().unwrap_or_default();
    Ok(Answer { text, code })
}
