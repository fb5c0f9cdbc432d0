//! `plan`: what a run would do, batch by batch, with times. Nothing is written: the operator's own
//! `decide` plays on against an imagined cluster in which all goes well.
//!
//! | file | what is in it |
//! |---|---|
//! | `world.rs` | that cluster |
//! | `forecast.rs` | the run in it |
//! | `view.rs` | what is shown of it |

pub mod forecast;
pub mod view;
pub mod world;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::reflector::{Store, store};
use kube::runtime::watcher::Event;
use kube::{Api, ResourceExt};

use super::code::{CliError, Code};
use super::fetch::Cluster;
use super::text::Paint;
use super::{Answer, Format, object_name, written};
use crate::api::{LosslessUpgrade, plan as numbers, record};
use crate::controller::Guarded;
use crate::controller::observe::{self, Allowed, Endpoint, Eye, Look};
use crate::workflow::{obstacles, plan::Plan};
use forecast::{Forecast, Why};
use world::Assumptions;

/// Which object: one of the cluster, or one of a file that was not applied yet.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Subject {
    /// Name of the `LosslessUpgrade`
    #[arg(value_parser = object_name)]
    pub name: Option<String>,
    /// A file with a `LosslessUpgrade` that need not be applied yet; `-` reads standard input
    #[arg(short, long, value_name = "FILE")]
    pub filename: Option<PathBuf>,
}

/// Options of `plan`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Times are estimates: from the settle, stableFor, minimum and soak of the spec, from how long the pods took to start,
and as if no client stayed longer than it must. Where no run is wanted, it says what one would do that began now.")]
pub struct PlanArgs {
    #[command(flatten)]
    subject: Subject,
    /// How it is written
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
    #[command(flatten)]
    trust: Trust,
}

/// What the operator was told and no object says.
#[derive(Clone, Debug, Args)]
pub struct Trust {
    /// Which Prometheus the `prometheus` probe may ask, as the operator was told; it is asked from here
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    prometheus_allow: Vec<String>,
    /// Where Tencent's API is, as the operator was told; it is asked from here
    /// [default: `https://{service}.tencentcloudapi.com`]
    #[arg(long, value_name = "URL")]
    tencent_endpoint: Option<String>,
}

/// An object with what the operator would see of its cluster.
pub struct Seen {
    /// The object, with the status of the cluster's where there is one.
    pub object: LosslessUpgrade,
    /// Its spec in numbers.
    pub plan: Plan,
    /// The cluster, as before a run.
    pub look: Look,
    /// The cluster for it, in the object's own namespace.
    pub cluster: Cluster,
}

/// Looks as the operator would, and plays on from there.
///
/// # Errors
/// No such object or file, or no answer.
pub async fn run(cluster: &Cluster, args: &PlanArgs, paint: Paint) -> Result<Answer, CliError> {
    let seen = see(cluster, &args.subject, None, &args.trust).await?;
    let now = cluster.clock.now();
    let forecast = forecast(&seen, now);
    let code = if forecast.obstacles.is_empty() { Code::Done } else { Code::Stuck };
    let text = match args.output {
        Some(format) => written(&forecast, format)?,
        None => view::view(&seen.object, &forecast, paint),
    };
    Ok(Answer { text, code })
}

fn forecast(seen: &Seen, now: Timestamp) -> Forecast {
    let Seen { object, plan, look, .. } = seen;
    let state = object.status.as_ref().map(record::state).unwrap_or_default();
    let obstacles = if state.run.is_some() { Vec::new() } else { obstacles(plan, &look.seen) };
    let assumed = assumptions(look.set.as_ref(), look.pods.values());
    forecast::forecast(plan, &state, &look.seen, obstacles, assumed, now)
}

/// Reads the object and looks at its cluster.
///
/// # Errors
/// No such object or file, no answer, or an address that is none.
pub async fn see(
    cluster: &Cluster,
    subject: &Subject,
    image: Option<&str>,
    trust: &Trust,
) -> Result<Seen, CliError> {
    let allowed = Allowed::parse(&trust.prometheus_allow)
        .map_err(|problem| CliError::Senseless(format!("--prometheus-allow: {problem}")))?;
    let tencent = Endpoint::parse(trust.tencent_endpoint.as_deref().unwrap_or(Endpoint::DEFAULT))
        .map_err(|problem| CliError::Senseless(format!("--tencent-endpoint: {problem}")))?;
    let mut object = match (&subject.name, &subject.filename) {
        (Some(name), _) => cluster.upgrade(name).await?,
        (None, Some(file)) => read(file)?,
        (None, None) => return Err(CliError::Senseless("name an object or a file".into())),
    };
    let namespace = object.namespace().unwrap_or_else(|| cluster.namespace.clone());
    let cluster = Cluster { namespace: namespace.clone(), ..cluster.clone() };
    object.metadata.namespace = Some(namespace);
    if subject.filename.is_some() {
        // The file says what is wanted; what the operator remembers is in the cluster.
        let live = cluster.upgrade_if_any(&object.name_any()).await?;
        object.status = live.as_ref().and_then(|live| live.status.clone());
        object.metadata.creation_timestamp =
            live.and_then(|live| live.metadata.creation_timestamp).or_else(|| Some(now_stamp(&cluster)));
    }
    let plan = numbers::plan(&object.spec)?;
    let objects = known(&cluster).await?;
    let eye = Eye {
        client: &cluster.client,
        process: "kubectl-lu",
        counter_image: Some(image.unwrap_or(COUNTER_IMAGE)),
        prometheus_allow: &allowed,
        tencent: &tencent,
        // Whether the operator may, it says itself; here the commands run with the user's rights.
        allow_exec: true,
        clock: cluster.clock,
        objects: &objects,
    };
    let look = Box::pin(observe::prospect(eye, &object, &plan)).await?;
    Ok(Seen { object, plan, look, cluster })
}

