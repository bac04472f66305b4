//! Shadow runs of handlers on the other pool, compared and never settled. SPEC: S7

use super::{
    BusHarness, Note, PoolKind, Seen, envelope, fails, harness::refused, notes_events,
    notes_messages, notes_then_waits,
};
use super::{publish, publish_numbers, seen::numbers_of};
use buslane::{EventBus, rollout::ShadowStatus};
use buslane_core::{Event, Message, Record, Topic};
use buslane_testkit::{deadline::until, signal::Gate};
use std::{sync::Arc, time::Instant};

const LINE: &str = "twin differs from its handler";

fn key(n: usize) -> String {
    format!("key-{n}")
}

/// Publishes these numbers for each of `keys` keys.
async fn publish_keys(bus: &EventBus, topic: &Topic, keys: usize, numbers: std::ops::Range<usize>) {
    let batch: Vec<_> =
        numbers.flat_map(|number| (0..keys).map(move |n| envelope(&key(n), number))).collect();
    publish(bus, topic, &batch).await;
}

/// Waits until the shadows of `messages` messages have ended, and returns the status.
async fn over(bus: &EventBus, messages: u64) -> ShadowStatus {
    let status = || bus.rollout().status().shadow;
    let of = |shadow: ShadowStatus| shadow.compared + shadow.dropped;
    until("the twins have ended", || status().map_or(0, of) >= messages).await;
    let shadow = status().expect("there are some");
    assert_eq!(of(shadow), messages, "{shadow:?}");
    shadow
}

/// Moves every key to the other pool.
async fn move_all(harness: &BusHarness, bus: &EventBus) {
    let to = if harness.pool == PoolKind::Actor { 0 } else { 100 };
    bus.rollout().set_percent(to, "test").expect("an open bus");
    harness.within("the move", bus.rollout().settled()).await;
}

/// Every message runs once with its handler and once as a shadow, each in the order of its key. The
/// pool's statistics count only the handler's runs.
pub async fn s7_every_message_is_settled_once_while_all_have_shadows(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, page) = harness.bus_with_page(harness.config("g")).await;
    let (seen, doubled) = (Seen::new(), Seen::new());
    let subscription = bus.subscription(&topic).shadow(100, notes_events(&doubled));
    subscription.envelopes(notes_events(&seen)).await.expect("subscribes");
    assert_eq!(bus.rollout().status().shadow, None);
    publish_keys(&bus, &topic, 40, 0..5).await;
    harness.settled("g", &[&topic]).await;
    let shadow = over(&bus, 200).await;
    assert_eq!((shadow.compared, shadow.different, shadow.dropped), (200, 0, 0));
    assert!(shadow.handler_p99_ms.is_some() && shadow.twin_p99_ms.is_some(), "{shadow:?}");
    for notes in [seen.all(), doubled.all()] {
        assert_eq!(notes.len(), 200);
        for n in 0..40 {
            assert_eq!(numbers_of(&notes, &key(n)), [0, 1, 2, 3, 4]);
        }
    }
    super::harness::idle(&bus).await;
    let stats = bus.pool_stats();
    assert_eq!(
        (stats.accepted, stats.ok, stats.abandoned, stats.moved),
        (200, 200, 0, 0),
        "{stats:?}"
    );
    assert_eq!(page.pool("messages_sent_total"), 200.0);
    for (result, count) in [("same", 200.0), ("different", 0.0), ("dropped", 0.0)] {
        assert_eq!(page.value(&format!("shadow_messages_total{{result=\"{result}\"}}")), count);
    }
    for role in ["handler", "twin"] {
        assert_eq!(page.value(&format!("shadow_latency_seconds_count{{role=\"{role}\"}}")), 200.0);
    }
    harness.end_clean(&bus).await;
}

