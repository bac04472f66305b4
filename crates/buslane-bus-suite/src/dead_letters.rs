//! Dead letters: their exact format, letters that are cut to fit, letters that fail again, and
//! topics that cannot be written.

use super::{
    BusHarness, Note, Seen, fails, harness::refused, notes_events, notes_messages, publish_numbers,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use buslane::BusError;
use buslane_core::{
    Backend, BrokerError, Delivery, Event, Handler, Headers, Message, Record, Topic, broker::header,
};
use std::{sync::Arc, time::SystemTime};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The time in a header.
fn time_of(letter: &Message, name: &str) -> OffsetDateTime {
    let text = letter.headers.get(name).map(String::from_utf8_lossy).unwrap_or_default();
    OffsetDateTime::parse(&text, &Rfc3339).expect("RFC 3339")
}

/// A dead letter has the payload, the key and all headers of the original, then the nine headers of
/// the format.
pub async fn d6_a_dead_letter_keeps_the_original_and_says_why(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscription(&topic)
        .dead_letter(&dead)
        .envelopes(fails(&seen, |_| true))
        .await
        .expect("subscribes");
    let before = OffsetDateTime::now_utc();
    let original = [
        ("trace", &b"1"[..]),
        ("X-Aggregate-ID", b"a"),
        ("trace", b"\xff\x00"),
        ("X-Attempts", b"other"),
    ];
    let headers: Headers = original.into_iter().collect();
    let body = super::envelope("a", 7).encode().expect("valid");
    let record = Record::new(body.clone()).with_key("its own key").with_headers(headers);
    let receipt = bus.publish(&topic, record).await.expect("published");
    let letter = harness.audit(&dead, 1).await.remove(0);
    let after = OffsetDateTime::now_utc();

    assert_eq!((letter.payload.clone(), letter.key.as_deref()), (body, Some(&b"its own key"[..])));
    let all: Vec<_> = letter.headers.iter().collect();
    let (kept, added) = all.split_at(original.len());
    assert_eq!(kept, original);
    let names: Vec<_> = added.iter().map(|(name, _)| *name).collect();
    let format = [
        header::ORIGINAL_TOPIC,
        header::ORIGINAL_PARTITION,
        header::ORIGINAL_OFFSET,
        header::ORIGINAL_TIMESTAMP,
        header::ORIGINAL_GROUP,
        header::ERROR_MESSAGE,
        header::ATTEMPTS,
        header::FIRST_FAILURE,
        header::LAST_FAILURE,
    ];
    assert_eq!(names, format);
    let texts = added
        .iter()
        .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        .collect::<Vec<_>>();
    assert_eq!(texts[0], *topic);
    assert_eq!((texts[1].parse(), texts[2].parse()), (Ok(receipt.partition), Ok(receipt.offset)));
    let stamped = OffsetDateTime::from(SystemTime::UNIX_EPOCH)
        + std::time::Duration::from_millis(texts[3].parse().expect("milliseconds"));
    let second = time::Duration::SECOND;
    assert!(stamped > before - second && stamped < after + second, "{stamped}");
    assert_eq!((&*texts[4], &*texts[5], &*texts[6]), (&*harness.fixture.name("g"), "no to 7", "3"));
    let (first, last) =
        (time_of(&letter, header::FIRST_FAILURE), time_of(&letter, header::LAST_FAILURE));
    assert!(before <= first && first < last && last <= after, "{before} {first} {last} {after}");
    // Two backoffs of 5 and 10 ms lie between the first and the last failure.
    assert!(last - first >= time::Duration::milliseconds(15), "{first} {last}");
    harness.end_clean(&bus).await;
}

/// The JSON form has exactly these five fields, with the original body in standard base64.
pub async fn d6_a_dead_letter_document_is_exact(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let subscription = bus.subscription(&topic).dead_letter_documents(&dead);
    subscription.envelopes(fails(&seen, |_| true)).await.expect("subscribes");
    // The base64 of these bytes has both special characters and padding.
    let torn = [0xfb, 0xff, 0xbe, 0x00];
    bus.publish(&topic, Record::new(torn.to_vec()).with_key("k")).await.expect("published");
    publish_numbers(&bus, &topic, "k", 7..8).await;
    let letters = harness.audit(&dead, 2).await;
    for (letter, retries) in letters.iter().zip([0, 0]) {
        assert_eq!(letter.key.as_deref(), Some(&b"k"[..]));
        let document: serde_json::Value = serde_json::from_slice(&letter.payload).expect("JSON");
        let fields: Vec<_> =
            document.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(fields.len(), 5, "{fields:?}");
        assert_eq!(document["original_topic"], *topic);
        assert_eq!(document["retry_count"], retries);
        OffsetDateTime::parse(document["timestamp"].as_str().expect("text"), &Rfc3339)
            .expect("RFC 3339");
    }
    let field = |at: usize, name: &str| {
        let document: serde_json::Value =
            serde_json::from_slice(&letters[at].payload).expect("JSON");
        document[name].as_str().expect("text").to_owned()
    };
    assert_eq!(field(0, "original_message"), "+/++AA==");
    assert!(field(0, "error").starts_with("not an envelope: "), "{}", field(0, "error"));
    assert_eq!(field(1, "error"), "no to 7");
    let original = BASE64_STANDARD.decode(field(1, "original_message")).expect("base64");
    let envelope = buslane_core::Envelope::decode(&original.into()).expect("the original envelope");
    assert_eq!((&*envelope.aggregate_id, &envelope.payload.as_bytes()[..]), ("k", &b"7"[..]));
    harness.end_clean(&bus).await;
}

/// A message without a body leaves a dead letter without one, if the broker distinguishes it from
/// an empty body.
pub async fn d6_the_dead_letter_of_a_message_without_a_body_has_none(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscription(&topic)
        .dead_letter(&dead)
        .envelopes(fails(&seen, |_| true))
        .await
        .expect("subscribes");
    for record in [Record::null(), Record::new("")] {
        bus.publish(&topic, record.with_key("k")).await.expect("published");
    }
    let letters = harness.audit(&dead, 2).await;
    let found: Vec<_> =
        letters.iter().map(|letter| (letter.is_null, letter.payload.len())).collect();
    assert_eq!(found, [(bus.backend() != Backend::Nats, 0), (false, 0)]);
    harness.end_clean(&bus).await;
}

/// The document counts the retries: all attempts except the first.
pub async fn d6_a_document_counts_the_retries(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let subscription = bus.subscription(&topic).dead_letter_documents(&dead);
    subscription.envelopes(fails(&seen, |_| true)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "k", 0..1).await;
    let letter = harness.audit(&dead, 1).await.remove(0);
    let document: serde_json::Value = serde_json::from_slice(&letter.payload).expect("JSON");
    assert_eq!((document["retry_count"].as_u64(), seen.len()), (Some(2), 3));
    harness.end_clean(&bus).await;
}

/// The dead letters of an aggregate keep its order, and can be published and handled again
/// unchanged.
pub async fn d6_dead_letters_can_be_replayed(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, failed) = (harness.bus("g").await, Seen::new());
    let subscription = bus.subscription(&topic).dead_letter(&dead);
    let subscription = subscription
        .envelopes(fails(&failed, |note| note.number() < 10))
        .await
        .expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..10).await;
    let letters = harness.audit(&dead, 10).await;
    harness.settled("g", &[&topic]).await;
    subscription.unsubscribe().await.expect("unsubscribes");
    let seen = Seen::new();
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    for letter in letters {
        bus.publish(&topic, Record::from(&letter)).await.expect("published");
    }
    let numbers: Vec<_> = seen.reached(10).await.iter().map(super::Note::number).collect();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
    harness.end_clean(&bus).await;
}

