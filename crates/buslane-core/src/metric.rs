//! Definitions of metrics: one definition yields the row of the documentation and the handle.
//!
//! It is neither a registry nor an exporter: values go through the [`metrics`] facade to the
//! recorder that the application has installed.

use crate::Topic;
use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};

/// The definition of a metric, without the prefix of its backend and pool.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Metric {
    /// The name behind the prefix.
    pub name: &'static str,
    /// The scope, which determines the prefix.
    pub scope: MetricScope,
    /// Counter, gauge or histogram.
    pub kind: MetricKind,
    /// The unit of its value.
    pub unit: MetricUnit,
    /// Its labels.
    pub labels: &'static [Label],
    /// The meaning, in one sentence.
    pub help: &'static str,
    /// The name in OpenTelemetry's semantic conventions for messaging, if there is one.
    pub otel: Option<&'static str>,
}

/// The scope of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricScope {
    /// The bus: `{backend}_eventbus_`.
    Bus,
    /// One pool: `{backend}_eventbus_{pool}_pool_`.
    Pool,
}

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// A value that only grows.
    Counter,
    /// A value that rises and falls.
    Gauge,
    /// A distribution of values.
    Histogram,
}

impl MetricKind {
    /// `counter`, `gauge` or `histogram`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The unit of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricUnit {
    /// Seconds, with fractions.
    Seconds,
    /// A share of a whole: 0 to 1.
    Ratio,
    /// A number of the named things.
    Count(&'static str),
}

impl MetricUnit {
    /// The unit as text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Ratio => "ratio",
            Self::Count(what) => what,
        }
    }
}

