//! Receipts, batches, topic settings, reconnects.

use super::{
    BusHarness, Fault, Note, Seen, envelope, harness::refused, notes_events, publish_numbers,
};
use buslane_core::{Record, TopicSettings, TopicStrategy};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

/// A receipt has topic, partition and offset, and the offsets of a key rise.
pub async fn b1_a_receipt_says_where_it_is_stored(harness: BusHarness) {
    let topic = harness.topic("orders");
    let bus = harness.bus("g").await;
    let mut receipts = Vec::new();
    for n in 0..5 {
        receipts.push(bus.publish_envelope(&topic, envelope("a", n)).await.expect("published"));
    }
    assert!(
        receipts
            .iter()
            .all(|receipt| receipt.topic == topic && receipt.partition == receipts[0].partition)
    );
    assert!(receipts.is_sorted_by(|one, next| one.offset < next.offset), "{receipts:?}");
    assert!(receipts.iter().all(|receipt| !receipt.duplicate));
    let stored = harness.audit(&topic, 5).await;
    let places: Vec<_> =
        stored.iter().map(|message| (message.partition(), message.offset)).collect();
    assert_eq!(
        places,
        receipts.iter().map(|receipt| (receipt.partition, receipt.offset)).collect::<Vec<_>>()
    );
    harness.end_clean(&bus).await;
}

/// A batch gets one answer for each record, in order.
pub async fn b1_a_batch_is_answered_record_by_record(harness: BusHarness) {
    let (raw, events) = (harness.topic("raw"), harness.topic("events"));
    let bus = harness.bus("g").await;
    let records =
        (0..100).map(|n| Record::new(n.to_string()).with_key(format!("k{}", n % 10))).collect();
    let answers = bus.publish_batch(&raw, records).await.expect("taken");
    let envelopes: Vec<_> = (0..100).map(|n| envelope(&format!("k{}", n % 10), n)).collect();
    let more = bus.publish_envelopes(&events, &envelopes).await.expect("taken");
    for (topic, answers) in [(&raw, answers), (&events, more)] {
        let stored = harness.audit(topic, 100).await;
        assert_eq!(answers.len(), 100);
        for (n, answer) in answers.into_iter().enumerate() {
            let receipt = answer.expect("stored");
            let place = |message: &&buslane_core::Message| {
                (message.partition(), message.offset) == (receipt.partition, receipt.offset)
            };
            let message = stored.iter().find(place).expect("it is where its receipt says");
            assert_eq!(message.key.as_deref(), Some(format!("k{}", n % 10).as_bytes()));
        }
    }
    assert_eq!(bus.publish_batch(&raw, Vec::new()).await.expect("nothing to do"), []);
    assert_eq!(bus.publish_envelopes(&events, &[]).await.expect("nothing to do"), []);
    harness.end_clean(&bus).await;
}

/// Topics are created, inspected, compared and changed; the error names each difference.
pub async fn b1_topics_can_be_configured_and_looked_at(harness: BusHarness) {
    let topic = harness.topic("orders");
    let bus = harness.bus("g").await;
    assert_eq!(bus.topic_config(&topic).await.expect("an answer"), None);
    let settings = TopicSettings { partitions: Some(3), ..TopicSettings::default() };
    let unknown =
        refused(bus.configure_topic(&topic, &settings, TopicStrategy::ValidateOnly).await);
    assert_eq!(unknown, format!("topic {topic} does not exist"));
    let made =
        bus.configure_topic(&topic, &settings, TopicStrategy::CreateOnly).await.expect("created");
    assert_eq!(made.partitions, Some(3));
    assert_eq!(bus.topic_config(&topic).await.expect("an answer"), Some(made));
    let more = TopicSettings { partitions: Some(4), ..TopicSettings::default() };
    let differs = refused(bus.configure_topic(&topic, &more, TopicStrategy::ValidateOnly).await);
    assert!(differs.starts_with(&format!("topic {topic}: partitions: ")), "{differs}");
    let grown = TopicSettings { expand: true, ..more };
    let made =
        bus.configure_topic(&topic, &grown, TopicStrategy::CreateOrUpdate).await.expect("grown");
    assert_eq!(made.partitions, Some(4));
    assert!(refused(bus.topic_config("a b").await).starts_with("invalid topic \"a b\""));
    harness.end_clean(&bus).await;
}

