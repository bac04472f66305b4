//! Log lines that operators search for: fixed texts, with the kind and the place of the message.
//! SPEC: D7

use super::{
    BusHarness, LogLine, Note, PoolKind, Seen, envelope, fails, notes_events, notes_messages, now,
    publish, publish_numbers,
};
use buslane::config::LaneScope;
use buslane_core::{Event, Headers, Message, Receipt, Record, Topic};
use buslane_testkit::deadline::until;
use tracing::Level;

fn is_at(line: &LogLine, topic: &Topic, receipt: &Receipt) -> bool {
    line.field("topic") == &**topic
        && line.field("partition") == receipt.partition.to_string()
        && line.field("offset") == receipt.offset.to_string()
}

/// A thousand good messages of either kind log nothing.
pub async fn d7_good_messages_leave_no_line(harness: BusHarness) {
    let (events, raw) = (harness.topic("events"), harness.topic("raw"));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscribe_envelopes(&events, notes_events(&seen)).await.expect("subscribes");
    bus.subscribe(&raw, notes_messages(&seen)).await.expect("subscribes");
    publish_numbers(&bus, &events, "a", 0..1).await;
    bus.publish(&raw, "0").await.expect("published");
    harness.settled("g", &[&events, &raw]).await;
    let before = harness.logs.len();
    let envelopes: Vec<_> = (0..500).map(|n| envelope(&format!("a{}", n % 20), n)).collect();
    publish(&bus, &events, &envelopes).await;
    for n in 0..500 {
        bus.publish(&raw, n.to_string()).await.expect("published");
    }
    harness.settled("g", &[&events, &raw]).await;
    assert_eq!(harness.logs.len(), before, "{:?}", harness.logs.lines());
    harness.end_clean(&bus).await;
}

/// The log has a line for each failed attempt, and one for the end of the message.
pub async fn d7_a_failed_envelope_is_named(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscription(&topic)
        .dead_letter(&dead)
        .envelopes(fails(&seen, |_| true))
        .await
        .expect("subscribes");
    let receipt = bus.publish_envelope(&topic, envelope("a", 7)).await.expect("published");
    harness.audit(&dead, 1).await;
    harness.settled("g", &[&topic]).await;
    let lines = harness.logs.saying("envelope failed");
    assert_eq!(lines.iter().map(|line| line.field("attempt")).collect::<Vec<_>>(), ["1", "2", "3"]);
    for line in &lines {
        assert!(is_at(line, &topic, &receipt) && line.level == Level::WARN, "{line}");
        let fields = (line.field("kind"), line.field("error"), line.field("panicked"));
        assert_eq!(fields, ("envelope", "no to 7", "false"));
    }
    let lines = harness.logs.saying("dead letter written");
    assert!(
        lines.len() == 1 && is_at(&lines[0], &topic, &receipt) && lines[0].level == Level::ERROR,
        "{lines:?}"
    );
    assert_eq!((lines[0].field("kind"), lines[0].field("dead_letters")), ("envelope", &*dead));
    harness.end_clean(&bus).await;
}

/// A failed regular message logs one line, and so does a panicked one.
pub async fn d7_a_failed_regular_message_is_named(harness: BusHarness) {
    let topic = harness.topic("raw");
    let bus = harness.bus("g").await;
    let handler = now(move |message: Message| match &message.payload[..] {
        b"panic" => std::panic::resume_unwind(Box::new("boom")),
        _ => Err::<(), _>("cannot"),
    });
    bus.subscribe(&topic, handler).await.expect("subscribes");
    let failed = bus.publish(&topic, Record::new("fail").with_key("k")).await.expect("published");
    let panicked =
        bus.publish(&topic, Record::new("panic").with_key("k")).await.expect("published");
    harness.settled("g", &[&topic]).await;
    let lines = harness.logs.saying("regular message failed");
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (line, (receipt, error, panic)) in
        lines.iter().zip([(failed, "cannot", "false"), (panicked, "boom", "true")])
    {
        assert!(is_at(line, &topic, &receipt) && line.level == Level::ERROR, "{line}");
        assert_eq!(
            (line.field("kind"), line.field("error"), line.field("panicked")),
            ("regular", error, panic)
        );
    }
    harness.end_clean(&bus).await;
}

