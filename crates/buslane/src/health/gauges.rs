//! Health as metrics: `{backend}_eventbus_health`, and one series a fault. Alerts name what is
//! wrong.

use super::{Condition, Fault, Health};
use crate::metrics::{HEALTH, HEALTH_FAULT};
use buslane_core::{Backend, Binder};
use metrics::Gauge;

/// The gauges of one bus.
pub(super) struct Gauges {
    overall: Gauge,
    faults: Vec<(Fault, Gauge)>,
}

impl Gauges {
    pub(super) fn new(backend: Backend) -> Self {
        let binder = Binder::bus(backend.as_str());
        let of = |fault: Fault| (fault, binder.gauge_of(&HEALTH_FAULT, fault.as_str()));
        let gauges = Self {
            overall: binder.gauge(&HEALTH),
            faults: Fault::ALL.iter().copied().map(of).collect(),
        };
        gauges.clear();
        gauges
    }

    /// 0 healthy, 1 warning, 2 degraded, 3 unhealthy; and how often each fault is there.
    pub(super) fn set(&self, health: &Health) {
        self.overall.set(match health.overall {
            Condition::Healthy => 0.0,
            Condition::Warning => 1.0,
            Condition::Degraded => 2.0,
            Condition::Unhealthy => 3.0,
        });
        for (fault, gauge) in &self.faults {
            let count = health.faults().filter(|found| found.name == *fault).count();
            gauge.set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
        }
    }

    fn clear(&self) {
        self.overall.set(0.0);
        self.faults.iter().for_each(|(_, gauge)| gauge.set(0.0));
    }
}

impl Drop for Gauges {
    fn drop(&mut self) {
        self.clear();
    }
}
