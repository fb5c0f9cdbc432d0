//! The probe `prometheus`: asks a Prometheus what it has scraped of the pod, and when.
//!
//! | here | what |
//! |---|---|
//! | this file | the probe: two questions a reading, and what makes an answer a fresh one |
//! | `allow` | which addresses may be asked |
//! | `access` | whom to trust, and how to show who asks |
//! | `template` | PromQL in which the pod is put |
//! | `answer` | what a Prometheus answers |
//!
//! The time that comes with a result is that of the question, not that of the scrape, and a Prometheus goes on showing
//! the last sample for five minutes. No question about any expression tells how old its samples are: around anything
//! but a series, `timestamp()` is the time of the question too (measured with Prometheus 2.42). So the user says by
//! what to tell it (`sampledAt`).

mod access;
pub mod allow;
pub mod answer;
pub mod template;

#[cfg(test)]
mod tests;

use std::time::Duration;

use ::http::Response;
use ::http::header::CONNECTION;
use async_trait::async_trait;
use jiff::Timestamp;
use kube::Client;
use reqwest::Url;

use self::access::Access;
use self::allow::Allowed;
use self::answer::{Number, milliseconds};
use self::template::Template;
use super::spec::{OnNoData, PrometheusSpec};
use super::{Means, Now, PodTarget, Probe, ProbeKind, Reader, Reading, Refusal};
use crate::web::{CLOCKS, TOTAL, reason, same_time, whole};

/// The probe.
#[derive(Clone)]
pub struct PrometheusProbe {
    spec: PrometheusSpec,
    /// What to ask, or why it must not be asked.
    question: Result<Question, Refusal>,
    client: Client,
    now: Now,
    patience: Duration,
}

/// What to ask, and where.
#[derive(Clone)]
struct Question {
    /// `.../api/v1/query`
    endpoint: Url,
    query: Template,
    sampled_at: Template,
}

impl Question {
    fn of(spec: &PrometheusSpec, allowed: &Allowed) -> Result<Self, Refusal> {
        let mut endpoint = allow::address(&spec.address).map_err(|problem| {
            Refusal::lasting(format!("the prometheus probe's {problem}"), "correct its address")
        })?;
        if !allowed.admits(&endpoint) {
            return Err(Refusal::lasting(
                format!("the operator is not allowed to ask {endpoint}"),
                format!(
                    "whoever runs the operator starts it with --prometheus-allow={} (PROMETHEUS_ALLOW; chart: prometheus.allow)",
                    spec.address
                ),
            ));
        }
        let path = format!("{}/api/v1/query", endpoint.path().trim_end_matches('/'));
        endpoint.set_path(&path);
        let template = |member: &str, text: &str| {
            Template::parse(text).map_err(|fault| {
                Refusal::lasting(
                    format!("the prometheus probe's {member}: {fault}"),
                    format!("correct its {member}"),
                )
            })
        };
        let (query, sampled_at) = (template("query", &spec.query)?, template("sampledAt", &spec.sampled_at)?);
        Ok(Self { endpoint, query, sampled_at })
    }

    /// The address of one question about one moment.
    fn url(&self, promql: &str, moment: Timestamp) -> Url {
        let mut url = self.endpoint.clone();
        let milliseconds = moment.as_millisecond();
        url.query_pairs_mut()
            .append_pair("query", promql)
            .append_pair("time", &format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000))
            .append_pair("timeout", &format!("{}s", TOTAL.as_secs()));
        url
    }
}

impl PrometheusProbe {
    /// A probe by these settings. What is wrong with them is said by [`Probe::admit`], and makes every reading unknown.
    #[must_use]
    pub fn new(spec: &PrometheusSpec, means: &Means) -> Self {
        Self {
            spec: spec.clone(),
            question: Question::of(spec, &means.prometheus_allow),
            client: means.client.clone(),
            now: means.now.clone(),
            patience: TOTAL,
        }
    }

    /// A reader that takes no sample from before this moment for an answer.
    fn since(&self, pod: &PodTarget, since: Option<Timestamp>) -> PrometheusReader {
        PrometheusReader { probe: self.clone(), pod: pod.clone(), since, access: None }
    }

    /// One answer: a number, or an empty result.
    async fn ask(&self, access: &Access, url: Url, moment: Timestamp) -> Result<Option<Number>, String> {
        let request = access.sign(access.client.get(url)).header(CONNECTION, "close");
        let answer = request.send().await.map_err(|problem| {
            format!("{} does not answer: {}", self.spec.address, reason(&problem.without_url()))
        })?;
        let answer = Response::<reqwest::Body>::from(answer);
        let same = same_time(answer.headers(), (self.now)());
        let body = whole(answer).await?;
        same?;
        answer::only(&body, moment).map_err(|why| why.to_string())
    }
}

