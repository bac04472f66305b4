//! Faults and revocations while handlers fail: order holds, and nothing is lost.

use super::{
    BusHarness, Fault, Note, Seen, notes_events,
    traffic::{check_order, publish_round},
};
use buslane_core::Event;
use std::sync::Arc;

/// Failures, panics, lost acknowledgements and rebalances together.
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

/// Partitions are revoked while their messages fail: later messages do not overtake one that fails
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

/// The end of a subscription keeps the order in the same way.
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
