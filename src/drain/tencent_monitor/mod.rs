//! The probe `tencentMonitor`: asks Tencent's monitoring how many connections a CLB has to the pod, minute by minute.
//!
//! | here | what |
//! |---|---|
//! | this file | the probe: one question a minute and pod, and which backends it is about |
//! | `judge` | which minutes say that a pod is quiet |

mod judge;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use kube::Client;

use self::judge::{Rule, judge};
use super::ports::Front;
use super::spec::TencentMonitorSpec;
use super::{Means, Now, PodTarget, Probe, ProbeKind, Reader, Reading, Refusal};
use crate::tencent::monitor::{self, Backend, MINUTE, MOST_BACKENDS, Series};
use crate::tencent::{Api, Endpoint, Problem};
use crate::web::{CLOCKS, same_time};

/// How far back is asked, in seconds: the oldest newest minute (10) and the longest row (5).
const BACK: i64 = 15 * MINUTE;
/// Of those whose questions were too many at once, some ask again at each of so many seconds.
const SPREAD: u32 = 20;

/// The probe.
#[derive(Clone)]
pub struct TencentMonitorProbe {
    spec: TencentMonitorSpec,
    endpoint: Endpoint,
    client: Client,
    now: Now,
}

impl TencentMonitorProbe {
    /// A probe by these settings.
    #[must_use]
    pub fn new(spec: &TencentMonitorSpec, means: &Means) -> Self {
        let (client, now) = (means.client.clone(), means.now.clone());
        Self { spec: spec.clone(), endpoint: means.tencent.clone(), client, now }
    }

    /// The pod behind each listener of the Services that the levers move.
    fn backends(&self, pod: &PodTarget) -> Result<Vec<Backend>, Refusal> {
        let ip = pod.ip.ok_or_else(|| Refusal::lasting("the pod has no address", "wait until it runs"))?;
        let backend = |Front { vip, port, target }: &Front| {
            let vip = self.spec.vip.map(IpAddr::from).or(*vip).ok_or_else(|| {
                Refusal::lasting(
                    "a Service of the pod has not one address of a load balancer in its status",
                    "name it in the probe's `vip`",
                )
            })?;
            Ok(Backend { vip, listener: *port, ip, port: *target, vpc: self.spec.vpc_id.clone() })
        };
        let backends: Result<BTreeSet<_>, Refusal> = pod.fronts.iter().map(backend).collect();
        let backends = backends?;
        if backends.len() < pod.fronts.len() {
            return Err(Refusal::lasting(
                "the probe's `vip` is one address, and the pod is reached by several load balancers on the same port",
                "leave out `vip`, so that each is asked about by its own address",
            ));
        }
        if backends.is_empty() || backends.len() > MOST_BACKENDS {
            return Err(Refusal::lasting(
                format!(
                    "the levered Services send to the pod from {} TCP listeners, and one question is about 1 to {MOST_BACKENDS}",
                    backends.len()
                ),
                "use another probe",
            ));
        }
        Ok(backends.into_iter().collect())
    }

    async fn api(&self, namespace: &str) -> Result<Api, Problem> {
        let TencentMonitorSpec { region, credentials, .. } = &self.spec;
        Api::of(&self.endpoint, region, credentials, self.client.clone(), namespace).await
    }

    /// A reader for which minutes with an earlier stamp say nothing.
    fn from(&self, pod: &PodTarget, earliest: i64) -> MonitorReader {
        MonitorReader { probe: self.clone(), pod: pod.clone(), earliest, api: None, last: None }
    }

    fn rule(&self, asked: i64, earliest: i64) -> Rule {
        let spec = &self.spec;
        Rule {
            asked,
            earliest,
            minutes: spec.minutes,
            max_age: i64::try_from(spec.max_age.duration().as_secs()).unwrap_or(i64::MAX),
            on_no_data: spec.on_no_data,
            threshold: spec.threshold.into(),
        }
    }
}

#[async_trait]
impl Probe for TencentMonitorProbe {
    fn kind(&self) -> ProbeKind {
        ProbeKind::TencentMonitor
    }

    fn threshold(&self) -> u64 {
        self.spec.threshold.into()
    }

