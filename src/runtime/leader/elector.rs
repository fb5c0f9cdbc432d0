//! The loop that reads and writes the Lease.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Times;
use super::evaluate::{Claim, Seen, evaluate};
use crate::runtime::clock::Clock;
use crate::runtime::config::LeaseRef;
use crate::runtime::telemetry::with_causes;

/// How long the release may take; what is late is waited out by the others.
const RELEASE: Duration = Duration::from_secs(1);

pub(super) struct Elector {
    api: Api<Lease>,
    name: String,
    identity: String,
    clock: Clock,
    times: Times,
    seen: Option<Seen>,
}

impl Elector {
    pub(super) fn new(client: Client, lease: &LeaseRef, clock: Clock, times: Times) -> Self {
        Self {
            api: Api::namespaced(client, &lease.namespace),
            name: lease.name.clone(),
            identity: lease.identity.clone(),
            clock,
            times,
            seen: None,
        }
    }

    /// Takes part until `release`, and then gives the Lease back.
    pub(super) async fn run(mut self, leading: watch::Sender<bool>, release: CancellationToken) {
        tokio::select! {
            () = release.cancelled() => {}
            () = self.hold(&leading) => {}
        }
        let led = leading.send_replace(false);
        if led && tokio::time::timeout(RELEASE, self.release()).await.is_err() {
            tracing::warn!(limit = ?RELEASE, "the Lease was not released in time; the others wait it out");
        }
    }

    /// Never returns. `leading` is true only while the last renewal is younger than the deadline.
    async fn hold(&mut self, leading: &watch::Sender<bool>) {
        let mut ours_until: Option<Duration> = None;
        loop {
            // From before the request: others cannot have seen it sooner.
            let asked = self.clock.monotonic();
            let limit = ours_until.map_or(self.times.deadline, |until| until.saturating_sub(asked));
            let wait = match tokio::time::timeout(limit, self.claim(asked)).await {
                Ok(Ok(Claim::Renew | Claim::Take)) => {
                    ours_until = Some(asked.saturating_add(self.times.deadline));
                    self.times.renew
                }
                Ok(Ok(Claim::Wait { until })) => {
                    ours_until = None;
                    until.saturating_sub(self.clock.monotonic()).min(self.times.renew)
                }
                // Somebody wrote between our look and our write; the next look tells who.
                Ok(Err(kube::Error::Api(status))) if status.is_conflict() || status.is_already_exists() => {
                    tracing::debug!(lease = self.name, "somebody else wrote the Lease first");
                    self.times.renew / 4
                }
                Ok(Err(error)) => {
                    let error = with_causes(&error);
                    tracing::warn!(lease = self.name, error, "the Lease cannot be read or written");
                    self.times.renew
                }
                Err(_) => {
                    tracing::warn!(
                        lease = self.name,
                        ?limit,
                        "the API server did not answer about the Lease"
                    );
                    Duration::ZERO
                }
            };
            let left = ours_until.map(|until| until.saturating_sub(self.clock.monotonic()));
            ours_until = ours_until.filter(|_| left != Some(Duration::ZERO));
            self.announce(leading, ours_until.is_some());
            let wait = if ours_until.is_some() { wait } else { wait.max(self.times.renew / 4) };
            tokio::time::sleep(left.map_or(wait, |left| wait.min(left))).await;
        }
    }

    fn announce(&self, leading: &watch::Sender<bool>, now: bool) {
        let changed = leading.send_if_modified(|before| std::mem::replace(before, now) != now);
        if changed && now {
            tracing::info!(lease = self.name, identity = self.identity, "leading");
        } else if changed {
            tracing::warn!(lease = self.name, identity = self.identity, "not leading any more");
        }
    }

    /// Looks at the Lease and does what the rules allow. The answer is what was done: an error means
    /// that nothing is known, and the next look tells.
    async fn claim(&mut self, now: Duration) -> kube::Result<Claim> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let spec = self.held(LeaseSpec::default());
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            self.api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await?;
            return Ok(Claim::Take);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let seen = Seen::note(self.seen.take(), spec.clone(), now);
        let claim = evaluate(&seen, &self.identity, self.times.lease, now);
        self.seen = Some(seen);
        match claim {
            Claim::Wait { .. } => {}
            // With the resourceVersion of what was looked at: of two that take it, one is refused.
            Claim::Renew | Claim::Take => self.write(lease, self.held(spec)).await?,
        }
        Ok(claim)
    }

    async fn write(&self, lease: Lease, spec: LeaseSpec) -> kube::Result<()> {
        let lease = Lease { spec: Some(spec), ..lease };
        self.api.replace(&self.name, &PostParams::default(), &lease).await.map(|_| ())
    }

    /// The record under our name; its times are for people only.
    fn held(&self, before: LeaseSpec) -> LeaseSpec {
        let now = Some(MicroTime(micros(self.clock.now())));
        let ours = before.holder_identity.as_deref() == Some(&self.identity);
        let terms = before.lease_transitions.unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.times.lease.as_secs().max(1)).ok(),
            acquire_time: if ours { before.acquire_time } else { now.clone() },
            renew_time: now,
            lease_transitions: Some(if ours { terms } else { terms.saturating_add(1) }),
            ..before
        }
    }

    async fn release(&self) {
        let released = async {
            let Some(lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
            let spec = lease.spec.clone().unwrap_or_default();
            if spec.holder_identity.as_deref() != Some(&self.identity) {
                return Ok(());
            }
            self.write(lease, LeaseSpec { holder_identity: None, ..spec }).await
        };
        match released.await {
            Ok(()) => tracing::info!(lease = self.name, "the Lease is released"),
            Err(error) => {
                let error: kube::Error = error;
                let error = with_causes(&error);
                tracing::warn!(lease = self.name, error, "the Lease is not released; the others wait it out");
            }
        }
    }
}

/// A Lease keeps microseconds; more would read back as a different record.
fn micros(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}
