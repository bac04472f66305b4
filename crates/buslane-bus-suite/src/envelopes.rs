//! Envelopes on their way through a bus: sent, refused, and parsed.

use super::{BusHarness, Seen, envelope, harness::refused, notes_messages, now};
use buslane::BusError;
use buslane_core::{Envelope, Event, Headers, Message, RawJson, Record, broker::header};
use std::sync::Arc;

/// All fields arrive, including trace, correlation and tenant.
pub async fn e1_all_fields_make_the_round_trip(harness: BusHarness) {
    let topic = harness.topic("orders");
    let bus = harness.bus("g").await;
    let seen = Seen::<Envelope>::new();
    let into = Arc::clone(&seen);
    bus.subscribe_envelopes(&topic, now(move |event: Event| into.push(event.envelope)))
        .await
        .expect("subscribes");
    let mut full = envelope("order:7/eu_1-a.b", 7);
    (full.event_version, full.tenant_id) = (12, -3);
    (full.trace_id, full.correlation_id) = ("trace".into(), "corr \"quoted\" é".into());
    let plain = Envelope::new(
        "order:7/eu_1-a.b",
        "Plain",
        &serde_json::json!({"deep": [null, {"x": 1e3}]}),
    );
    let plain = plain.expect("JSON");
    bus.publish_envelope(&topic, &full).await.expect("published");
    bus.publish_envelope(&topic, &plain).await.expect("published");
    assert_eq!(seen.reached(2).await, [full, plain]);
    harness.end_clean(&bus).await;
}

/// The record key is the aggregate id. The headers are exactly those of the format, in this order.
pub async fn e4_the_record_has_exactly_the_key_and_headers_of_the_format(harness: BusHarness) {
    let topic = harness.topic("orders");
    let bus = harness.bus("g").await;
    let plain = envelope("order-1", 1);
    let mut full = envelope("order-1", 2);
    (full.event_version, full.tenant_id) = (3, 42);
    (full.trace_id, full.correlation_id) = ("t".into(), "c".into());
    bus.publish_envelope(&topic, &plain).await.expect("published");
    bus.publish_envelope(&topic, &full).await.expect("published");
    let records = harness.audit(&topic, 2).await;
    let text = |record: &Message| {
        let pair =
            |(name, value): (&str, &[u8])| format!("{name}={}", String::from_utf8_lossy(value));
        record.headers.iter().map(pair).collect::<Vec<_>>()
    };
    let event_id = |envelope: &Envelope| format!("X-Event-ID={}", envelope.event_id);
    let common = ["X-Aggregate-ID=order-1", "X-Event-Version=1", "X-Event-Type=Counted"];
    assert_eq!(text(&records[0]), [&[event_id(&plain).as_str()], &common[..]].concat());
    let more =
        ["X-Aggregate-ID=order-1", "X-Event-Version=3", "X-Event-Type=Counted", "X-Trace-ID=t"];
    let rest = ["X-Correlation-ID=c", "X-Tenant-ID=42"];
    assert_eq!(text(&records[1]), [&[event_id(&full).as_str()], &more[..], &rest[..]].concat());
    for (record, sent) in records.iter().zip([plain, full]) {
        assert_eq!(record.key.as_deref(), Some(&b"order-1"[..]));
        assert_eq!(Envelope::decode(&record.payload), Ok(sent));
    }
    harness.end_clean(&bus).await;
}

