//! From the log of a drain counter to readings.

use std::time::Duration;

use async_trait::async_trait;
use futures::AsyncReadExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};

use super::cursor::{Cursor, News};
use super::state::{CounterState, counter_state};
use crate::drain::{PodTarget, Reader, Reading};

/// No log is asked for further back than this many lines; a longer pause between readings is one
/// unknown reading.
const MOST_LINES: u64 = 1000;
/// No more of a log is taken. A report has 3 KiB at the very most, so that those of five minutes fit.
const MOST_BYTES: u32 = 1024 * 1024;

/// Reads one pod's counter.
pub(super) struct SocketReader {
    pods: Api<Pod>,
    pod: PodTarget,
    /// Connections that have been silent for so long are left out.
    idle_after: Option<Duration>,
    period: Duration,
    /// One answer of the API server takes no longer.
    patience: Duration,
    /// The container that is read, and how far it was.
    reading: Option<(String, Cursor)>,
    /// When the log was last read.
    looked: Instant,
}

impl SocketReader {
    pub(super) fn new(
        client: Client,
        pod: PodTarget,
        idle_after: Option<Duration>,
        period: Duration,
        patience: Duration,
    ) -> Self {
        let pods = Api::namespaced(client, &pod.namespace);
        Self { pods, pod, idle_after, period, patience, reading: None, looked: Instant::now() }
    }

    /// Waits for a report that is newer than the last reading, for two and a half periods.
    async fn news(&mut self) -> Result<(u64, u64, u64), String> {
        self.find().await?;
        let deadline = Instant::now() + self.period * 5 / 2;
        loop {
            match self.look().await? {
                News::Seen { max, opened, ms } => return Ok((max, opened, ms)),
                News::Broken(why) => return Err(why),
                News::None if Instant::now() < deadline => sleep(self.period / 2).await,
                News::None => {
                    let (name, cursor) = self.reading.as_ref().ok_or("the drain counter is gone")?;
                    let last = cursor.last().unwrap_or_default();
                    return Err(format!("stale: container {name} has reported nothing after number {last}"));
                }
            }
        }
    }

    /// Looks which container runs, unless one is being read.
    async fn find(&mut self) -> Result<(), String> {
        if self.reading.is_some() {
            return Ok(());
        }
        let pod = timeout(self.patience, self.pods.get(&self.pod.name)).await;
        let pod = pod
            .map_err(|_| late(self.patience))?
            .map_err(|problem| format!("the pod cannot be read: {problem}"))?;
        if pod.metadata.uid.as_deref() != Some(&self.pod.uid) {
            return Err("another pod has taken this one's name".to_owned());
        }
        let name = match counter_state(&pod, &self.pod.run) {
            CounterState::Running { name, .. } => name,
            CounterState::Absent => return Err("no drain counter was started".to_owned()),
            CounterState::Starting { .. } => return Err("the drain counter is starting".to_owned()),
            CounterState::Ended { why, .. } => return Err(format!("the drain counter has ended: {why}")),
            CounterState::Failing { why, .. } => {
                return Err(format!("the drain counter does not start: {why}"));
            }
        };
        self.reading = Some((name, Cursor::new(self.idle_after)));
        Ok(())
    }

    async fn look(&mut self) -> Result<News, String> {
        let (name, cursor) = self.reading.as_mut().ok_or("the drain counter is gone")?;
        let now = Instant::now();
        let periods = (now - self.looked).as_millis() / self.period.as_millis().max(1);
        // Some more than can be new, so that the last one known is among them.
        let lines = u64::try_from(periods).unwrap_or(MOST_LINES).saturating_add(5).min(MOST_LINES);
        let params = LogParams {
            container: Some(name.clone()),
            limit_bytes: Some(MOST_BYTES.into()),
            tail_lines: i64::try_from(lines).ok(),
            ..LogParams::default()
        };
        let log = timeout(self.patience, bytes(&self.pods, &self.pod.name, &params)).await;
        let log = log.map_err(|_| late(self.patience))??;
        // Also where it is cut off: the next look asks for fewer lines then, which may fit.
        self.looked = now;
        Ok(cursor.take(&whole(log)?))
    }
}

/// The log, but no more than may be taken, whatever comes.
async fn bytes(pods: &Api<Pod>, name: &str, params: &LogParams) -> Result<Vec<u8>, String> {
    let log = pods.log_stream(name, params).await;
    let log = log.map_err(|problem| format!("the drain counter's log cannot be read: {problem}"))?;
    let mut bytes = Vec::new();
    let read = log.take(MOST_BYTES.into()).read_to_end(&mut bytes).await;
    read.map_err(|problem| format!("the drain counter's log is cut off: {problem}"))?;
    Ok(bytes)
}

/// A log that is not cut off. A limit leaves out the end, which is the newest: what is left is old, and the number
/// in its last line may be a part of one.
fn whole(log: Vec<u8>) -> Result<String, String> {
    if u32::try_from(log.len()).is_ok_and(|length| length < MOST_BYTES) {
        String::from_utf8(log).map_err(|_| "the drain counter's log is not text".to_owned())
    } else {
        Err(format!("the end of the drain counter's log is not within {MOST_BYTES} bytes"))
    }
}

fn late(patience: Duration) -> String {
    format!("no answer of the API server within {} s", patience.as_secs_f32())
}

#[async_trait]
impl Reader for SocketReader {
    async fn read(&mut self) -> Reading {
        match self.news().await {
            #[expect(clippy::cast_precision_loss, reason = "a rate needs no 53 bits")]
            Ok((connections, opened, ms)) => {
                Reading::Count { connections, new_per_second: Some(opened as f64 * 1000.0 / ms as f64) }
            }
            Err(why) => {
                // Next time look first whether this container still runs or another has followed it. What it
                // reported meanwhile is passed over: after an unknown reading the wait for quiet starts anew.
                self.reading = None;
                Reading::Unknown { why }
            }
        }
    }
}
