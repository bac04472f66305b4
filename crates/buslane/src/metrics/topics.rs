//! The metrics that are counted by topic. Their handles are bound once for each topic to which the
//! bus publishes or subscribes.

use super::catalogue as metric;
use buslane_core::{Binder, Kind, Topic};
use metrics::{Counter, Histogram};
use parking_lot::Mutex;
use std::{
    collections::BTreeSet,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Topics of a bus that have series of their own. Any further topic counts as [`OTHER_TOPIC`], so
/// that a publisher with endless topic names cannot make endless series.
pub const NAMED_TOPICS: usize = 200;

/// The label `topic` of all topics beyond [`NAMED_TOPICS`].
pub const OTHER_TOPIC: &str = "other";

/// One call of this many has its latency measured.
const SAMPLE: u64 = 16;

/// Binds the series of single topics.
pub(super) struct TopicSeries {
    binder: Binder,
    /// The topics with series of their own, in the order of first use up to the limit.
    named: Mutex<BTreeSet<Topic>>,
    /// Bound once a topic has no series of its own.
    other: OnceLock<Arc<PublishMetrics>>,
}

impl TopicSeries {
    pub(super) fn new(binder: &Binder) -> Self {
        Self { binder: binder.clone(), named: Mutex::default(), other: OnceLock::new() }
    }

    /// Whether the topic has series of its own.
    fn is_named(&self, topic: &Topic) -> bool {
        let mut named = self.named.lock();
        named.contains(topic) || (named.len() < NAMED_TOPICS && named.insert(topic.clone()))
    }

    pub(super) fn publishing(&self, topic: &Topic) -> Arc<PublishMetrics> {
        let bind = |label: &str| Arc::new(PublishMetrics::bind(&self.binder.of_topic(label)));
        if self.is_named(topic) {
            bind(topic.as_str())
        } else {
            Arc::clone(self.other.get_or_init(|| bind(OTHER_TOPIC)))
        }
    }

    pub(super) fn subscription(&self, topic: &Topic, kind: Kind) -> SubscriptionMetrics {
        let label = if self.is_named(topic) { topic.as_str() } else { OTHER_TOPIC };
        SubscriptionMetrics::bind(&self.binder.of_topic(label), kind)
    }
}

/// The metrics of publishes to one topic.
pub(crate) struct PublishMetrics {
    published: Counter,
    latency: Histogram,
    calls: AtomicU64,
}

impl PublishMetrics {
    fn bind(binder: &Binder) -> Self {
        Self {
            published: binder.counter(&metric::PUBLISHED),
            latency: binder.histogram(&metric::PUBLISH_LATENCY),
            calls: AtomicU64::new(0),
        }
    }

    /// Begins a call. Returns its start where its latency is measured.
    pub(crate) fn begin(&self) -> Option<Instant> {
        self.calls.fetch_add(1, Relaxed).is_multiple_of(SAMPLE).then(Instant::now)
    }

    /// Counts records that the broker has acknowledged, of a call that began at `started`.
    pub(crate) fn acknowledged(&self, records: u64, started: Option<Instant>) {
        self.published.increment(records);
        if let Some(started) = started.filter(|_| records > 0) {
            self.latency.record(started.elapsed().as_secs_f64());
        }
    }
}

/// The metrics of one subscription.
pub(crate) struct SubscriptionMetrics {
    consumed: Counter,
    processing: Histogram,
    errors: Counter,
    retries: Counter,
    dead_letters: Counter,
    skipped: Counter,
}

impl SubscriptionMetrics {
    fn bind(binder: &Binder, kind: Kind) -> Self {
        Self {
            consumed: binder.counter(&metric::CONSUMED),
            processing: binder.histogram(&metric::PROCESSING),
            errors: binder.counter_of(&metric::ERRORS, kind.as_str()),
            retries: binder.counter(&metric::RETRIES),
            dead_letters: binder.counter(&metric::DEAD_LETTERS),
            skipped: binder.counter(&metric::SKIPPED),
        }
    }

    /// Counts messages that were read from the broker.
    pub(crate) fn consumed(&self, messages: u64) {
        self.consumed.increment(messages);
    }

    /// Records the time of a sampled attempt in its handler.
    pub(crate) fn processing(&self, time: Duration) {
        self.processing.record(time.as_secs_f64());
    }

    /// Counts a failed attempt.
    pub(crate) fn error(&self) {
        self.errors.increment(1);
    }

    /// Counts a failed attempt that is followed by another.
    pub(crate) fn retry(&self) {
        self.retries.increment(1);
    }

    /// Counts a written dead letter.
    pub(crate) fn dead_letter(&self) {
        self.dead_letters.increment(1);
    }

    /// Counts an envelope that the policy `skip` gave up.
    pub(crate) fn skipped(&self) {
        self.skipped.increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_exporter_prometheus::PrometheusBuilder;

    #[test]
    fn o1_endless_topics_do_not_make_endless_series() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            let topics = TopicSeries::new(&Binder::bus("memory"));
            for n in 0..NAMED_TOPICS + 50 {
                let topic = Topic::new(&format!("orders.{n}")).unwrap();
                topics.publishing(&topic).acknowledged(1, None);
                topics.subscription(&topic, Kind::Envelope).consumed(1);
            }
        });
        let page = recorder.handle().render();
        for name in ["messages_published_total", "messages_consumed_total"] {
            let name = format!("memory_eventbus_{name}{{");
            let series = page.lines().filter(|line| line.starts_with(&name)).count();
            assert_eq!(series, NAMED_TOPICS + 1, "{page}");
            assert!(page.contains(&format!("{name}topic=\"{OTHER_TOPIC}\"}} 50\n")), "{page}");
        }
    }

    #[test]
    fn o2_the_first_call_and_each_sixteenth_after_it_are_measured() {
        let metrics = PublishMetrics::bind(&Binder::bus("memory").of_topic("orders"));
        let measured: Vec<bool> = (0..33).map(|_| metrics.begin().is_some()).collect();
        let at = |n: &usize| measured[*n];
        assert_eq!((0..33).filter(at).collect::<Vec<_>>(), [0, 16, 32]);
    }
}