/// A shadow that fails where the handler succeeds is counted, and changes nothing. A shadow has one
/// attempt, which is compared with the handler's last one.
pub async fn s7_a_twin_that_fails_is_counted_and_changes_nothing(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, begun) = (harness.bus("g").await, Instant::now());
    let (seen, doubled) = (Seen::new(), Seen::new());
    let twin = fails(&doubled, |note| {
        assert!(note.number() % 5 != 1, "a twin panics");
        note.number() % 5 == 0
    });
    let subscription = bus.subscription(&topic).shadow(100, twin);
    let handler = fails(&seen, |note| note.number() % 5 == 2 && note.attempt == 1);
    subscription.envelopes(handler).await.expect("subscribes");
    publish_keys(&bus, &topic, 8, 0..10).await;
    harness.settled("g", &[&topic]).await;
    let shadow = over(&bus, 80).await;
    assert_eq!((shadow.compared, shadow.different, shadow.dropped), (80, 32, 0));
    let (notes, doubles) = (seen.all(), doubled.all());
    assert_eq!((notes.len(), doubles.len()), (80 + 16, 80));
    assert!(doubles.iter().all(|note| note.attempt == 1));
    let stats = bus.pool_stats();
    assert_eq!(
        (stats.ok, stats.failed, stats.panicked, stats.panics, stats.retried),
        (80, 0, 0, 0, 16),
        "{stats:?}"
    );
    let lines = harness.logs.saying(LINE);
    assert!((1..=1 + begun.elapsed().as_secs()).contains(&(lines.len() as u64)), "{lines:?}");
    assert_eq!(
        (lines[0].field("topic"), lines[0].field("handler"), lines[0].field("untold")),
        (&*topic, "ok", "0")
    );
    let text = lines[0].field("twin");
    assert!(
        ["failed: no to 0", "failed: no to 5", "panicked: a twin panics"].contains(&text),
        "{text}"
    );
    assert!(lines[0].fields.contains_key("offset") && lines[0].fields.contains_key("partition"));
    harness.end_clean(&bus).await;
}

/// A handler that fails and a shadow that panics have the same result. The panic restarts no actor.
pub async fn s7_a_failure_and_a_panic_are_the_same(harness: BusHarness) {
    let topic = harness.topic("raw");
    let bus = harness.bus("g").await;
    let fails = |note: &Note| note.number().is_multiple_of(2);
    let twin =
        super::now(move |message: Message| assert!(!fails(&Note::from(&message)), "a twin panics"));
    let handler = super::now(
        move |message: Message| if fails(&Note::from(&message)) { Err("no") } else { Ok(()) },
    );
    bus.subscription(&topic).shadow(100, twin).messages(handler).await.expect("subscribes");
    for n in 0..40 {
        bus.publish(&topic, Record::new(n.to_string()).with_key(key(n % 8)))
            .await
            .expect("published");
    }
    harness.settled("g", &[&topic]).await;
    let shadow = over(&bus, 40).await;
    assert_eq!((shadow.compared, shadow.different, shadow.dropped), (40, 0, 0));
    let stats = bus.pool_stats();
    assert_eq!(
        (stats.ok, stats.failed, stats.panicked, stats.restarts),
        (20, 20, 0, 0),
        "{stats:?}"
    );
    let restarted = harness.logs.saying("actor failed and is restarted");
    assert!(harness.logs.saying(LINE).is_empty() && restarted.is_empty(), "{restarted:?}");
    harness.end_clean(&bus).await;
}

/// Shadows that never end occupy every shadow worker, and delay no message, no move and no
/// shutdown.
pub async fn s7_twins_that_never_end_hold_up_nothing(harness: BusHarness) {
    let topic = harness.topic("orders");
    let bus = harness.bus_of(harness.sized("g", 2, 5)).await;
    let (seen, twin) = (Seen::new(), |_: Event| std::future::pending::<()>());
    let subscription = bus.subscription(&topic).shadow(100, twin);
    subscription.envelopes(notes_events(&seen)).await.expect("subscribes");
    for round in 0..3 {
        publish_keys(&bus, &topic, 20, round * 5..round * 5 + 5).await;
        harness.settled("g", &[&topic]).await;
        move_all(&harness, &bus).await;
        let status = bus.rollout().status();
        assert!(status.stuck.is_empty(), "{status:?}");
    }
    harness.end_clean(&bus).await;
    for n in 0..20 {
        assert_eq!(numbers_of(&seen.all(), &key(n)), (0..15).collect::<Vec<_>>());
    }
    let shadow = over(&bus, 300).await;
    assert_eq!((shadow.compared, shadow.dropped), (0, 300));
}