/// The error names the dead-letter topic and the remedy, and no subscription remains.
pub async fn d4_a_missing_dead_letter_topic_is_named_at_subscribe(harness: BusHarness) {
    let (topic, dead, other) =
        (harness.topic("orders"), harness.topic("dead"), harness.topic("other"));
    let (bus, faulty) = harness.faulty_bus(harness.config("g")).await;
    let seen = Seen::new();
    faulty.lack(&dead, BrokerError::UnknownTopic { topic: dead.clone() });
    let subscribed =
        bus.subscription(&topic).dead_letter(&dead).envelopes(fails(&seen, |_| true)).await;
    assert!(
        matches!(&subscribed, Err(BusError::DeadLetterTopic { dead_letters, .. }) if *dead_letters == dead)
    );
    let text = refused(subscribed);
    let expected = format!(
        "subscription to {topic}: dead letter topic {dead} cannot be written: topic {dead} does not exist; create it"
    );
    assert!(text.starts_with(&expected), "{text}");
    bus.subscription(&topic)
        .dead_letter(&other)
        .envelopes(fails(&seen, |_| true))
        .await
        .expect("nothing was left");
    // Regular messages leave no dead letters, so their subscription checks no dead-letter topic.
    bus.subscribe(&dead, notes_messages(&seen)).await.expect("subscribes");
    harness.end_clean(&bus).await;
}