/// Each invalid envelope has a distinct error, which names the field. Neither the envelope nor any
/// other record of the call is sent.
pub async fn e2_an_invalid_envelope_is_refused_before_the_broker(harness: BusHarness) {
    let topic = harness.topic("orders");
    let bus = harness.bus("g").await;
    let with = |change: &dyn Fn(&mut Envelope)| {
        let mut envelope = envelope("a", 1);
        change(&mut envelope);
        envelope
    };
    let table = [
        (with(&|envelope| envelope.event_id = " ".into()), "event_id is required"),
        (with(&|envelope| envelope.aggregate_id = "".into()), "aggregate_id is required"),
        (
            with(&|envelope| envelope.aggregate_id = "a".repeat(257).into()),
            "invalid aggregate_id: 257 bytes",
        ),
        (
            with(&|envelope| envelope.aggregate_id = "a b".into()),
            "invalid aggregate_id: byte 0x20 at index 1",
        ),
        (with(&|envelope| envelope.event_type = "".into()), "event_type is required"),
        (with(&|envelope| envelope.event_version = 0), "event_version must be positive, found 0"),
        (with(&|envelope| envelope.event_version = -1), "event_version must be positive, found -1"),
        (with(&|envelope| envelope.payload = RawJson::default()), "payload is required"),
    ];
    for (invalid, text) in &table {
        let error = bus.publish_envelope(&topic, invalid).await.expect_err("invalid");
        assert!(
            matches!(error, BusError::Envelope(_)) && error.to_string().starts_with(text),
            "{error}"
        );
        let batch = [envelope("a", 0), invalid.clone()];
        let error = bus.publish_envelopes(&topic, &batch).await.expect_err("invalid");
        assert!(error.to_string().starts_with(text), "{error}");
    }
    assert_eq!(refused(bus.publish("", "x").await), "invalid topic \"\": a topic needs a name");
    assert!(
        refused(bus.publish_envelope("a b", envelope("a", 1)).await)
            .starts_with("invalid topic \"a b\"")
    );
    bus.publish_envelope(&topic, envelope("a", 99)).await.expect("published");
    let first = harness.audit(&topic, 1).await.remove(0);
    assert_eq!(
        Envelope::decode(&first.payload).expect("an envelope").payload.as_bytes(),
        "99",
        "nothing was sent before"
    );
    harness.end_clean(&bus).await;
}

/// A hundred tasks encode concurrently, and every envelope arrives unchanged.
pub async fn e1_concurrent_encoding_does_not_mix_envelopes(harness: BusHarness) {
    let topic = harness.topic("orders");
    let bus = harness.bus("g").await;
    let seen = Seen::<Envelope>::new();
    let into = Arc::clone(&seen);
    bus.subscribe_envelopes(&topic, now(move |event: Event| into.push(event.envelope)))
        .await
        .expect("subscribes");
    let publishers: Vec<_> = (0..100)
        .map(|n| {
            let (bus, topic) = (bus.clone(), topic.clone());
            tokio::spawn(async move {
                let mut envelope = envelope(&format!("a{n}"), n);
                envelope.trace_id = "x".repeat(n).into();
                bus.publish_envelope(&topic, &envelope).await.expect("published");
                envelope
            })
        })
        .collect();
    let mut sent = Vec::new();
    for publisher in publishers {
        sent.push(publisher.await.expect("no panic"));
    }
    let mut got = seen.reached(100).await;
    let by_id = |one: &Envelope, other: &Envelope| one.event_id.cmp(&other.event_id);
    sent.sort_by(by_id);
    got.sort_by(by_id);
    assert_eq!(got, sent);
    harness.end_clean(&bus).await;
}

/// The payload of a handler is a slice of the broker's bytes, neither copied nor encoded again.
pub async fn e5_the_payload_is_a_part_of_the_body_in_every_attempt(harness: BusHarness) {
    let topic = harness.topic("orders");
    let bus = harness.bus("g").await;
    let seen = Seen::new();
    let into = Arc::clone(&seen);
    let handler = now(move |event: Event| {
        let (body, payload) =
            (event.message.payload.as_ptr_range(), event.payload.as_bytes().as_ptr());
        into.push((body.contains(&payload), event.message.attempt));
        if event.message.attempt < 3 { Err("again") } else { Ok(()) }
    });
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    bus.publish_envelope(&topic, envelope("a", 1)).await.expect("published");
    assert_eq!(seen.reached(3).await, [(true, 1), (true, 2), (true, 3)]);
    harness.end_clean(&bus).await;
}

