//! What the condition of a bus looks like from outside: gauges that go back to zero with the bus.

use super::{PublishBacklog, Severity};
use crate::metrics::{BusMetrics, ConditionGauges, PartitionLag};
use buslane_core::{Lag, Topic};
use std::collections::{HashMap, HashSet};

/// The gauges of one bus.
pub(super) struct Gauges {
    gauges: ConditionGauges,
    /// Of each partition that was ever seen.
    lags: HashMap<(Topic, u32), PartitionLag>,
}

impl Gauges {
    pub(super) fn new(metrics: &BusMetrics) -> Self {
        let gauges = Self { gauges: metrics.condition(), lags: HashMap::new() };
        gauges.clear();
        gauges
    }

    /// Partitions that are not named are not read by this bus any more.
    pub(super) fn lags(&mut self, lags: &[Lag]) {
        let named: HashSet<_> = lags.iter().map(|lag| (&lag.topic, lag.partition)).collect();
        let gone = self
            .lags
            .iter()
            .filter(|((topic, partition), _)| !named.contains(&(topic, *partition)));
        gone.for_each(|(_, gauges)| gauges.clear());
        for lag in lags {
            let gauges = &self.gauges;
            let of_partition = self.lags.entry((lag.topic.clone(), lag.partition));
            of_partition.or_insert_with(|| gauges.lag_of(&lag.topic, lag.partition)).set(lag);
        }
    }

    pub(super) fn backlog(&self, is_any: bool) {
        self.gauges.backlog.set(f64::from(u8::from(is_any)));
    }

    #[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
    pub(super) fn publishing(&self, now: PublishBacklog) {
        self.gauges.publish_backlog.set(match now.severity {
            Severity::Normal => 0.0,
            Severity::Warning => 0.5,
            Severity::Critical => 1.0,
        });
        self.gauges.depth.set(now.depth as f64);
        self.gauges.latency.set(now.latency.as_secs_f64());
    }

    pub(super) fn recovery(&self, is_on: bool) {
        self.gauges.recovery.set(f64::from(u8::from(is_on)));
    }

    fn clear(&self) {
        self.lags.values().for_each(PartitionLag::clear);
        let ConditionGauges { backlog, publish_backlog, depth, latency, recovery, .. } =
            &self.gauges;
        [backlog, publish_backlog, depth, latency, recovery]
            .into_iter()
            .for_each(|gauge| gauge.set(0.0));
    }
}

impl Drop for Gauges {
    fn drop(&mut self) {
        self.clear();
    }
}
