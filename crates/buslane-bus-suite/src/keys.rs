//! The memory of keys: how many are kept, for how long, and which are never evicted. SPEC: L4

use super::{BusHarness, Seen, each_pool, envelope, fails, harness::idle, notes_events, publish};
use buslane::{Config, LaneState};
use buslane_core::{Event, Message};
use buslane_testkit::{deadline::until, signal::Gate};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

fn keeping(mut config: Config, keys: usize, time: Duration) -> Config {
    each_pool(&mut config, |keyed, actor| {
        (keyed.max_processors, actor.max_processors) = (keys, keys);
        (keyed.processor_idle, actor.processor_idle) = (time, time);
    });
    config
}

/// The latest keys are kept, and counted in status and metrics. None is left after a shutdown.
pub async fn l4_keys_without_messages_are_remembered_up_to_a_number(harness: BusHarness) {
    let topic = harness.topic("orders");
    let config = keeping(harness.config("g"), 10, Duration::from_secs(3_600));
    let (bus, page) = harness.bus_with_page(config).await;
    let (seen, gate) = (Seen::new(), Arc::new(Gate::default()));
    let opened = Arc::clone(&gate);
    bus.subscribe_envelopes(&topic, {
        let seen = Arc::clone(&seen);
        move |event: Event| {
            let (seen, gate) = (Arc::clone(&seen), Arc::clone(&opened));
            async move {
                if event.aggregate_id.starts_with('w') {
                    seen.push(());
                    gate.wait().await;
                }
            }
        }
    })
    .await
    .expect("subscribes");
    for n in 0..30 {
        publish(&bus, &topic, &[envelope(&format!("a{n}"), 0)]).await;
        until("it is handled", || bus.pool_stats().ok == n + 1).await;
    }
    let known = |key: &str| bus.key_state(&topic, key).expect("a good topic");
    for n in 0..30 {
        assert_eq!(known(&format!("a{n}")), (n >= 20).then(LaneState::default), "a{n}");
    }
    let figures =
        || ["total", "active", "idle"].map(|what| page.value(&format!("processors_{what}")));
    until("the page says so", || figures() == [10.0, 0.0, 10.0]).await;
    let waiting: Vec<_> = (0..4)
        .flat_map(|n| [envelope(&format!("w{n}"), 0), envelope(&format!("w{n}"), 1)])
        .collect();
    publish(&bus, &topic, &waiting).await;
    seen.reached(4).await;
    until("the page says so", || figures() == [10.0, 4.0, 6.0]).await;
    assert_eq!((bus.pool_stats().lanes, bus.pool_stats().idle_lanes), (4, 6));
    until("both of w3 are there", || known("w3").is_some_and(|state| state.open == 2)).await;
    gate.open();
    idle(&bus).await;
    assert_eq!((bus.pool_stats().lanes, bus.pool_stats().idle_lanes), (0, 10));
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
    assert_eq!(figures(), [0.0, 0.0, 0.0]);
}

/// Keys without messages are forgotten after a while, and remembered again when they return.
pub async fn l4_keys_without_messages_are_forgotten_after_a_while(harness: BusHarness) {
    let topic = harness.topic("orders");
    let config = keeping(harness.config("g"), 1_000, Duration::from_millis(80));
    let (bus, page) = harness.bus_with_page(config).await;
    let seen = Seen::new();
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    for round in 1..=3 {
        let envelopes: Vec<_> = (0..50).map(|n| envelope(&format!("a{n}"), round)).collect();
        publish(&bus, &topic, &envelopes).await;
        seen.reached(50 * round).await;
        until("all are forgotten", || {
            bus.pool_stats().idle_lanes == 0 && bus.pool_stats().lanes == 0
        })
        .await;
        assert_eq!(bus.key_state(&topic, "a7").expect("a good topic"), None);
        until("the page says so", || page.value("processors_total") == 0.0).await;
    }
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// A failing key and a running one are not evicted by any number of others, and keep their order.
pub async fn l4_a_key_with_messages_is_never_forgotten(harness: BusHarness) {
    let topic = harness.topic("orders");
    let config = keeping(harness.config("g"), 1, Duration::from_millis(8));
    let (bus, seen, mended) =
        (harness.bus_of(config).await, Seen::new(), Arc::new(AtomicBool::new(false)));
    let is_mended = Arc::clone(&mended);
    let handler = fails(&seen, move |note| note.label == "bad" && !is_mended.load(SeqCst));
    bus.subscription(&topic).block_failed().envelopes(handler).await.expect("subscribes");
    publish(&bus, &topic, &(0..5).map(|n| envelope("bad", n)).collect::<Vec<_>>()).await;
    let state = || bus.key_state(&topic, "bad").expect("a good topic");
    until("it is blocked", || state().is_some_and(|state| state.is_blocked)).await;
    for n in 0..100 {
        publish(&bus, &topic, &[envelope(&format!("a{n}"), 0)]).await;
        until("it is handled", || bus.pool_stats().ok == n + 1).await;
        let state = state().expect("it has messages");
        assert!(state.failures >= 3 && state.open >= 1, "{state:?}");
    }
    mended.store(true, SeqCst);
    harness.settled("g", &[&topic]).await;
    let good: Vec<_> = seen
        .all()
        .into_iter()
        .filter(|note| note.label == "bad")
        .map(|note| note.number())
        .collect();
    let mut once = good.clone();
    once.dedup();
    assert_eq!(once, [0, 1, 2, 3, 4], "{good:?}");
    harness.end_clean(&bus).await;
}

/// However many there are: their lanes are never used again, so none is kept.
pub async fn l4_messages_without_a_key_push_no_key_out(harness: BusHarness) {
    let (orders, notes) = (harness.topic("orders"), harness.topic("notes"));
    let bus = harness.bus_of(keeping(harness.config("g"), 10, Duration::from_secs(3_600))).await;
    let seen = Seen::new();
    bus.subscribe_envelopes(&orders, notes_events(&seen)).await.expect("subscribes");
    bus.subscribe(&notes, async |_: Message| ()).await.expect("subscribes");
    publish(&bus, &orders, &(0..5).map(|n| envelope(&format!("a{n}"), 0)).collect::<Vec<_>>())
        .await;
    seen.reached(5).await;
    for _ in 0..100 {
        bus.publish(&notes, "x").await.expect("published");
    }
    until("all are handled", || bus.pool_stats().ok == 105).await;
    for n in 0..5 {
        assert_eq!(
            bus.key_state(&orders, format!("a{n}")).expect("a good topic"),
            Some(LaneState::default()),
            "a{n}"
        );
    }
    assert_eq!((bus.pool_stats().lanes, bus.pool_stats().idle_lanes), (0, 5));
    harness.settled("g", &[&orders, &notes]).await;
    harness.end_clean(&bus).await;
}
