//! Policies for an envelope that cannot succeed: dead letter, block, skip.

use super::{BusHarness, Note, Seen, envelope, fails, notes_messages, publish, publish_numbers};
use buslane_core::{Record, broker::header};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

/// After the last attempt, the envelope goes to the dead-letter topic and is settled, and the key
/// continues.
pub async fn d4_dead_letter_takes_it_and_the_key_goes_on(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, seen, letters) = (harness.bus("g").await, Seen::new(), Seen::new());
    bus.subscribe(&dead, notes_messages(&letters)).await.expect("subscribes");
    let handler = fails(&seen, |note| note.body == "1");
    bus.subscription(&topic).dead_letter(&dead).envelopes(handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..4).await;
    letters.reached(1).await;
    harness.settled("g", &[&topic, &dead]).await;
    assert_eq!(super::seen::bodies(&seen.all()), ["0", "1", "1", "1", "2", "3"]);
    assert_eq!(letters.len(), 1);
    super::harness::idle(&bus).await;
    let stats = bus.pool_stats();
    assert_eq!(
        (stats.ok, stats.failed, stats.retried),
        (4, 1, 2),
        "each attempt counts once: {stats:?}"
    );
    harness.end_clean(&bus).await;
}

/// By default the key is blocked and visible in the status, and retried until it succeeds. Other
/// keys continue.
pub async fn d4_block_holds_the_key_until_it_recovers(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen, repaired) =
        (harness.bus("g").await, Seen::new(), Arc::new(AtomicBool::new(false)));
    let works = Arc::clone(&repaired);
    let handler = fails(&seen, move |note| note.label == "bad" && !works.load(SeqCst));
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "bad", 0..5).await;
    // The template has three attempts: from the fourth on the key is blocked.
    seen.until("a try of the blocked one", |notes| notes.len() >= 5).await;
    assert!(seen.all().iter().all(|note| note.number() == 0), "{:?}", seen.all());
    let good: Vec<_> = (0..100).map(|n| envelope(&format!("a{n}"), n)).collect();
    publish(&bus, &topic, &good).await;
    seen.until("the others", |notes| {
        notes.iter().filter(|note| note.label != "bad").count() == 100
    })
    .await;
    buslane_testkit::deadline::until("the status shows it", || bus.pool_stats().blocked_lanes == 1)
        .await;
    assert_eq!(bus.pool_stats().parked, 5);
    assert!(harness.unsettled("g", &topic).await >= 5);
    assert!(!harness.logs.saying("key blocked").is_empty());
    repaired.store(true, SeqCst);
    harness.settled("g", &[&topic]).await;
    super::harness::idle(&bus).await;
    let bad = super::seen::numbers_of(&seen.all(), "bad");
    assert_eq!(bad.iter().copied().filter(|n| *n > 0).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(bad.is_sorted(), "{bad:?}");
    assert_eq!(bus.pool_stats().blocked_lanes, 0);
    harness.end_clean(&bus).await;
}

