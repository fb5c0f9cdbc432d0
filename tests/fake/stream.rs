//! Watches.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::Body as AnswerBody;
use http::Response;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::answer::Refused;
use super::call::{Call, Resource};
use super::fault::Trouble;
use super::server::{Server, refused};
use super::store::{Became, Change};

/// From a change until those who watch hear of it.
const LATENCY: Duration = Duration::from_millis(5);
/// A watch ends by itself after this long where the request does not say when.
const LENGTH: u64 = 300;

/// A label selector and a field selector: one of these values each, by where they stand in the object.
pub struct Selector(Vec<Term>);

/// Where it stands, and the values.
type Term = (Vec<String>, Vec<String>);

impl Selector {
    pub fn of(call: &Call) -> Result<Self, Refused> {
        let label = |key: &str| ["metadata", "labels", key].map(str::to_owned).to_vec();
        let field = |key: &str| key.split('.').map(str::to_owned).collect();
        let mut terms = Self::terms(call, "labelSelector", label)?;
        terms.extend(Self::terms(call, "fieldSelector", field)?);
        Ok(Self(terms))
    }

    fn terms(call: &Call, of: &str, path: impl Fn(&str) -> Vec<String>) -> Result<Vec<Term>, Refused> {
        let text = call.query.get(of).map(String::as_str).unwrap_or_default();
        // `key in (a,b)` alone; nobody asks for it beside another term.
        if let Some((key, values)) = text.split_once(" in (") {
            let values = values.strip_suffix(')').filter(|_| !key.contains(','));
            let values = values.ok_or_else(|| Refused::bad(format!("selector {text}")))?;
            return Ok(vec![(path(key), values.split(',').map(str::to_owned).collect())]);
        }
        let terms = text.split(',').filter(|term| !term.is_empty()).map(|term| {
            let (key, value) =
                term.split_once('=').ok_or_else(|| Refused::bad(format!("selector {text}")))?;
            Ok((path(key), vec![value.trim_start_matches('=').to_owned()]))
        });
        terms.collect()
    }

    pub fn takes(&self, object: &Value) -> bool {
        let at = |path: &Vec<String>| path.iter().fold(object, |part, key| &part[key]).clone();
        self.0.iter().all(|(path, values)| values.iter().any(|value| at(path) == *value))
    }
}

struct Watch {
    server: Server,
    resource: Resource,
    namespace: String,
    selector: Selector,
    versions: watch::Receiver<u64>,
    /// All up to this version was looked at.
    seen: u64,
    waiting: VecDeque<Change>,
    /// The first event, in case it comes again.
    first: Option<Change>,
    end: Instant,
    bookmarks: bool,
    over: bool,
}

/// The answer to a watch.
pub fn watch(server: &Server, call: &Call) -> Response<AnswerBody> {
    let selector = match Selector::of(call) {
        Ok(selector) => selector,
        Err(refusal) => return refused(&refusal),
    };
    let length = call.number("timeoutSeconds").unwrap_or(LENGTH);
    let now = server.with(|store, _| store.version());
    let watch = Watch {
        server: server.clone(),
        resource: call.resource,
        namespace: call.namespace.clone(),
        selector,
        versions: server.versions(),
        seen: call.number("resourceVersion").filter(|version| *version > 0).unwrap_or(now),
        waiting: VecDeque::new(),
        first: None,
        end: Instant::now() + Duration::from_secs(length),
        bookmarks: call.query.contains_key("allowWatchBookmarks"),
        over: false,
    };
    let lines = futures::stream::unfold(watch, |mut watch| async move {
        let line = watch.next().await?;
        Some((Ok::<_, std::convert::Infallible>(line), watch))
    });
    Response::new(AnswerBody::from_stream(lines))
}

impl Watch {
    /// The next lines of the answer.
    async fn next(&mut self) -> Option<String> {
        loop {
            if self.over {
                return None;
            }
            if let Some(change) = self.waiting.pop_front() {
                match self.deliver(change).await {
                    Some(lines) => return Some(lines),
                    None => continue,
                }
            }
            let server = self.server.clone();
            match server.with(|store, _| self.news(store)) {
                Ok(news) if news.is_empty() => {}
                Ok(news) => {
                    self.waiting = news;
                    sleep(LATENCY).await;
                    continue;
                }
                Err(expired) => {
                    self.over = true;
                    return Some(line("ERROR", &expired.status()));
                }
            }
            if timeout_at(self.end, self.versions.changed()).await.is_err() {
                self.over = true;
                let version = json!({"resourceVersion": self.seen.to_string()});
                let mark = json!({"apiVersion": self.resource.api_version(), "kind": self.resource.kind(), "metadata": version});
                return self.bookmarks.then(|| line("BOOKMARK", &mark));
            }
        }
    }

    fn news(&mut self, store: &super::store::Store) -> Result<VecDeque<Change>, Refused> {
        let changes = store.since(self.seen)?;
        self.seen = changes.last().map_or(self.seen, |change| change.version);
        let ours = |change: &&Change| {
            change.key.resource == self.resource
                && (self.namespace.is_empty() || change.key.namespace == self.namespace)
                && self.selector.takes(&change.object)
        };
        Ok(changes.iter().filter(ours).cloned().collect())
    }

    async fn deliver(&mut self, change: Change) -> Option<String> {
        let text = event(&change);
        let first = self.first.get_or_insert(change).clone();
        match self.server.next_event(self.resource) {
            None => Some(text),
            Some(Trouble::Lost) => None,
            Some(Trouble::Late(by)) => {
                sleep(by).await;
                Some(text)
            }
            Some(Trouble::GoesBack) => Some(text + &event(&first)),
            Some(Trouble::Ends) => {
                self.over = true;
                None
            }
            Some(Trouble::Torn) => {
                self.over = true;
                Some(text[..text.len() / 2].to_owned())
            }
            Some(Trouble::Expired) => {
                self.over = true;
                Some(line("ERROR", &Refused::expired(self.seen).status()))
            }
        }
    }
}

fn event(change: &Change) -> String {
    let kind = match change.became {
        Became::Added => "ADDED",
        Became::Modified => "MODIFIED",
        Became::Deleted => "DELETED",
    };
    line(kind, &change.object)
}

fn line(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}
