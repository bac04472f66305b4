//! Hot paths take no lock that a slow broker can hold. SPEC: B5

use super::{BusHarness, Seen, envelope, notes_events, notes_then_waits, now, publish_numbers};
use buslane_core::{Event, TopicSettings, TopicStrategy};

/// While a subscribe is stuck in the broker: publishing, handling, topic settings, status and
/// figures go on.
pub async fn b5_hot_paths_go_on_while_a_subscribe_is_stuck(harness: BusHarness) {
    let (stuck, flowing, other) =
        (harness.topic("stuck"), harness.topic("flowing"), harness.topic("other"));
    let unseen = harness.topic("never.seen.before");
    let (bus, faulty) = harness.faulty_bus(harness.config("g")).await;
    let seen = Seen::new();
    bus.subscribe_envelopes(&flowing, notes_events(&seen)).await.expect("subscribes");
    faulty.hold_subscribe(&stuck, true);
    let hanging = tokio::spawn({
        let (bus, stuck) = (bus.clone(), stuck.clone());
        async move { bus.subscribe_envelopes(&stuck, now(|_: Event| ())).await }
    });
    harness.within("the subscribe hangs", faulty.held(1)).await;
    let everything = async {
        publish_numbers(&bus, &flowing, "a", 0..10).await;
        seen.reached(10).await;
        bus.publish(&stuck, "x").await.expect("published");
        bus.publish_envelope(&unseen, envelope("a", 1)).await.expect("published");
        let settings = TopicSettings::default();
        bus.configure_topic(&other, &settings, TopicStrategy::CreateOnly).await.expect("created");
        bus.topic_config(&other).await.expect("an answer").expect("it exists");
        assert!(!bus.status().closed);
        assert!(bus.pool_stats().accepted >= 10);
        bus.set_recovery_mode(false);
    };
    harness.within("everything else", everything).await;
    assert!(!hanging.is_finished());
    faulty.hold_subscribe(&stuck, false);
    harness.within("the subscribe", hanging).await.expect("no panic").expect("subscribes");
    harness.end(&bus).await;
}

/// While handlers fill every worker, and a shutdown waits for them: publishing and the closed flag
/// do not wait.
pub async fn b5_the_closed_flag_is_seen_while_a_shutdown_waits(harness: BusHarness) {
    let (topic, other) = (harness.topic("orders"), harness.topic("other"));
    let bus = harness.bus("g").await;
    let (started, gate) =
        (Seen::new(), std::sync::Arc::new(buslane_testkit::signal::Gate::default()));
    bus.subscribe_envelopes(&topic, notes_then_waits(&started, &gate)).await.expect("subscribes");
    for key in 0..16 {
        publish_numbers(&bus, &topic, &format!("a{key}"), 0..1).await;
    }
    started.reached(16).await;
    let closing = harness.begin_to_end(&bus).await;
    let refused = harness.within("the answer", bus.subscribe(&other, now(|_| ()))).await;
    assert_eq!(refused.expect_err("closed").to_string(), "eventbus is closed");
    harness
        .within("a last word", bus.publish(&other, "x"))
        .await
        .expect("published while the lanes drain");
    gate.open();
    assert_eq!(closing.await.expect("no panic").finished, 16);
}
