//! Which of several processes acts: the one that holds the Lease.
//!
//! A leader renews every two seconds. When it could not for ten, it stops at once; another takes
//! over when it has seen no renewal for fifteen. Both count on their own monotonic clock and from
//! what they saw themselves, so clocks that differ do no harm. A process that was stopped as a whole
//! (SIGSTOP, a frozen machine) may still act for a moment when it wakes: what keeps it from harm are
//! the preconditions on each write, not this.

mod elector;
mod evaluate;

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::config::LeaseRef;
use super::shutdown;
use elector::Elector;

/// The times of the election.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// Between two renewals, and between two looks of one that waits.
    renew: Duration,
    /// How old the last renewal may be for us to go on acting.
    deadline: Duration,
    /// How long others have to wait after the last renewal that they saw.
    lease: Duration,
}

/// The gap between deadline and lease is what a leader has for stopping.
const TIMES: Times = Times {
    renew: Duration::from_secs(2),
    deadline: Duration::from_secs(10),
    lease: Duration::from_secs(15),
};

/// Runs `work` whenever this process leads, and only then, until `stop` or until `work` ends by itself.
///
/// `work` is given a token that is cancelled when its term ends. After `stop` it has
/// [`shutdown::FINISH`] to end; when the Lease was lost it is dropped at once. The Lease is released
/// after `work` has ended, so that another takes over without waiting. `changed` is told of every
/// change of leadership.
///
/// # Errors
/// What `work` ended with.
pub async fn while_leading<F, E>(
    client: kube::Client,
    lease: &LeaseRef,
    clock: Clock,
    stop: &CancellationToken,
    changed: impl Fn(bool),
    work: impl FnMut(CancellationToken) -> F,
) -> Result<(), E>
where
    F: Future<Output = Result<(), E>>,
{
    terms(Elector::new(client, lease, clock, TIMES), stop, changed, work).await
}

async fn terms<F, E>(
    elector: Elector,
    stop: &CancellationToken,
    changed: impl Fn(bool),
    mut work: impl FnMut(CancellationToken) -> F,
) -> Result<(), E>
where
    F: Future<Output = Result<(), E>>,
{
    let release = CancellationToken::new();
    let (sender, mut leading) = watch::channel(false);
    // A task of its own: a reconcile that takes long must not keep the Lease from being renewed.
    let election = tokio::spawn(elector.run(sender, release.clone()));
    // Should this future be dropped, the election must not go on without anybody who acts.
    let _released = release.clone().drop_guard();

    let outcome = loop {
        tokio::select! {
            () = stop.cancelled() => break Ok(()),
            () = until(&mut leading, true) => {}
        }
        changed(true);
        let end = term(stop, &mut leading, &mut work).await;
        changed(false);
        match end {
            TermEnd::Lost => {}
            TermEnd::Finished(outcome) => break outcome,
        }
    };
    release.cancel();
    if election.await.is_err() {
        tracing::error!("the leader election ended by a panic; the Lease is not released");
    }
    outcome
}

/// Why a term is over.
enum TermEnd<E> {
    /// Somebody else may act from now on, or soon.
    Lost,
    /// The work is done, or was asked to end and did or had to.
    Finished(Result<(), E>),
}

async fn term<F, E>(
    stop: &CancellationToken,
    leading: &mut watch::Receiver<bool>,
    work: &mut impl FnMut(CancellationToken) -> F,
) -> TermEnd<E>
where
    F: Future<Output = Result<(), E>>,
{
    let end = stop.child_token();
    let _ended = end.clone().drop_guard();
    let mut work = std::pin::pin!(work(end));
    tokio::select! {
        outcome = &mut work => return TermEnd::Finished(outcome),
        () = until(leading, false) => return TermEnd::Lost,
        () = stop.cancelled() => {}
    }
    tokio::select! {
        outcome = &mut work => TermEnd::Finished(outcome),
        () = until(leading, false) => TermEnd::Lost,
        () = tokio::time::sleep(shutdown::FINISH) => {
            tracing::warn!(limit = ?shutdown::FINISH, "the reconciles under way did not finish in time; they are dropped");
            TermEnd::Finished(Ok(()))
        }
    }
}

/// Waits until leadership is as `wanted`. An election that is over means not leading.
async fn until(leading: &mut watch::Receiver<bool>, wanted: bool) {
    if leading.wait_for(|now| *now == wanted).await.is_err() && wanted {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests;
