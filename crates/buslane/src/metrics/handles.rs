//! The metric handles of a bus. Bound once; their names are `{backend}_eventbus_{name}`.

use super::{
    catalogue::{self as metric},
    topics::{PublishMetrics, SubscriptionMetrics, TopicSeries},
};
use buslane_core::{Backend, Binder, BrokerCounts, Kind, Lag, Metric, Source, Topic};
use buslane_rollout::Trigger;
use metrics::{Counter, Gauge, Histogram};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// The metric handles of one bus.
///
/// The handles of a partition are bound when it first has a lag, and when it first waits for room.
pub(crate) struct BusMetrics {
    topics: TopicSeries,
    publishes_held: Counter,
    unreadable: BrokerTotal,
    stragglers: Gauge,
    late_completions: BrokerTotal,
    left_out: BrokerTotal,
    held: Gauge,
    stalled: Gauge,
    publish_waits: Counter,
    subscribe_waits: Counter,
    recovery_waits: Counter,
    binder: Binder,
}

/// A counter of something that the broker counts itself.
struct BrokerTotal {
    counter: Counter,
    /// The part of the broker's count that the counter has.
    counted: AtomicU64,
}

impl BrokerTotal {
    fn bind(binder: &Binder, metric: &Metric) -> Self {
        Self { counter: binder.counter(metric), counted: AtomicU64::new(0) }
    }

    /// Takes the broker's count. Two concurrent checks may show their counts in either order.
    fn show(&self, total: u64) {
        let before = self.counted.fetch_max(total, Relaxed);
        self.counter.increment(total.saturating_sub(before));
    }
}

/// The side that a rate limit holds back.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limited {
    Publish,
    Subscribe,
    Recovery,
}

impl BusMetrics {
    pub(crate) fn bind(backend: Backend) -> Self {
        let binder = Binder::bus(backend.as_str());
        Self {
            topics: TopicSeries::new(&binder),
            publishes_held: binder.counter(&metric::PUBLISHES_HELD),
            unreadable: BrokerTotal::bind(&binder, &metric::UNREADABLE),
            stragglers: binder.gauge(&metric::STRAGGLERS),
            late_completions: BrokerTotal::bind(&binder, &metric::LATE_COMPLETIONS),
            left_out: BrokerTotal::bind(&binder, &metric::LEFT_OUT),
            held: binder.gauge(&metric::HELD),
            stalled: binder.gauge(&metric::STALLED),
            publish_waits: binder.counter_of(&metric::RATE_WAITS, "publish"),
            subscribe_waits: binder.counter_of(&metric::RATE_WAITS, "subscribe"),
            recovery_waits: binder.counter_of(&metric::RATE_WAITS, "recovery"),
            binder,
        }
    }

    /// The metrics of publishes to a topic. Binding costs look-ups, so keep them.
    pub(crate) fn publishing(&self, topic: &Topic) -> Arc<PublishMetrics> {
        self.topics.publishing(topic)
    }

    /// The metrics of a subscription. Binding costs look-ups, so keep them.
    pub(crate) fn subscription(&self, topic: &Topic, kind: Kind) -> SubscriptionMetrics {
        self.topics.subscription(topic, kind)
    }

    /// The counter of publishes that waited longer than the fast path.
    pub(crate) fn publishes_held(&self) -> Counter {
        self.publishes_held.clone()
    }

    /// Shows what the broker has counted since it was made.
    #[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
    pub(crate) fn broker_counts(&self, counts: &BrokerCounts) {
        self.unreadable.show(counts.unreadable);
        self.stragglers.set(counts.stragglers as f64);
        self.late_completions.show(counts.late_completions);
        self.left_out.show(counts.left_out_offsets);
    }

    /// The gauge of blocked keys.
    pub(crate) fn blocked_keys(&self) -> Gauge {
        self.binder.gauge(&metric::BLOCKED_KEYS)
    }

    /// Counts a source that waits for its handler, or no longer does.
    pub(crate) fn held(&self, held: bool) {
        step(&self.held, held);
    }

    /// Counts a source that has waited for room longer than the wait timeout, or no longer waits.
    pub(crate) fn stalled(&self, stalled: bool) {
        step(&self.stalled, stalled);
    }

    /// The gauge of the seconds that a partition has waited for room.
    pub(crate) fn stall_of(&self, source: &Source) -> Gauge {
        self.binder.gauge_at(&metric::STALL, &source.topic, source.partition)
    }

    /// The counter of waits for a rate limit.
    pub(crate) fn rate_limit_waits(&self, limited: Limited) -> Counter {
        match limited {
            Limited::Publish => self.publish_waits.clone(),
            Limited::Subscribe => self.subscribe_waits.clone(),
            Limited::Recovery => self.recovery_waits.clone(),
        }
    }

