//! Handlers that panic, behind a bus.

use super::{BusHarness, Note, Seen, envelope, now, publish, publish_numbers};
use buslane_core::{Event, Message, Record, broker::header};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

/// Panics without running the panic hook, which would print a message.
fn boom(text: &str) -> ! {
    std::panic::resume_unwind(Box::new(text.to_owned()))
}

/// A panic is a failed attempt of its envelope. All fifteen messages are handled, each key in
/// order.
pub async fn p7_an_envelope_that_panics_once_is_tried_again(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let (into, panicked) = (Arc::clone(&seen), AtomicBool::new(false));
    let handler = now(move |event: Event| {
        let note = Note::from(&event);
        if note.label == "a1" && note.body == "2" && !panicked.swap(true, SeqCst) {
            boom("once");
        }
        into.push(note);
    });
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    let envelopes: Vec<_> = (0..15).map(|n| envelope(&format!("a{}", n % 3), n / 3)).collect();
    publish(&bus, &topic, &envelopes).await;
    harness.settled("g", &[&topic]).await;
    super::harness::idle(&bus).await;
    let notes = seen.all();
    assert_eq!(notes.len(), 15);
    for key in 0..3 {
        assert_eq!(super::seen::numbers_of(&notes, &format!("a{key}")), [0, 1, 2, 3, 4]);
    }
    let stats = bus.pool_stats();
    assert_eq!((stats.panics, stats.ok, stats.restarts), (1, 15, 0), "{stats:?}");
    harness.end_clean(&bus).await;
}

/// An envelope that always panics is given up like any failure, with the panic as its error.
pub async fn p7_an_envelope_that_always_panics_is_given_up(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let into = Arc::clone(&seen);
    let handler = now(move |event: Event| {
        if event.aggregate_id == "bad" {
            boom("always");
        }
        into.push(Note::from(&event));
    });
    bus.subscription(&topic).dead_letter(&dead).envelopes(handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "bad", 0..1).await;
    publish_numbers(&bus, &topic, "good", 0..5).await;
    let letter = harness.audit(&dead, 1).await.remove(0);
    assert_eq!(letter.headers.get(header::ERROR_MESSAGE), Some(&b"handler panicked: always"[..]));
    assert_eq!(letter.headers.get(header::ATTEMPTS), Some(&b"3"[..]));
    seen.reached(5).await;
    assert_eq!(bus.pool_stats().panics, 3);
    harness.end_clean(&bus).await;
}

/// A regular message that panics is settled and does not run again. The other fourteen succeed.
pub async fn p7_a_regular_panic_is_final(harness: BusHarness) {
    let topic = harness.topic("raw");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let into = Arc::clone(&seen);
    let handler = now(move |message: Message| {
        if message.payload == "7" {
            boom("seven");
        }
        into.push(Note::from(&message));
    });
    bus.subscribe(&topic, handler).await.expect("subscribes");
    for n in 0..15 {
        bus.publish(&topic, Record::new(n.to_string()).with_key("k")).await.expect("published");
    }
    harness.settled("g", &[&topic]).await;
    super::harness::idle(&bus).await;
    let numbers: Vec<_> = seen.all().iter().map(Note::number).collect();
    assert_eq!(numbers, (0..15).filter(|n| *n != 7).collect::<Vec<_>>());
    let stats = bus.pool_stats();
    assert_eq!((stats.panics, stats.panicked, stats.ok), (1, 1, 14), "{stats:?}");
    harness.end_clean(&bus).await;
}

/// Five aggregates panic at the same time, and the pool continues with all of them.
pub async fn p7_many_aggregates_panic_together(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let into = Arc::clone(&seen);
    let handler = now(move |event: Event| {
        if event.message.attempt == 1 && event.payload.as_bytes() == "1" {
            boom("together");
        }
        into.push(Note::from(&event));
    });
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    let envelopes: Vec<_> = (0..15).map(|n| envelope(&format!("a{}", n % 5), n / 5)).collect();
    publish(&bus, &topic, &envelopes).await;
    harness.settled("g", &[&topic]).await;
    super::harness::idle(&bus).await;
    for key in 0..5 {
        assert_eq!(super::seen::numbers_of(&seen.all(), &format!("a{key}")), [0, 1, 2]);
    }
    assert_eq!(bus.pool_stats().panics, 5);
    harness.end_clean(&bus).await;
}

/// After each of ten consecutive panics, a single worker serves the next message.
pub async fn p7_the_pool_serves_on_after_many_panics(harness: BusHarness) {
    let topic = harness.topic("raw");
    let (bus, seen) = (harness.bus_of(harness.sized("g", 1, 100)).await, Seen::new());
    let into = Arc::clone(&seen);
    let handler = now(move |message: Message| {
        into.push(Note::from(&message));
        if message.payload == "panic" {
            boom("in a row");
        }
    });
    bus.subscribe(&topic, handler).await.expect("subscribes");
    for round in 0..10 {
        bus.publish(&topic, Record::new("panic").with_key("k")).await.expect("published");
        bus.publish(&topic, Record::new("good").with_key("k")).await.expect("published");
        seen.reached(2 * round + 2).await;
    }
    harness.settled("g", &[&topic]).await;
    super::harness::idle(&bus).await;
    assert_eq!(bus.pool_stats().panicked, 10);
    harness.end_clean(&bus).await;
}

/// A panic among a thousand queued messages loses none of them.
pub async fn p7_a_panic_amid_a_thousand_loses_none(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let into = Arc::clone(&seen);
    let handler = now(move |event: Event| {
        let note = Note::from(&event);
        if note.number() == 100 && note.attempt == 1 {
            boom("one hundred");
        }
        into.push(note);
    });
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    let envelopes: Vec<_> = (0..1_000).map(|n| envelope(&format!("a{}", n % 50), n)).collect();
    publish(&bus, &topic, &envelopes).await;
    harness.settled("g", &[&topic]).await;
    let mut numbers: Vec<_> = seen.all().iter().map(Note::number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..1_000).collect::<Vec<_>>());
    harness.end_clean(&bus).await;
}

/// An actor that exceeds its restarts cools down. Its messages wait, and run when the actor
/// returns. No message is lost, and reading resumes by itself. The keyed pool is not affected.
pub async fn p8_messages_outlive_a_cool_down(harness: BusHarness) {
    let topic = harness.topic("raw");
    let mut config = harness.sized("g", 1, 10);
    super::each_pool(&mut config, |_, actor| {
        actor.max_restarts = 1;
        actor.cool_down = Duration::from_millis(20);
    });
    let (bus, seen) = (harness.bus_of(config).await, Seen::new());
    let into = Arc::clone(&seen);
    let handler = now(move |message: Message| {
        let note = Note::from(&message);
        into.push(note.clone());
        if note.number() % 2 == 0 {
            boom("even");
        }
    });
    bus.subscribe(&topic, handler).await.expect("subscribes");
    for n in 0..20 {
        bus.publish(&topic, Record::new(n.to_string()).with_key("k")).await.expect("published");
    }
    harness.settled("g", &[&topic]).await;
    super::harness::idle(&bus).await;
    assert_eq!(
        seen.all().iter().map(Note::number).collect::<Vec<_>>(),
        (0..20).collect::<Vec<_>>()
    );
    let stats = bus.pool_stats();
    assert_eq!((stats.panicked, stats.ok), (10, 10), "{stats:?}");
    harness.end_clean(&bus).await;
}
