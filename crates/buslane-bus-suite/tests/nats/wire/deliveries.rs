//! The fate of messages: attempts, deliveries, dead letters and blocked keys.

use super::kit::{PATIENCE, all_settled, bus, collected, config, info, name, publish};
use buslane::{Config, Event, Retry, Topic};
use buslane_core::broker::header;
use buslane_testkit::{
    deadline::{until, within},
    signal::{Count, Gate},
};
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

/// The state of a handler that fails until it is repaired, with the attempts and their times.
#[derive(Default)]
struct Broken {
    attempts: Mutex<Vec<(u32, Instant)>>,
    tried: Count,
    is_well: AtomicBool,
}

impl Broken {
    fn handler(
        self: &Arc<Self>,
    ) -> impl Fn(Event) -> std::future::Ready<Result<(), &'static str>> + Send + Sync + 'static
    {
        let own = Arc::clone(self);
        move |event: Event| {
            own.attempts.lock().push((event.message.attempt, Instant::now()));
            own.tried.add();
            std::future::ready(if own.is_well.load(SeqCst) { Ok(()) } else { Err("broken") })
        }
    }

    fn attempts(&self) -> Vec<u32> {
        self.attempts.lock().iter().map(|(attempt, _)| *attempt).collect()
    }
}

/// Uses up the first of two deliveries of one envelope: the bus ends before the handler does.
async fn waste_a_delivery(config: &Config, topic: &Topic) {
    let (bus, started) = (bus(config.clone()).await, Arc::new(Count::default()));
    let into = Arc::clone(&started);
    let handler = move |_: Event| {
        into.add();
        std::future::pending::<()>()
    };
    bus.subscribe_envelopes(topic, handler).await.expect("subscribes");
    publish(&bus, topic, "a", 0..1).await;
    started.reached(1).await;
    let report = bus.shutdown(Duration::from_millis(20)).await.expect("it reports");
    assert_eq!(report.abandoned, 1, "{report:?}");
}

fn two_deliveries() -> Config {
    let mut config = config();
    config.nats.consumer.max_deliver = Some(2);
    config.retry.attempts = 5;
    (config.retry.initial, config.retry.max) =
        (Duration::from_millis(10), Duration::from_millis(20));
    config
}

/// The server would not deliver the message again: one attempt, then the terminal policy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n3_the_last_delivery_ends_in_the_terminal_policy() {
    let (config, topic, dead) = (two_deliveries(), name("orders"), name("dead"));
    waste_a_delivery(&config, &topic).await;
    let (bus, broken) = (bus(config).await, Arc::new(Broken::default()));
    let (letters, count, handler) = collected();
    bus.subscribe(&dead, handler).await.expect("subscribes");
    let limited = bus.subscription(&topic).dead_letter(&dead).concurrency(10);
    limited.envelopes(broken.handler()).await.expect("subscribes");
    within(PATIENCE, "the dead letter", count.reached(1)).await;
    let info = all_settled(&topic).await;
    assert_eq!((broken.attempts(), info.delivered.consumer_sequence), (vec![1], 2));
    assert_eq!(letters.lock()[0].headers.get(header::ATTEMPTS), Some(&b"1"[..]));
    // A message at its first delivery has all its attempts.
    publish(&bus, &topic, "b", 0..1).await;
    within(PATIENCE, "the second dead letter", count.reached(2)).await;
    assert_eq!(broken.attempts(), [1, 1, 2, 3, 4, 5]);
    all_settled(&topic).await;
    bus.shutdown(PATIENCE).await.expect("it reports");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n3_the_last_delivery_is_skipped_or_blocks_as_configured() {
    let (config, topic) = (two_deliveries(), name("orders"));
    waste_a_delivery(&config, &topic).await;
    let (skipping, broken) = (bus(config.clone()).await, Arc::new(Broken::default()));
    skipping
        .subscription(&topic)
        .skip_failed()
        .envelopes(broken.handler())
        .await
        .expect("subscribes");
    within(PATIENCE, "an attempt", broken.tried.reached(1)).await;
    all_settled(&topic).await;
    assert_eq!(broken.attempts(), [1]);
    skipping.shutdown(PATIENCE).await.expect("it reports");

    // A blocked message is retried within the same delivery.
    let topic = name("orders");
    waste_a_delivery(&config, &topic).await;
    let (blocking, broken) = (bus(config).await, Arc::new(Broken::default()));
    blocking
        .subscription(&topic)
        .block_failed()
        .envelopes(broken.handler())
        .await
        .expect("subscribes");
    within(PATIENCE, "attempts", broken.tried.reached(7)).await;
    until("the key is blocked", || blocking.pool_stats().blocked_lanes == 1).await;
    assert_eq!(info(&topic).await.num_ack_pending, 1);
    broken.is_well.store(true, SeqCst);
    assert_eq!(all_settled(&topic).await.delivered.consumer_sequence, 2);
    blocking.shutdown(PATIENCE).await.expect("it reports");
}

