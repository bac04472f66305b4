//! Publishing and handling without faults.

use super::{
    BusHarness, Note, Seen, envelope, notes_events, notes_messages, now, publish, publish_numbers,
};
use buslane_core::{Envelope, Event, Headers, Kind, Message, RawJson, Record};
use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

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

/// Five topics of both kinds each get their own messages.
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

/// Ten concurrent publishers: no message is lost or doubled, and each publisher's order is kept.
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

/// Payloads of a million bytes and of none arrive.
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
