//! From a metric in words to its handle.

use super::{Label, Metric, MetricKind, MetricScope, MetricUnit};
use crate::Topic;
use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};

/// Binds the handles of one bus, or of one pool of it: each once, to be kept. A handle is described
/// to the recorder as it is bound.
///
/// The recorder is the one that is installed at this moment: without one, the handle records
/// nothing, for good.
#[derive(Debug, Clone)]
pub struct Binder {
    prefix: String,
    scope: MetricScope,
}

impl Binder {
    /// For the metrics of a bus on `backend`.
    #[must_use]
    pub fn bus(backend: &str) -> Self {
        Self { prefix: format!("{backend}_eventbus_"), scope: MetricScope::Bus }
    }

    /// For the metrics of the pool `pool` (`keyed` or `actor`) of a bus on `backend`.
    #[must_use]
    pub fn pool(backend: &str, pool: &str) -> Self {
        Self { prefix: format!("{backend}_eventbus_{pool}_pool_"), scope: MetricScope::Pool }
    }

    /// The whole name of a metric.
    #[must_use]
    pub fn name(&self, metric: &Metric) -> String {
        format!("{}{}", self.prefix, metric.name)
    }

    /// The handle of a counter without labels.
    pub fn counter(&self, metric: &Metric) -> Counter {
        counter!(self.described(metric, MetricKind::Counter, &[]))
    }

    /// The handle of a counter for one value of its label.
    pub fn counter_of(&self, metric: &Metric, value: &'static str) -> Counter {
        counter!(self.described(metric, MetricKind::Counter, &[value]), &labels(metric, &[value]))
    }

    /// The handle of a gauge without labels.
    pub fn gauge(&self, metric: &Metric) -> Gauge {
        gauge!(self.described(metric, MetricKind::Gauge, &[]))
    }

    /// The handle of a gauge for one value of its label.
    pub fn gauge_of(&self, metric: &Metric, value: &'static str) -> Gauge {
        gauge!(self.described(metric, MetricKind::Gauge, &[value]), &labels(metric, &[value]))
    }

    /// The handle of a gauge for one partition. It costs a look-up: to be kept as long as the
    /// partition is read.
    pub fn gauge_at(&self, metric: &Metric, topic: &Topic, partition: u32) -> Gauge {
        debug_assert!(metric.is_per_partition(), "{metric:?}");
        let labels = [("topic", topic.to_string()), ("partition", partition.to_string())];
        gauge!(self.described(metric, MetricKind::Gauge, &[]), &labels)
    }

    /// The handle of a histogram without labels.
    pub fn histogram(&self, metric: &Metric) -> Histogram {
        histogram!(self.described(metric, MetricKind::Histogram, &[]))
    }

    /// The handle of a histogram for one value of its label.
    pub fn histogram_of(&self, metric: &Metric, value: &'static str) -> Histogram {
        histogram!(
            self.described(metric, MetricKind::Histogram, &[value]),
            &labels(metric, &[value])
        )
    }

    /// Tells the recorder what the metric is, and returns its whole name.
    fn described(&self, metric: &Metric, kind: MetricKind, values: &[&str]) -> String {
        debug_assert_eq!((metric.kind, metric.scope), (kind, self.scope), "{}", metric.name);
        debug_assert!(has_values(metric, values), "{} has no series {values:?}", metric.name);
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

/// The labels of a metric with these values.
fn labels(metric: &Metric, values: &[&'static str]) -> Vec<(&'static str, &'static str)> {
    let names = metric.labels.iter().filter_map(|label| match label {
        Label::OneOf(name, _) => Some(*name),
        Label::Partition => None,
    });
    names.zip(values.iter().copied()).collect()
}

/// Whether each label that has a closed set of values is given one of them.
fn has_values(metric: &Metric, values: &[&str]) -> bool {
    let mut values = values.iter();
    let is_given = |label: &Label| match label {
        Label::OneOf(_, known) => values.next().is_some_and(|value| known.contains(value)),
        Label::Partition => true,
    };
    metric.labels.iter().all(is_given)
}
