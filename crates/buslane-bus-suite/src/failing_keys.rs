//! A key whose message was given up: each later message gets a single attempt until one succeeds.
//! SPEC: D4

use super::{BusHarness, Note, Seen, envelope, fails, publish, publish_numbers};
use buslane::SubscriptionBuilder;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

/// The attempts of each message, by its number.
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
    // 0 to 4 fail for good, 5 succeeds, 6 fails once more for good, and 7 succeeds.
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

/// A skip makes the key suspicious.
pub async fn d4_after_a_skip_the_key_gets_single_attempts(harness: BusHarness) {
    single_attempts(&harness, SubscriptionBuilder::skip_failed).await;
}

/// A dead letter makes the key suspicious.
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

/// Messages without a key have no failing key, and get all their attempts.
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