/// That a sample taken at `sampled` (Unix time in seconds) answers a question about the moment `asked`.
fn fresh(sampled: f64, asked: Timestamp, since: Option<Timestamp>, longest: Duration) -> Result<(), String> {
    let sampled = sampled * 1000.0;
    let age = milliseconds(asked) - sampled;
    if age.abs() < 1.0 {
        return Err("sampledAt says the time of the question, not that of a sample: put timestamp() around the series themselves, for example min(timestamp(conns{pod=\"{{pod}}\"}))".to_owned());
    }
    if age < 0.0 {
        return Err("sampledAt says a time to come".to_owned());
    }
    if age > longest.as_secs_f64() * 1000.0 {
        return Err(format!("the last sample is {:.0} s old, more than maxAge", age / 1000.0));
    }
    if since.is_some_and(|since| sampled < milliseconds(since) + CLOCKS.as_secs_f64() * 1000.0) {
        return Err("the pod was not scraped yet since it is counted".to_owned());
    }
    Ok(())
}

#[async_trait]
impl Probe for PrometheusProbe {
    fn kind(&self) -> ProbeKind {
        ProbeKind::Prometheus
    }

    fn threshold(&self) -> u64 {
        self.spec.threshold.into()
    }

    /// One reading: a pod that serves and gives no count now would give none later.
    async fn admit(&self, pod: &PodTarget) -> Result<(), Refusal> {
        if let Err(refusal) = &self.question {
            return Err(refusal.clone());
        }
        match self.since(pod, None).read().await {
            Reading::Count { .. } => Ok(()),
            Reading::Unknown { why } => Err(Refusal::lasting(
                format!("the prometheus probe gets no count for pod {}: {why}", pod.name),
                "correct it, or use another probe",
            )),
        }
    }

    /// Readings are of samples that were taken after this call, so that what was opened between a scrape and the detach
    /// is not overlooked.
    fn reader(&self, pod: &PodTarget) -> Box<dyn Reader> {
        Box::new(self.since(pod, Some((self.now)())))
    }

    /// Who is scraped seldom has a sample all the same.
    fn first_reader(&self, pod: &PodTarget) -> Box<dyn Reader> {
        Box::new(self.since(pod, None))
    }
}

struct PrometheusReader {
    probe: PrometheusProbe,
    pod: PodTarget,
    since: Option<Timestamp>,
    /// Made once, and anew after a failure: the Secrets may have changed.
    access: Option<Access>,
}

impl PrometheusReader {
    async fn count(&mut self) -> Result<u64, String> {
        let Self { probe, pod, since, access } = self;
        let question = probe.question.as_ref().map_err(ToString::to_string)?;
        let of = |member: &'static str| move |why: String| format!("{member}: {why}");
        let query = question.query.render(pod).map_err(of("query"))?;
        let sampled_at = question.sampled_at.render(pod).map_err(of("sampledAt"))?;
        let access = match access {
            Some(access) => access,
            None => access.insert(
                Access::of(&probe.spec, probe.client.clone(), &pod.namespace)
                    .await
                    .map_err(|refusal| refusal.to_string())?,
            ),
        };

        let asked = (probe.now)();
        // The age first: a sample that comes in between makes the count newer than it says, never older.
        let sampled =
            probe.ask(access, question.url(&sampled_at, asked), asked).await.map_err(of("sampledAt"))?;
        let sampled = sampled.ok_or("sampledAt has no result: the pod was not scraped of late")?;
        let sampled = sampled.seconds().map_err(|why| of("sampledAt")(why.to_string()))?;
        fresh(sampled, asked, *since, probe.spec.max_age.into())?;
        match probe.ask(access, question.url(&query, asked), asked).await.map_err(of("query"))? {
            Some(number) => number.count().map_err(|why| of("query")(why.to_string())),
            None => match probe.spec.on_no_data {
                OnNoData::Unknown => Err("query has no result".to_owned()),
                OnNoData::Zero => Ok(0),
            },
        }
    }
}

#[async_trait]
impl Reader for PrometheusReader {
    async fn read(&mut self) -> Reading {
        let patience = self.probe.patience;
        let why = match tokio::time::timeout(patience, self.count()).await {
            Ok(Ok(connections)) => return Reading::Count { connections, new_per_second: None },
            Ok(Err(why)) => why,
            Err(_) => {
                format!(
                    "{} gave no whole answer within {} s",
                    self.probe.spec.address,
                    patience.as_secs_f32()
                )
            }
        };
        self.access = None;
        Reading::unknown(why)
    }
}