/// An outage during the check of the dead-letter topic does not fail the subscription.
pub async fn d4_a_broker_that_is_away_does_not_fail_the_look_for_the_letters(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, faulty) = harness.faulty_bus(harness.config("g")).await;
    let seen = Seen::new();
    faulty.lack(&dead, BrokerError::Unreachable { reason: "cable".to_owned() });
    bus.subscription(&topic)
        .dead_letter(&dead)
        .envelopes(fails(&seen, |_| true))
        .await
        .expect("subscribes");
    let line = harness.logs.saying("dead letter topic not checked").remove(0);
    assert_eq!(line.field("dead_letters"), dead.as_str(), "{line}");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    assert_eq!(harness.audit(&dead, 1).await.len(), 1);
    harness.end_clean(&bus).await;
}

fn message_of(mut deliveries: Vec<Delivery>) -> Message {
    let message = deliveries[0].message.clone();
    buslane_testkit::broker_suite::settle(deliveries.drain(..));
    message
}

/// Topic, partition and offset of the newest origin: the last header of each name.
fn origin(letter: &Message) -> [String; 3] {
    [header::ORIGINAL_TOPIC, header::ORIGINAL_PARTITION, header::ORIGINAL_OFFSET].map(|name| {
        String::from_utf8_lossy(letter.headers.last(name).expect("the header of the format"))
            .into_owned()
    })
}

fn place(topic: &Topic, partition: u32, offset: u64) -> [String; 3] {
    [topic.to_string(), partition.to_string(), offset.to_string()]
}

/// A letter that is published again and fails leaves another letter. The last header of each name
/// describes the latest failure.
pub async fn d6_a_republished_letter_that_fails_again_leaves_another(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscription(&topic)
        .dead_letter(&dead)
        .envelopes(fails(&seen, |_| true))
        .await
        .expect("subscribes");
    let mut letters = harness.auditor(&dead).await;
    publish_numbers(&bus, &topic, "a", 0..1).await;
    let mut letter = message_of(letters.take(1).await);
    for life in 2..5 {
        let receipt = bus.publish(&topic, &letter).await.expect("published");
        assert!(!receipt.duplicate, "{receipt:?}");
        letter = message_of(letters.take(1).await);
        assert_eq!(origin(&letter), place(&topic, receipt.partition, receipt.offset));
        let origins =
            letter.headers.iter().filter(|(name, _)| *name == header::ORIGINAL_TOPIC).count();
        assert_eq!(origins, life, "earlier lives are kept");
    }
    harness.settled("g", &[&topic]).await;
    letters.close().await;
    harness.end_clean(&bus).await;
}

/// Two groups that give up the same message leave a letter each, and each letter names its group.
pub async fn d6_each_group_leaves_its_own_letter(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let mut buses = Vec::new();
    for group in ["one", "two"] {
        let (bus, seen) = (harness.bus(group).await, Seen::new());
        bus.subscription(&topic)
            .dead_letter(&dead)
            .envelopes(fails(&seen, |_| true))
            .await
            .expect("subscribes");
        buses.push(bus);
    }
    let mut letters = harness.auditor(&dead).await;
    publish_numbers(&buses[0], &topic, "a", 0..1).await;
    let mut groups = Vec::new();
    for _ in 0..2 {
        let letter = message_of(letters.take(1).await);
        let group = letter.headers.last(header::ORIGINAL_GROUP).expect("the header of the format");
        groups.push(String::from_utf8_lossy(group).into_owned());
    }
    groups.sort();
    assert_eq!(groups, ["one", "two"].map(|group| harness.fixture.name(group)));
    letters.close().await;
    for bus in &buses {
        harness.end_clean(bus).await;
    }
}

