//! A real Prometheus that scrapes the operator as its users' would and judges its alerts, or scrapes an application.
//!
//! Debian's is built without a way to find pods in Kubernetes, so a task tells it where they are.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request,
    body::Bytes,
    client::conn::http1,
    header::{CONNECTION, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use tokio::{
    net::TcpStream,
    process::Command,
    time::{Instant, sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    cluster::Cluster,
    error::{AtPath as _, LabError},
    paths,
    process::{Process, tail},
    scenario,
};

/// The name of the program, which Debian's package has too.
pub const PROGRAM: &str = "prometheus";

/// Where it listens. Nobody but the sandbox reaches it.
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9090);
/// How often it scrapes and judges.
const INTERVAL: &str = "1s";
/// The file that says where the pods are.
const TARGETS: &str = "targets.json";
/// From its start until it answers.
const START_LIMIT: Duration = Duration::from_secs(30);
/// One answer.
const ANSWER: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// How often it is told where the pods are.
const FIND: Duration = Duration::from_millis(500);

/// The pods that it scrapes. Each series has the name of its pod as the label `pod`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scraped {
    /// Where they are.
    pub namespace: String,
    /// Their labels, as a selector.
    pub selector: String,
    /// The port that serves `/metrics`.
    pub port: u16,
}

impl Scraped {
    /// The operator's, where the shipped manifests put them.
    #[must_use]
    pub fn operator() -> Self {
        Self {
            namespace: scenario::OPERATOR_NAMESPACE.to_owned(),
            selector: "app.kubernetes.io/component=operator".to_owned(),
            port: 8080,
        }
    }
}

/// A running Prometheus. It is killed when this is dropped; its data goes with the sandbox.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    _finds: AbortOnDropHandle<()>,
}

/// It did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No answer came.
    #[error("Prometheus does not answer: {0}")]
    Silent(String),
    /// It refused the question.
    #[error("Prometheus refuses `{asked}`: {answer}")]
    Refused {
        /// What it was asked.
        asked: String,
        /// What it said.
        answer: String,
    },
}

/// A series with its last value.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The last value that it had.
    pub value: f64,
}

/// An alert that is pending or fires.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Alert {
    /// Its labels, its name among them.
    pub labels: BTreeMap<String, String>,
    /// Its sentences, filled in.
    pub annotations: BTreeMap<String, String>,
    /// `pending` or `firing`.
    pub state: String,
}

impl Alert {
    /// Whether it is this one, and fires.
    #[must_use]
    pub fn fires(&self, name: &str) -> bool {
        self.state == "firing" && self.labels.get("alertname").is_some_and(|own| own == name)
    }
}