/// A shadow has the timeout of its handler.
pub async fn s7_a_twin_has_the_timeout_of_its_subscription(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let subscription = bus.subscription(&topic).timeout(std::time::Duration::from_millis(20));
    let subscription = subscription.shadow(100, |_: Event| std::future::pending::<()>());
    subscription.envelopes(notes_events(&seen)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..3).await;
    let shadow = over(&bus, 3).await;
    assert_eq!((shadow.compared, shadow.different), (3, 3));
    assert_eq!(harness.logs.saying(LINE)[0].field("twin"), "failed: handler timed out after 20ms");
    harness.end_clean(&bus).await;
}

/// A share of 25 % is exact over all partitions together.
pub async fn s7_a_share_is_exact(harness: BusHarness) {
    let topic = harness.topic("raw");
    let (bus, seen, doubled) = (harness.bus("g").await, Seen::new(), Seen::new());
    let subscription = bus.subscription(&topic).shadow(25, notes_messages(&doubled));
    subscription.messages(notes_messages(&seen)).await.expect("subscribes");
    for n in 0..200 {
        bus.publish(&topic, Record::new(n.to_string()).with_key(key(n % 8)))
            .await
            .expect("published");
    }
    harness.settled("g", &[&topic]).await;
    let shadow = over(&bus, 50).await;
    assert_eq!((shadow.compared, shadow.different, shadow.dropped), (50, 0, 0));
    assert_eq!((seen.len(), doubled.len()), (200, 50));
    harness.end_clean(&bus).await;
}

/// Keys may change pools while all messages have shadows. Each message is settled once, in order,
/// and every shadow is counted.
pub async fn s7_keys_may_change_pools_while_all_have_shadows(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen, doubled) = (harness.bus("g").await, Seen::new(), Seen::new());
    let subscription = bus.subscription(&topic).shadow(100, notes_events(&doubled));
    subscription.envelopes(notes_events(&seen)).await.expect("subscribes");
    for (round, percent) in [50, 100, 0, 30, 70, 0, 100, 10].into_iter().enumerate() {
        bus.rollout().set_percent(percent, "test").expect("an open bus");
        publish_keys(&bus, &topic, 32, round * 5..round * 5 + 5).await;
    }
    harness.settled("g", &[&topic]).await;
    let shadow = over(&bus, 32 * 40).await;
    assert_eq!((shadow.different, shadow.compared), (0, doubled.len() as u64), "{shadow:?}");
    for n in 0..32 {
        assert_eq!(numbers_of(&seen.all(), &key(n)), (0..40).collect::<Vec<_>>());
    }
    harness.within("the move", bus.rollout().settled()).await;
    harness.end_clean(&bus).await;
}

/// The end of a subscription drops those of its shadows that have not started.
pub async fn s7_shadows_go_with_their_subscription(harness: BusHarness) {
    let topic = harness.topic("orders");
    let bus = harness.bus_of(harness.sized("g", 2, 5)).await;
    let (seen, begun, gate) = (Seen::new(), Seen::new(), Arc::new(Gate::default()));
    let subscription = bus.subscription(&topic).shadow(100, notes_then_waits(&begun, &gate));
    subscription.envelopes(notes_events(&seen)).await.expect("subscribes");
    publish_keys(&bus, &topic, 6, 0..1).await;
    harness.settled("g", &[&topic]).await;
    begun.reached(2).await;
    bus.unsubscribe(&topic).await.expect("unsubscribes");
    let shadow = over(&bus, 4).await;
    assert_eq!((shadow.compared, shadow.dropped), (0, 4));
    gate.open();
    let shadow = over(&bus, 6).await;
    assert_eq!((shadow.compared, shadow.different, begun.len()), (2, 0, 2));
    harness.end_clean(&bus).await;
}

/// An invalid share is refused with the rule that it breaks, and nothing is subscribed.
pub async fn s7_a_share_that_is_none_is_refused(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    for percent in [0, 101, u8::MAX] {
        let subscription = bus.subscription(&topic).shadow(percent, notes_events(&seen));
        let text = refused(subscription.envelopes(notes_events(&seen)).await);
        assert!(
            text.contains("shadow.percent") && text.contains("must be from 1 to 100"),
            "{text}"
        );
        assert!(!bus.topics().is_subscribed(&topic));
    }
    harness.end_clean(&bus).await;
}
