//! Envelopes that cannot succeed: dead letter, block or skip; the single attempts of a key whose
//! message was given up; the blocked keys that health names, with the partitions that they hold.
//! SPEC: D4, O3

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use buslane::{Fault, Health, SubscriptionBuilder};
use buslane_core::Record;
use buslane_core::broker::header;
use buslane_testkit::deadline::until;

use super::health::{SOON, named, until_health, watchful, well};
use super::{
    BusHarness, Note, Seen, each_pool, envelope, fails, notes_events, notes_messages, publish,
    publish_numbers,
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

/// By default, a failing envelope blocks its key, which the status shows. The envelope is retried
/// until it succeeds, and other keys continue.
pub async fn d4_block_holds_the_key_until_it_recovers(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen, repaired) =
        (harness.bus("g").await, Seen::new(), Arc::new(AtomicBool::new(false)));
    let works = Arc::clone(&repaired);
    let handler = fails(&seen, move |note| note.label == "bad" && !works.load(SeqCst));
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "bad", 0..5).await;
    // The harness configures three attempts: from the fourth on, the key is blocked.
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
    assert_eq!(bus.pool_stats().failing, 5);
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

/// A dead letter that cannot be written blocks its key. Once its topic accepts records again, the
/// letter is written one time, and the handler does not run again.
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

/// An unreadable message blocks its key. The messages behind it are neither lost nor handled, and
/// the log names the key.
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

/// The number of attempts of each message, by the number of the message.
fn attempts(notes: &[Note], key: &str) -> BTreeMap<usize, usize> {
    let mut attempts = BTreeMap::new();
    notes
        .iter()
        .filter(|note| note.label == key)
        .for_each(|note| *attempts.entry(note.number()).or_default() += 1);
    attempts
}

async fn single_attempts(
    harness: &BusHarness,
    give_up: impl FnOnce(SubscriptionBuilder) -> SubscriptionBuilder,
) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    // 0 to 4 fail for good, 5 succeeds, 6 fails for good again, and 7 succeeds.
    let handler = fails(&seen, |note| note.label == "bad" && !matches!(note.number(), 5 | 7));
    give_up(bus.subscription(&topic)).envelopes(handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "bad", 0..8).await;
    publish_numbers(&bus, &topic, "good", 0..3).await;
    harness.settled("g", &[&topic]).await;
    let expected = [(0, 3), (1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 3), (7, 1)];
    assert_eq!(attempts(&seen.all(), "bad"), expected.into_iter().collect());
    assert_eq!(attempts(&seen.all(), "good"), [(0, 1), (1, 1), (2, 1)].into_iter().collect());
    harness.end_clean(&bus).await;
}

/// After a skip, the messages of the key get single attempts until one succeeds.
pub async fn d4_after_a_skip_the_key_gets_single_attempts(harness: BusHarness) {
    single_attempts(&harness, SubscriptionBuilder::skip_failed).await;
}

/// After a dead letter, the messages of the key get single attempts until one succeeds.
pub async fn d4_after_a_dead_letter_the_key_gets_single_attempts(harness: BusHarness) {
    let dead = harness.topic("dead");
    single_attempts(&harness, |subscription| subscription.dead_letter(&dead)).await;
    assert_eq!(harness.audit(&dead, 6).await.len(), 6);
}

/// Other failing keys keep all their attempts.
pub async fn d4_other_keys_keep_their_attempts(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen, poisoned) =
        (harness.bus("g").await, Seen::new(), Arc::new(AtomicBool::new(true)));
    let fatal = Arc::clone(&poisoned);
    let handler = fails(&seen, move |note| match note.label.as_str() {
        "bad" => fatal.load(SeqCst),
        _ => note.attempt < 3,
    });
    bus.subscription(&topic).skip_failed().envelopes(handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "bad", 0..2).await;
    harness.settled("g", &[&topic]).await;
    let others: Vec<_> = (0..20).map(|n| envelope(&format!("a{n}"), n)).collect();
    publish(&bus, &topic, &others).await;
    harness.settled("g", &[&topic]).await;
    assert_eq!(seen.len(), 3 + 1 + 20 * 3);
    poisoned.store(false, SeqCst);
    publish_numbers(&bus, &topic, "bad", 2..3).await;
    harness.settled("g", &[&topic]).await;
    assert_eq!(attempts(&seen.all(), "bad"), [(0, 3), (1, 1), (2, 1)].into_iter().collect());
    harness.end_clean(&bus).await;
}

