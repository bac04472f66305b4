//! How much piles up in front of the broker. Pure: depth and latency go in, changes come out.

use super::event::{BusEvent, PublishBacklog, Severity};
use crate::config::BacklogConfig;
use std::time::Duration;

/// How this bus's publishing stands.
pub(crate) struct Publishing {
    /// 0 for no limit.
    depth: u64,
    /// Zero for no limit.
    latency: Duration,
    now: PublishBacklog,
}

impl Publishing {
    pub(crate) fn new(config: &BacklogConfig) -> Self {
        Self {
            depth: config.publish_depth,
            latency: config.publish_latency,
            now: PublishBacklog::default(),
        }
    }

    /// So many records are on their way, and answers took so long since the last look.
    pub(crate) fn observe(&mut self, depth: u64, latency: Duration) -> Option<BusEvent> {
        let severity = severity(u128::from(depth), u128::from(self.depth))
            .max(severity(latency.as_nanos(), self.latency.as_nanos()));
        let before =
            std::mem::replace(&mut self.now, PublishBacklog { severity, depth, latency }).severity;
        (before != severity).then_some(BusEvent::PublishBacklog { before, now: self.now })
    }

    pub(crate) const fn now(&self) -> PublishBacklog {
        self.now
    }
}

const fn severity(value: u128, limit: u128) -> Severity {
    if limit == 0 || value < limit.div_ceil(2) {
        Severity::Normal
    } else if value < limit {
        Severity::Warning
    } else {
        Severity::Critical
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Severity::{Critical, Normal, Warning};

    #[test]
    fn l2_half_of_a_limit_is_a_warning_and_the_whole_is_critical() {
        // Limits, depth, latency in milliseconds, severity.
        for (limits, depth, latency, expected) in [
            ((10_000, 5), 0, 0, Normal),
            ((10_000, 5), 4_999, 2_499, Normal),
            ((10_000, 5), 5_000, 0, Warning),
            ((10_000, 5), 0, 2_500, Warning),
            ((10_000, 5), 9_999, 4_999, Warning),
            ((10_000, 5), 10_000, 0, Critical),
            ((10_000, 5), 0, 5_000, Critical),
            ((10_000, 5), u64::MAX, 1, Critical),
            ((1, 5), 0, 0, Normal),
            ((1, 5), 1, 0, Critical),
            ((0, 5), u64::MAX, 0, Normal),
            ((10_000, 0), 0, u64::MAX, Normal),
        ] {
            let config = BacklogConfig {
                publish_depth: limits.0,
                publish_latency: Duration::from_secs(limits.1),
                ..BacklogConfig::default()
            };
            let mut publishing = Publishing::new(&config);
            let event = publishing.observe(depth, Duration::from_millis(latency));
            assert_eq!(publishing.now().severity, expected, "{limits:?} {depth} {latency}");
            assert_eq!(event.is_some(), expected != Normal);
        }
    }

    #[test]
    fn l2_each_change_is_told_once() {
        let mut publishing = Publishing::new(&BacklogConfig::default());
        let mut look = |depth| match publishing.observe(depth, Duration::ZERO) {
            Some(BusEvent::PublishBacklog { before, now }) => {
                Some((before, now.severity, now.depth))
            }
            other => other.map(|event| panic!("{event:?}")),
        };
        assert_eq!(look(10), None);
        assert_eq!(look(6_000), Some((Normal, Warning, 6_000)));
        assert_eq!(look(7_000), None);
        assert_eq!(look(20_000), Some((Warning, Critical, 20_000)));
        assert_eq!(look(10), Some((Critical, Normal, 10)));
    }
}