/// An aggregate header decides the lane without the body. Even an unreadable envelope is given up
/// in the lane that its header names.
pub async fn e5_a_header_routes_without_the_body(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, seen, labels) = (harness.bus("g").await, Seen::new(), Seen::new());
    bus.subscribe(&dead, notes_messages(&seen)).await.expect("subscribes");
    let (into, gate) = (Arc::clone(&labels), Arc::new(buslane_testkit::signal::Gate::default()));
    let opened = Arc::clone(&gate);
    let handler = move |event: Event| {
        let (into, gate) = (Arc::clone(&into), Arc::clone(&opened));
        async move {
            into.push(event.message.routing_label());
            gate.wait().await;
        }
    };
    bus.subscription(&topic).dead_letter(&dead).envelopes(handler).await.expect("subscribes");
    bus.publish_envelope(&topic, envelope("a", 1)).await.expect("published");
    labels.reached(1).await;
    let headers: Headers = [(header::AGGREGATE_ID, &b"a"[..])].into_iter().collect();
    let torn = Record::new(r#"{"aggregate_id": "b", "#).with_key("a").with_headers(headers);
    bus.publish(&topic, torn).await.expect("published");
    bus.publish_envelope(&topic, envelope("b", 1)).await.expect("published");
    labels.reached(2).await;
    assert!(seen.is_empty(), "the torn one waits for its lane: {:?}", seen.all());
    gate.open();
    assert_eq!(seen.reached(1).await[0].body, r#"{"aggregate_id": "b", "#);
    harness.end_clean(&bus).await;
}

/// Invalid JSON and an invalid envelope have different errors, which name the reason.
pub async fn e2_what_is_wrong_with_a_received_envelope_is_told(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let bus = harness.bus("g").await;
    let seen = Seen::new();
    let into = Arc::clone(&seen);
    let handler = now(move |event: Event| into.push(event.envelope));
    bus.subscription(&topic).dead_letter(&dead).envelopes(handler).await.expect("subscribes");
    let valid = r#""event_id":"e","event_type":"T","event_version":1,"timestamp":"2024-01-01T00:00:00Z","payload":1"#;
    let table = [
        ("no JSON".to_owned(), "not an envelope: "),
        (format!("{{{valid}}}"), "aggregate_id is required"),
        (
            format!(r#"{{{valid},"aggregate_id":"a b"}}"#),
            "invalid aggregate_id: byte 0x20 at index 1",
        ),
        (
            format!(r#"{{{},"aggregate_id":"a"}}"#, valid.replace(":1,", ":0,")),
            "event_version must be positive, found 0",
        ),
    ];
    for (body, _) in &table {
        bus.publish(&topic, Record::new(body.clone()).with_key("k")).await.expect("published");
    }
    let letters = harness.audit(&dead, table.len()).await;
    for (letter, (body, text)) in letters.iter().zip(&table) {
        assert_eq!(letter.payload, *body);
        let error = letter
            .headers
            .get(header::ERROR_MESSAGE)
            .map(String::from_utf8_lossy)
            .unwrap_or_default();
        assert!(error.starts_with(text), "{body}: {error}");
        assert_eq!(letter.headers.get(header::ATTEMPTS), Some(&b"1"[..]));
    }
    assert!(seen.is_empty());
    harness.end_clean(&bus).await;
}

/// A regular body is never parsed, even if it looks like an envelope.
pub async fn e5_a_regular_body_is_never_parsed(harness: BusHarness) {
    let topic = harness.topic("raw");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscribe(&topic, notes_messages(&seen)).await.expect("subscribes");
    for body in [r#"{"aggregate_id":"a"}"#, r#"{"aggregate_id":"#, "\0", ""] {
        bus.publish(&topic, Record::new(body).with_key("k")).await.expect("published");
    }
    let notes = seen.reached(4).await;
    assert_eq!(
        super::seen::bodies(&notes),
        [r#"{"aggregate_id":"a"}"#, r#"{"aggregate_id":"#, "\0", ""]
    );
    assert!(notes.iter().all(|note| note.label == "k"), "{notes:?}");
    harness.end_clean(&bus).await;
}