#[derive(Deserialize)]
struct Answer<T> {
    data: Option<T>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Matrix {
    result: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

#[derive(Deserialize)]
struct Alerts {
    alerts: Vec<Alert>,
}

impl Prometheus {
    /// Starts it with these rules, as YAML. Each alert holds for `hold` instead of what its rule says, before it
    /// fires and after; the expressions stay as they are.
    ///
    /// # Errors
    /// When it cannot be started, ends at once (rules that it cannot read), or does not answer in time.
    pub async fn start(
        cluster: &Cluster,
        scraped: Scraped,
        rules: &str,
        hold: Duration,
    ) -> Result<Self, LabError> {
        let folder = Path::new(paths::RUN).join(PROGRAM);
        if folder.exists() {
            fs::remove_dir_all(&folder).at(&folder)?;
        }
        fs::create_dir_all(&folder).at(&folder)?;
        for (name, text) in
            [("prometheus.yaml", configuration().to_string()), ("rules.yaml", hurried(rules, hold))]
        {
            let path = folder.join(name);
            fs::write(&path, text).at(&path)?;
        }
        let finds = tokio::spawn(find(cluster.client(), scraped, folder.join(TARGETS)));
        let mut command = Command::new(PROGRAM);
        command
            .arg(format!("--config.file={}", folder.join("prometheus.yaml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={ADDRESS}"));
        let mut process = Process::spawn(PROGRAM, &mut command)?;
        let start = Instant::now();
        while get("/-/ready").await.is_err() {
            process.check()?;
            if start.elapsed() > START_LIMIT {
                let (what, log) = ("Prometheus answers".to_owned(), process.log().to_owned());
                return Err(LabError::TooLate { what, limit: START_LIMIT, tail: tail(&log), log });
            }
            sleep(POLL).await;
        }
        Ok(Self { process, _finds: AbortOnDropHandle::new(finds) })
    }

    /// What an expression gave at any second since a moment, each series with its last value.
    ///
    /// # Errors
    /// When it refuses the expression or does not answer.
    pub async fn since(&self, expr: &str, from: Timestamp) -> Result<Vec<Series>, AskError> {
        let (from, to) = (from.as_second().to_string(), crate::clock::now().as_second().to_string());
        let query = [("query", expr), ("start", &from), ("end", &to), ("step", "1s")];
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let matrix: Matrix = ask(&format!("/api/v1/query_range?{query}"), expr).await?;
        let last = |row: Row| {
            let value = row.values.last()?.1.parse().ok()?;
            Some(Series { labels: row.metric, value })
        };
        Ok(matrix.result.into_iter().filter_map(last).collect())
    }

    /// What an expression gives now.
    ///
    /// # Errors
    /// When it refuses the expression or does not answer.
    pub async fn now(&self, expr: &str) -> Result<Vec<Series>, AskError> {
        self.since(expr, crate::clock::now()).await
    }

    /// All alerts that are pending or fire.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn alerts(&self) -> Result<Vec<Alert>, AskError> {
        let alerts: Alerts = ask("/api/v1/alerts", "alerts").await?;
        Ok(alerts.alerts)
    }

    /// Stops it where it is: it takes connections and answers nobody, until [`Self::thaw`].
    pub fn freeze(&self) {
        self.process.freeze();
    }

    /// Lets it go on as if no time had passed.
    pub fn thaw(&self) {
        self.process.thaw();
    }

    /// Ends it.
    pub async fn stop(self) {
        self.process.stop().await;
    }
}

/// As `docs/metrics.md` says for the operator, but for how the pods are found. JSON is YAML.
fn configuration() -> serde_json::Value {
    json!({
        "global": {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [{
            "job_name": "lossless-upgrade",
            "honor_labels": true,
            "file_sd_configs": [{"files": [TARGETS], "refresh_interval": INTERVAL}],
        }],
    })
}

/// Writes down where the pods are, for as long as it is polled. An API server that does not answer
/// changes nothing, and neither does a pod that has no address yet.
async fn find(client: Client, scraped: Scraped, file: PathBuf) {
    let pods: Api<Pod> = Api::namespaced(client, &scraped.namespace);
    let wanted = ListParams::default().labels(&scraped.selector);
    let mut told = None;
    loop {
        if let Ok(pods) = pods.list(&wanted).await {
            let target = |pod: &Pod| {
                let address = pod.status.as_ref()?.pod_ip.clone()?;
                Some(
                    json!({"targets": [format!("{address}:{}", scraped.port)], "labels": {"pod": pod.name_any()}}),
                )
            };
            let targets: serde_json::Value = pods.iter().filter_map(target).collect();
            let new = file.with_extension("new");
            // By a new name first, so that no half of it is ever read.
            let is_written = told.as_ref() != Some(&targets)
                && fs::write(&new, targets.to_string()).and_then(|()| fs::rename(&new, &file)).is_ok();
            if is_written {
                told = Some(targets);
            }
        }
        sleep(FIND).await;
    }
}

/// The rules with other times in `for` and `keep_firing_for`.
fn hurried(rules: &str, hold: Duration) -> String {
    let lines = rules.lines().map(|line| {
        let (indent, word) = line.split_at(line.len() - line.trim_start().len());
        match word.split_once(": ") {
            Some((key @ ("for" | "keep_firing_for"), _)) => format!("{indent}{key}: {}s\n", hold.as_secs()),
            Some(_) | None => format!("{line}\n"),
        }
    });
    lines.collect()
}

async fn ask<T: DeserializeOwned>(path: &str, asked: &str) -> Result<T, AskError> {
    let body = get(path).await?;
    let answer: Answer<T> =
        serde_json::from_slice(&body).map_err(|error| AskError::Silent(error.to_string()))?;
    let refused = |answer: Option<String>| AskError::Refused {
        asked: asked.to_owned(),
        answer: answer.unwrap_or_else(|| "no data".to_owned()),
    };
    answer.data.ok_or_else(|| refused(answer.error))
}

/// The body of the answer; a refusal has one too, an answer that is not ready yet is an error.
async fn get(path: &str) -> Result<Bytes, AskError> {
    let exchange = async {
        let stream = TcpStream::connect(ADDRESS).await.map_err(silent)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(silent)?;
        let request = Request::get(path)
            .header(HOST, ADDRESS.to_string())
            .header(CONNECTION, HeaderValue::from_static("close"))
            .body(Empty::<Bytes>::new())
            .map_err(silent)?;
        let answer = async {
            let answer = sender.send_request(request).await.map_err(silent)?;
            if answer.status().is_server_error() {
                return Err(silent(answer.status()));
            }
            Ok(answer.into_body().collect().await.map_err(silent)?.to_bytes())
        };
        let (answer, driven) = tokio::join!(answer, connection);
        driven.map_err(silent)?;
        answer
    };
    timeout(ANSWER, exchange).await.map_err(silent)?
}

fn silent(why: impl std::fmt::Display) -> AskError {
    AskError::Silent(why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_times_of_the_rules_are_changed() {
        let rules = "rules:\n  - alert: A\n    expr: |\n      up == 0\n    for: 10m\n    keep_firing_for: 2m\n    labels: {for: x}\n";
        let hurried = hurried(rules, Duration::from_secs(2));
        let wanted =
            rules.replace("for: 10m", "for: 2s").replace("keep_firing_for: 2m", "keep_firing_for: 2s");
        assert_eq!(hurried, wanted);
    }
}