/// Two topics share a dead-letter topic. The same event at the same offset of both leaves one
/// letter for each topic.
pub async fn d6_each_topic_leaves_its_own_letter(harness: BusHarness) {
    let (one, two, dead) = (harness.topic("one"), harness.topic("two"), harness.topic("dead"));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let envelope = super::envelope("a", 1);
    for topic in [&one, &two] {
        bus.subscription(topic)
            .dead_letter(&dead)
            .envelopes(fails(&seen, |_| true))
            .await
            .expect("subscribes");
        super::publish(&bus, topic, std::slice::from_ref(&envelope)).await;
    }
    let mut topics: Vec<_> =
        harness.audit(&dead, 2).await.iter().map(|letter| origin(letter)[0].clone()).collect();
    topics.sort();
    assert_eq!(topics, [one.to_string(), two.to_string()]);
    harness.end_clean(&bus).await;
}

fn text<'a>(letter: &'a Message, name: &str) -> &'a str {
    let value =
        letter.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", letter.headers));
    std::str::from_utf8(value).expect("text")
}

/// An envelope with a large payload.
fn large(aggregate: &str, bytes: usize) -> buslane_core::Envelope {
    buslane_core::Envelope::new(aggregate.to_owned(), "Counted", &"x".repeat(bytes)).expect("JSON")
}

/// A handler that rejects every envelope with a short error.
fn refuses() -> impl Handler<Event> {
    super::now(|_: Event| Err::<(), _>("no"))
}

/// Only the body is cut, and the key continues.
pub async fn d6_a_letter_with_too_large_a_body_says_what_was_cut(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, faulty) = harness.faulty_bus(harness.config("g")).await;
    bus.subscription(&topic).dead_letter(&dead).envelopes(refuses()).await.expect("subscribes");
    faulty.limit(&dead, 30_000);
    let envelope = large("a", 100_000);
    let body = envelope.encode().expect("valid");
    let receipt = bus.publish_envelope(&topic, &envelope).await.expect("published");
    publish_numbers(&bus, &topic, "a", 7..8).await;
    let letters = harness.audit(&dead, 2).await;
    let cut = &letters[0];
    assert_eq!(text(cut, header::TRUNCATED), format!("body 16384 of {}", body.len()));
    assert_eq!((&cut.payload[..], cut.key.as_deref()), (&body[..16_384], Some(&b"a"[..])));
    assert_eq!(text(cut, header::AGGREGATE_ID), "a");
    let place = [header::ORIGINAL_TOPIC, header::ORIGINAL_PARTITION, header::ORIGINAL_OFFSET]
        .map(|name| text(cut, name));
    assert_eq!(
        place,
        [topic.as_str(), &receipt.partition.to_string(), &receipt.offset.to_string()]
    );
    assert_eq!(letters[1].headers.get(header::TRUNCATED), None, "the next one fits");
    let line = harness.logs.saying("dead letter reduced").remove(0);
    assert_eq!(line.field("cut"), text(cut, header::TRUNCATED), "{line}");
    harness.settled("g", &[&topic]).await;
    assert_eq!(bus.pool_stats().blocked_lanes, 0);
    harness.end_clean(&bus).await;
}