/// All attempts run in the lane: the server delivers the message once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n1_a_poison_message_has_its_attempts_with_backoff_and_one_dead_letter() {
    let (topic, dead) = (name("orders"), name("dead"));
    let (bus, broken) = (bus(config()).await, Arc::new(Broken::default()));
    let (letters, count, handler) = collected();
    bus.subscribe(&dead, handler).await.expect("subscribes");
    let waits = [40, 80, 160].map(Duration::from_millis);
    let retry = Retry::attempts(4).backoff(waits[0], Duration::from_secs(1)).without_jitter();
    let subscription = bus.subscription(&topic).retry(retry).dead_letter(&dead);
    subscription.envelopes(broken.handler()).await.expect("subscribes");
    publish(&bus, &topic, "a", 0..1).await;
    within(PATIENCE, "the dead letter", count.reached(1)).await;
    let info = all_settled(&topic).await;
    assert_eq!(
        (broken.attempts(), info.delivered.consumer_sequence, info.num_redelivered),
        (vec![1, 2, 3, 4], 1, 0)
    );
    let times: Vec<Instant> = broken.attempts.lock().iter().map(|(_, at)| *at).collect();
    for (pair, wait) in times.windows(2).zip(waits) {
        assert!(pair[1] - pair[0] >= wait, "{times:?}");
    }
    all_settled(&dead).await;
    assert_eq!(letters.lock().len(), 1);
    assert_eq!(letters.lock()[0].headers.get(header::ATTEMPTS), Some(&b"4"[..]));
    bus.shutdown(PATIENCE).await.expect("it reports");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n1_a_handler_of_ten_times_ack_wait_has_its_message_once() {
    let topic = name("slow");
    let mut config = config();
    config.nats.consumer.ack_wait = Duration::from_secs(1);
    let (bus, ended) = (bus(config).await, Arc::new(Count::default()));
    let into = Arc::clone(&ended);
    let handler = move |event: Event| {
        let into = Arc::clone(&into);
        async move {
            if event.message.offset == 1 {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
            into.add();
        }
    };
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    // The second message waits in the lane behind the first.
    publish(&bus, &topic, "a", 0..2).await;
    within(PATIENCE, "both", ended.reached(2)).await;
    let info = all_settled(&topic).await;
    assert_eq!((info.delivered.consumer_sequence, info.num_redelivered), (2, 0));
    assert_eq!(bus.shutdown(PATIENCE).await.expect("it reports").abandoned, 0);
}

/// Blocked messages and those behind them share a budget. A subscription that exhausts it stops
/// reading and is reported, although the server could still deliver.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n3_a_small_blocked_budget_stops_its_subscription_alone() {
    const BUDGET: usize = 10;
    const OPEN: u16 = 200;
    let (bad, good) = (name("bad"), name("good"));
    let mut config = config();
    (config.nats.consumer.max_ack_pending, config.nats.consumer.prefetch) = (OPEN.into(), 20);
    (config.nats.keyed_pool.failing_messages, config.nats.actor_pool.failing_messages) =
        (BUDGET, BUDGET);
    config.retry.attempts = 1;
    (config.retry.initial, config.retry.max) =
        (Duration::from_millis(10), Duration::from_millis(50));
    let (bus, broken, handled) =
        (bus(config).await, Arc::new(Broken::default()), Arc::new(Count::default()));
    bus.subscription(&bad).block_failed().envelopes(broken.handler()).await.expect("subscribes");
    let (into, gate) = (Arc::clone(&handled), Arc::new(Gate::default()));
    let waits = Arc::clone(&gate);
    let handler = move |_: Event| {
        let (into, gate) = (Arc::clone(&into), Arc::clone(&waits));
        async move {
            gate.wait().await;
            into.add();
        }
    };
    bus.subscribe_envelopes(&good, handler).await.expect("subscribes");
    publish(&bus, &bad, "a", 0..500).await;
    let named = async {
        while bus.status().stalled_partitions.iter().all(|stalled| stalled.topic != bad) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(PATIENCE, "the subscription is named", named).await;
    gate.open();
    publish(&bus, &good, "b", 0..1_000).await;
    within(PATIENCE, "everything of the other one", handled.reached(1_000)).await;
    let status = bus.status();
    assert!(status.stalled_partitions.iter().all(|stalled| stalled.topic == bad), "{status:?}");
    assert_eq!(status.stalled_partitions.len(), 1);
    assert!(bus.pool_stats().failing <= BUDGET, "{:?}", bus.pool_stats());
    let open = info(&bad).await;
    assert!(open.num_ack_pending < usize::from(OPEN / 2) && open.num_pending > 0, "{open:?}");
    broken.is_well.store(true, SeqCst);
    all_settled(&bad).await;
    bus.shutdown(PATIENCE).await.expect("it reports");
}
