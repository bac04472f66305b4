//! Broker faults, revocations, failing handlers and a flood of messages lose nothing and keep the
//! order. SPEC: M2, K3

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use buslane_core::{Envelope, Event, Record, Topic};
use buslane_testkit::signal::Count;
use bytes::BytesMut;

use super::seen::{Busy, busy, check_order, plain, publish_round};
use super::{
    BusHarness, Fault, Note, Seen, envelope, fails, notes_events, now, publish, publish_numbers,
};

/// A lost acknowledgement causes a redelivery, and a duplicate a second delivery. No message is
/// lost or out of order.
pub async fn m2_lost_acks_and_duplicates_lose_nothing(harness: BusHarness) {
    let topic = harness.topic("orders");
    for nth in [1, 7, 50, 51, 399] {
        harness.fault(Fault::LoseAck(topic.clone(), nth)).await;
    }
    for nth in [2, 30, 200] {
        harness.fault(Fault::Duplicate(topic.clone(), nth)).await;
    }
    let (bus, seen, keys) = (harness.bus("g").await, Seen::new(), Arc::new(Busy::default()));
    bus.subscribe_envelopes(&topic, busy(&seen, &keys, "one")).await.expect("subscribes");
    publish_round(&bus, &topic, 20, 0..20).await;
    harness.settled("g", &[&topic]).await;
    super::harness::idle(&bus).await;
    buslane_testkit::deadline::until("the copies have ended", || bus.pool_stats().open == 0).await;
    assert_eq!(check_order(&plain(&seen), 20, 20), 8);
    harness.end_clean(&bus).await;
}

/// Partitions are revoked repeatedly while messages flow.
pub async fn k3_rebalances_lose_nothing(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (seen, keys) = (Seen::new(), Arc::new(Busy::default()));
    let (one, two) = (harness.bus("g").await, harness.bus("g").await);
    one.subscribe_envelopes(&topic, busy(&seen, &keys, "one")).await.expect("subscribes");
    two.subscribe_envelopes(&topic, busy(&seen, &keys, "two")).await.expect("subscribes");
    for round in 0..10 {
        publish_round(&one, &topic, 40, 5 * round..5 * round + 5).await;
        harness.fault(Fault::Rebalance(harness.fixture.name("g"))).await;
    }
    harness.settled("g", &[&topic]).await;
    buslane_testkit::deadline::until("nothing is open", || {
        one.pool_stats().open + two.pool_stats().open == 0
    })
    .await;
    check_order(&plain(&seen), 40, 50);
    harness.end_clean(&one).await;
    harness.end_clean(&two).await;
}

/// All partitions of a single bus are revoked and assigned again.
pub async fn k3_a_rebalance_of_a_single_bus_loses_nothing(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (seen, keys, bus) = (Seen::new(), Arc::new(Busy::default()), harness.bus("g").await);
    bus.subscribe_envelopes(&topic, busy(&seen, &keys, "one")).await.expect("subscribes");
    for round in 0..10 {
        publish_round(&bus, &topic, 40, 5 * round..5 * round + 5).await;
        harness.fault(Fault::Rebalance(harness.fixture.name("g"))).await;
    }
    harness.settled("g", &[&topic]).await;
    check_order(&plain(&seen), 40, 50);
    harness.end_clean(&bus).await;
}

/// A revocation interrupts the wait for a retry: the next owner of the partition runs the message
/// at once.
pub async fn d3_a_waiting_retry_moves_with_its_partition(harness: BusHarness) {
    let topic = harness.topic("orders");
    let mut config = harness.config("g");
    (config.retry.initial, config.retry.max) =
        (Duration::from_secs(3600), Duration::from_secs(3600));
    let (seen, bus) = (Seen::<Note>::new(), harness.bus_of(config).await);
    let first = std::sync::atomic::AtomicBool::new(true);
    let handler = fails(&seen, move |_| first.swap(false, std::sync::atomic::Ordering::SeqCst));
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..5).await;
    buslane_testkit::deadline::until("the lane waits", || bus.pool_stats().failing == 5).await;
    harness.fault(Fault::Rebalance(harness.fixture.name("g"))).await;
    harness.settled("g", &[&topic]).await;
    assert_eq!(seen.all().iter().map(Note::number).collect::<Vec<_>>(), [0, 0, 1, 2, 3, 4]);
    harness.end_clean(&bus).await;
}

/// The connection is cut while messages run. Messages that finish meanwhile count, and the others
/// continue afterwards.
pub async fn m2_a_cut_connection_loses_nothing(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (seen, keys, bus) = (Seen::new(), Arc::new(Busy::default()), harness.bus("g").await);
    bus.subscribe_envelopes(&topic, busy(&seen, &keys, "one")).await.expect("subscribes");
    for round in 0..5 {
        publish_round(&bus, &topic, 40, 5 * round..5 * round + 5).await;
        harness.fault(Fault::Disconnect).await;
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        harness.fault(Fault::Reconnect).await;
    }
    harness.settled("g", &[&topic]).await;
    check_order(&plain(&seen), 40, 25);
    harness.end_clean(&bus).await;
}