/// The counter is only tried as a dry run, which pulls no image.
const COUNTER_IMAGE: &str = "lossless-upgrade";

fn now_stamp(cluster: &Cluster) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
    k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(cluster.clock.now())
}

/// All objects of the namespace: a second one on the same target stands against a run.
async fn known(cluster: &Cluster) -> Result<Store<Guarded>, CliError> {
    let api: Api<Guarded> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let (objects, mut writer) = store();
    let list = api.list(&kube::api::ListParams::default()).await;
    writer.apply_watcher_event(&Event::Init);
    // Where the CRD is not installed yet there are no others.
    let items = match list {
        Ok(list) => list.items,
        Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
        Err(error) => return Err(CliError::api("listing the LosslessUpgrades")(error)),
    };
    for item in items {
        writer.apply_watcher_event(&Event::InitApply(item));
    }
    writer.apply_watcher_event(&Event::InitDone);
    Ok(objects)
}

/// The first `LosslessUpgrade` of a file.
fn read(file: &Path) -> Result<LosslessUpgrade, CliError> {
    let failed = |why: String| CliError::File { path: file.display().to_string(), why };
    let text = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(file)
    };
    parse(&text.map_err(|error| failed(error.to_string()))?).map_err(failed)
}

/// The first `LosslessUpgrade` of a text of one or several documents.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn parse(text: &str) -> Result<LosslessUpgrade, String> {
    let ours = documents(text)?.into_iter().find(|document| document["kind"] == "LosslessUpgrade");
    let ours = ours.ok_or("it has no object of kind LosslessUpgrade")?;
    serde_json::from_value(ours).map_err(|error| format!("its LosslessUpgrade cannot be read: {error}"))
}

/// The documents of a YAML text.
///
/// # Errors
/// It is no YAML.
pub fn documents(text: &str) -> Result<Vec<serde_json::Value>, String> {
    serde_saphyr::from_multiple(text).map_err(|error| format!("it is no YAML: {error}"))
}

/// How long pods take, by those that are there.
fn assumptions<'a>(set: Option<&StatefulSet>, pods: impl Iterator<Item = &'a Pod>) -> Assumptions {
    let mut starts: Vec<i64> = pods.filter_map(start).collect();
    starts.sort_unstable();
    let middle = starts.get(starts.len() / 2).and_then(|seconds| u64::try_from(*seconds).ok());
    let unseen = Assumptions::default();
    Assumptions {
        start: middle.map_or(unseen.start, |seconds| Duration::from_secs(seconds.max(1))),
        start_seen: middle.is_some(),
        end: Duration::from_secs(1) + set.and_then(pre_stop).unwrap_or_default(),
        ..unseen
    }
}

/// Seconds from a pod's creation to when it was Ready; none where it was Ready once more later, as far as
/// can be told: a pod that took minutes is left out.
fn start(pod: &Pod) -> Option<i64> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|one| one.type_ == "Ready" && one.status == "True")?;
    let took = ready.last_transition_time.as_ref()?.0.duration_since(pod.creation_timestamp()?.0).as_secs();
    (0..600).contains(&took).then_some(took)
}

fn pre_stop(set: &StatefulSet) -> Option<Duration> {
    let pod = set.spec.as_ref()?.template.spec.as_ref()?;
    let sleeps = pod.containers.iter().filter_map(|container| {
        let sleep = container.lifecycle.as_ref()?.pre_stop.as_ref()?.sleep.as_ref()?;
        u64::try_from(sleep.seconds).ok()
    });
    sleeps.max().map(Duration::from_secs)
}

/// Why there is a run at all, for the sentence above the plan.
impl Why {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Wanted => "A run is wanted and would begin now.",
            Self::UnderWay => "A run is under way; this is how it goes on.",
            Self::IfChanged => "No run is wanted. This is what one would do if a new template were set now.",
            Self::IfRetried => {
                "What is set now was given up before and is not tried again by itself. This is what `retry` would do."
            }
        }
    }
}