/// Headers and key are cut when cutting the body is not enough.
pub async fn d6_a_letter_with_too_large_headers_or_key_is_cut_too(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, faulty) = harness.faulty_bus(harness.config("g")).await;
    let seen = Seen::new();
    bus.subscription(&topic)
        .dead_letter(&dead)
        .envelopes(fails(&seen, |_| true))
        .await
        .expect("subscribes");
    faulty.limit(&dead, 8_000);
    let (body, long) = (super::envelope("a", 1).encode().expect("valid"), "h".repeat(20_000));
    let headers = |list: &[(&str, &str)]| {
        list.iter().map(|(name, value)| (*name, value.as_bytes())).collect::<Headers>()
    };
    let list = [("X-Aggregate-ID", "a"), ("long", long.as_str()), ("short", "kept")];
    bus.publish(&topic, Record::new(body.clone()).with_headers(headers(&list)).with_key("k"))
        .await
        .expect("published");
    let letter = harness.audit(&dead, 1).await.remove(0);
    assert_eq!(text(&letter, header::TRUNCATED), "headers 2 of 3");
    assert_eq!(
        (&letter.payload, text(&letter, "short"), letter.headers.get("long")),
        (&body, "kept", None)
    );
    let list = [("X-Aggregate-ID", "a")];
    bus.publish(&topic, Record::new(body.clone()).with_headers(headers(&list)).with_key(long))
        .await
        .expect("published");
    let letter = harness.audit(&dead, 1).await.remove(0);
    let cuts = format!("body 0 of {}, headers 0 of 1, key 256 of 20000", body.len());
    assert_eq!(
        (text(&letter, header::TRUNCATED), letter.key.as_deref()),
        (&*cuts, Some(&[b'h'; 256][..]))
    );
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// An error text is cut at 4 KiB, between two characters, even if the letter would fit.
pub async fn d6_a_long_error_is_cut(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let bus = harness.bus("g").await;
    let error = format!("x{}", "ü".repeat(50_000));
    let told = error.clone();
    let handler = super::now(move |_: Event| Err::<(), _>(told.clone()));
    bus.subscription(&topic).dead_letter(&dead).envelopes(handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    let letter = harness.audit(&dead, 1).await.remove(0);
    assert_eq!(text(&letter, header::ERROR_MESSAGE), &error[..4_095]);
    assert_eq!(text(&letter, header::TRUNCATED), "error 4095 of 100001");
    harness.end_clean(&bus).await;
}

/// A document that is too large is cut like a letter, and names the position of the original.
pub async fn d6_a_document_that_is_too_large_says_what_was_cut(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, faulty) = harness.faulty_bus(harness.config("g")).await;
    let subscription = bus.subscription(&topic).dead_letter_documents(&dead);
    subscription.envelopes(refuses()).await.expect("subscribes");
    faulty.limit(&dead, 30_000);
    let envelope = large("a", 28_000);
    let body = envelope.encode().expect("valid");
    let receipt = bus.publish_envelope(&topic, &envelope).await.expect("published");
    let letter = harness.audit(&dead, 1).await.remove(0);
    let document: serde_json::Value = serde_json::from_slice(&letter.payload).expect("JSON");
    assert_eq!(document["truncated"], format!("body 16384 of {}", body.len()));
    assert_eq!(document["original_topic"], *topic);
    assert_eq!(document["original_partition"], receipt.partition);
    assert_eq!(document["original_offset"], receipt.offset);
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// A topic that refuses even the smallest form blocks the key, and the logged reason names that
/// form. A letter that is refused for a reason other than its size is not cut.
pub async fn d4_a_letter_that_is_refused_in_every_form_blocks(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, faulty) = harness.faulty_bus(harness.config("g")).await;
    let seen: Arc<Seen<Note>> = Seen::new();
    bus.subscription(&topic)
        .dead_letter(&dead)
        .envelopes(fails(&seen, |_| true))
        .await
        .expect("subscribes");
    faulty.limit(&dead, 10);
    publish_numbers(&bus, &topic, "a", 0..1).await;
    let said = "dead letter not written, key blocked";
    buslane_testkit::deadline::until("a try to write it", || !harness.logs.saying(said).is_empty())
        .await;
    let line = harness.logs.saying(said).remove(0);
    assert!(line.field("reason").contains("smallest form"), "{line}");
    assert!(line.field("reason").contains("permanent"), "{line}");
    faulty.limit(&dead, usize::MAX);
    let letter = harness.audit(&dead, 1).await.remove(0);
    assert_eq!(
        letter.headers.get(header::TRUNCATED),
        None,
        "it is whole as soon as the topic takes it"
    );
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}