    /// One question. Whatever missing minutes are to mean, a pod that serves must have some: else a wrong address would
    /// be taken for no connections.
    async fn admit(&self, pod: &PodTarget) -> Result<(), Refusal> {
        self.backends(pod)?;
        let mut reader = self.from(pod, 0);
        let reading = reader.read().await;
        let shown = reader
            .last
            .is_some_and(|last| last.said.is_ok_and(|said| said.iter().all(|one| !one.is_empty())));
        let why = match (reading, shown) {
            (Reading::Count { .. }, true) => return Ok(()),
            (Reading::Count { .. }, false) => "the monitoring shows no minute of it".to_owned(),
            (Reading::Unknown { why }, _) => why,
        };
        Err(Refusal::lasting(
            format!("the tencentMonitor probe gets no count for pod {}: {why}", pod.name),
            "correct its region, network, vip and vpcId, or use another probe",
        ))
    }

    /// Readings are of minutes that began after this call.
    fn reader(&self, pod: &PodTarget) -> Box<dyn Reader> {
        let spare = MINUTE + i64::try_from(CLOCKS.as_secs()).unwrap_or(MINUTE);
        Box::new(self.from(pod, (self.now)().as_second() + spare))
    }

    /// Minutes come so late that a fresh one would be waited for longer than for anything else.
    fn first_reader(&self, pod: &PodTarget) -> Box<dyn Reader> {
        Box::new(self.from(pod, 0))
    }
}

struct MonitorReader {
    probe: TencentMonitorProbe,
    pod: PodTarget,
    earliest: i64,
    /// Made once, and anew after a failure: the Secret may have changed.
    api: Option<Api>,
    last: Option<Last>,
}

/// The last question.
struct Last {
    /// When the next one is due.
    next: Timestamp,
    /// When it was asked, in Unix seconds.
    asked: i64,
    said: Result<Vec<Series>, String>,
}

impl MonitorReader {
    async fn ask(&mut self, now: Timestamp) -> Result<Vec<Series>, String> {
        let Self { probe, pod, api, .. } = self;
        let backends = probe.backends(pod).map_err(|refusal| refusal.to_string())?;
        let api = match api {
            Some(api) => api,
            None => api.insert(probe.api(&pod.namespace).await.map_err(|problem| problem.to_string())?),
        };
        let from = Timestamp::from_second(now.as_second() - BACK).unwrap_or(now);
        let answer = api.connections(probe.spec.network, &backends, from, now).await;
        let answer = answer.map_err(|problem| problem.to_string())?;
        same_time(&answer.headers, (probe.now)())?;
        monitor::parse(&answer.body, &backends).map_err(|problem| problem.to_string())
    }

    /// A minute later; those that failed spread, so that many pods do not ask in the same moment for ever.
    fn next(&self, now: Timestamp, failed: bool) -> Timestamp {
        let spread = if failed { i64::from(self.pod.ordinal % SPREAD) } else { 0 };
        now.saturating_add(SignedDuration::from_secs(MINUTE + spread)).unwrap_or(now)
    }
}

#[async_trait]
impl Reader for MonitorReader {
    /// There is news once a minute: in between, what was said is looked at again, as it grows old.
    async fn read(&mut self) -> Reading {
        let now = (self.probe.now)();
        let longest = MINUTE + i64::from(SPREAD);
        let waits = |last: &Last| {
            let left = last.next.duration_since(now).as_secs();
            // A clock that was put back makes nobody wait for it.
            (1..=longest).contains(&left)
        };
        if !self.last.as_ref().is_some_and(waits) {
            let said = self.ask(now).await;
            if said.is_err() {
                self.api = None;
            }
            let next = self.next(now, said.is_err());
            self.last = Some(Last { next, asked: now.as_second(), said });
        }
        let Some(Last { asked, said, .. }) = &self.last else { return Reading::unknown("nobody was asked") };
        let rule = self.probe.rule(*asked, self.earliest);
        match said.as_ref().map(|series| judge(series, &rule, now.as_second())) {
            Ok(Ok(connections)) => Reading::Count { connections, new_per_second: None },
            Ok(Err(why)) => Reading::unknown(why),
            Err(why) => Reading::unknown(why),
        }
    }
}