/// Keys, errors and fields of messages have any length and content. Each log line, span, fault and
/// status shows them escaped and cut.
pub async fn d7_what_comes_from_outside_is_escaped_and_cut(harness: BusHarness) {
    // SPEC: D7, O3, O5
    let (blocks, buries, raw) =
        (harness.topic("blocks"), harness.topic("buries"), harness.topic("raw"));
    let mut config = harness.config("g");
    // A blocked message of one topic must not hold the other topic.
    config.lane_scope = LaneScope::Topic;
    let bus = harness.bus_of(config).await;
    harness.logs.follow_spans();
    let hostile =
        |_: &Note| Err::<(), _>(format!("no\nERROR forged \u{1b}[2J{}", "e".repeat(50_000)));
    let on_event = move || now(move |event: Event| hostile(&Note::from(&event)));
    bus.subscription(&blocks).block_failed().envelopes(on_event()).await.expect("subscribes");
    bus.subscription(&buries).skip_failed().envelopes(on_event()).await.expect("subscribes");
    bus.subscribe(&raw, now(move |message: Message| hostile(&Note::from(&message))))
        .await
        .expect("subscribes");
    let long = "k".repeat(5_000);
    let body = |timestamp: &str| {
        format!(
            r#"{{"event_id":"1","aggregate_id":"b","event_type":"x","event_version":1,"timestamp":"{timestamp}","payload":1}}"#
        )
    };
    let wrong_type = format!(r#"{{"event_version":"{long}"}}"#);
    for topic in [&blocks, &buries] {
        publish_numbers(&bus, topic, "a", 0..1).await;
        let headers = [("X-Aggregate-ID", "c"), ("X-Event-ID", &long), ("X-Correlation-ID", &long)];
        let headers = Headers::from_iter(headers.map(|(name, value)| (name, value.as_bytes())));
        let records = [
            Record::new("torn").with_key(long.clone()),
            Record::new(body(&format!("{long}\\nERROR forged"))),
            Record::new(wrong_type.clone()),
            Record::new(body("2026-01-01T00:00:00Z")).with_headers(headers),
        ];
        for record in records {
            bus.publish(topic, record).await.expect("published");
        }
    }
    bus.publish(&raw, Record::new("x").with_key(long.clone())).await.expect("published");
    until("all of one topic are blocked", || bus.status().blocked_keys == 5).await;
    harness.settled("g", &[&buries, &raw]).await;

    let is_good = |text: &str| text.len() < 1_200 && !text.contains(char::is_control);
    let lines = harness.logs.lines();
    for line in &lines {
        assert!(
            line.fields.values().all(|value| is_good(value)) && is_good(&line.text),
            "{line:.2000}"
        );
    }
    let failures = lines
        .iter()
        .filter(|line| line.field("error").starts_with("no\\nERROR forged \\u{1b}[2Je"))
        .count();
    assert!(failures >= 3, "the beginning of an error is there");
    for span in harness.logs.spans() {
        assert!(span.fields.values().all(|value| is_good(value)), "{span:.2000?}");
    }
    let health = bus.health();
    assert_eq!(health.faults().count(), 5, "{health:#?}");
    assert!(
        health.faults().all(|fault| is_good(&fault.subject) && is_good(&fault.detail)),
        "{health:#?}"
    );
    let status = bus.status();
    assert!(
        status.blocked.iter().all(|blocked| is_good(&blocked.key) && is_good(&blocked.error)),
        "{status:#?}"
    );
    harness.end(&bus).await;
}

/// An idle bus that closes logs one line. The end of a subscription before that logs none.
pub async fn d7_a_clean_end_says_so_and_nothing_else(harness: BusHarness) {
    // SPEC: D7, B9
    let (first, second) = (harness.topic("first"), harness.topic("second"));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    for topic in [&first, &second] {
        bus.subscribe_envelopes(topic, notes_events(&seen)).await.expect("subscribes");
        publish_numbers(&bus, topic, "a", 0..5).await;
    }
    seen.reached(10).await;
    harness.settled("g", &[&first, &second]).await;
    let before = harness.logs.len();
    bus.unsubscribe(&first).await.expect("unsubscribed");
    harness.end_clean(&bus).await;
    let lines = harness.logs.lines().split_off(before);
    let texts: Vec<_> = lines.iter().map(|line| &*line.text).collect();
    assert_eq!(texts, ["bus closed"], "{lines:?}");
}

/// The log names the pool once at the start, with the source of the choice.
pub async fn d7_the_pool_is_named_once(harness: BusHarness) {
    // SPEC: S1
    let bus = harness.bus("g").await;
    let lines = harness.logs.saying("pool chosen");
    let by = if harness.pool == PoolKind::Actor { "code" } else { "default" };
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!((lines[0].field("pool"), lines[0].field("chosen_by")), (harness.pool.name(), by));
    assert_eq!(lines[0].level, Level::INFO);
    harness.end_clean(&bus).await;
}

/// The log reports the start and the end of recovery mode once each.
pub async fn d7_recovery_mode_is_told_of(harness: BusHarness) {
    let bus = harness.bus("g").await;
    for active in [true, true, false, false] {
        bus.set_recovery_mode(active);
    }
    let count = |text| harness.logs.saying(text).len();
    assert_eq!((count("recovery mode entered"), count("recovery mode left")), (1, 1));
    harness.end_clean(&bus).await;
}
