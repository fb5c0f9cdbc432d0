//! The shell: looks at the cluster, asks the procedure, records, acts, reports.
//!
//! | file | what is in it |
//! |---|---|
//! | `reconcile.rs` | one look, from top to bottom |
//! | `observe/` | reads only: the cluster as the procedure sees it |
//! | `record.rs` | the status, written before anything else |
//! | `act.rs` | one effect on the world, by who has recorded it |
//! | `report.rs` | status for people, conditions, events |
//! | `measure.rs` | metrics of an object |
//! | `session.rs` | what this process remembers of an object: nothing that a crash may not take |
//! | `count.rs` | the tasks that ask the probes |
//! | `cloud.rs` | the tasks that ask a cloud what its load balancer does |
//! | `wake.rs` | what makes an object be looked at |
//! | `error.rs`, `names.rs` | classes of errors; names that we write |

pub mod act;
pub mod cloud;
pub mod count;
pub mod error;
pub mod measure;
pub mod names;
pub mod observe;
pub mod reconcile;
pub mod record;
pub mod report;
pub mod session;
pub mod wake;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::core::{DeserializeGuard, DynamicObject};
use kube::runtime::controller::{self, Action, Config, applier};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use tokio_util::sync::CancellationToken;

use crate::api::LosslessUpgrade;
use crate::runtime::clock::Clock;
use crate::runtime::metrics::{Key, Metrics};
use crate::runtime::ready::ReadyGate;
use error::{Class, Error};
use session::Sessions;
use wake::Waker;

/// An object as the watches see it: one that cannot be read must not end the watch.
pub type Guarded = DeserializeGuard<LosslessUpgrade>;

/// Objects looked at at the same time.
const CONCURRENCY: u16 = 16;
/// The longest wait between two tries after errors.
const SLOWEST: Duration = Duration::from_mins(1);

/// What the controller works with.
#[derive(Clone)]
pub struct Context {
    /// Speaks with the API server; does not retry by itself.
    pub client: kube::Client,
    /// The one namespace to watch; none: all.
    pub namespace: Option<String>,
    /// Name of this process: no other one beside it has the same.
    pub process: String,
    /// Image of drain counters.
    pub counter_image: Option<String>,
    /// Which addresses the probe `prometheus` may ask.
    pub prometheus_allow: observe::Allowed,
    /// Where Tencent's API is.
    pub tencent: observe::Endpoint,
    /// Commands may be run in pods.
    pub allow_exec: bool,
    /// Time.
    pub clock: Clock,
    /// What Prometheus sees.
    pub metrics: Metrics,
    /// What `/readyz` says.
    pub ready: ReadyGate,
}

/// All that one term of leadership works with.
pub struct Controller {
    /// From the process.
    pub context: Context,
    /// What is remembered of each object.
    pub sessions: Sessions,
    /// What makes objects be looked at.
    pub waker: Waker,
    /// All objects, to find a second one on a target.
    pub objects: kube::runtime::reflector::Store<Guarded>,
    /// Writes events.
    pub recorder: Recorder,
}

impl Controller {
    /// What it looks with.
    pub fn eye(&self) -> observe::Eye<'_> {
        observe::Eye {
            client: &self.context.client,
            process: &self.context.process,
            counter_image: self.context.counter_image.as_deref(),
            prometheus_allow: &self.context.prometheus_allow,
            tencent: &self.context.tencent,
            allow_exec: self.context.allow_exec,
            clock: self.context.clock,
            objects: &self.objects,
        }
    }
}

/// Runs the controller until `end`. Reconciles under way are finished, new ones are not begun.
///
/// # Errors
/// When a watch ended for good, which is a defect.
pub async fn run(context: Context, end: CancellationToken) -> anyhow::Result<()> {
    // Each term of one process has a name of its own too: between two of them another may have led.
    let process = format!("{}-{:x}", context.process, context.clock.now().as_millisecond());
    let context = Context { process, ..context };
    let (waker, queue) = wake::queue(context.clock);
    let (objects, watches) = wake::watch(&context, &waker, &end);
    let reporter = Reporter { controller: names::MANAGER.into(), instance: None };
    let controller = Arc::new(Controller {
        sessions: Sessions::default(),
        waker,
        objects: objects.clone(),
        recorder: Recorder::new(context.client.clone(), reporter),
        context,
    });
    let applied = applier(
        |object, controller| Box::pin(reconcile::reconcile(object, controller)),
        |object, error, controller| on_error(&object, error, &controller),
        Arc::clone(&controller),
        objects,
        queue.take_until(end.clone().cancelled_owned()),
        Config::default().concurrency(CONCURRENCY),
    );
    let applied = applied.for_each(|result| {
        match result {
            Ok(_) => {}
            Err(controller::Error::ObjectNotFound(gone)) => forget(&gone, &controller),
            Err(error) => tracing::debug!(%error, "a reconcile did not come to its end"),
        }
        futures::future::ready(())
    });
    tokio::select! {
        () = applied => Ok(()),
        ended = watches => ended,
    }
}

/// The object is gone from the watch. Its deletion wakes it once more, after all looks at it, so that
/// nothing of it stays: no series, and no watch of its pods.
fn forget(gone: &ObjectRef<DynamicObject>, controller: &Controller) {
    let key = Key { namespace: gone.namespace.clone().unwrap_or_default(), name: gone.name.clone() };
    controller.context.metrics.forget(&key);
    controller.sessions.forget(&key);
}

fn on_error(object: &Guarded, error: &Error, controller: &Controller) -> Action {
    let key = session::key(object);
    let class = error.class();
    controller.context.metrics.reconcile_failed(class.as_str());
    let failures = controller.sessions.failures(&key);
    let wait = match class {
        Class::Conflict if failures <= 3 => Duration::from_millis(20),
        Class::Conflict | Class::Retry | Class::Invalid => {
            Duration::from_millis(500).saturating_mul(1 << failures.min(10)).min(SLOWEST)
        }
    };
    controller.context.metrics.backs_off(&key, Some(wait));
    match class {
        Class::Conflict => {
            tracing::debug!(object = %key.name, namespace = %key.namespace, %error, "look again");
        }
        Class::Retry | Class::Invalid => {
            tracing::warn!(object = %key.name, namespace = %key.namespace, %error, ?wait, "will be tried again");
        }
    }
    Action::requeue(wait)
}
