//! Messages of topics without a handler: held unsettled, and delivered to a later handler.

use super::{BusHarness, Note, Seen, notes_events, notes_messages, publish_numbers};
use buslane_core::Record;
use buslane_testkit::deadline::until;

/// Announced topics are read; without a handler their messages stay unsettled, and the status names
/// them.
pub async fn b4_messages_of_an_announced_topic_wait_for_their_handler(harness: BusHarness) {
    let (events, raw, other) =
        (harness.topic("events"), harness.topic("raw"), harness.topic("other"));
    let mut config = harness.config("g");
    config.topics = [&events, &raw, &other].map(ToString::to_string).to_vec();
    let (bus, seen) = (harness.bus_of(config).await, Seen::new());
    bus.subscribe_envelopes(&other, notes_events(&seen)).await.expect("subscribes");
    publish_numbers(&bus, &events, "a", 0..10).await;
    bus.publish(&raw, Record::new("10").with_key("k")).await.expect("published");
    publish_numbers(&bus, &other, "a", 11..12).await;
    assert_eq!(seen.reached(1).await[0].number(), 11, "other topics go on");
    let mut held = vec![events.clone(), raw.clone()];
    held.sort();
    assert_eq!(bus.status().held_topics, held);
    assert_eq!(
        (harness.unsettled("g", &events).await, harness.unsettled("g", &raw).await),
        (10, 1)
    );

    bus.subscribe_envelopes(&events, notes_events(&seen)).await.expect("subscribes");
    bus.subscribe(&raw, notes_messages(&seen)).await.expect("subscribes");
    let mut numbers: Vec<_> = seen.reached(12).await.iter().map(Note::number).collect();
    assert_eq!(
        numbers.iter().filter(|n| **n < 10).copied().collect::<Vec<_>>(),
        (0..10).collect::<Vec<_>>()
    );
    numbers.sort_unstable();
    assert_eq!(numbers, (0..12).collect::<Vec<_>>());
    assert_eq!(bus.status().held_topics, []);
    harness.settled("g", &[&events, &raw, &other]).await;
    harness.end_clean(&bus).await;
}

/// A subscription that is never activated settles and loses nothing: the next bus gets the
/// messages.
pub async fn b4_what_is_never_activated_is_left_alone(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.topics().announce([&*topic]).await.expect("announced");
    publish_numbers(&bus, &topic, "a", 0..5).await;
    let report = harness.end(&bus).await;
    assert_eq!((report.finished, report.abandoned), (0, 0), "{report:?}");
    assert_eq!(harness.unsettled("g", &topic).await, 5);
    let bus = harness.bus("g").await;
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    assert_eq!(seen.reached(5).await.iter().map(Note::number).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// Announcing a topic twice, or one that is subscribed already, changes nothing. A bad name is
/// refused before the bus joins the group.
pub async fn b4_announcing_again_changes_nothing(harness: BusHarness) {
    let (one, two) = (harness.topic("one"), harness.topic("two"));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscribe_envelopes(&one, notes_events(&seen)).await.expect("subscribes");
    publish_numbers(&bus, &one, "a", 0..5).await;
    let error = bus.topics().announce([&*two, "a b"]).await.expect_err("a bad name");
    assert!(error.to_string().starts_with("invalid topic \"a b\""), "{error}");
    assert_eq!(bus.status().held_topics, []);
    for _ in 0..2 {
        bus.topics().announce([&*one, &*two]).await.expect("announced");
    }
    bus.topics().announce::<&str>([]).await.expect("nothing to do");
    assert_eq!(bus.status().held_topics, std::slice::from_ref(&two));
    publish_numbers(&bus, &one, "a", 5..10).await;
    assert_eq!(
        seen.reached(10).await.iter().map(Note::number).collect::<Vec<_>>(),
        (0..10).collect::<Vec<_>>()
    );
    harness.end_clean(&bus).await;
}

/// The log says once for each source that messages are held.
pub async fn d7_held_messages_are_told_of(harness: BusHarness) {
    let topic = harness.topic("orders");
    let bus = harness.bus("g").await;
    bus.topics().announce([&*topic]).await.expect("announced");
    publish_numbers(&bus, &topic, "a", 0..100).await;
    until("the line", || !harness.logs.saying("messages held: no handler").is_empty()).await;
    let lines = harness.logs.saying("messages held: no handler");
    assert!(lines.iter().all(|line| line.field("topic") == &*topic), "{lines:?}");
    assert!(lines.len() <= 16, "a line for each source, none for a message: {}", lines.len());
    harness.end(&bus).await;
}
