//! The source of a message's key, and the time for which a key without messages is remembered.
//! SPEC: L4

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use buslane::{Config, LaneState};
use buslane_core::broker::header;
use buslane_core::{Event, Headers, Message, Record};
use buslane_testkit::deadline::until;
use buslane_testkit::signal::Gate;

use super::harness::idle;
use super::{BusHarness, Seen, each_pool, envelope, fails, notes_events, notes_messages, publish};

fn headers(list: &[(&str, &str)]) -> Headers {
    list.iter().map(|(name, value)| (*name, value.as_bytes())).collect()
}

/// The record of an envelope without key and headers, as foreign producers send it.
fn bare(aggregate: &str, n: usize) -> Record {
    Record::new(envelope(aggregate, n).encode().expect("a valid envelope"))
}

/// Each spelling of the header works for both kinds. The spelling with the highest priority wins at
/// any position.
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
        // The spellings of lower priority come first, with a wrong key.
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

/// The body names the key of an envelope, and the record key that of a regular message.
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

/// An extractor gets the headers and the body, and decides the key. `None` means round robin.
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

/// A panic of an extractor does not end reading. The message gets the key that it would have
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

fn keeping(mut config: Config, keys: usize, time: Duration) -> Config {
    each_pool(&mut config, |keyed, actor| {
        (keyed.max_processors, actor.max_processors) = (keys, keys);
        (keyed.processor_idle, actor.processor_idle) = (time, time);
    });
    config
}

/// The most recent keys are kept, and counted in status and metrics. No key is left after a
/// shutdown.
pub async fn l4_keys_without_messages_are_remembered_up_to_a_number(harness: BusHarness) {
    let topic = harness.topic("orders");
    let config = keeping(harness.config("g"), 10, Duration::from_secs(3_600));
    let (bus, page) = harness.bus_with_page(config).await;
    let (seen, gate) = (Seen::new(), Arc::new(Gate::default()));
    let opened = Arc::clone(&gate);
    bus.subscribe_envelopes(&topic, {
        let seen = Arc::clone(&seen);
        move |event: Event| {
            let (seen, gate) = (Arc::clone(&seen), Arc::clone(&opened));
            async move {
                if event.aggregate_id.starts_with('w') {
                    seen.push(());
                    gate.wait().await;
                }
            }
        }
    })
    .await
    .expect("subscribes");
    for n in 0..30 {
        publish(&bus, &topic, &[envelope(&format!("a{n}"), 0)]).await;
        until("it is handled", || bus.pool_stats().ok == n + 1).await;
    }
    let known = |key: &str| bus.key_state(&topic, key).expect("a good topic");
    for n in 0..30 {
        assert_eq!(known(&format!("a{n}")), (n >= 20).then(LaneState::default), "a{n}");
    }
    let figures =
        || ["total", "active", "idle"].map(|what| page.value(&format!("processors_{what}")));
    until("the page says so", || figures() == [10.0, 0.0, 10.0]).await;
    let waiting: Vec<_> = (0..4)
        .flat_map(|n| [envelope(&format!("w{n}"), 0), envelope(&format!("w{n}"), 1)])
        .collect();
    publish(&bus, &topic, &waiting).await;
    seen.reached(4).await;
    until("the page says so", || figures() == [10.0, 4.0, 6.0]).await;
    assert_eq!((bus.pool_stats().lanes, bus.pool_stats().idle_lanes), (4, 6));
    until("both of w3 are there", || known("w3").is_some_and(|state| state.open == 2)).await;
    gate.open();
    idle(&bus).await;
    assert_eq!((bus.pool_stats().lanes, bus.pool_stats().idle_lanes), (0, 10));
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
    assert_eq!(figures(), [0.0, 0.0, 0.0]);
}

/// Keys without messages are forgotten after a while, and remembered again when they return.
pub async fn l4_keys_without_messages_are_forgotten_after_a_while(harness: BusHarness) {
    let topic = harness.topic("orders");
    let config = keeping(harness.config("g"), 1_000, Duration::from_millis(80));
    let (bus, page) = harness.bus_with_page(config).await;
    let seen = Seen::new();
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    for round in 1..=3 {
        let envelopes: Vec<_> = (0..50).map(|n| envelope(&format!("a{n}"), round)).collect();
        publish(&bus, &topic, &envelopes).await;
        seen.reached(50 * round).await;
        until("all are forgotten", || {
            bus.pool_stats().idle_lanes == 0 && bus.pool_stats().lanes == 0
        })
        .await;
        assert_eq!(bus.key_state(&topic, "a7").expect("a good topic"), None);
        until("the page says so", || page.value("processors_total") == 0.0).await;
    }
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// No number of other keys evicts a failing or a running key, and both keep their order.
pub async fn l4_a_key_with_messages_is_never_forgotten(harness: BusHarness) {
    let topic = harness.topic("orders");
    let config = keeping(harness.config("g"), 1, Duration::from_millis(8));
    let (bus, seen, mended) =
        (harness.bus_of(config).await, Seen::new(), Arc::new(AtomicBool::new(false)));
    let is_mended = Arc::clone(&mended);
    let handler = fails(&seen, move |note| note.label == "bad" && !is_mended.load(SeqCst));
    bus.subscription(&topic).block_failed().envelopes(handler).await.expect("subscribes");
    publish(&bus, &topic, &(0..5).map(|n| envelope("bad", n)).collect::<Vec<_>>()).await;
    let state = || bus.key_state(&topic, "bad").expect("a good topic");
    until("it is blocked", || state().is_some_and(|state| state.is_blocked)).await;
    for n in 0..100 {
        publish(&bus, &topic, &[envelope(&format!("a{n}"), 0)]).await;
        until("it is handled", || bus.pool_stats().ok == n + 1).await;
        let state = state().expect("it has messages");
        assert!(state.failures >= 3 && state.open >= 1, "{state:?}");
    }
    mended.store(true, SeqCst);
    harness.settled("g", &[&topic]).await;
    let good: Vec<_> = seen
        .all()
        .into_iter()
        .filter(|note| note.label == "bad")
        .map(|note| note.number())
        .collect();
    let mut once = good.clone();
    once.dedup();
    assert_eq!(once, [0, 1, 2, 3, 4], "{good:?}");
    harness.end_clean(&bus).await;
}

/// The lane of a message without a key is never used again, so it is not kept and evicts no key.
pub async fn l4_messages_without_a_key_push_no_key_out(harness: BusHarness) {
    let (orders, notes) = (harness.topic("orders"), harness.topic("notes"));
    let bus = harness.bus_of(keeping(harness.config("g"), 10, Duration::from_secs(3_600))).await;
    let seen = Seen::new();
    bus.subscribe_envelopes(&orders, notes_events(&seen)).await.expect("subscribes");
    bus.subscribe(&notes, async |_: Message| ()).await.expect("subscribes");
    publish(&bus, &orders, &(0..5).map(|n| envelope(&format!("a{n}"), 0)).collect::<Vec<_>>())
        .await;
    seen.reached(5).await;
    for _ in 0..100 {
        bus.publish(&notes, "x").await.expect("published");
    }
    until("all are handled", || bus.pool_stats().ok == 105).await;
    for n in 0..5 {
        assert_eq!(
            bus.key_state(&orders, format!("a{n}")).expect("a good topic"),
            Some(LaneState::default()),
            "a{n}"
        );
    }
    assert_eq!((bus.pool_stats().lanes, bus.pool_stats().idle_lanes), (0, 5));
    harness.settled("g", &[&orders, &notes]).await;
    harness.end_clean(&bus).await;
}
