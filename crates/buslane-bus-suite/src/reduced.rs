//! Dead letters that do not fit: cut until they do, and each says what was cut. Its key goes on.

use super::{Ground, Note, Seen, fails, publish_numbers};
use buslane_core::{Event, Handler, Headers, Message, Record, broker::header};
use std::sync::Arc;

fn text<'a>(letter: &'a Message, name: &str) -> &'a str {
    let value =
        letter.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", letter.headers));
    std::str::from_utf8(value).expect("text")
}

/// An envelope with a large payload.
fn large(aggregate: &str, bytes: usize) -> buslane_core::Envelope {
    buslane_core::Envelope::new(aggregate.to_owned(), "Counted", &"x".repeat(bytes)).expect("JSON")
}

/// Gives up everything, in few words.
fn refuses() -> impl Handler<Event> {
    super::now(|_: Event| Err::<(), _>("no"))
}

/// The body is cut, all else is kept, and the key goes on.
pub async fn d6_a_letter_with_too_large_a_body_says_what_was_cut(ground: Ground) {
    let (topic, dead) = (ground.topic("orders"), ground.topic("dead"));
    let (bus, meddler) = ground.meddled(ground.config("g")).await;
    bus.subscription(&topic).dead_letter(&dead).envelopes(refuses()).await.expect("subscribes");
    meddler.limit(&dead, 30_000);
    let envelope = large("a", 100_000);
    let body = envelope.encode().expect("valid");
    let receipt = bus.publish_envelope(&topic, &envelope).await.expect("published");
    publish_numbers(&bus, &topic, "a", 7..8).await;
    let letters = ground.audit(&dead, 2).await;
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
    let line = ground.journal.saying("dead letter reduced").remove(0);
    assert_eq!(line.field("cut"), text(cut, header::TRUNCATED), "{line}");
    ground.settled("g", &[&topic]).await;
    assert_eq!(bus.pool_stats().blocked_lanes, 0);
    ground.end_clean(&bus).await;
}

/// Headers and key are cut where cutting the body does not help.
pub async fn d6_a_letter_with_too_large_headers_or_key_is_cut_too(ground: Ground) {
    let (topic, dead) = (ground.topic("orders"), ground.topic("dead"));
    let (bus, meddler) = ground.meddled(ground.config("g")).await;
    let seen = Seen::new();
    bus.subscription(&topic)
        .dead_letter(&dead)
        .envelopes(fails(&seen, |_| true))
        .await
        .expect("subscribes");
    meddler.limit(&dead, 8_000);
    let (body, long) = (super::envelope("a", 1).encode().expect("valid"), "h".repeat(20_000));
    let headers = |list: &[(&str, &str)]| {
        list.iter().map(|(name, value)| (*name, value.as_bytes())).collect::<Headers>()
    };
    let list = [("X-Aggregate-ID", "a"), ("long", long.as_str()), ("short", "kept")];
    bus.publish(&topic, Record::new(body.clone()).with_headers(headers(&list)).with_key("k"))
        .await
        .expect("published");
    let letter = ground.audit(&dead, 1).await.remove(0);
    assert_eq!(text(&letter, header::TRUNCATED), "headers 2 of 3");
    assert_eq!(
        (&letter.payload, text(&letter, "short"), letter.headers.get("long")),
        (&body, "kept", None)
    );
    let list = [("X-Aggregate-ID", "a")];
    bus.publish(&topic, Record::new(body.clone()).with_headers(headers(&list)).with_key(long))
        .await
        .expect("published");
    let letter = ground.audit(&dead, 1).await.remove(0);
    let cuts = format!("body 0 of {}, headers 0 of 1, key 256 of 20000", body.len());
    assert_eq!(
        (text(&letter, header::TRUNCATED), letter.key.as_deref()),
        (&*cuts, Some(&[b'h'; 256][..]))
    );
    ground.settled("g", &[&topic]).await;
    ground.end_clean(&bus).await;
}

/// An error's text is cut at 4 KiB, between two characters, though the letter would fit.
pub async fn d6_a_long_error_is_cut(ground: Ground) {
    let (topic, dead) = (ground.topic("orders"), ground.topic("dead"));
    let bus = ground.bus("g").await;
    let error = format!("x{}", "ü".repeat(50_000));
    let told = error.clone();
    let handler = super::now(move |_: Event| Err::<(), _>(told.clone()));
    bus.subscription(&topic).dead_letter(&dead).envelopes(handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    let letter = ground.audit(&dead, 1).await.remove(0);
    assert_eq!(text(&letter, header::ERROR_MESSAGE), &error[..4_095]);
    assert_eq!(text(&letter, header::TRUNCATED), "error 4095 of 100001");
    ground.end_clean(&bus).await;
}

/// A document is cut in the same way, and says where the original is.
pub async fn d6_a_document_that_is_too_large_says_what_was_cut(ground: Ground) {
    let (topic, dead) = (ground.topic("orders"), ground.topic("dead"));
    let (bus, meddler) = ground.meddled(ground.config("g")).await;
    let subscription = bus.subscription(&topic).dead_letter_documents(&dead);
    subscription.envelopes(refuses()).await.expect("subscribes");
    meddler.limit(&dead, 30_000);
    let envelope = large("a", 28_000);
    let body = envelope.encode().expect("valid");
    let receipt = bus.publish_envelope(&topic, &envelope).await.expect("published");
    let letter = ground.audit(&dead, 1).await.remove(0);
    let document: serde_json::Value = serde_json::from_slice(&letter.payload).expect("JSON");
    assert_eq!(document["truncated"], format!("body 16384 of {}", body.len()));
    assert_eq!(document["original_topic"], *topic);
    assert_eq!(document["original_partition"], receipt.partition);
    assert_eq!(document["original_offset"], receipt.offset);
    ground.settled("g", &[&topic]).await;
    ground.end_clean(&bus).await;
}

/// A topic that does not take even the smallest form blocks the key, and the reason says so. What
/// is refused for another reason than its size is not cut.
pub async fn d4_a_letter_that_is_refused_in_every_form_blocks(ground: Ground) {
    let (topic, dead) = (ground.topic("orders"), ground.topic("dead"));
    let (bus, meddler) = ground.meddled(ground.config("g")).await;
    let seen: Arc<Seen<Note>> = Seen::new();
    bus.subscription(&topic)
        .dead_letter(&dead)
        .envelopes(fails(&seen, |_| true))
        .await
        .expect("subscribes");
    meddler.limit(&dead, 10);
    publish_numbers(&bus, &topic, "a", 0..1).await;
    let said = "dead letter not written, key blocked";
    buslane_testkit::deadline::until("a try to write it", || {
        !ground.journal.saying(said).is_empty()
    })
    .await;
    let line = ground.journal.saying(said).remove(0);
    assert!(line.field("reason").contains("smallest form"), "{line}");
    assert!(line.field("reason").contains("permanent"), "{line}");
    meddler.limit(&dead, usize::MAX);
    let letter = ground.audit(&dead, 1).await.remove(0);
    assert_eq!(
        letter.headers.get(header::TRUNCATED),
        None,
        "it is whole as soon as the topic takes it"
    );
    ground.settled("g", &[&topic]).await;
    ground.end_clean(&bus).await;
}
