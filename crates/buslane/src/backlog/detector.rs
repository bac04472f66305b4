//! Whether a bus is behind: in the partitions that it reads, and in front of the broker with what
//! it publishes. Pure: samples go in, changes come out.

use super::event::{BusEvent, PartitionBacklog, PublishBacklog, Severity};
use crate::config::BacklogConfig;
use buslane_core::{Lag, Topic};
use std::{collections::BTreeMap, time::Duration};

/// The partitions that are behind.
pub(super) struct BacklogDetector {
    /// 0 for no limit.
    messages: u64,
    /// Zero for no limit.
    age: Duration,
    behind: BTreeMap<(Topic, u32), PartitionBacklog>,
    /// Unsettled messages of all partitions.
    open: u64,
}

impl BacklogDetector {
    pub(super) const fn new(config: &BacklogConfig) -> Self {
        Self { messages: config.messages, age: config.age, behind: BTreeMap::new(), open: 0 }
    }

    /// Takes the lag of all partitions that this bus reads. Returns the partitions that are behind
    /// since then, and those that no longer are.
    pub(super) fn observe(&mut self, lags: &[Lag]) -> Vec<BusEvent> {
        let mut before = std::mem::take(&mut self.behind);
        let mut events = Vec::new();
        self.open = lags.iter().map(|lag| lag.open).sum();
        for lag in lags {
            if !self.has_many(lag.open) && !self.is_old(lag.age) {
                continue;
            }
            let key = (lag.topic.clone(), lag.partition);
            let (topic, partition) = key.clone();
            let now = PartitionBacklog { topic, partition, messages: lag.open, age: lag.age };
            if before.remove(&key).is_none() {
                events.push(BusEvent::BacklogEntered(now.clone()));
            }
            self.behind.insert(key, now);
        }
        events.extend(before.into_values().map(BusEvent::BacklogLeft));
        events
    }

    /// The partitions that are behind, by topic and number.
    pub(super) fn all(&self) -> Vec<PartitionBacklog> {
        self.behind.values().cloned().collect()
    }

    /// Whether this partition is behind.
    pub(super) fn has(&self, topic: &Topic, partition: u32) -> bool {
        self.behind.contains_key(&(topic.clone(), partition))
    }

    pub(super) fn is_any(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Unsettled messages of all partitions, as of the last sample.
    pub(super) const fn open(&self) -> u64 {
        self.open
    }

    /// Whether recovery mode would reduce the backlog. Messages behind `failing` keys do not count:
    /// one blocked key would keep the whole bus in the mode. While there are some, no age counts
    /// either, because the oldest message may be one of them.
    pub(super) fn needs_recovery(&self, failing: u64) -> bool {
        let many = self.behind.values().filter(|behind| self.has_many(behind.messages));
        let many: u64 = many.map(|behind| behind.messages).sum();
        let is_old = failing == 0 && self.behind.values().any(|behind| self.is_old(behind.age));
        self.has_many(many.saturating_sub(failing)) || is_old
    }

    /// Whether a sample has the figures that the limits need. A client that has not read a
    /// partition's first message does not know its age.
    pub(super) fn is_conclusive(&self, lag: &Lag) -> bool {
        lag.messages == 0 || lag.age.is_some() || self.age.is_zero() || self.has_many(lag.open)
    }

    const fn has_many(&self, messages: u64) -> bool {
        self.messages > 0 && messages > self.messages
    }

    fn is_old(&self, age: Option<Duration>) -> bool {
        !self.age.is_zero() && age.is_some_and(|age| age > self.age)
    }
}

/// The records that the broker has not acknowledged.
pub(super) struct PublishDetector {
    /// 0 for no limit.
    depth: u64,
    /// Zero for no limit.
    latency: Duration,
    now: PublishBacklog,
}

impl PublishDetector {
    pub(super) fn new(config: &BacklogConfig) -> Self {
        Self {
            depth: config.publish_depth,
            latency: config.publish_latency,
            now: PublishBacklog::default(),
        }
    }

    /// Takes the number of unacknowledged records, and the mean latency of the acknowledgements
    /// since the last sample. Returns an event when the severity changed.
    pub(super) fn observe(&mut self, depth: u64, latency: Duration) -> Option<BusEvent> {
        let severity = severity(u128::from(depth), u128::from(self.depth))
            .max(severity(latency.as_nanos(), self.latency.as_nanos()));
        let before =
            std::mem::replace(&mut self.now, PublishBacklog { severity, depth, latency }).severity;
        (before != severity).then_some(BusEvent::PublishBacklog { before, now: self.now })
    }

