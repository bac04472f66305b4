//! Handlers that fail in the midst of revocations: order holds, nothing is lost.

use super::{
    Fault, Ground, Note, Seen,
    crowd::{check_order, publish_round},
    notes_events,
};
use buslane_core::Event;
use std::sync::Arc;

/// Failures, panics, lost acknowledgements and rebalances together.
pub async fn d2_everything_at_once_loses_nothing(ground: Ground) {
    let topic = ground.topic("orders");
    let (one, two) = (ground.bus("g").await, ground.bus("g").await);
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
        ground.fault_where_possible(Fault::LoseAck(topic.clone(), round + 1)).await;
        ground.fault_where_possible(Fault::Duplicate(topic.clone(), 2 * round + 1)).await;
        let round = usize::try_from(round).expect("small");
        publish_round(&two, &topic, 30, 5 * round..5 * round + 5).await;
        if round % 3 == 0 {
            ground.fault(Fault::Rebalance(ground.fixture.name("g"))).await;
        }
    }
    ground.settled("g", &[&topic]).await;
    buslane_testkit::deadline::until("nothing is open", || {
        one.pool_stats().open + two.pool_stats().open == 0
    })
    .await;
    check_order(&seen.all(), 30, 50);
    ground.end_clean(&one).await;
    ground.end_clean(&two).await;
}

/// Partitions are revoked while their messages fail: what fails when it is revoked is not passed by
/// what stood behind it.
pub async fn k3_a_failure_in_a_rebalance_keeps_the_order(ground: Ground) {
    let topic = ground.topic("orders");
    let (seen, bus) = (Seen::<Note>::new(), ground.bus("g").await);
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
        ground.fault(Fault::Rebalance(ground.fixture.name("g"))).await;
        tokio::task::yield_now().await;
    }
    ground.settled("g", &[&topic]).await;
    assert_eq!(check_order(&seen.all(), 40, 200), 0);
    ground.end_clean(&bus).await;
}

/// The same where it is the subscription that ends.
pub async fn b3_a_failure_as_its_subscription_ends_keeps_the_order(ground: Ground) {
    let topic = ground.topic("orders");
    let (seen, bus) = (Seen::<Note>::new(), ground.bus_of(ground.sized("g", 4, 8)).await);
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
    ground.settled("g", &[&topic]).await;
    assert_eq!(check_order(&seen.all(), 40, 200), 0);
    ground.end_clean(&bus).await;
}
