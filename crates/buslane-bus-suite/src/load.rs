//! Many messages at once.

use super::{BusHarness, Note, Seen, envelope, fails, now, publish};
use buslane_core::{Envelope, Event, Record, Topic};
use buslane_testkit::signal::Count;
use bytes::BytesMut;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

/// Ten of a thousand keys fail for ever, and block: every message of the others is handled.
pub async fn p9_poisoned_keys_do_not_hold_up_the_healthy(harness: BusHarness) {
    // SPEC: P9, P3, D4
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::<Note>::new());
    let healthy = Arc::new(Count::default());
    let counted = Arc::clone(&healthy);
    let is_bad = |key: &str| key.ends_with("00");
    let handler = now(move |event: Event| {
        if is_bad(&event.aggregate_id) {
            return Err("poisoned");
        }
        counted.add();
        Ok(())
    });
    bus.subscription(&topic).block_failed().envelopes(handler).await.expect("subscribes");
    let envelopes: Vec<_> =
        (0..10_000).map(|n| envelope(&format!("a{:04}", n % 1_000), n / 1_000)).collect();
    for part in envelopes.chunks(500) {
        publish(&bus, &topic, part).await;
    }
    harness.within("the healthy ones", healthy.reached(9_900)).await;
    buslane_testkit::deadline::until("all poisoned keys are blocked", || {
        bus.pool_stats().blocked_lanes == 10
    })
    .await;
    assert_eq!(healthy.get(), 9_900);
    let report = harness.end(&bus).await;
    assert_eq!(report.abandoned, 100, "{report:?}");
    // And then they are repaired: everything that is left, in order.
    let bus = harness.bus("g").await;
    bus.subscribe_envelopes(&topic, fails(&seen, |_| false)).await.expect("subscribes");
    harness.settled("g", &[&topic]).await;
    let notes = seen.all();
    assert_eq!(notes.len(), 100);
    for key in 0..10 {
        assert_eq!(
            super::seen::numbers_of(&notes, &format!("a{:04}", key * 100)),
            (0..10).collect::<Vec<_>>()
        );
    }
    harness.end_clean(&bus).await;
}

const AGGREGATES: usize = 1_000;
const MESSAGES: usize = 10_000;
const TOPICS: usize = 5;

/// Counts what comes, and what comes out of order: each aggregate's messages are numbered from 0.
struct Tally {
    next: Vec<AtomicUsize>,
    violations: AtomicUsize,
    handled: Count,
}

impl Tally {
    fn new() -> Arc<Self> {
        let next = (0..AGGREGATES).map(|_| AtomicUsize::new(0)).collect();
        Arc::new(Self { next, violations: AtomicUsize::new(0), handled: Count::default() })
    }

    fn add(&self, event: &Event) {
        let aggregate: usize = event.aggregate_id[1..].parse().expect("a number");
        let number: usize = event.payload.parse().expect("a number");
        if self.next[aggregate].swap(number + 1, SeqCst) != number {
            self.violations.fetch_add(1, SeqCst);
        }
        self.handled.add();
    }
}

/// The records of a run, topic by topic; encoded once.
fn records() -> Vec<Vec<Record>> {
    let mut arena = BytesMut::new();
    let mut records = vec![Vec::new(); TOPICS];
    for n in 0..MESSAGES {
        let (aggregate, number) = (n % AGGREGATES, n / AGGREGATES);
        let envelope: Envelope = envelope(&format!("a{aggregate}"), number);
        let record = Record::from_envelope(&envelope, &mut arena).expect("valid");
        records[aggregate % TOPICS].push(record);
    }
    records
}

async fn run_through(harness: &BusHarness, topics: &[Topic], records: &[Vec<Record>]) {
    let mut config = harness.config("g");
    // The pools as they are by default.
    super::each_pool(&mut config, |keyed, actor| {
        (keyed.worker_count, actor.pool_size) = (256, 256);
    });
    let (bus, tally) = (harness.bus_of(config).await, Tally::new());
    for topic in topics {
        let tally = Arc::clone(&tally);
        bus.subscribe_envelopes(topic, now(move |event: Event| tally.add(&event)))
            .await
            .expect("subscribes");
    }
    for (topic, records) in topics.iter().zip(records) {
        for part in records.chunks(500) {
            let answers = bus.publish_batch(topic, part.to_vec()).await.expect("taken");
            assert!(answers.iter().all(Result::is_ok));
        }
    }
    harness.within("all of them", tally.handled.reached(MESSAGES)).await;
    harness.end_clean(&bus).await;
    assert_eq!((tally.handled.get(), tally.violations.load(SeqCst)), (MESSAGES, 0));
}

fn topics(harness: &BusHarness) -> Vec<Topic> {
    (0..TOPICS).map(|n| harness.topic(&format!("t{n}"))).collect()
}

/// 10,000 messages of 1,000 aggregates over 5 topics: all received, none out of order.
pub async fn t2_ten_thousand_messages_over_five_topics(harness: BusHarness) {
    run_through(&harness, &topics(&harness), &records()).await;
}

/// The same a hundred times.
pub async fn t2_a_hundred_runs_in_a_row(harness: BusHarness) {
    let topics = topics(&harness);
    for _ in 0..100 {
        // New events each time: a broker may know those of the last run.
        run_through(&harness, &topics, &records()).await;
    }
    for topic in &topics {
        assert_eq!(harness.unsettled("g", topic).await, 0);
    }
}
