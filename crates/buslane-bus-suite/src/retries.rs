//! Retries in the lane: their number, their delays, and the messages that wait for them.

use super::{
    BusHarness, Note, Seen, envelope, fails, notes_messages, now, publish, publish_numbers,
};
use buslane::Retry;
use buslane_core::{Event, broker::header};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// The terminal policy applies after the configured number of attempts.
pub async fn d3_attempts_are_as_many_as_configured(harness: BusHarness) {
    for attempts in [1, 2, 5] {
        let (topic, dead) = (
            harness.topic(&format!("orders-{attempts}")),
            harness.topic(&format!("dead-{attempts}")),
        );
        let mut config = harness.config("g");
        config.retry.attempts = attempts;
        let (bus, seen, letters) = (harness.bus_of(config).await, Seen::new(), Seen::new());
        bus.subscribe(&dead, notes_messages(&letters)).await.expect("subscribes");
        bus.subscription(&topic)
            .dead_letter(&dead)
            .envelopes(fails(&seen, |_| true))
            .await
            .expect("subscribes");
        publish_numbers(&bus, &topic, "a", 0..1).await;
        letters.reached(1).await;
        let made: Vec<_> = seen.all().iter().map(|note| note.attempt).collect();
        assert_eq!(made, (1..=attempts).collect::<Vec<_>>());
        harness.end_clean(&bus).await;
    }
}

/// The retries of the builder override the configured ones.
pub async fn d3_a_subscription_has_its_own_retries(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let retry = Retry::attempts(2).backoff(Duration::from_millis(1), Duration::from_millis(1));
    let subscription = bus.subscription(&topic).retry(retry).dead_letter(&dead);
    subscription.envelopes(fails(&seen, |_| true)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    let letter = harness.audit(&dead, 1).await.remove(0);
    assert_eq!(letter.headers.get(header::ATTEMPTS), Some(&b"2"[..]));
    assert_eq!(seen.len(), 2);
    harness.end_clean(&bus).await;
}

/// Each delay is at least its backoff, which doubles up to the longest one.
pub async fn d3_waits_grow(harness: BusHarness) {
    let topic = harness.topic("orders");
    let mut config = harness.config("g");
    config.retry.attempts = 6;
    config.retry.initial = Duration::from_millis(20);
    config.retry.max = Duration::from_millis(100);
    let (bus, times) = (harness.bus_of(config).await, Seen::new());
    let into = Arc::clone(&times);
    let handler = now(move |_: Event| {
        into.push(Instant::now());
        if into.len() < 6 { Err("not yet") } else { Ok(()) }
    });
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    let times = times.reached(6).await;
    let waits: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let least = [20, 40, 80, 100, 100].map(Duration::from_millis);
    assert!(waits.iter().zip(least).all(|(wait, least)| *wait >= least), "{waits:?}");
    harness.end_clean(&bus).await;
}

/// While a key waits for its retry, other keys continue and its own later messages wait.
pub async fn d3_a_retrying_key_holds_up_itself_alone(harness: BusHarness) {
    let topic = harness.topic("orders");
    let mut config = harness.config("g");
    (config.retry.initial, config.retry.max) =
        (Duration::from_secs(3600), Duration::from_secs(3600));
    let (bus, seen) = (harness.bus_of(config).await, Seen::new());
    bus.subscribe_envelopes(&topic, fails(&seen, |note| note.label == "bad"))
        .await
        .expect("subscribes");
    publish_numbers(&bus, &topic, "bad", 0..10).await;
    let good: Vec<_> = (0..500).map(|n| envelope(&format!("a{}", n % 100), n / 100)).collect();
    publish(&bus, &topic, &good).await;
    let notes = seen.reached(501).await;
    assert_eq!(super::seen::numbers_of(&notes, "bad"), [0]);
    buslane_testkit::deadline::until("the lane waits", || bus.pool_stats().parked_lanes == 1).await;
    assert_eq!(bus.pool_stats().blocked_lanes, 0);
    let report = harness.end(&bus).await;
    assert_eq!(report.abandoned, 10, "{report:?}");
}

/// A hundred keys fail once at the same time, and all messages are handled, each key in order.
pub async fn d3_many_keys_retry_beside_each_other(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let handler = fails(&seen, |note| note.attempt == 1 && note.number() % 5 == 0);
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    let envelopes: Vec<_> =
        (0..1_000).map(|n| envelope(&format!("a{}", n % 100), n / 100)).collect();
    publish(&bus, &topic, &envelopes).await;
    harness.settled("g", &[&topic]).await;
    let notes = seen.all();
    assert_eq!(notes.len(), 1_200);
    for key in 0..100 {
        let numbers = super::seen::numbers_of(&notes, &format!("a{key}"));
        assert_eq!(numbers, [0, 0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9]);
    }
    harness.end_clean(&bus).await;
}

/// The second attempt sees the same offset, headers, key and body.
pub async fn e6_every_attempt_sees_the_same_message(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let into = Arc::clone(&seen);
    let handler = now(move |event: Event| {
        let Event { envelope, message } = event;
        let text =
            format!("{envelope:?} {:?} {:?} {:?}", message.key, message.headers, message.payload);
        into.push((text, message.offset, message.attempt, message.routing_label()));
        if message.attempt < 3 { Err("again") } else { Ok(()) }
    });
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    let seen = seen.reached(3).await;
    for (at, attempt) in seen.iter().enumerate() {
        assert_eq!((&attempt.0, attempt.1, &*attempt.3), (&seen[0].0, seen[0].1, "a"));
        assert_eq!(attempt.2 as usize, at + 1);
    }
    harness.end_clean(&bus).await;
}

/// Attempts are counted per message, whatever other topics share its lane.
pub async fn d3_attempts_are_counted_for_each_message(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::<Note>::new());
    bus.subscribe_envelopes(
        &topic,
        fails(&seen, |note| note.attempt as usize <= note.number() % 3),
    )
    .await
    .expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..6).await;
    let expected = [
        (0, 1),
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
        (2, 3),
        (3, 1),
        (4, 1),
        (4, 2),
        (5, 1),
        (5, 2),
        (5, 3),
    ];
    let made: Vec<_> =
        seen.reached(12).await.iter().map(|note| (note.number(), note.attempt)).collect();
    assert_eq!(made, expected);
    harness.end_clean(&bus).await;
}
