//! The tasks that ask the probes, off the reconcile path: one for each pod that is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::task::AbortHandle;

use super::wake::Waker;
use crate::drain::{PodTarget, Probe, Reader, Reading};
use crate::runtime::clock::Clock;
use crate::runtime::metrics::Key;
use crate::workflow::observed::DrainView;
use crate::workflow::quiet::{Limits, Sample, Window, together};

/// How a pod is counted.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two questions.
    pub interval: Duration,
    /// How long it must be quiet.
    pub stable_for: Duration,
    /// New connections a second that are let pass, the kubelet's probes included.
    pub new_per_second: f64,
    /// The pod serves: any number shows that the probes work.
    pub first: bool,
}

/// The pods that are counted.
#[derive(Default)]
pub struct Counting(BTreeMap<String, Task>);

struct Task {
    basis: String,
    windows: Arc<Mutex<Vec<Window>>>,
    handle: AbortHandle,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Counting {
    /// Keeps counting only these pods. A pod that comes back is counted from nothing.
    pub fn keep(&mut self, uids: &BTreeSet<String>) {
        self.0.retain(|uid, _| uids.contains(uid));
    }

    /// Whether the pod is counted on this basis: the spec and the pod as a probe needs them.
    pub fn has(&self, uid: &str, basis: &str) -> bool {
        self.0.get(uid).is_some_and(|task| task.basis == basis)
    }

    /// What was counted, by pod uid.
    pub fn views(&self, now: Duration) -> BTreeMap<String, DrainView> {
        self.0.iter().map(|(uid, task)| (uid.clone(), view(&task.windows, now))).collect()
    }

    /// Begins to count a pod. `key` is woken when the answer changes, and when the pod has been
    /// quiet for long enough.
    pub fn start(
        &mut self,
        basis: String,
        probes: &[Box<dyn Probe>],
        pod: &PodTarget,
        pace: Pace,
        clock: Clock,
        wake: (Waker, Key),
    ) {
        let limits = |probe: &dyn Probe| Limits {
            threshold: probe.threshold(),
            new_per_second: pace.new_per_second,
            idle_after: probe.idle_after(),
        };
        let stale = pace.interval.saturating_mul(3).max(Duration::from_secs(8));
        let windows: Vec<_> = probes.iter().map(|probe| Window::new(limits(probe.as_ref()), stale)).collect();
        let windows = Arc::new(Mutex::new(windows));
        let readers: Vec<_> = probes
            .iter()
            .map(|probe| if pace.first { probe.first_reader(pod) } else { probe.reader(pod) })
            .collect();
        let handle = tokio::spawn(ask(readers, windows.clone(), pace, clock, wake)).abort_handle();
        self.0.insert(pod.uid.clone(), Task { basis, windows, handle });
    }
}

async fn ask(
    mut readers: Vec<Box<dyn Reader>>,
    windows: Arc<Mutex<Vec<Window>>>,
    pace: Pace,
    clock: Clock,
    (waker, key): (Waker, Key),
) {
    let mut told = None;
    loop {
        let readings = join_all(readers.iter_mut().map(|reader| reader.read())).await;
        let now = clock.monotonic();
        {
            let mut windows = windows.lock().unwrap_or_else(PoisonError::into_inner);
            for (window, reading) in windows.iter_mut().zip(readings) {
                window.push(now, sample(reading));
            }
        }
        let view = view(&windows, now);
        let (quiet, wait) = match &view {
            DrainView::Quiet(length) => {
                let left = pace.stable_for.saturating_sub(*length);
                // The last question comes when the time is over, not an interval after it.
                (left.is_zero(), if left.is_zero() { pace.interval } else { pace.interval.min(left) })
            }
            DrainView::Busy { .. } | DrainView::Unknown(_) => (false, pace.interval),
        };
        let news = match view {
            DrainView::Quiet(_) => DrainView::Quiet(if quiet { pace.stable_for } else { Duration::ZERO }),
            other @ (DrainView::Busy { .. } | DrainView::Unknown(_)) => other,
        };
        if told.as_ref() != Some(&news) {
            told = Some(news);
            waker.wake(&key);
        }
        tokio::time::sleep(wait).await;
    }
}

fn sample(reading: Reading) -> Sample {
    match reading {
        Reading::Count { connections, new_per_second } => Sample::Count { connections, new_per_second },
        Reading::Unknown { why } => Sample::Unknown(why),
    }
}

fn view(windows: &Mutex<Vec<Window>>, now: Duration) -> DrainView {
    let windows = windows.lock().unwrap_or_else(PoisonError::into_inner);
    together(windows.iter().map(|window| window.view(now)))
}