/// New partitions of a subscribed topic are read too.
pub async fn b3_partitions_that_are_added_are_read(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let one = TopicSettings { partitions: Some(1), ..TopicSettings::default() };
    bus.configure_topic(&topic, &one, TopicStrategy::CreateOnly).await.expect("created");
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..5).await;
    seen.reached(5).await;
    let many = TopicSettings { partitions: Some(6), expand: true, ..TopicSettings::default() };
    bus.configure_topic(&topic, &many, TopicStrategy::CreateOrUpdate).await.expect("grown");
    for key in 0..30 {
        publish_numbers(&bus, &topic, &format!("k{key}"), 0..1).await;
    }
    let notes = seen.reached(35).await;
    let partitions: std::collections::HashSet<_> =
        notes.iter().map(|note| note.partition).collect();
    assert!(partitions.len() > 1, "{partitions:?}");
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// Each callback runs whenever the connection returns, even if another one panics. Publishing and
/// reading resume by themselves.
pub async fn b1_on_reconnect_is_called_and_everything_goes_on(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen, called) = (harness.bus("g").await, Seen::new(), Arc::new(AtomicUsize::new(0)));
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    let calls = || {
        let called = Arc::clone(&called);
        move || {
            called.fetch_add(1, SeqCst);
        }
    };
    bus.on_reconnect(calls());
    bus.on_reconnect(|| std::panic::resume_unwind(Box::new("a callback's own trouble")));
    bus.on_reconnect(calls());
    publish_numbers(&bus, &topic, "a", 0..5).await;
    seen.reached(5).await;
    for round in 1..=2 {
        harness.fault(Fault::Disconnect).await;
        let publishing = tokio::spawn({
            let (bus, topic) = (bus.clone(), topic.clone());
            async move { bus.publish_envelope(&topic, envelope("a", 4 + round)).await }
        });
        let waits = || harness.logs.saying("broker lost").len() == round;
        buslane_testkit::deadline::until("the loss is told", waits).await;
        assert!(!publishing.is_finished(), "it waits for the connection");
        harness.fault(Fault::Reconnect).await;
        harness.within("the publish", publishing).await.expect("no panic").expect("published");
        seen.reached(5 + round).await;
        buslane_testkit::deadline::until("both are called", || called.load(SeqCst) == 2 * round)
            .await;
        assert_eq!(harness.logs.saying("broker is back").len(), round);
        assert_eq!(harness.logs.saying("reconnect callback panicked").len(), round);
    }
    assert_eq!(seen.all().iter().map(Note::number).collect::<Vec<_>>(), (0..7).collect::<Vec<_>>());
    harness.end_clean(&bus).await;
}

/// An unordered subscription keeps the order of each key while recovery mode is on.
pub async fn b1_recovery_mode_orders_everything_that_has_a_key(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscription(&topic)
        .ordered(false)
        .envelopes(notes_events(&seen))
        .await
        .expect("subscribes");
    let label = async |n: usize| {
        publish_numbers(&bus, &topic, "a", n..n + 1).await;
        seen.reached(n + 1).await[n].label.clone()
    };
    assert_eq!(label(0).await, "rr-0");
    bus.set_recovery_mode(true);
    assert!(bus.recovery().is_active() && bus.recovery().status().cause.is_some());
    assert_eq!(label(1).await, "a");
    bus.set_recovery_mode(false);
    assert!(!bus.recovery().is_active() && bus.recovery().status().cause.is_none());
    assert_eq!(label(2).await, "rr-1");
    harness.end_clean(&bus).await;
}
