//! The tasks that ask a cloud whether it does what its controller says, off the reconcile path: one for each object that
//! a lever writes. Nothing is remembered over a crash: then it is asked again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::AbortHandle;

use super::wake::Waker;
use crate::runtime::clock::Clock;
use crate::runtime::metrics::Key;
use crate::tencent::{Api, Endpoint, Problem};
use crate::traffic::{CloudAnswer, CloudQuestion, Confirmation, LeverKind};

/// Between two questions while a weight is not 0 yet.
const SOON: Duration = Duration::from_secs(3);
/// Between two questions that were not answered.
const LATER: Duration = Duration::from_secs(10);

/// Between two questions while it is detached: somebody may set a weight back in the cloud's console.
const AGAIN: Duration = Duration::from_secs(20);
/// For so long the last answer holds when no newer one is to be had.
const STALE: Duration = Duration::from_mins(1);

/// An object that a lever writes.
pub type Written = (LeverKind, String);

/// With what it is asked.
#[derive(Clone)]
pub struct Means {
    /// Reads the credentials.
    pub client: kube::Client,
    /// Namespace of the object.
    pub namespace: String,
    /// Where Tencent's API is.
    pub tencent: Endpoint,
}

/// What is being asked, and what was answered.
#[derive(Default)]
pub struct Asking(BTreeMap<Written, Task>);

struct Task {
    question: CloudQuestion,
    answer: Arc<Mutex<Option<CloudAnswer>>>,
    handle: AbortHandle,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Asking {
    /// Asks these questions and no others. One whose answer is known, or under way, is not asked again.
    pub fn ask(
        &mut self,
        questions: &BTreeMap<Written, CloudQuestion>,
        means: &Means,
        clock: Clock,
        wake: &(Waker, Key),
    ) {
        self.0.retain(|written, task| {
            questions.get(written).is_some_and(|question| question.is_within(&task.question))
        });
        for (written, question) in questions {
            self.0.entry(written.clone()).or_insert_with(|| {
                let answer = Arc::default();
                let asking =
                    keep_asking(question.clone(), means.clone(), clock, Arc::clone(&answer), wake.clone());
                let handle = tokio::spawn(asking).abort_handle();
                Task { question: question.clone(), answer, handle }
            });
        }
    }

    /// What is known. `at`: since when the rest has confirmed it.
    pub fn answer(&self, written: &Written, question: &CloudQuestion, at: Timestamp) -> Confirmation {
        let task = self.0.get(written).filter(|task| question.is_within(&task.question));
        let answer = task.and_then(|task| task.answer.lock().unwrap_or_else(PoisonError::into_inner).clone());
        match answer {
            None => {
                Confirmation::Pending { why: "Tencent's API is asked for the weight of the pods".to_owned() }
            }
            Some(CloudAnswer::Detached) => Confirmation::Confirmed { at },
            Some(CloudAnswer::Attached { why }) => Confirmation::Pending { why },
            Some(CloudAnswer::Unknown { why }) => Confirmation::Unknown { why },
        }
    }
}

/// Asks whether any listener sends something to the pods, again and again; `wake` is told of each new answer.
async fn keep_asking(
    question: CloudQuestion,
    means: Means,
    clock: Clock,
    known: Arc<Mutex<Option<CloudAnswer>>>,
    (waker, key): (Waker, Key),
) {
    let mut detached_at = None;
    loop {
        let answer = once(&question, &means, clock).await;
        let now = clock.monotonic();
        detached_at = match answer {
            CloudAnswer::Detached => Some(now),
            CloudAnswer::Attached { .. } => None,
            CloudAnswer::Unknown { .. } => detached_at,
        };
        let (answer, wait) = after(detached_at.map(|at| now.saturating_sub(at)), answer);
        let before = known.lock().unwrap_or_else(PoisonError::into_inner).replace(answer.clone());
        if before.as_ref() != Some(&answer) {
            waker.wake(&key);
        }
        tokio::time::sleep(wait).await;
    }
}

/// What holds after an answer, and when to ask again. `detached`: how long ago it was last said to be.
fn after(detached: Option<Duration>, answer: CloudAnswer) -> (CloudAnswer, Duration) {
    match answer {
        CloudAnswer::Detached => (CloudAnswer::Detached, AGAIN),
        CloudAnswer::Attached { .. } => (answer, SOON),
        CloudAnswer::Unknown { .. } if detached.is_some_and(|age| age < STALE) => {
            (CloudAnswer::Detached, LATER)
        }
        CloudAnswer::Unknown { .. } => (answer, LATER),
    }
}

/// Asks once. The credentials are read each time: they may be new.
pub async fn once(question: &CloudQuestion, means: &Means, clock: Clock) -> CloudAnswer {
    match answers(question, means, clock).await {
        Ok(against) => against.unwrap_or(CloudAnswer::Detached),
        Err(problem) => CloudAnswer::Unknown { why: problem.to_string() },
    }
}

async fn answers(
    question: &CloudQuestion,
    means: &Means,
    clock: Clock,
) -> Result<Option<CloudAnswer>, Problem> {
    let Means { client, namespace, tencent } = means;
    let spec = &question.spec;
    let api = Api::of(tencent, &spec.region, &spec.credentials, client.clone(), namespace).await?;
    for (port, transport) in &question.ports {
        let listeners = api.targets(&question.load_balancer, *port, clock.now()).await?;
        if let Some(against) = question.against((*port, *transport), &listeners) {
            return Ok(Some(against));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
