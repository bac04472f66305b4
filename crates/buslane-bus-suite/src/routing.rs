//! Where the key of a message comes from.

use super::{BusHarness, Seen, envelope, notes_events, notes_messages};
use buslane_core::{Headers, Record, broker::header};

fn headers(list: &[(&str, &str)]) -> Headers {
    list.iter().map(|(name, value)| (*name, value.as_bytes())).collect()
}

/// The record of an envelope without key and headers, as a foreign producer may send it.
fn bare(aggregate: &str, n: usize) -> Record {
    Record::new(envelope(aggregate, n).encode().expect("a valid envelope"))
}

/// Each spelling of the header works for both kinds, and the spelling with the higher priority wins
/// wherever it stands.
pub async fn r1_every_header_spelling_names_the_key_in_its_priority(harness: BusHarness) {
    let (raw, events) = (harness.topic("raw"), harness.topic("events"));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscribe(&raw, notes_messages(&seen)).await.expect("subscribes");
    bus.subscribe_envelopes(&events, notes_events(&seen)).await.expect("subscribes");
    let spellings = header::AGGREGATE_ID_SPELLINGS;
    assert_eq!(
        spellings,
        ["X-Aggregate-ID", "x-aggregate-id", "Aggregate-ID", "aggregate-id", "aggregateID"]
    );
    let mut expected = Vec::new();
    for at in 0..spellings.len() {
        let right = format!("right-{at}");
        // From here on, the last one first: only the first spelling counts.
        let mut list: Vec<_> =
            spellings[at + 1..].iter().rev().map(|name| (*name, "wrong")).collect();
        list.push((spellings[at], right.as_str()));
        let record = Record::new("x").with_key("record-key").with_headers(headers(&list));
        bus.publish(&raw, record).await.expect("published");
        bus.publish(&events, bare(&right, at).with_headers(headers(&list)))
            .await
            .expect("published");
        expected.extend([right.clone(), right]);
    }
    let mut labels: Vec<_> =
        seen.reached(expected.len()).await.into_iter().map(|note| note.label).collect();
    labels.sort();
    assert_eq!(labels, expected);
    harness.end_clean(&bus).await;
}

/// A header of a regular message that is no aggregate id is ignored.
pub async fn r1_a_header_that_is_no_aggregate_id_is_passed_over(harness: BusHarness) {
    let topic = harness.topic("raw");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscribe(&topic, notes_messages(&seen)).await.expect("subscribes");
    for (at, list) in [
        &[("X-Aggregate-ID", ""), ("aggregate-id", "good")][..],
        &[("X-Aggregate-ID", "not allowed"), ("aggregateID", "good")],
        &[("X-AGGREGATE-ID", "unknown spelling")],
    ]
    .into_iter()
    .enumerate()
    {
        let record = Record::new(at.to_string()).with_key("key").with_headers(headers(list));
        bus.publish(&topic, record).await.expect("published");
    }
    let mut labels: Vec<_> =
        seen.reached(3).await.into_iter().map(|note| (note.body, note.label)).collect();
    labels.sort();
    assert_eq!(
        labels,
        [("0".into(), "good".into()), ("1".into(), "good".into()), ("2".into(), "key".to_owned())]
    );
    harness.end_clean(&bus).await;
}

/// An envelope whose header is no aggregate id is invalid, with a typed error and without an
/// attempt, whatever its body or later headers contain. It is given up in the lane of its body's
/// aggregate.
pub async fn r1_a_header_that_is_no_aggregate_id_makes_an_envelope_invalid(harness: BusHarness) {
    for (what, ordered) in [("ordered", true), ("unordered", false)] {
        let (topic, dead) = (harness.topic(what), harness.topic(&format!("{what}.dead")));
        let (bus, seen) = (harness.bus("g").await, Seen::new());
        let subscription = bus.subscription(&topic).ordered(ordered).dead_letter(&dead);
        subscription.envelopes(notes_events(&seen)).await.expect("subscribes");
        let blank = "header X-Aggregate-ID: aggregate_id is required";
        let space = "header aggregate-id: invalid aggregate_id: byte 0x20 at index 3";
        let cases = [
            (&[("X-Aggregate-ID", "")][..], blank),
            (&[("X-Aggregate-ID", ""), ("aggregate-id", "body")], blank),
            (&[("aggregate-id", "not allowed")], space),
        ];
        for (list, _) in cases {
            bus.publish(&topic, bare("body", 1).with_headers(headers(list)))
                .await
                .expect("published");
        }
        let mut errors = Vec::new();
        for letter in harness.audit(&dead, cases.len()).await {
            assert_eq!(letter.headers.get(header::ATTEMPTS), Some(&b"1"[..]));
            errors.push(
                String::from_utf8_lossy(
                    letter.headers.get(header::ERROR_MESSAGE).unwrap_or_default(),
                )
                .into_owned(),
            );
        }
        errors.sort();
        assert!(
            errors[0].starts_with(blank) && errors[1] == errors[0] && errors[2].starts_with(space),
            "{errors:?}"
        );
        assert!(seen.is_empty());
        bus.publish(&topic, bare("body", 2)).await.expect("published");
        assert_eq!(seen.reached(1).await[0].number(), 2);
        harness.end_clean(&bus).await;
    }
}