/// Messages without a key share no failing key, and get all their attempts.
pub async fn d4_messages_without_a_key_are_not_suspected(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let subscription = bus.subscription(&topic).ordered(false).skip_failed();
    subscription.envelopes(fails(&seen, |_| true)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..10).await;
    harness.settled("g", &[&topic]).await;
    assert_eq!(seen.len(), 30);
    harness.end_clean(&bus).await;
}

/// Health, the status, the log and a gauge name each blocked key and its partition until the key
/// recovers.
pub async fn o3_each_blocked_key_is_named(harness: BusHarness) {
    // SPEC: O3, D7
    let topic = harness.topic("orders");
    let (bus, page) = harness.bus_with_page(watchful(harness.config("g"))).await;
    let (seen, mended) = (Seen::<Note>::new(), Arc::new(AtomicUsize::new(0)));
    let handler = |mended: &Arc<AtomicUsize>| {
        let mended = Arc::clone(mended);
        let broken = move |note: &Note| match &*note.label {
            "bad" => mended.load(SeqCst) < 1,
            "worse" => mended.load(SeqCst) < 2,
            _ => false,
        };
        fails(&seen, broken)
    };
    bus.subscription(&topic).block_failed().envelopes(handler(&mended)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "good", 0..5).await;
    let mut places = Vec::new();
    for key in ["bad", "worse"] {
        let receipt = bus.publish_envelope(&topic, envelope(key, 0)).await.expect("published");
        places.push((key.to_owned(), receipt.partition, receipt.offset));
        publish_numbers(&bus, &topic, key, 1..3).await;
    }
    until_health("both are named", &bus, |health| health.faults().count() == 2).await;
    named(&bus, Fault::BlockedKey).await;
    let health = bus.health();
    for (key, partition, offset) in &places {
        let subject = format!("{topic}/{partition} offset {offset} key {key}");
        let found = health.faults().find(|found| found.subject == subject);
        assert!(found.is_some_and(|found| found.detail == "no to 0"), "{subject} in {health:#?}");
        let lines = harness.logs.saying("key blocked");
        let line = lines.iter().find(|line| line.field("key") == key).expect("the key in a line");
        assert_eq!(line.field("offset"), offset.to_string(), "{line}");
    }
    assert_eq!(health.metrics.blocked_keys, 2);
    assert!(health.ready || !health.started, "others are still served");
    let known = || -> BTreeSet<_> {
        let blocked = bus.status().blocked;
        blocked
            .into_iter()
            .map(|blocked| (blocked.key, blocked.partition, blocked.offset))
            .collect()
    };
    assert_eq!(known(), places.iter().cloned().collect());
    let status = bus.status();
    assert!(
        status.blocked_keys == 2
            && status.blocked.iter().all(|one| one.attempts >= 3 && one.error == "no to 0")
    );
    until("both are counted", || page.value("blocked_keys") == 2.0).await;

    // One key recovers, and the other leaves with its subscription.
    mended.store(1, SeqCst);
    until("one is left", || known() == BTreeSet::from([places[1].clone()])).await;
    until("one is counted", || page.value("blocked_keys") == 1.0).await;
    bus.unsubscribe(&topic).await.expect("unsubscribed");
    until("none is left", || bus.status().blocked_keys == 0 && page.value("blocked_keys") == 0.0)
        .await;
    well(&bus).await;
    bus.subscription(&topic).block_failed().envelopes(handler(&mended)).await.expect("subscribes");
    until("it is blocked again", || known().iter().any(|(key, ..)| key == "worse")).await;
    mended.store(2, SeqCst);
    well(&bus).await;
    assert!(known().is_empty());
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// A failing key has more messages than a lane holds, so reading of its partition stops while
/// others continue. Health names the partition and the key. When the key recovers, all messages are
/// handled in order.
pub async fn d4_a_partition_that_a_failing_key_holds_is_named_with_the_key(harness: BusHarness) {
    // SPEC: D4, O3, D7
    const EACH: usize = 40;
    let (topic, other) = (harness.topic("orders"), harness.topic("other"));
    let mut config = watchful(harness.config("g"));
    config.health.pool_limit = SOON;
    each_pool(&mut config, |keyed, actor| (keyed.lane_limit, actor.lane_limit) = (5, 5));
    let (bus, seen, recovered) =
        (harness.bus_of(config).await, Seen::new(), Arc::new(AtomicBool::new(false)));
    let is_well = Arc::clone(&recovered);
    let handler = fails(&seen, move |note| note.label == "bad" && !is_well.load(SeqCst));
    bus.subscription(&topic).block_failed().envelopes(handler).await.expect("subscribes");
    bus.subscribe_envelopes(&other, notes_events(&seen)).await.expect("subscribes");
    let held = bus.publish_envelope(&topic, envelope("bad", 0)).await.expect("taken").partition;
    publish_numbers(&bus, &topic, "bad", 1..EACH).await;
    let place = format!("{topic}/{held}");
    let is_named = |health: &Health| {
        health.has(Fault::BlockedKey)
            && health
                .faults()
                .any(|found| found.name == Fault::PartitionHeld && found.subject == place)
    };
    until_health("the partition is named", &bus, is_named).await;
    let health = bus.health();
    let found =
        health.faults().find(|found| found.name == Fault::PartitionHeld).expect("it is there");
    assert_eq!(found.detail, "key bad: lane is full: 5 messages of this key are open");
    let stalled = bus.status().stalled_partitions;
    assert_eq!(
        stalled.iter().map(|one| one.key.as_deref()).collect::<Vec<_>>(),
        [Some("bad")],
        "{stalled:?}"
    );

    // Keys of other partitions and other topics continue.
    let mut healthy = BTreeMap::new();
    for n in 0..EACH {
        for key in (0..16).map(|key| format!("a{key}")) {
            let receipt = bus.publish_envelope(&topic, envelope(&key, n)).await.expect("taken");
            healthy.insert(key, receipt.partition);
        }
    }
    publish_numbers(&bus, &other, "b", 0..EACH).await;
    let elsewhere = healthy.values().filter(|partition| **partition != held).count();
    let of_others =
        |note: &&Note| note.label != "bad" && (note.topic == *other || note.partition != held);
    let all_others = (elsewhere + 1) * EACH;
    seen.until("everything of other partitions", |notes| {
        notes.iter().filter(of_others).count() == all_others
    })
    .await;
    // Only the held partition counts: on a slow machine, a healthy key may fill its small lane for
    // a moment.
    let told = |text: &str| {
        let mut lines = harness.logs.saying(text);
        lines.retain(|line| {
            (line.field("topic"), line.field("partition")) == (&*topic, &*held.to_string())
        });
        lines
    };
    let stopped = told("reading stopped: no room");
    assert_eq!(stopped.len(), 1, "said once: {stopped:?}");
    assert_eq!(stopped[0].field("key"), "bad", "{}", stopped[0]);
    assert!(told("reading goes on").is_empty());

    recovered.store(true, SeqCst);
    well(&bus).await;
    harness.settled("g", &[&topic, &other]).await;
    let notes = seen.all();
    for key in healthy.keys() {
        assert_eq!(super::seen::numbers_of(&notes, key), (0..EACH).collect::<Vec<_>>(), "{key}");
    }
    let bad: Vec<_> =
        super::seen::numbers_of(&notes, "bad").into_iter().filter(|n| *n > 0).collect();
    assert_eq!(bad, (1..EACH).collect::<Vec<_>>());
    assert!(!told("reading goes on").is_empty());
    harness.end_clean(&bus).await;
}