/// A label with a bounded set of values, never a key, a message or a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// A label with one of these values.
    OneOf(&'static str, &'static [&'static str]),
    /// The label `topic`, for each of a bounded number of topics.
    Topic,
    /// The labels `topic` and `partition`, for each partition that the process has read.
    Partition,
}

impl Metric {
    /// Defines a metric of the bus without labels.
    #[must_use]
    pub const fn bus(
        name: &'static str,
        kind: MetricKind,
        unit: MetricUnit,
        help: &'static str,
    ) -> Self {
        Self { name, scope: MetricScope::Bus, kind, unit, labels: &[], help, otel: None }
    }

    /// Defines a metric of a pool without labels.
    #[must_use]
    pub const fn pool(
        name: &'static str,
        kind: MetricKind,
        unit: MetricUnit,
        help: &'static str,
    ) -> Self {
        Self { scope: MetricScope::Pool, ..Self::bus(name, kind, unit, help) }
    }

    /// Sets the labels.
    #[must_use]
    pub const fn labelled(self, labels: &'static [Label]) -> Self {
        Self { labels, ..self }
    }

    /// Sets the name in OpenTelemetry's conventions.
    #[must_use]
    pub const fn otel(self, name: &'static str) -> Self {
        Self { otel: Some(name), ..self }
    }

    /// Whether the metric has a series for each partition that the process has read.
    #[must_use]
    pub fn is_per_partition(&self) -> bool {
        self.labels.contains(&Label::Partition)
    }

    /// Whether the metric has a series for each topic.
    #[must_use]
    pub fn is_per_topic(&self) -> bool {
        self.labels.contains(&Label::Topic)
    }

    /// The maximum number of series: for each partition if the metric [is per
    /// partition](Metric::is_per_partition), for each topic if it [is per
    /// topic](Metric::is_per_topic), otherwise in total.
    #[must_use]
    pub fn series(&self) -> usize {
        let values = |label: &Label| match label {
            Label::OneOf(_, values) => values.len(),
            Label::Topic | Label::Partition => 1,
        };
        self.labels.iter().map(values).product()
    }
}

/// Binds the metric handles of a bus, or of one of its pools. Bind each handle once and keep it.
/// Binding also describes the metric to the recorder.
///
/// A handle belongs to the recorder that is installed when it is bound. A handle that is bound
/// without a recorder never records anything.
///
/// ```
/// use buslane_core::{Binder, Metric, MetricKind, MetricUnit};
///
/// const SENT: Metric = Metric::pool(
///     "messages_sent_total",
///     MetricKind::Counter,
///     MetricUnit::Count("messages"),
///     "Jobs the pool took.",
/// );
/// let binder = Binder::pool("memory", "keyed");
/// assert_eq!(binder.name(&SENT), "memory_eventbus_keyed_pool_messages_sent_total");
/// binder.counter(&SENT).increment(1);
/// ```
#[derive(Debug, Clone)]
pub struct Binder {
    prefix: String,
    scope: MetricScope,
    /// The topic of the series, where they are counted by topic.
    topic: Option<String>,
}

impl Binder {
    /// A binder for the metrics of a bus on `backend`.
    #[must_use]
    pub fn bus(backend: &str) -> Self {
        Self { prefix: format!("{backend}_eventbus_"), scope: MetricScope::Bus, topic: None }
    }

    /// A binder for the metrics of the pool `pool` (`keyed` or `actor`) of a bus on `backend`.
    #[must_use]
    pub fn pool(backend: &str, pool: &str) -> Self {
        let prefix = format!("{backend}_eventbus_{pool}_pool_");
        Self { prefix, scope: MetricScope::Pool, topic: None }
    }

    /// A binder for the series of one topic, of the metrics that are counted by topic. The caller
    /// bounds the number of topics.
    #[must_use]
    pub fn of_topic(&self, topic: &str) -> Self {
        Self { topic: Some(topic.to_owned()), ..self.clone() }
    }

    /// The full name of a metric.
    #[must_use]
    pub fn name(&self, metric: &Metric) -> String {
        format!("{}{}", self.prefix, metric.name)
    }

    /// The handle of a counter without a closed set of values.
    pub fn counter(&self, metric: &Metric) -> Counter {
        counter!(self.described(metric, MetricKind::Counter, &[]), self.labels(metric, &[]))
    }

    /// The handle of a counter for one value of its label.
    pub fn counter_of(&self, metric: &Metric, value: &'static str) -> Counter {
        let labels = self.labels(metric, &[value]);
        counter!(self.described(metric, MetricKind::Counter, &[value]), labels)
    }

    /// The handle of a gauge without a closed set of values.
    pub fn gauge(&self, metric: &Metric) -> Gauge {
        gauge!(self.described(metric, MetricKind::Gauge, &[]), self.labels(metric, &[]))
    }

    /// The handle of a gauge for one value of its label.
    pub fn gauge_of(&self, metric: &Metric, value: &'static str) -> Gauge {
        let labels = self.labels(metric, &[value]);
        gauge!(self.described(metric, MetricKind::Gauge, &[value]), labels)
    }

    /// The handle of a gauge for one partition. Binding costs a look-up, so keep the handle while
    /// the partition is read.
    pub fn gauge_at(&self, metric: &Metric, topic: &Topic, partition: u32) -> Gauge {
        debug_assert!(metric.is_per_partition(), "{metric:?}");
        let labels = [("topic", topic.to_string()), ("partition", partition.to_string())];
        gauge!(self.described(metric, MetricKind::Gauge, &[]), &labels)
    }

    /// The handle of a histogram without a closed set of values.
    pub fn histogram(&self, metric: &Metric) -> Histogram {
        histogram!(self.described(metric, MetricKind::Histogram, &[]), self.labels(metric, &[]))
    }

    /// The handle of a histogram for one value of its label.
    pub fn histogram_of(&self, metric: &Metric, value: &'static str) -> Histogram {
        let labels = self.labels(metric, &[value]);
        histogram!(self.described(metric, MetricKind::Histogram, &[value]), labels)
    }

    /// Pairs the labels of a metric with these values, and with the topic.
    fn labels(&self, metric: &Metric, values: &[&'static str]) -> Vec<metrics::Label> {
        let mut values = values.iter();
        let pair = |label: &Label| match label {
            Label::OneOf(name, _) => Some(metrics::Label::from_static_parts(name, values.next()?)),
            Label::Topic => Some(metrics::Label::new("topic", self.topic.clone()?)),
            Label::Partition => None,
        };
        metric.labels.iter().filter_map(pair).collect()
    }

    /// Describes the metric to the recorder, and returns its full name.
    fn described(&self, metric: &Metric, kind: MetricKind, values: &[&str]) -> String {
        debug_assert_eq!((metric.kind, metric.scope), (kind, self.scope), "{}", metric.name);
        debug_assert!(
            has_values(metric, values, self.topic.is_some()),
            "{} has no series {values:?}",
            metric.name
        );
        let (name, unit) = (self.name(metric), unit(metric.unit));
        match kind {
            MetricKind::Counter => metrics::describe_counter!(name.clone(), unit, metric.help),
            MetricKind::Gauge => metrics::describe_gauge!(name.clone(), unit, metric.help),
            MetricKind::Histogram => metrics::describe_histogram!(name.clone(), unit, metric.help),
        }
        name
    }
}

const fn unit(unit: MetricUnit) -> Unit {
    match unit {
        MetricUnit::Seconds => Unit::Seconds,
        MetricUnit::Ratio | MetricUnit::Count(_) => Unit::Count,
    }
}

/// Whether each label with a closed set of values gets one of them, and the label `topic` a topic.
fn has_values(metric: &Metric, values: &[&str], has_topic: bool) -> bool {
    let mut values = values.iter();
    let is_given = |label: &Label| match label {
        Label::OneOf(_, known) => values.next().is_some_and(|value| known.contains(value)),
        Label::Topic => has_topic,
        Label::Partition => true,
    };
    metric.labels.iter().all(is_given)
}
