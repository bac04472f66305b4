//! A metric in words: what a page of documentation says of it is what its handle is bound with.
//!
//! Not a registry and not an exporter: values go through the [`metrics`] facade to the recorder
//! that the application has installed.

mod binder;

pub use binder::Binder;

/// One metric, without the prefix of its backend and pool.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name behind the prefix.
    pub name: &'static str,
    /// Whose it is; decides the prefix.
    pub scope: MetricScope,
    /// Counter, gauge or histogram.
    pub kind: MetricKind,
    /// What its value counts.
    pub unit: MetricUnit,
    /// Its labels.
    pub labels: &'static [Label],
    /// What it means, in one sentence.
    pub help: &'static str,
    /// The name that OpenTelemetry's conventions for messaging give to the same thing, where there
    /// is one.
    pub otel: Option<&'static str>,
}

/// Whose a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricScope {
    /// The whole bus's: `{backend}_eventbus_`.
    Bus,
    /// One pool's: `{backend}_eventbus_{pool}_pool_`.
    Pool,
}

/// What a metric does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only ever grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Keeps how values are spread.
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

/// What the value of a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricUnit {
    /// Seconds, with fractions.
    Seconds,
    /// A share of a whole: 0 to 1.
    Ratio,
    /// Things of this name.
    Count(&'static str),
}

impl MetricUnit {
    /// As a table says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Ratio => "ratio",
            Self::Count(what) => what,
        }
    }
}

/// A label, and what bounds its values. Never a key, a message or a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// One of these values.
    OneOf(&'static str, &'static [&'static str]),
    /// `topic` and `partition`, of the partitions that the process has read.
    Partition,
}

impl Metric {
    /// A metric of the bus without labels.
    #[must_use]
    pub const fn bus(
        name: &'static str,
        kind: MetricKind,
        unit: MetricUnit,
        help: &'static str,
    ) -> Self {
        Self { name, scope: MetricScope::Bus, kind, unit, labels: &[], help, otel: None }
    }

    /// A metric of a pool without labels.
    #[must_use]
    pub const fn pool(
        name: &'static str,
        kind: MetricKind,
        unit: MetricUnit,
        help: &'static str,
    ) -> Self {
        Self { scope: MetricScope::Pool, ..Self::bus(name, kind, unit, help) }
    }

    /// The same with these labels.
    #[must_use]
    pub const fn labelled(self, labels: &'static [Label]) -> Self {
        Self { labels, ..self }
    }

    /// The same with its name in OpenTelemetry's conventions.
    #[must_use]
    pub const fn otel(self, name: &'static str) -> Self {
        Self { otel: Some(name), ..self }
    }

    /// Whether it has a series for each partition that the process has read.
    #[must_use]
    pub fn is_per_partition(&self) -> bool {
        self.labels.contains(&Label::Partition)
    }

    /// The most series of it: for each partition, where it [is per
    /// partition](Metric::is_per_partition), else in all.
    #[must_use]
    pub fn series(&self) -> usize {
        let values = |label: &Label| match label {
            Label::OneOf(_, values) => values.len(),
            Label::Partition => 1,
        };
        self.labels.iter().map(values).product()
    }
}