/// A blocked key is retried after the longest backoff, not sooner.
pub async fn d4_a_blocked_key_is_tried_at_the_longest_backoff(harness: BusHarness) {
    let topic = harness.topic("orders");
    let mut config = harness.config("g");
    config.retry.attempts = 1;
    config.retry.initial = Duration::from_millis(1);
    config.retry.max = Duration::from_millis(60);
    let (bus, times) = (harness.bus_of(config).await, Seen::new());
    let into = Arc::clone(&times);
    let handler = super::now(move |event: buslane_core::Event| {
        into.push((std::time::Instant::now(), event.message.attempt));
        if into.len() < 4 { Err("no") } else { Ok(()) }
    });
    bus.subscription(&topic).block_failed().envelopes(handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    let times = times.reached(4).await;
    assert_eq!(times.iter().map(|(_, attempt)| *attempt).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let waits: Vec<_> = times.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(waits.iter().all(|wait| *wait >= Duration::from_millis(60)), "{waits:?}");
    harness.end_clean(&bus).await;
}

/// A skipped envelope is settled, counted and logged as an error, and the key continues.
pub async fn d4_skip_settles_and_goes_on(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let handler = fails(&seen, |note| note.body == "1");
    bus.subscription(&topic).skip_failed().envelopes(handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..4).await;
    harness.settled("g", &[&topic]).await;
    super::harness::idle(&bus).await;
    assert_eq!(super::seen::bodies(&seen.all()), ["0", "1", "1", "1", "2", "3"]);
    let lines = harness.logs.saying("envelope skipped");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!((lines[0].level, lines[0].field("attempt")), (tracing::Level::ERROR, "3"));
    assert_eq!(bus.pool_stats().failed, 1);
    harness.end_clean(&bus).await;
}

/// A dead letter that cannot be written blocks its key. When the topic accepts it again, it is
/// written once, and the handler does not run again.
pub async fn d4_a_dead_letter_that_cannot_be_written_blocks(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, faulty) = harness.faulty_bus(harness.config("g")).await;
    let seen = Seen::new();
    let handler = fails(&seen, |note| note.label == "bad");
    bus.subscription(&topic).dead_letter(&dead).envelopes(handler).await.expect("subscribes");
    faulty.refuse(&dead, true);
    publish_numbers(&bus, &topic, "bad", 0..1).await;
    let text = "dead letter not written, key blocked";
    buslane_testkit::deadline::until("two tries to write it", || {
        harness.logs.saying(text).len() >= 2
    })
    .await;
    publish_numbers(&bus, &topic, "good", 0..10).await;
    seen.until("the others", |notes| {
        notes.iter().filter(|note| note.label == "good").count() == 10
    })
    .await;
    buslane_testkit::deadline::until("the key is blocked", || bus.pool_stats().blocked_lanes == 1)
        .await;
    assert!(harness.unsettled("g", &topic).await >= 1);
    let line = harness.logs.saying(text).remove(0);
    assert!(line.field("reason").contains("read only"), "{line}");

    faulty.refuse(&dead, false);
    let letter = harness.audit(&dead, 1).await.remove(0);
    assert_eq!(
        letter.headers.get(header::ERROR_MESSAGE),
        Some(&b"no to 0"[..]),
        "the handler's error, not the broker's"
    );
    assert_eq!(letter.headers.get(header::ATTEMPTS), Some(&b"3"[..]));
    harness.settled("g", &[&topic]).await;
    super::harness::idle(&bus).await;
    let bad = seen.all().into_iter().filter(|note| note.label == "bad").count();
    assert_eq!(bad, 3, "no attempt beyond the last one");
    let stats = bus.pool_stats();
    assert_eq!((stats.failed, stats.retried), (1, 2), "to write it again is no attempt: {stats:?}");
    assert_eq!(bus.pool_stats().blocked_lanes, 0);
    harness.end_clean(&bus).await;
}

/// The configured policy applies when the subscription has none.
pub async fn d4_the_policy_may_be_configured(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let text = format!("terminal:\n  dead_letter:\n    topic: {dead}\n    format: document\n");
    let mut config = harness.config("g");
    config.terminal = buslane::Config::parse_yaml(&text).expect("valid").terminal;
    let (bus, seen) = (harness.bus_of(config).await, Seen::new());
    bus.subscribe_envelopes(&topic, fails(&seen, |_| true)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    let letter = harness.audit(&dead, 1).await.remove(0);
    let document: serde_json::Value =
        serde_json::from_slice(&letter.payload).expect("a JSON document");
    assert_eq!(document["original_topic"], *topic);
    harness.end_clean(&bus).await;
}

/// Messages behind an unreadable one of a blocked key are neither lost nor handled, and it stays
/// visible.
pub async fn d4_an_undecodable_message_blocks_its_key_alone(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::<Note>::new());
    bus.subscribe_envelopes(&topic, fails(&seen, |_| false)).await.expect("subscribes");
    bus.publish(&topic, Record::new("torn").with_key("bad")).await.expect("published");
    publish_numbers(&bus, &topic, "bad", 0..2).await;
    publish_numbers(&bus, &topic, "good", 0..10).await;
    seen.reached(10).await;
    buslane_testkit::deadline::until("the key is blocked", || bus.pool_stats().blocked_lanes == 1)
        .await;
    assert!(seen.all().iter().all(|note| note.label == "good"), "{:?}", seen.all());
    let report = harness.end(&bus).await;
    assert_eq!(report.abandoned, 3, "{report:?}");
    let line = harness.logs.saying("bus closed with work left for redelivery").remove(0);
    let left = line.field("left");
    assert!(left.starts_with(&format!("{topic}/")) && left.ends_with(" key bad"), "{line}");
}
