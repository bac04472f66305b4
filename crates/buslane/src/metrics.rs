//! The metrics of a bus: which there are, and the page that lists them.
//!
//! Values go through the `metrics` facade to whatever recorder the application has installed before
//! the bus connects; the bus neither keeps nor serves them.

mod catalogue;
mod handles;
mod page;

pub use buslane_core::{Label, Metric, MetricKind, MetricScope, MetricUnit};
pub(crate) use catalogue::{HEALTH, HEALTH_FAULT};
pub use catalogue::{SECONDS_BUCKETS, all};
pub(crate) use handles::{
    BusMetrics, ConditionGauges, Limited, PartitionLag, RolloutMetrics, ShadowMetrics,
};
pub use page::reference_markdown;
