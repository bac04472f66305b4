//! What a dead letter looks like, byte for byte.

use super::{Ground, Seen, fails, notes_events, publish_numbers};
use base64::{Engine, prelude::BASE64_STANDARD};
use buslane_core::{Backend, Headers, Message, Record, broker::header};
use std::time::SystemTime;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The time that a header says.
fn time_of(letter: &Message, name: &str) -> OffsetDateTime {
    let text = letter.headers.get(name).map(String::from_utf8_lossy).unwrap_or_default();
    OffsetDateTime::parse(&text, &Rfc3339).expect("RFC 3339")
}

/// Payload, key and headers untouched, duplicates in order; behind them the nine headers of the
/// format.
pub async fn d6_a_dead_letter_keeps_the_original_and_says_why(ground: Ground) {
    let (topic, dead) = (ground.topic("orders"), ground.topic("dead"));
    let (bus, seen) = (ground.bus("g").await, Seen::new());
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
    let letter = ground.audit(&dead, 1).await.remove(0);
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
    assert_eq!((&*texts[4], &*texts[5], &*texts[6]), (&*ground.fixture.name("g"), "no to 7", "3"));
    let (first, last) =
        (time_of(&letter, header::FIRST_FAILURE), time_of(&letter, header::LAST_FAILURE));
    assert!(before <= first && first < last && last <= after, "{before} {first} {last} {after}");
    // Two waits of 5 and 10 ms lie between them.
    assert!(last - first >= time::Duration::milliseconds(15), "{first} {last}");
    ground.end_clean(&bus).await;
}

/// The JSON form: these five fields, the original body in standard base64.
pub async fn d6_a_dead_letter_document_is_exact(ground: Ground) {
    let (topic, dead) = (ground.topic("orders"), ground.topic("dead"));
    let (bus, seen) = (ground.bus("g").await, Seen::new());
    let subscription = bus.subscription(&topic).dead_letter_documents(&dead);
    subscription.envelopes(fails(&seen, |_| true)).await.expect("subscribes");
    // Bytes whose base64 has both special characters and padding.
    let torn = [0xfb, 0xff, 0xbe, 0x00];
    bus.publish(&topic, Record::new(torn.to_vec()).with_key("k")).await.expect("published");
    publish_numbers(&bus, &topic, "k", 7..8).await;
    let letters = ground.audit(&dead, 2).await;
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
    ground.end_clean(&bus).await;
}

/// What has no body leaves a dead letter without one, where the broker tells it from an empty body.
pub async fn d6_the_dead_letter_of_a_message_without_a_body_has_none(ground: Ground) {
    let (topic, dead) = (ground.topic("orders"), ground.topic("dead"));
    let (bus, seen) = (ground.bus("g").await, Seen::new());
    bus.subscription(&topic)
        .dead_letter(&dead)
        .envelopes(fails(&seen, |_| true))
        .await
        .expect("subscribes");
    for record in [Record::null(), Record::new("")] {
        bus.publish(&topic, record.with_key("k")).await.expect("published");
    }
    let letters = ground.audit(&dead, 2).await;
    let found: Vec<_> =
        letters.iter().map(|letter| (letter.is_null, letter.payload.len())).collect();
    assert_eq!(found, [(bus.backend() != Backend::Nats, 0), (false, 0)]);
    ground.end_clean(&bus).await;
}

/// Retries are counted in the document: attempts but the first.
pub async fn d6_a_document_counts_the_retries(ground: Ground) {
    let (topic, dead) = (ground.topic("orders"), ground.topic("dead"));
    let (bus, seen) = (ground.bus("g").await, Seen::new());
    let subscription = bus.subscription(&topic).dead_letter_documents(&dead);
    subscription.envelopes(fails(&seen, |_| true)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "k", 0..1).await;
    let letter = ground.audit(&dead, 1).await.remove(0);
    let document: serde_json::Value = serde_json::from_slice(&letter.payload).expect("JSON");
    assert_eq!((document["retry_count"].as_u64(), seen.len()), (Some(2), 3));
    ground.end_clean(&bus).await;
}

/// Dead letters of an aggregate stand in its order, and can be published and handled again as they
/// are.
pub async fn d6_dead_letters_can_be_replayed(ground: Ground) {
    let (topic, dead) = (ground.topic("orders"), ground.topic("dead"));
    let (bus, failed) = (ground.bus("g").await, Seen::new());
    let subscription = bus.subscription(&topic).dead_letter(&dead);
    let subscription = subscription
        .envelopes(fails(&failed, |note| note.number() < 10))
        .await
        .expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..10).await;
    let letters = ground.audit(&dead, 10).await;
    ground.settled("g", &[&topic]).await;
    subscription.unsubscribe().await.expect("unsubscribes");
    let seen = Seen::new();
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    for letter in letters {
        let record = Record {
            key: letter.key,
            headers: letter.headers,
            payload: letter.payload,
            is_null: letter.is_null,
        };
        bus.publish(&topic, record).await.expect("published");
    }
    let numbers: Vec<_> = seen.reached(10).await.iter().map(super::Note::number).collect();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
    ground.end_clean(&bus).await;
}
