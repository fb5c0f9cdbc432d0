//! `status -w`: the watches behind the live view. Between two changes only the clock moves.

use std::io::Write as _;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::runtime::reflector::{Store, store};
use kube::runtime::watcher::{Config, Error as WatchError};
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Api, ResourceExt};
use tokio::signal::unix::{SignalKind, signal};

use super::StatusArgs;
use super::screen::{Canvas, size};
use super::view::{self, Scene};
use crate::api::LosslessUpgrade;
use crate::cli::Answer;
use crate::cli::changes::{Change, changes, told};
use crate::cli::code::{CliError, Code};
use crate::cli::fetch::{Cluster, about, newest_first, shown};
use crate::cli::text::Paint;
use crate::cli::verdict::{Verdict, verdict};
use crate::cli::wait::within;
use crate::controller::observe::{first_ordinal, pod_selector};
use crate::workflow::ordinals::ordinal_of;

/// Ages and the time that is left are drawn anew this often.
const TICK: Duration = Duration::from_secs(1);

enum News {
    /// Of the object or the StatefulSet.
    Main(Change),
    Others,
    /// What is shown beside them is not followed just now.
    Beside(WatchError),
    Clock,
    Resized,
    Stop,
}

struct Live {
    object: LosslessUpgrade,
    set: Option<StatefulSet>,
    pods: Store<Pod>,
    events: Store<Event>,
    trouble: Option<String>,
}

/// Follows the run until it is over, the time is, or the user has seen enough.
///
/// # Errors
/// It cannot be watched, or the terminal is gone.
pub async fn run(
    cluster: &Cluster,
    args: &StatusArgs,
    object: LosslessUpgrade,
    set: Option<StatefulSet>,
    paint: Paint,
) -> Result<Answer, CliError> {
    let mut out = match paint.screen {
        Some(_) => Output::Screen(Canvas::open().map_err(CliError::unwritable)?),
        None => Output::Lines(String::new()),
    };
    let outcome = within(args.timeout, Box::pin(follow(cluster, object, set, paint, &mut out))).await;
    // The cursor is back before anything else is printed.
    drop(out);
    let Some(outcome) = outcome else {
        let time = args.timeout.unwrap_or_default();
        return Ok(Answer { text: format!("not over after {time}\n"), code: Code::TimeOut });
    };
    outcome.map(|code| Answer { text: String::new(), code })
}

async fn follow(
    cluster: &Cluster,
    object: LosslessUpgrade,
    set: Option<StatefulSet>,
    paint: Paint,
    out: &mut Output,
) -> Result<Code, CliError> {
    let (pods, pod_news) = mirrored::<Pod>(cluster, set.as_ref().and_then(pod_selector), None);
    let (events, event_news) = mirrored::<Event>(cluster, None, Some(about(&object)));
    let changes = changes(cluster, &object).map(News::Main).boxed();
    let mut news = stream::select_all([changes, pod_news, event_news, clock()?]);
    let mut live = Live { object, set, pods, events, trouble: None };
    let mut paint = paint;
    out.show(&live, cluster, paint)?;
    while let Some(next) = news.next().await {
        match next {
            News::Main(Change::Object(new)) => {
                live.object = *new;
                live.trouble = None;
            }
            News::Main(Change::Set(new)) => live.set = new.map(|set| *set),
            News::Main(Change::Trouble(why)) => {
                live.trouble = Some(format!("No answer, trying again: {why}"));
            }
            News::Main(Change::Over(error)) => return Err(error),
            News::Beside(error) => live.trouble = Some(format!("Not all can be shown: {}", told(&error))),
            News::Others => live.trouble = None,
            News::Resized => {
                paint.screen = paint.screen.and(size());
                out.resized()?;
            }
            News::Clock => {}
            News::Stop => return Ok(Code::Interrupted),
        }
        out.show(&live, cluster, paint)?;
        match live.verdict() {
            over @ (Verdict::Arrived(_) | Verdict::Failed(_)) => return Ok(over.code().unwrap_or_default()),
            // Somebody may be about to act on it.
            Verdict::Going(_) | Verdict::Stuck(_) => {}
        }
    }
    Err(CliError::Senseless("the watch ended".into()))
}

