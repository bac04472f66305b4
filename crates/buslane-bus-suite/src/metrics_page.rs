//! The Prometheus page of a scenario, rendered without a server.

use super::fixture::PoolKind;
use buslane::metrics::{Label, Metric, MetricKind, MetricScope, SECONDS_BUCKETS, all};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use std::collections::BTreeMap;

/// The metrics of a scenario's buses, which share a backend and a pool.
pub(super) struct MetricsPage {
    handle: PrometheusHandle,
    pool: &'static str,
}

/// One series: the name without the backend's prefix, its labels, and the value.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

impl MetricsPage {
    /// An empty page, and the recorder that fills it. The recorder is leaked, because the threads
    /// of a runtime refer to it until they end.
    pub(super) fn new(pool: PoolKind) -> (Self, &'static PrometheusRecorder) {
        let seconds = Matcher::Suffix("_seconds".to_owned());
        let builder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &SECONDS_BUCKETS);
        let recorder = Box::leak(Box::new(builder.expect("there are buckets").build_recorder()));
        (Self { handle: recorder.handle(), pool: pool.name() }, recorder)
    }

    /// The whole page.
    pub(super) fn text(&self) -> String {
        self.handle.render()
    }

    /// Every series with its value, without the prefix.
    pub(super) fn read(&self) -> BTreeMap<String, f64> {
        let text = self.text();
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let series = lines.map(|line| line.rsplit_once(' ').expect("a series and a value"));
        let without_prefix =
            |name: &str| name.split_once("_eventbus_").map(|(_, name)| name.to_owned());
        series
            .map(|(name, value)| {
                let name = without_prefix(name).expect("every name begins with the backend");
                (name, value.parse().expect("a number"))
            })
            .collect()
    }

    pub(super) fn value(&self, name: &str) -> f64 {
        self.read().get(name).copied().unwrap_or_else(|| panic!("no {name} in {:#?}", self.read()))
    }

    pub(super) fn pool(&self, name: &str) -> f64 {
        self.value(&self.in_pool(name))
    }

    /// The name of a pool's metric, without the backend's prefix.
    pub(super) fn in_pool(&self, name: &str) -> String {
        format!("{}_pool_{name}", self.pool)
    }

    /// The name of any metric, without the backend's prefix.
    pub(super) fn name_of(&self, metric: &Metric) -> String {
        match metric.scope {
            MetricScope::Bus => metric.name.to_owned(),
            MetricScope::Pool => self.in_pool(metric.name),
        }
    }

    /// The series of a metric on the page.
    pub(super) fn series_of(&self, metric: &Metric) -> Vec<Series> {
        let name = self.name_of(metric);
        self.series().into_iter().filter(|series| is_of(series, &name, metric.kind)).collect()
    }

    /// The series that belong to no metric of the catalogue.
    pub(super) fn strangers(&self) -> Vec<Series> {
        let names: Vec<_> = all().map(|metric| (self.name_of(metric), metric.kind)).collect();
        let is_known =
            |series: &Series| names.iter().any(|(name, kind)| is_of(series, name, *kind));
        self.series().into_iter().filter(|series| !is_known(series)).collect()
    }

    fn series(&self) -> Vec<Series> {
        self.read().into_iter().map(|(series, value)| Series::new(&series, value)).collect()
    }
}

/// Whether a series belongs to a metric. The series of a histogram have three names.
fn is_of(series: &Series, name: &str, kind: MetricKind) -> bool {
    let rest = series.name.strip_prefix(name);
    match kind {
        MetricKind::Histogram => {
            rest.is_some_and(|rest| ["_bucket", "_sum", "_count"].contains(&rest))
        }
        MetricKind::Counter | MetricKind::Gauge => rest == Some(""),
    }
}

impl Series {
    fn new(series: &str, value: f64) -> Self {
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}').expect("labels end");
        let pairs = labels.split("\",").filter(|pair| !pair.is_empty());
        let labels = pairs.map(|pair| {
            let (name, value) = pair.split_once("=\"").expect("a label and its value");
            (name.to_owned(), value.trim_end_matches('"').to_owned())
        });
        Self { name: name.to_owned(), labels: labels.collect(), value }
    }

    /// Whether the series has the labels of the metric, each with an allowed value.
    pub(super) fn is_labelled_as(&self, metric: &Metric) -> bool {
        let mut expected = Vec::new();
        for label in metric.labels {
            match label {
                Label::OneOf(name, values) => expected.push((*name, Some(*values))),
                Label::Topic => expected.push(("topic", None)),
                Label::Partition => expected.extend([("topic", None), ("partition", None)]),
            }
        }
        if self.name.ends_with("_bucket") {
            expected.push(("le", None));
        }
        let is_known = |(name, value): (&String, &String)| {
            let known = expected.iter().find(|(known, _)| known == name);
            known.is_some_and(|(_, values)| {
                values.is_none_or(|values| values.contains(&value.as_str()))
            })
        };
        self.labels.len() == expected.len() && self.labels.iter().all(is_known)
    }
}