/// The body names the key of an envelope; the record key that of a regular message.
pub async fn r1_without_a_header_the_body_or_the_record_key_names_the_key(harness: BusHarness) {
    let (raw, events) = (harness.topic("raw"), harness.topic("events"));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscribe(&raw, notes_messages(&seen)).await.expect("subscribes");
    bus.subscribe_envelopes(&events, notes_events(&seen)).await.expect("subscribes");
    bus.publish(&events, bare("from-body", 1).with_key("record-key")).await.expect("published");
    assert_eq!(seen.reached(1).await[0].label, "from-body");
    bus.publish(&raw, bare("from-body", 1).with_key("record key, any bytes"))
        .await
        .expect("published");
    assert_eq!(seen.reached(2).await[1].label, "record key, any bytes");
    bus.publish(&raw, bare("from-body", 1)).await.expect("published");
    assert_eq!(seen.reached(3).await[2].label, "rr-0");
    harness.end_clean(&bus).await;
}

/// An envelope whose header and body name different aggregates is invalid, with a typed error and
/// without an attempt, also for an unordered subscription.
pub async fn r1_header_and_body_that_differ_are_invalid(harness: BusHarness) {
    for (what, ordered) in [("ordered", true), ("unordered", false)] {
        let (topic, dead) = (harness.topic(what), harness.topic(&format!("{what}.dead")));
        let (bus, seen) = (harness.bus("g").await, Seen::new());
        let subscription = bus.subscription(&topic).ordered(ordered).dead_letter(&dead);
        subscription.envelopes(notes_events(&seen)).await.expect("subscribes");
        let record = bare("body", 1).with_headers(headers(&[("aggregate-id", "header")]));
        bus.publish(&topic, record).await.expect("published");
        let letter = harness.audit(&dead, 1).await.remove(0);
        let text = |name| {
            letter.headers.get(name).map(String::from_utf8_lossy).unwrap_or_default().into_owned()
        };
        let error = r#"aggregate_id differs: header says "header", body says "body""#;
        assert_eq!(
            (text(header::ERROR_MESSAGE).as_str(), text(header::ATTEMPTS).as_str()),
            (error, "1")
        );
        assert!(seen.is_empty());
        harness.end_clean(&bus).await;
    }
}

/// The extractor sees headers and body, and its key counts; `None` is round robin.
pub async fn r1_a_subscription_can_bring_its_own_extractor(harness: BusHarness) {
    let topic = harness.topic("raw");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let extract = |headers: &Headers, body: &bytes::Bytes| {
        headers.get("tenant").map(|tenant| [tenant, b"/", &body[..1]].concat().into())
    };
    bus.subscription(&topic)
        .key(extract)
        .messages(notes_messages(&seen))
        .await
        .expect("subscribes");
    let record =
        Record::new("xyz").with_headers(headers(&[("X-Aggregate-ID", "a"), ("tenant", "t")]));
    bus.publish(&topic, record).await.expect("published");
    assert_eq!(seen.reached(1).await[0].label, "t/x");
    bus.publish(&topic, Record::new("xyz").with_key("k")).await.expect("published");
    assert_eq!(seen.reached(2).await[1].label, "rr-0");
    harness.end_clean(&bus).await;
}

/// An extractor that panics does not end reading: its message has the key that it would have
/// without an extractor.
pub async fn r1_an_extractor_that_panics_loses_nothing(harness: BusHarness) {
    let topic = harness.topic("raw");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let extract = |_: &Headers, body: &bytes::Bytes| match &body[..] {
        b"panic" => std::panic::resume_unwind(Box::new("no key here")),
        b"empty" => Some(bytes::Bytes::new()),
        _ => Some("own".into()),
    };
    bus.subscription(&topic)
        .key(extract)
        .messages(notes_messages(&seen))
        .await
        .expect("subscribes");
    for body in ["one", "panic", "empty", "two"] {
        bus.publish(&topic, Record::new(body).with_key("k")).await.expect("published");
    }
    let mut labels: Vec<_> =
        seen.reached(4).await.into_iter().map(|note| (note.body, note.label)).collect();
    labels.sort();
    let expected = [("empty", "rr-0"), ("one", "own"), ("panic", "k"), ("two", "own")];
    assert_eq!(labels, expected.map(|(body, label)| (body.to_owned(), label.to_owned())));
    let lines = harness.logs.saying("key extractor panicked");
    assert_eq!(
        lines.iter().map(|line| (line.field("kind"), line.field("error"))).collect::<Vec<_>>(),
        [("regular", "no key here")]
    );
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}