impl Live {
    fn verdict(&self) -> Verdict {
        verdict(&self.object, self.set.as_ref())
    }
}

/// A copy of some objects that is kept up by a watch, and word of each change.
fn mirrored<K>(
    cluster: &Cluster,
    labels: Option<String>,
    fields: Option<String>,
) -> (Store<K>, BoxStream<'static, News>)
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + Send
        + Sync
        + serde::de::DeserializeOwned
        + 'static,
{
    let (copy, writer) = store();
    if labels.is_none() && fields.is_none() {
        // Nothing to select by: the StatefulSet is not there.
        return (copy, stream::empty().boxed());
    }
    let config = Config { label_selector: labels, field_selector: fields, ..Config::default() };
    let api: Api<K> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let watched = reflector(writer, watcher(api, config)).default_backoff().touched_objects();
    (copy, watched.map(|touched| touched.map_or_else(News::Beside, |_| News::Others)).boxed())
}

/// Seconds, the user's Ctrl-C, and the terminal's new size.
fn clock() -> Result<BoxStream<'static, News>, CliError> {
    let on = |kind: SignalKind, news: fn() -> News| {
        let signals = signal(kind).map_err(CliError::unwritable)?;
        Ok::<_, CliError>(
            stream::unfold(signals, move |mut signals| async move {
                signals.recv().await?;
                Some((news(), signals))
            })
            .boxed(),
        )
    };
    let seconds = stream::unfold(tokio::time::interval(TICK), |mut ticks| async move {
        ticks.tick().await;
        Some((News::Clock, ticks))
    });
    let signals = [
        on(SignalKind::interrupt(), || News::Stop)?,
        on(SignalKind::terminate(), || News::Stop)?,
        on(SignalKind::hangup(), || News::Stop)?,
        on(SignalKind::window_change(), || News::Resized)?,
        seconds.boxed(),
    ];
    Ok(stream::select_all(signals).boxed())
}

/// Where it is shown.
enum Output {
    /// Drawn in place.
    Screen(Canvas),
    /// A line for each change; the last one is kept here.
    Lines(String),
}

impl Output {
    fn resized(&mut self) -> Result<(), CliError> {
        match self {
            Self::Screen(canvas) => canvas.clear().map_err(CliError::unwritable),
            Self::Lines(_) => Ok(()),
        }
    }

    fn show(&mut self, live: &Live, cluster: &Cluster, paint: Paint) -> Result<(), CliError> {
        match self {
            Self::Screen(canvas) => {
                let copies = live.pods.state();
                let target = &live.object.spec.target_ref.name;
                let pods =
                    copies.iter().filter_map(|pod| Some((ordinal_of(target, &pod.name_any())?, &**pod)));
                let events = live.events.state();
                let scene = Scene {
                    object: &live.object,
                    first: live.set.as_ref().map_or(0, first_ordinal),
                    pods: &shown(pods, live.set.as_ref()),
                    events: &newest_first(events.iter().map(|event| &**event)),
                    now: cluster.clock.now(),
                    trouble: live.trouble.as_deref(),
                };
                // The last line stays free for the cursor.
                let height = paint.screen.map(|screen| screen.height.saturating_sub(1));
                canvas.draw(&view::lines(&scene, paint, height)).map_err(CliError::unwritable)
            }
            Self::Lines(last) => {
                let verdict = live.verdict();
                let status = live.object.status.clone().unwrap_or_default();
                // In a run what is waited for is what it does.
                let text = if status.run.is_some() { &status.message } else { verdict.text() };
                let told = format!("{:?} {}: {text}", status.phase, status.progress);
                if *last == told {
                    return Ok(());
                }
                let now = cluster.clock.now().strftime("%H:%M:%S");
                writeln!(std::io::stdout(), "{now} {told}").map_err(CliError::unwritable)?;
                *last = told;
                Ok(())
            }
        }
    }
}
