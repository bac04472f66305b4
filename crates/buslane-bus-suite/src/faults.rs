//! Faults of the broker lose nothing and keep the order. SPEC: M2, K3

use super::{
    BusHarness, Fault, Note, Seen, fails, publish_numbers,
    traffic::{Busy, busy, check_order, plain, publish_round},
};
use std::{sync::Arc, time::Duration};

/// A message whose acknowledgement is lost is delivered again, and a duplicate twice; nothing is
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

/// A message that waits for its retry when its partition is revoked is tried by the next owner at
/// once.
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
    buslane_testkit::deadline::until("the lane waits", || bus.pool_stats().parked == 5).await;
    harness.fault(Fault::Rebalance(harness.fixture.name("g"))).await;
    harness.settled("g", &[&topic]).await;
    assert_eq!(seen.all().iter().map(Note::number).collect::<Vec<_>>(), [0, 0, 1, 2, 3, 4]);
    harness.end_clean(&bus).await;
}

/// The connection is cut while messages run: those that finish in between count, and the others
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