    pub(super) const fn now(&self) -> PublishBacklog {
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
    use proptest::prelude::*;

    const LIMITS: (u64, u64) = (100, 60);

    fn backlog((messages, seconds): (u64, u64)) -> BacklogDetector {
        BacklogDetector::new(&BacklogConfig {
            messages,
            age: Duration::from_secs(seconds),
            ..BacklogConfig::default()
        })
    }

    fn lag(partition: u32, open: u64, seconds: u64) -> Lag {
        let age = (open > 0).then_some(Duration::from_secs(seconds));
        Lag {
            topic: Topic::new("orders").unwrap(),
            partition,
            messages: open,
            open,
            unread: None,
            age,
        }
    }

    /// Partitions that were entered, and left.
    fn partitions(events: &[BusEvent]) -> (Vec<u32>, Vec<u32>) {
        let (mut entered, mut left) = (Vec::new(), Vec::new());
        for event in events {
            match event {
                BusEvent::BacklogEntered(behind) => entered.push(behind.partition),
                BusEvent::BacklogLeft(behind) => left.push(behind.partition),
                other => panic!("{other:?}"),
            }
        }
        (entered, left)
    }

    #[test]
    fn l3_a_look_without_the_age_it_is_asked_for_tells_nothing() {
        let unread = |open| Lag { age: None, ..lag(3, open, 0) };
        for (limits, lag, is_conclusive) in [
            (LIMITS, lag(3, 0, 0), true),
            (LIMITS, lag(3, 1, 1), true),
            (LIMITS, unread(1), false),
            (LIMITS, unread(101), true),
            ((100, 0), unread(1), true),
        ] {
            assert_eq!(backlog(limits).is_conclusive(&lag), is_conclusive, "{limits:?} {lag:?}");
        }
    }

    #[test]
    fn l1_a_partition_is_behind_beyond_either_limit() {
        // Limits, open messages, age in seconds, whether that is behind.
        for (limits, open, age, is) in [
            (LIMITS, 0, 0, false),
            (LIMITS, 100, 60, false),
            (LIMITS, 101, 0, true),
            (LIMITS, 1, 61, true),
            ((0, 60), 1_000_000, 60, false),
            ((0, 60), 1, 61, true),
            ((100, 0), 1, 1_000_000, false),
            ((100, 0), 101, 0, true),
            ((0, 0), u64::MAX, u64::MAX, false),
        ] {
            let mut backlog = backlog(limits);
            let (entered, left) = partitions(&backlog.observe(&[lag(3, open, age)]));
            assert_eq!(
                (entered.len(), left.len(), backlog.is_any()),
                (usize::from(is), 0, is),
                "{limits:?} {open} {age}"
            );
            assert_eq!(backlog.needs_recovery(0), is);
        }
    }

    #[test]
    fn l1_each_change_is_told_once_and_a_partition_that_goes_leaves() {
        let mut backlog = backlog(LIMITS);
        let mut look = |lags: &[Lag]| partitions(&backlog.observe(lags));
        assert_eq!(look(&[lag(0, 500, 0), lag(1, 5, 0)]), (vec![0], vec![]));
        assert_eq!(look(&[lag(0, 400, 0), lag(1, 5, 90)]), (vec![1], vec![]));
        assert_eq!(look(&[lag(0, 300, 0), lag(1, 5, 99)]), (vec![], vec![]));
        assert_eq!(look(&[lag(0, 10, 0)]), (vec![], vec![0, 1]));
        assert_eq!(look(&[]), (vec![], vec![]));
    }

    #[test]
    fn l3_what_waits_behind_failing_keys_is_nothing_to_recover_from() {
        let mut backlog = backlog(LIMITS);
        backlog.observe(&[lag(0, 150, 0), lag(1, 150, 90), lag(2, 50, 0)]);
        for (failing, needs) in [(0, true), (199, true), (200, false), (1_000, false)] {
            assert_eq!(backlog.needs_recovery(failing), needs, "{failing}");
        }
        assert!(backlog.is_any());
        backlog.observe(&[lag(0, 50, 90)]);
        assert!(backlog.needs_recovery(0));
        assert!(!backlog.needs_recovery(1), "the old one may be the one that fails");
    }

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
            let mut publishing = PublishDetector::new(&config);
            let event = publishing.observe(depth, Duration::from_millis(latency));
            assert_eq!(publishing.now().severity, expected, "{limits:?} {depth} {latency}");
            assert_eq!(event.is_some(), expected != Normal);
        }
    }

    #[test]
    fn l2_each_change_is_told_once() {
        let mut publishing = PublishDetector::new(&BacklogConfig::default());
        let mut observe = |depth| match publishing.observe(depth, Duration::ZERO) {
            Some(BusEvent::PublishBacklog { before, now }) => {
                Some((before, now.severity, now.depth))
            }
            other => other.map(|event| panic!("{event:?}")),
        };
        assert_eq!(observe(10), None);
        assert_eq!(observe(6_000), Some((Normal, Warning, 6_000)));
        assert_eq!(observe(7_000), None);
        assert_eq!(observe(20_000), Some((Warning, Critical, 20_000)));
        assert_eq!(observe(10), Some((Critical, Normal, 10)));
    }

    proptest! {
        /// Entered and left alternate for each partition, and the partitions that were entered and
        /// not left are those behind.
        #[test]
        fn l1_events_tell_the_whole_state(
            looks in prop::collection::vec(prop::collection::btree_map(0..4_u32, (0..200_u64, 0..120_u64), 0..4), 0..30)
        ) {
            let mut backlog = backlog(LIMITS);
            let mut known = std::collections::BTreeSet::new();
            for look in looks {
                let lags: Vec<_> = look.iter().map(|(at, (open, age))| lag(*at, *open, *age)).collect();
                let (entered, left) = partitions(&backlog.observe(&lags));
                prop_assert!(left.into_iter().all(|at| known.remove(&at)));
                prop_assert!(entered.into_iter().all(|at| known.insert(at)));
                let behind: Vec<_> = backlog.all().iter().map(|behind| behind.partition).collect();
                prop_assert_eq!(behind, known.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(backlog.open(), lags.iter().map(|lag| lag.open).sum::<u64>());
            }
        }
    }
}