    /// The counter of failed calls after a reconnect.
    pub(crate) fn reconnect_failures(&self) -> Counter {
        self.binder.counter(&metric::RECONNECT_FAILURES)
    }

    /// The metrics of the rollout.
    pub(crate) fn rollout(&self) -> RolloutMetrics {
        RolloutMetrics {
            percent: self.binder.gauge(&metric::ROLLOUT_PERCENT),
            moving: self.binder.gauge(&metric::ROLLOUT_MOVING),
            stuck: self.binder.gauge(&metric::ROLLOUT_STUCK),
            roll_backs: ["latency", "restarts", "errors", "memory", "by_hand"]
                .map(|trigger| (trigger, self.binder.counter_of(&metric::ROLL_BACKS, trigger))),
        }
    }

    /// The metrics of shadows.
    pub(crate) fn shadows(&self) -> ShadowMetrics {
        let messages = |result| self.binder.counter_of(&metric::SHADOW_MESSAGES, result);
        let latency = |role| self.binder.histogram_of(&metric::SHADOW_LATENCY, role);
        ShadowMetrics {
            same: messages("same"),
            different: messages("different"),
            dropped: messages("dropped"),
            handler: latency("handler"),
            twin: latency("twin"),
        }
    }

    /// The gauges of backlog and recovery mode.
    pub(crate) fn backlog(&self) -> BacklogGauges {
        BacklogGauges {
            backlog: self.binder.gauge_of(&metric::BACKLOG, "subscriber"),
            publish_backlog: self.binder.gauge_of(&metric::BACKLOG, "publisher"),
            depth: self.binder.gauge(&metric::PUBLISH_DEPTH),
            recovery: self.binder.gauge(&metric::RECOVERY),
            binder: self.binder.clone(),
        }
    }
}

/// The gauges of backlog and recovery mode.
pub(crate) struct BacklogGauges {
    pub(crate) backlog: Gauge,
    pub(crate) publish_backlog: Gauge,
    pub(crate) depth: Gauge,
    pub(crate) recovery: Gauge,
    binder: Binder,
}

impl BacklogGauges {
    /// The gauges of one partition.
    pub(crate) fn lag_of(&self, topic: &Topic, partition: u32) -> PartitionLag {
        PartitionLag {
            messages: self.binder.gauge_at(&metric::LAG, topic, partition),
            seconds: self.binder.gauge_at(&metric::LAG_SECONDS, topic, partition),
        }
    }
}

/// The metrics of a rollout. Its gauges return to zero when the bus ends.
pub(crate) struct RolloutMetrics {
    percent: Gauge,
    moving: Gauge,
    stuck: Gauge,
    roll_backs: [(&'static str, Counter); 5],
}

#[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
impl RolloutMetrics {
    pub(crate) fn percent(&self, percent: u8) {
        self.percent.set(f64::from(percent));
    }

    pub(crate) fn moving(&self, slots: usize) {
        self.moving.set(slots as f64);
    }

    pub(crate) fn stuck(&self, slots: usize) {
        self.stuck.set(slots as f64);
    }

    /// Counts a roll-back by this trigger; `None` for one by hand.
    pub(crate) fn rolled_back(&self, trigger: Option<Trigger>) {
        let name = trigger.map_or_else(|| "by_hand".to_owned(), |trigger| trigger.to_string());
        for (_, counter) in self.roll_backs.iter().filter(|(known, _)| *known == name) {
            counter.increment(1);
        }
    }
}

impl Drop for RolloutMetrics {
    fn drop(&mut self) {
        [&self.percent, &self.moving, &self.stuck].into_iter().for_each(|gauge| gauge.set(0.0));
    }
}

/// The metrics of comparisons between handlers and their twins.
pub(crate) struct ShadowMetrics {
    pub(crate) same: Counter,
    pub(crate) different: Counter,
    pub(crate) dropped: Counter,
    pub(crate) handler: Histogram,
    pub(crate) twin: Histogram,
}

/// The lag gauges of one partition.
pub(crate) struct PartitionLag {
    messages: Gauge,
    seconds: Gauge,
}

impl PartitionLag {
    #[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
    pub(crate) fn set(&self, lag: &Lag) {
        self.messages.set(lag.open as f64);
        self.seconds.set(lag.age.map_or(0.0, |age| age.as_secs_f64()));
    }

    pub(crate) fn clear(&self) {
        self.messages.set(0.0);
        self.seconds.set(0.0);
    }
}

fn step(gauge: &Gauge, up: bool) {
    if up {
        gauge.increment(1);
    } else {
        gauge.decrement(1);
    }
}
