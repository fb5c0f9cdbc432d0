//! One metric with a series an object, or one an object and value of a further label.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{CounterVec, GaugeVec, Opts, Registry};

use super::Key;

/// Name and help of a metric, under the program's prefix.
pub(super) fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("lossless_upgrade")
}

/// One metric as it is described to users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its whole name.
    pub name: String,
    /// Prometheus' word for its type.
    pub kind: &'static str,
    /// Its labels, in alphabetical order.
    pub labels: Vec<String>,
    /// What it says.
    pub help: String,
}

/// The registry, with what is in it.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    registry: Registry,
    described: Vec<Described>,
}

impl Catalog {
    /// Puts a metric in, and hands it back.
    pub(super) fn add<C>(&mut self, metric: C) -> prometheus::Result<C>
    where
        C: Collector + Clone + 'static,
    {
        self.registry.register(Box::new(metric.clone()))?;
        let kind = metric.collect().first().map_or("untyped", |family| match family.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::HISTOGRAM => "histogram",
            MetricType::SUMMARY => "summary",
            MetricType::UNTYPED => "untyped",
        });
        self.described.extend(metric.desc().into_iter().map(|desc| {
            let mut labels = desc.variable_labels.clone();
            labels.sort_unstable();
            Described { name: desc.fq_name.clone(), kind, labels, help: desc.help.clone() }
        }));
        Ok(metric)
    }

    /// What has a series now.
    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    /// All that is in it, in the order in which it came.
    pub(super) fn described(&self) -> &[Described] {
        &self.described
    }
}

/// A vector of metrics that knows which label values each object has, so that they can be removed.
#[derive(Debug)]
pub(super) struct Family<V> {
    vec: V,
    seen: Mutex<HashMap<Key, BTreeSet<Option<String>>>>,
}

/// What both kinds of vector are made from.
pub(super) trait FromOpts: Sized {
    fn from_opts(opts: Opts, labels: &[&str]) -> prometheus::Result<Self>;
}

impl FromOpts for GaugeVec {
    fn from_opts(opts: Opts, labels: &[&str]) -> prometheus::Result<Self> {
        Self::new(opts, labels)
    }
}

impl FromOpts for CounterVec {
    fn from_opts(opts: Opts, labels: &[&str]) -> prometheus::Result<Self> {
        Self::new(opts, labels)
    }
}

fn labels<'a>(key: &'a Key, value: Option<&'a str>) -> Vec<&'a str> {
    [key.namespace.as_str(), &key.name].into_iter().chain(value).collect()
}

impl<B: MetricVecBuilder> Family<MetricVec<B>> {
    /// Makes it and puts it into the catalog. `further`: no label or one, beside the object's two.
    pub(super) fn register(
        catalog: &mut Catalog,
        name: &str,
        help: &str,
        further: &[&str],
    ) -> prometheus::Result<Self>
    where
        MetricVec<B>: FromOpts + Collector + Clone + 'static,
    {
        let vec = MetricVec::from_opts(opts(name, help), &[&["namespace", "name"], further].concat())?;
        Ok(Self { vec: catalog.add(vec)?, seen: Mutex::default() })
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<Key, BTreeSet<Option<String>>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies `change` to one series, which exists from then on. It runs under the lock, so that a
    /// series is never changed after it was forgotten.
    fn with(&self, key: &Key, value: Option<&str>, change: impl FnOnce(&B::M)) {
        let mut seen = self.seen();
        // A wrong number of labels is the only error there is; a test walks every metric.
        if let Ok(metric) = self.vec.get_metric_with_label_values(&labels(key, value)) {
            change(&metric);
            let values = seen.entry(key.clone()).or_default();
            if !values.iter().any(|known| known.as_deref() == value) {
                values.insert(value.map(str::to_owned));
            }
        }
    }

    /// Removes the series of an object whose label value is not among `kept`.
    fn keep_only(&self, key: &Key, kept: &[Option<&str>]) {
        let mut seen = self.seen();
        let Some(values) = seen.get_mut(key) else { return };
        values.retain(|value| {
            let stays = kept.contains(&value.as_deref());
            if !stays && self.vec.remove_label_values(&labels(key, value.as_deref())).is_err() {
                tracing::debug!(?key, ?value, "a metric series to be removed was not there");
            }
            stays
        });
        if values.is_empty() {
            seen.remove(key);
        }
    }

    /// Removes all series of an object.
    pub(super) fn forget(&self, key: &Key) {
        self.keep_only(key, &[]);
    }

    /// Removes all series.
    pub(super) fn clear(&self) {
        let mut seen = self.seen();
        self.vec.reset();
        seen.clear();
    }
}

impl Family<GaugeVec> {
    /// These and no other series for an object.
    fn set_all(&self, key: &Key, now: &[(Option<&str>, f64)]) {
        for (value, number) in now {
            self.with(key, *value, |gauge| gauge.set(*number));
        }
        let kept: Vec<_> = now.iter().map(|(value, _)| *value).collect();
        self.keep_only(key, &kept);
    }

    /// One series an object for each value of the further label.
    pub(super) fn set_counts(&self, key: &Key, now: &[(&str, u32)]) {
        let now: Vec<_> = now.iter().map(|(value, count)| (Some(*value), f64::from(*count))).collect();
        self.set_all(key, &now);
    }

    /// The one series of an object with this value of the further label, or none.
    pub(super) fn set_one(&self, key: &Key, now: Option<(&str, f64)>) {
        let now: Vec<_> = now.map(|(value, number)| (Some(value), number)).into_iter().collect();
        self.set_all(key, &now);
    }

    /// The one series of an object without a further label, or none.
    pub(super) fn set_only(&self, key: &Key, now: Option<f64>) {
        let now: Vec<_> = now.map(|number| (None, number)).into_iter().collect();
        self.set_all(key, &now);
    }
}

impl Family<CounterVec> {
    /// Adds to one series of an object.
    pub(super) fn add(&self, key: &Key, value: Option<&str>, amount: f64) {
        self.with(key, value, |counter| counter.inc_by(amount));
    }
}
