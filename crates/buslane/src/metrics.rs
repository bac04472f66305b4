//! The metrics of a bus: their list, the page made from it, and the handles that record them.
//!
//! Values go through the `metrics` facade to the recorder that the application has installed before
//! the bus connects. The bus neither keeps nor serves them.

mod catalogue;
mod handles;
mod page;
mod topics;

pub use buslane_core::{Label, Metric, MetricKind, MetricScope, MetricUnit};
pub(crate) use catalogue::{HEALTH, HEALTH_FAULT};
pub use catalogue::{SECONDS_BUCKETS, all};
pub(crate) use handles::{
    BacklogGauges, BusMetrics, Limited, PartitionLag, RolloutMetrics, ShadowMetrics,
};
pub use page::reference_markdown;
pub use topics::{NAMED_TOPICS, OTHER_TOPIC};
pub(crate) use topics::{PublishMetrics, SubscriptionMetrics};
