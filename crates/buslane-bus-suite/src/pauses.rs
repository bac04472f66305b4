//! Subscriptions that are paused: healthy for long, and nothing is lost. SPEC: O3

use super::{
    BusHarness, Note, Seen,
    health::{SOON, named, watchful, well},
    notes_events, notes_messages, publish_numbers,
};
use buslane::{Condition, Fault};

/// A pause is healthy, and so is a topic without a handler; for very long it is a warning.
pub async fn o3_a_pause_that_is_too_long_is_a_warning(harness: BusHarness) {
    let (topic, held) = (harness.topic("orders"), harness.topic("held"));
    let bus = harness.bus_of(watchful(harness.config("g"))).await;
    let seen = Seen::new();
    let subscription =
        bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    subscription.pause();
    publish_numbers(&bus, &topic, "a", 0..20).await;
    well(&bus).await;
    assert!(
        subscription.is_paused() && bus.health().overall == Condition::Healthy && seen.is_empty()
    );
    subscription.resume();
    assert_eq!(seen.reached(20).await.len(), 20);
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;

    let mut config = watchful(harness.config("g"));
    config.health.pause_limit = SOON;
    let bus = harness.bus_of(config).await;
    let subscription =
        bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    subscription.pause();
    subscription.pause();
    publish_numbers(&bus, &topic, "a", 20..40).await;
    let found = named(&bus, Fault::PausedTooLong).await;
    assert_eq!((found.subject.as_str(), found.condition), (topic.as_str(), Condition::Warning));
    assert_eq!(seen.len(), 20);
    subscription.resume();
    well(&bus).await;
    let numbers: Vec<_> = seen.reached(40).await.iter().map(Note::number).collect();
    assert_eq!(numbers, (0..40).collect::<Vec<_>>());
    bus.topics().announce([held.as_str()]).await.expect("announced");
    let found = named(&bus, Fault::PausedTooLong).await;
    assert_eq!(found.subject, held.as_str());
    bus.subscribe(&held, notes_messages(&seen)).await.expect("subscribes");
    well(&bus).await;
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// A paused subscription lets go of its sources, ends and shuts down as another does, and loses
/// nothing.
pub async fn o3_a_paused_subscription_loses_nothing(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let subscription =
        bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..10).await;
    seen.reached(10).await;
    subscription.pause();
    publish_numbers(&bus, &topic, "a", 10..30).await;
    subscription.unsubscribe().await.expect("it ends");
    let subscription =
        bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes again");
    assert!(!subscription.is_paused());
    seen.reached(30).await;
    subscription.pause();
    publish_numbers(&bus, &topic, "a", 30..40).await;
    harness.end(&bus).await;
    let bus = harness.bus("g").await;
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    harness.settled("g", &[&topic]).await;
    let numbers: Vec<_> = seen.all().iter().map(Note::number).collect();
    assert_eq!(numbers, (0..40).collect::<Vec<_>>());
    harness.end_clean(&bus).await;
}
