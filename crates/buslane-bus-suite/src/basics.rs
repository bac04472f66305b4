//! Publishing and handling without faults; receipts, batches, topic settings and reconnects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::SystemTime;

use buslane_core::{
    Envelope, Event, Headers, Kind, Message, RawJson, Record, TopicSettings, TopicStrategy,
};

use super::harness::refused;
use super::{
    BusHarness, Fault, Note, Seen, envelope, notes_events, notes_messages, now, publish,
    publish_numbers,
};

/// A message of each kind arrives byte for byte.
pub async fn b1_a_message_of_each_kind_arrives_exactly(harness: BusHarness) {
    let (raw, events) = (harness.topic("raw"), harness.topic("events"));
    let bus = harness.bus("g").await;
    let bytes = Seen::new();
    let into = Arc::clone(&bytes);
    bus.subscribe(&raw, now(move |message: Message| into.push(message.payload)))
        .await
        .expect("subscribes");
    let envelopes = Seen::new();
    let into = Arc::clone(&envelopes);
    bus.subscribe_envelopes(&events, now(move |event: Event| into.push(event.envelope)))
        .await
        .expect("subscribes");
    let odd = (0..=255_u8).collect::<Vec<_>>();
    bus.publish(&raw, odd.clone()).await.expect("published");
    let sent = Envelope::with_payload(
        "a",
        "Odd",
        RawJson::from_bytes(r#"{"é": [1, 2.50, "\u0000"] }"#).expect("JSON"),
    );
    bus.publish_envelope(&events, &sent).await.expect("published");
    assert_eq!(bytes.reached(1).await, [odd]);
    assert_eq!(envelopes.reached(1).await, [sent]);
    harness.end_clean(&bus).await;
}

/// Ten messages arrive in order, each once.
pub async fn b1_ten_messages_are_all_handled_once(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..10).await;
    harness.settled("g", &[&topic]).await;
    let notes = seen.all();
    assert_eq!(notes.iter().map(Note::number).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    assert!(notes.iter().all(|note| note.attempt == 1));
    harness.end_clean(&bus).await;
    assert_eq!(seen.len(), 10);
}

/// A handler sees topic, partition, offset, key, headers in order, timestamp, routing key, kind and
/// attempt.
pub async fn e6_a_handler_sees_everything_about_its_message(harness: BusHarness) {
    let (raw, events) = (harness.topic("raw"), harness.topic("events"));
    let bus = harness.bus("g").await;
    let seen = Seen::<Message>::new();
    let into = Arc::clone(&seen);
    bus.subscribe(&raw, now(move |message: Message| into.push(message))).await.expect("subscribes");
    let into = Arc::clone(&seen);
    bus.subscribe_envelopes(&events, now(move |event: Event| into.push(event.message)))
        .await
        .expect("subscribes");
    let before = SystemTime::now() - std::time::Duration::from_millis(1);

    let list = [("b", &b"1"[..]), ("a", b"2"), ("b", b"\xff\x00"), ("empty", b"")];
    let headers: Headers = list.into_iter().collect();
    let record = Record::new("body").with_key("the key").with_headers(headers.clone());
    let receipt = bus.publish(&raw, record).await.expect("published");
    let message = seen.reached(1).await.remove(0);
    assert_eq!(*message.topic(), raw);
    assert_eq!((message.partition(), message.offset), (receipt.partition, receipt.offset));
    assert_eq!(message.key.as_deref(), Some(&b"the key"[..]));
    assert_eq!(message.headers.iter().collect::<Vec<_>>(), list);
    assert!(
        message.timestamp() >= before && message.timestamp() <= SystemTime::now(),
        "{:?}",
        message.timestamp()
    );
    assert_eq!(
        (message.routing_label().as_str(), message.routing_key()),
        ("the key", Some(&b"the key"[..]))
    );
    assert_eq!((message.kind, message.attempt), (Kind::Regular, 1));
    assert_eq!(message.payload, "body");

    let receipt = bus.publish_envelope(&events, envelope("order-1", 7)).await.expect("published");
    let message = seen.reached(2).await.remove(1);
    assert_eq!(*message.topic(), events);
    assert_eq!((message.partition(), message.offset), (receipt.partition, receipt.offset));
    assert_eq!(
        (message.routing_label().as_str(), message.routing_key()),
        ("order-1", Some(&b"order-1"[..]))
    );
    assert_eq!((message.kind, message.attempt), (Kind::Envelope, 1));
    harness.end_clean(&bus).await;
}

/// Five topics of both kinds: each handler gets only the messages of its topic.
pub async fn b1_topics_do_not_mix(harness: BusHarness) {
    let bus = harness.bus("g").await;
    let (seen, topics) =
        (Seen::new(), (0..5).map(|n| harness.topic(&format!("t{n}"))).collect::<Vec<_>>());
    for (n, topic) in topics.iter().enumerate() {
        if n % 2 == 0 {
            bus.subscribe_envelopes(topic, notes_events(&seen)).await.expect("subscribes");
        } else {
            bus.subscribe(topic, notes_messages(&seen)).await.expect("subscribes");
        }
    }
    for (n, topic) in topics.iter().enumerate() {
        for count in 0..10 * (n + 1) {
            if n % 2 == 0 {
                bus.publish_envelope(topic, envelope(&format!("a{}", count % 3), count))
                    .await
                    .expect("published");
            } else {
                bus.publish(topic, count.to_string()).await.expect("published");
            }
        }
    }
    harness.settled("g", &topics.iter().collect::<Vec<_>>()).await;
    let mut counts = BTreeMap::new();
    seen.all().into_iter().for_each(|note| *counts.entry(note.topic).or_insert(0) += 1);
    let expected =
        topics.iter().enumerate().map(|(n, topic)| (topic.to_string(), 10 * (n + 1))).collect();
    assert_eq!(counts, expected);
    harness.end_clean(&bus).await;
}

/// Ten concurrent publishers lose and duplicate no message, and each keeps its order.
pub async fn b1_concurrent_publishers_lose_and_double_nothing(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    let publishers: Vec<_> = (0..10)
        .map(|publisher| {
            let (bus, topic) = (bus.clone(), topic.clone());
            tokio::spawn(async move {
                for n in 0..100 {
                    let envelope = envelope(&format!("p{publisher}"), n);
                    bus.publish_envelope(&topic, envelope).await.expect("published");
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await.expect("no panic");
    }
    harness.settled("g", &[&topic]).await;
    let notes = seen.all();
    assert_eq!(notes.len(), 1_000);
    for publisher in 0..10 {
        let numbers = super::seen::numbers_of(&notes, &format!("p{publisher}"));
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    }
    harness.end_clean(&bus).await;
}

/// Payloads of a million bytes and empty payloads arrive.
pub async fn b1_large_and_empty_messages_arrive(harness: BusHarness) {
    let topic = harness.topic("raw");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let into = Arc::clone(&seen);
    bus.subscribe(&topic, now(move |message: Message| into.push(message.payload)))
        .await
        .expect("subscribes");
    let large: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    bus.publish(&topic, Record::new(large.clone()).with_key("k")).await.expect("published");
    bus.publish(&topic, Record::new(Vec::new()).with_key("k")).await.expect("published");
    let got = seen.reached(2).await;
    assert!(got[0] == large && got[1].is_empty(), "{} and {} bytes", got[0].len(), got[1].len());
    harness.end_clean(&bus).await;
}

/// Publishing needs no subscriber; a later one reads the message.
pub async fn b1_publishing_without_a_subscriber_succeeds(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    publish(&bus, &topic, &[envelope("a", 1)]).await;
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    assert_eq!(seen.reached(1).await[0].number(), 1);
    harness.end_clean(&bus).await;
}

/// Two buses of two groups each get every message.
pub async fn m1_every_group_gets_every_message(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (one, two) = (harness.bus("one").await, harness.bus("two").await);
    let (seen_one, seen_two) = (Seen::new(), Seen::new());
    one.subscribe_envelopes(&topic, notes_events(&seen_one)).await.expect("subscribes");
    two.subscribe_envelopes(&topic, notes_events(&seen_two)).await.expect("subscribes");
    publish_numbers(&one, &topic, "a", 0..20).await;
    let (got_one, got_two) = (seen_one.reached(20).await, seen_two.reached(20).await);
    assert_eq!(got_one, got_two);
    harness.end_clean(&one).await;
    harness.end_clean(&two).await;
}

/// A receipt names the topic, the partition and the offset, and the offsets of a key rise.
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

/// The bus reads partitions that are added to a subscribed topic.
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

/// Each callback runs whenever the connection returns, even if another one fails, panics or does
/// not end yet. Publishing and reading resume by themselves.
pub async fn b1_on_reconnect_is_called_and_everything_goes_on(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen, called) = (harness.bus("g").await, Seen::new(), Arc::new(AtomicUsize::new(0)));
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    let calls = || {
        let called = Arc::clone(&called);
        move || {
            let called = Arc::clone(&called);
            async move {
                tokio::task::yield_now().await;
                called.fetch_add(1, SeqCst);
            }
        }
    };
    bus.on_reconnect(calls());
    bus.on_reconnect(|| -> std::future::Ready<()> {
        std::panic::resume_unwind(Box::new("a callback's own trouble"))
    });
    bus.on_reconnect(async || Err::<(), _>("the cache\nis gone"));
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
        assert_eq!(harness.logs.saying("reconnect callback failed").len(), round);
    }
    assert_eq!(seen.all().iter().map(Note::number).collect::<Vec<_>>(), (0..7).collect::<Vec<_>>());
    harness.end_clean(&bus).await;
}

/// A callback that never ends holds up no message and no shutdown, and is called no second time.
pub async fn b1_a_callback_of_a_reconnect_that_never_ends_holds_up_nothing(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen, called) = (harness.bus("g").await, Seen::new(), Arc::new(AtomicUsize::new(0)));
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    bus.on_reconnect({
        let called = Arc::clone(&called);
        move || {
            called.fetch_add(1, SeqCst);
            std::future::pending::<()>()
        }
    });
    for round in 1..=2 {
        harness.fault(Fault::Disconnect).await;
        let waits = || harness.logs.saying("broker lost").len() == round;
        buslane_testkit::deadline::until("the loss is told", waits).await;
        harness.fault(Fault::Reconnect).await;
        publish_numbers(&bus, &topic, "a", round - 1..round).await;
        seen.reached(round).await;
    }
    assert_eq!(called.load(SeqCst), 1);
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
