//! The delivery table, row by row, for envelopes and for regular messages. SPEC: D1

use super::{
    BusHarness, Note, Seen, fails, notes_events, notes_messages, notes_then_waits, now,
    publish_numbers,
};
use buslane_core::{Event, Message, Record, Verdict};
use buslane_testkit::signal::Gate;
use std::sync::Arc;

/// The message is open while the handler runs, and settled when it has ended.
pub async fn d1_a_message_is_settled_after_its_handler(harness: BusHarness) {
    let (raw, events) = (harness.topic("raw"), harness.topic("events"));
    let (bus, started, gate) = (harness.bus("g").await, Seen::new(), Arc::new(Gate::default()));
    bus.subscribe_envelopes(&events, notes_then_waits(&started, &gate)).await.expect("subscribes");
    bus.subscribe(&raw, notes_then_waits(&started, &gate)).await.expect("subscribes");
    publish_numbers(&bus, &events, "a", 0..1).await;
    bus.publish(&raw, Record::new("0").with_key("b")).await.expect("published");
    started.reached(2).await;
    assert_eq!((harness.unsettled("g", &events).await, harness.unsettled("g", &raw).await), (1, 1));
    gate.open();
    harness.settled("g", &[&events, &raw]).await;
    harness.end_clean(&bus).await;
    assert_eq!(started.len(), 2);
}

/// Two failures and a success make three attempts, counted up.
pub async fn d3_an_envelope_that_fails_twice_is_tried_three_times(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscribe_envelopes(&topic, fails(&seen, |note| note.attempt < 3))
        .await
        .expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    harness.settled("g", &[&topic]).await;
    super::harness::idle(&bus).await;
    let attempts: Vec<_> = seen.all().iter().map(|note| note.attempt).collect();
    assert_eq!(attempts, [1, 2, 3]);
    let stats = bus.pool_stats();
    assert_eq!((stats.ok, stats.failed, stats.retried), (1, 0, 2), "{stats:?}");
    harness.end_clean(&bus).await;
}

/// A failed regular message is settled, whatever retries the subscription has.
pub async fn d1_a_regular_failure_is_final(harness: BusHarness) {
    let topic = harness.topic("raw");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let into = Arc::clone(&seen);
    let handler = now(move |message: Message| {
        into.push(Note::from(&message));
        Err::<(), _>("always")
    });
    bus.subscribe(&topic, handler).await.expect("subscribes");
    for n in 0..10 {
        bus.publish(&topic, Record::new(n.to_string()).with_key("k")).await.expect("published");
    }
    harness.settled("g", &[&topic]).await;
    super::harness::idle(&bus).await;
    assert_eq!(
        seen.all().iter().map(Note::number).collect::<Vec<_>>(),
        (0..10).collect::<Vec<_>>()
    );
    assert_eq!((bus.pool_stats().failed, bus.pool_stats().retried), (10, 0));
    harness.end_clean(&bus).await;
    // And it does not come again.
    let bus = harness.bus("g").await;
    bus.subscribe(&topic, notes_messages(&seen)).await.expect("subscribes");
    bus.publish(&topic, Record::new("10").with_key("k")).await.expect("published");
    assert_eq!(seen.reached(11).await[10].number(), 10);
    harness.end_clean(&bus).await;
}

/// A regular message has one attempt, whatever its handler returns.
pub async fn d1_a_regular_verdict_to_retry_is_final_too(harness: BusHarness) {
    let topic = harness.topic("raw");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let into = Arc::clone(&seen);
    let handler = now(move |message: Message| {
        into.push(Note::from(&message));
        if message.offset.is_multiple_of(2) {
            Verdict::retry("again")
        } else {
            Verdict::reject("never")
        }
    });
    bus.subscribe(&topic, handler).await.expect("subscribes");
    for n in 0..6 {
        bus.publish(&topic, Record::new(n.to_string()).with_key("k")).await.expect("published");
    }
    harness.settled("g", &[&topic]).await;
    assert_eq!(seen.len(), 6);
    harness.end_clean(&bus).await;
}

/// An unreadable envelope gets the terminal policy without an attempt, and its partition and key
/// continue.
pub async fn d5_an_undecodable_envelope_is_given_up_at_once(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscription(&topic)
        .dead_letter(&dead)
        .envelopes(notes_events(&seen))
        .await
        .expect("subscribes");
    bus.publish(&topic, Record::new("\u{1}torn").with_key("a")).await.expect("published");
    publish_numbers(&bus, &topic, "a", 0..3).await;
    assert_eq!(seen.reached(3).await.iter().map(Note::number).collect::<Vec<_>>(), [0, 1, 2]);
    let letter = harness.audit(&dead, 1).await.remove(0);
    assert_eq!(letter.payload, "\u{1}torn");
    assert_eq!(letter.headers.get("X-Attempts"), Some(&b"1"[..]));
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// A regular handler gets the raw bytes, whether or not they are an envelope.
pub async fn d1_a_regular_handler_gets_the_raw_bytes(harness: BusHarness) {
    let topic = harness.topic("raw");
    let bus = harness.bus("g").await;
    let seen = Seen::new();
    let into = Arc::clone(&seen);
    bus.subscribe(&topic, now(move |message: Message| into.push(message.payload)))
        .await
        .expect("subscribes");
    bus.publish(&topic, vec![0xff, 0, 0xfe]).await.expect("published");
    assert_eq!(seen.reached(1).await, [vec![0xff, 0, 0xfe]]);
    harness.end_clean(&bus).await;
}

/// A later message that is done does not settle an earlier one that is open.
pub async fn d2_a_later_message_never_settles_an_earlier_one(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen, gate) = (harness.bus("g").await, Seen::new(), Arc::new(Gate::default()));
    let (into, opened) = (Arc::clone(&seen), Arc::clone(&gate));
    let handler = move |event: Event| {
        let (into, gate) = (Arc::clone(&into), Arc::clone(&opened));
        async move {
            let note = Note::from(&event);
            if note.label == "first" {
                gate.wait().await;
            }
            into.push(note);
        }
    };
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "first", 0..1).await;
    // Many keys, so that some share its partition.
    for key in 0..64 {
        publish_numbers(&bus, &topic, &format!("a{key}"), 0..2).await;
    }
    seen.reached(128).await;
    assert!(harness.unsettled("g", &topic).await >= 1, "the first is open");
    drop(bus);
    buslane_testkit::leak::no_more_tasks_than(0).await;
    let again = Seen::new();
    let bus = harness.bus("g").await;
    bus.subscribe_envelopes(&topic, notes_events(&again)).await.expect("subscribes");
    let notes =
        again.until("the first one", |notes| notes.iter().any(|note| note.label == "first")).await;
    assert!(notes.iter().all(|note| note.attempt == 1));
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}