/// Failures, panics, lost acknowledgements and rebalances occur together.
pub async fn d2_everything_at_once_loses_nothing(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (one, two) = (harness.bus("g").await, harness.bus("g").await);
    let seen = Seen::<Note>::new();
    for bus in [&one, &two] {
        let into = Arc::clone(&seen);
        let handler = super::now(move |event: Event| {
            let note = Note::from(&event);
            match (note.offset % 11, note.attempt) {
                (3, 1) => Err("first attempt"),
                (5, 1) => std::panic::resume_unwind(Box::new("first attempt")),
                _ => {
                    into.push(note);
                    Ok(())
                }
            }
        });
        bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    }
    for round in 0..10 {
        harness.fault_where_possible(Fault::LoseAck(topic.clone(), round + 1)).await;
        harness.fault_where_possible(Fault::Duplicate(topic.clone(), 2 * round + 1)).await;
        let round = usize::try_from(round).expect("small");
        publish_round(&two, &topic, 30, 5 * round..5 * round + 5).await;
        if round % 3 == 0 {
            harness.fault(Fault::Rebalance(harness.fixture.name("g"))).await;
        }
    }
    harness.settled("g", &[&topic]).await;
    buslane_testkit::deadline::until("nothing is open", || {
        one.pool_stats().open + two.pool_stats().open == 0
    })
    .await;
    check_order(&seen.all(), 30, 50);
    harness.end_clean(&one).await;
    harness.end_clean(&two).await;
}

/// Partitions are revoked while their messages fail. No later message overtakes one that fails
/// during the revocation.
pub async fn k3_a_failure_in_a_rebalance_keeps_the_order(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (seen, bus) = (Seen::<Note>::new(), harness.bus("g").await);
    let into = Arc::clone(&seen);
    let handler = move |event: Event| {
        let into = Arc::clone(&into);
        async move {
            let note = Note::from(&event);
            tokio::task::yield_now().await;
            if note.attempt == 1 && note.offset % 2 == 0 {
                return Err("the first attempt");
            }
            into.push(note);
            Ok(())
        }
    };
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    for round in 0..40 {
        publish_round(&bus, &topic, 40, 5 * round..5 * round + 5).await;
        harness.fault(Fault::Rebalance(harness.fixture.name("g"))).await;
        tokio::task::yield_now().await;
    }
    harness.settled("g", &[&topic]).await;
    assert_eq!(check_order(&seen.all(), 40, 200), 0);
    harness.end_clean(&bus).await;
}

/// No later message overtakes one that fails while its subscription ends.
pub async fn b3_a_failure_as_its_subscription_ends_keeps_the_order(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (seen, bus) = (Seen::<Note>::new(), harness.bus_of(harness.sized("g", 4, 8)).await);
    for round in 0..40 {
        let into = Arc::clone(&seen);
        let handler = move |event: Event| {
            let into = Arc::clone(&into);
            async move {
                let note = Note::from(&event);
                tokio::task::yield_now().await;
                if note.attempt == 1 && note.offset % 2 == 0 {
                    return Err("the first attempt");
                }
                into.push(note);
                Ok(())
            }
        };
        bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
        let before = seen.len();
        publish_round(&bus, &topic, 40, 5 * round..5 * round + 5).await;
        seen.reached(before + round % 11).await;
        bus.unsubscribe(&topic).await.expect("unsubscribes");
    }
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    harness.settled("g", &[&topic]).await;
    assert_eq!(check_order(&seen.all(), 40, 200), 0);
    harness.end_clean(&bus).await;
}

/// Ten of a thousand keys fail for ever and are blocked. Every message of the other keys is
/// handled.
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
    // After the repair, the next bus handles the abandoned messages in order.
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

/// Counts received messages, and those out of order. The messages of each aggregate are numbered
/// from 0.
struct Received {
    next: Vec<AtomicUsize>,
    violations: AtomicUsize,
    handled: Count,
}

impl Received {
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

/// The encoded records of a run, by topic.
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
    // The default sizes of both pools.
    super::each_pool(&mut config, |keyed, actor| {
        (keyed.worker_count, actor.pool_size) = (256, 256);
    });
    let (bus, received) = (harness.bus_of(config).await, Received::new());
    for topic in topics {
        let received = Arc::clone(&received);
        bus.subscribe_envelopes(topic, now(move |event: Event| received.add(&event)))
            .await
            .expect("subscribes");
    }
    for (topic, records) in topics.iter().zip(records) {
        for part in records.chunks(500) {
            let answers = bus.publish_batch(topic, part.to_vec()).await.expect("taken");
            assert!(answers.iter().all(Result::is_ok));
        }
    }
    harness.within("all of them", received.handled.reached(MESSAGES)).await;
    harness.end_clean(&bus).await;
    assert_eq!((received.handled.get(), received.violations.load(SeqCst)), (MESSAGES, 0));
}

fn topics(harness: &BusHarness) -> Vec<Topic> {
    (0..TOPICS).map(|n| harness.topic(&format!("t{n}"))).collect()
}

/// 10,000 messages of 1,000 aggregates over 5 topics: all received, none out of order.
pub async fn t2_ten_thousand_messages_over_five_topics(harness: BusHarness) {
    run_through(&harness, &topics(&harness), &records()).await;
}

/// A hundred such runs over the same topics.
pub async fn t2_a_hundred_runs_in_a_row(harness: BusHarness) {
    let topics = topics(&harness);
    for _ in 0..100 {
        // Each run publishes new events, because a broker may know the event ids of the previous
        // run.
        run_through(&harness, &topics, &records()).await;
    }
    for topic in &topics {
        assert_eq!(harness.unsettled("g", topic).await, 0);
    }
}
