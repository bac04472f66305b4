//! Keys that fail for good: set aside in a log, redriven in order, skipped, edited, discarded.
//! SPEC: Q1, Q2, Q3, Q4, Q5

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use buslane::{EventBus, ParkedKey};
use buslane_core::{Event, Handler, Topic};
use buslane_testkit::deadline::until;

use super::seen::numbers_of;
use super::{
    BusHarness, Fault, Note, Seen, envelope, fails, notes_messages, publish, publish_numbers,
};

/// A handler that fails the messages of the key `bad` while it is told to.
fn breaks(seen: &Arc<Seen<Note>>) -> (Arc<AtomicBool>, impl Handler<Event> + use<>) {
    let is_broken = Arc::new(AtomicBool::new(true));
    let broken = Arc::clone(&is_broken);
    (is_broken, fails(seen, move |note| note.label == "bad" && broken.load(SeqCst)))
}

/// The one parked key, once `condition` holds for it.
async fn parked(bus: &EventBus, what: &str, condition: impl Fn(&ParkedKey) -> bool) -> ParkedKey {
    until(what, || matches!(&bus.parking().keys()[..], [key] if condition(key))).await;
    bus.parking().keys().remove(0)
}

async fn none_parked(bus: &EventBus) {
    until("no key is parked", || bus.parking().keys().is_empty()).await;
}

async fn redrive(bus: &EventBus, topic: &Topic) {
    bus.parking().redrive(topic, b"bad").await.expect("it begins");
}

/// The message whose attempts are used up, and every later one of its key, are set aside and
/// settled. Other keys go on.
pub async fn q1_a_failing_key_is_set_aside_and_the_others_go_on(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let (_, handler) = breaks(&seen);
    bus.subscription(&topic).park().envelopes(handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "bad", 0..50).await;
    let good: Vec<_> = (0..100).map(|n| envelope(&format!("a{}", n % 10), n)).collect();
    publish(&bus, &topic, &good).await;
    harness.settled("g", &[&topic]).await;
    let key = parked(&bus, "all of it", |key| key.messages == 50).await;
    assert_eq!((&key.topic, &key.key[..], key.redrives), (&topic, &b"bad"[..], 0));
    assert!(!key.is_worked_on);
    assert_eq!(numbers_of(&seen.all(), "bad"), [0, 0, 0], "three attempts of the first one");
    assert_eq!(seen.len(), 103);
    let lines = harness.logs.saying("key parked");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!((lines[0].level, lines[0].field("attempt")), (tracing::Level::ERROR, "3"));
    let first = bus.parking().first(&topic, b"bad").await.expect("open").expect("it is parked");
    let seen = seen.all();
    let begun = seen.iter().find(|note| note.label == "bad").expect("it was tried");
    assert_eq!((first.topic(), first.offset), (&topic, begun.offset));
    harness.end_clean(&bus).await;
}

/// Once its cause is gone, a key is handled in order, with what has come meanwhile, and is live
/// again.
pub async fn q3_a_redrive_keeps_the_order_and_ends(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let (is_broken, handler) = breaks(&seen);
    bus.subscription(&topic).park().envelopes(handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "bad", 0..20).await;
    parked(&bus, "all of it", |key| key.messages == 20).await;
    is_broken.store(false, SeqCst);
    redrive(&bus, &topic).await;
    publish_numbers(&bus, &topic, "bad", 20..200).await;
    harness.settled("g", &[&topic]).await;
    none_parked(&bus).await;
    publish_numbers(&bus, &topic, "bad", 200..210).await;
    harness.settled("g", &[&topic]).await;
    let numbers = numbers_of(&seen.all(), "bad");
    assert_eq!(numbers[3..], (0..210).collect::<Vec<_>>());
    harness.end_clean(&bus).await;
}

/// A message that fails in its redrive stays the first one, and its redrives are counted. Two
/// operators at once: one is refused.
pub async fn q3_a_redrive_that_fails_keeps_the_key_parked(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let (is_broken, handler) = breaks(&seen);
    bus.subscription(&topic).park().envelopes(handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "bad", 0..5).await;
    parked(&bus, "all of it", |key| key.messages == 5).await;
    for redrives in 1..3 {
        redrive(&bus, &topic).await;
        let failed = |key: &ParkedKey| key.redrives == redrives && !key.is_worked_on;
        assert_eq!(parked(&bus, "it has failed again", failed).await.messages, 5);
    }
    assert_eq!(numbers_of(&seen.all(), "bad"), [0; 9]);
    is_broken.store(false, SeqCst);
    let parking = bus.parking();
    let (one, other) =
        tokio::join!(parking.redrive(&topic, b"bad"), parking.redrive(&topic, b"bad"));
    assert!(one.is_ok() || other.is_ok(), "{one:?}, {other:?}");
    none_parked(&bus).await;
    assert_eq!(numbers_of(&seen.all(), "bad")[9..], [0, 1, 2, 3, 4]);
    let error = bus.parking().redrive(&topic, b"bad").await.expect_err("it is live");
    assert!(error.to_string().contains("not parked"), "{error}");
    harness.end_clean(&bus).await;
}

/// A restart knows the parked keys before it handles a message.
pub async fn q2_parked_keys_outlive_their_process(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let (is_broken, handler) = breaks(&seen);
    bus.subscription(&topic).park().envelopes(handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "bad", 0..5).await;
    parked(&bus, "all of it", |key| key.messages == 5).await;
    redrive(&bus, &topic).await;
    parked(&bus, "it has failed again", |key| key.redrives == 1).await;
    harness.end(&bus).await;
    // From here on no message of the key fails, but they are behind the others.
    is_broken.store(false, SeqCst);
    let (bus, after) = (harness.bus("g").await, Seen::new());
    publish_numbers(&bus, &topic, "bad", 5..10).await;
    let (is_broken, handler) = breaks(&after);
    is_broken.store(false, SeqCst);
    bus.subscription(&topic).park().envelopes(handler).await.expect("subscribes");
    let key = parked(&bus, "all of it", |key| key.messages == 10).await;
    assert_eq!(key.redrives, 1);
    assert!(after.is_empty(), "{:?}", after.all());
    redrive(&bus, &topic).await;
    none_parked(&bus).await;
    assert_eq!(numbers_of(&after.all(), "bad"), (0..10).collect::<Vec<_>>());
    harness.end_clean(&bus).await;
}

/// While its log cannot be written, the key blocks, and nothing is lost.
pub async fn q5_a_log_that_cannot_be_written_blocks_the_key(harness: BusHarness) {
    let topic = harness.topic("orders");
    let log = Topic::new(&format!("{topic}.parked")).expect("a name");
    let (bus, faulty) = harness.faulty_bus(harness.config("g")).await;
    let seen = Seen::new();
    let (is_broken, handler) = breaks(&seen);
    bus.subscription(&topic).park().envelopes(handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "good", 0..5).await;
    seen.reached(5).await;
    faulty.refuse(&log, true);
    publish_numbers(&bus, &topic, "bad", 0..5).await;
    until("the key is blocked", || bus.status().blocked_keys == 1).await;
    publish_numbers(&bus, &topic, "good", 5..10).await;
    seen.until("the others", |notes| numbers_of(notes, "good").len() == 10).await;
    faulty.refuse(&log, false);
    parked(&bus, "all of it", |key| key.messages == 5).await;
    until("the key is not blocked", || bus.status().blocked_keys == 0).await;
    is_broken.store(false, SeqCst);
    redrive(&bus, &topic).await;
    none_parked(&bus).await;
    assert_eq!(numbers_of(&seen.all(), "bad")[3..], [0, 1, 2, 3, 4]);
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// The first message is skipped if it is still the first; another body makes the next one succeed;
/// the rest goes to the dead letters.
pub async fn q4_a_parked_message_is_skipped_edited_or_discarded(harness: BusHarness) {
    let topic = harness.topic("orders");
    let letters = Topic::new(&format!("{topic}.dlq")).expect("a name");
    let (bus, seen, dead) = (harness.bus("g").await, Seen::new(), Seen::new());
    bus.subscribe(&letters, notes_messages(&dead)).await.expect("subscribes");
    let handler = fails(&seen, |note| note.label == "bad" && note.body != "77");
    bus.subscription(&topic).park().envelopes(handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "bad", 0..5).await;
    parked(&bus, "all of it", |key| key.messages == 5).await;
    let parking = bus.parking();
    let first = parking.first(&topic, b"bad").await.expect("open").expect("it is parked");
    parking.skip(&topic, b"bad", first.offset).await.expect("it begins");
    parked(&bus, "one is skipped", |key| key.messages == 4).await;
    let error = parking.skip(&topic, b"bad", first.offset).await.expect_err("it is over");
    assert!(error.to_string().contains("is over"), "{error}");

    let next = parking.first(&topic, b"bad").await.expect("open").expect("it is parked");
    assert!(next.offset > first.offset);
    let body = String::from_utf8(next.payload.to_vec()).expect("an envelope");
    let edited = body.replace("\"payload\":1", "\"payload\":77");
    assert_ne!(edited, body);
    parking.edit(&topic, b"bad", next.offset, edited).await.expect("it gets the body");
    parking.redrive(&topic, b"bad").await.expect("it begins");
    let failed = |key: &ParkedKey| key.messages == 3 && key.redrives == 1;
    parked(&bus, "the next one has failed", failed).await;

    parking.discard(&topic, b"bad").await.expect("it begins");
    none_parked(&bus).await;
    let dead = dead.reached(3).await;
    assert!(dead.iter().all(|note| note.body.contains("bad")), "{dead:?}");
    let bodies: Vec<_> = seen.all().iter().map(|note| note.body.clone()).collect();
    assert_eq!(bodies, ["0", "0", "0", "77", "2", "2", "2"]);
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// Parked keys move to another member with their partitions, and stay parked.
pub async fn q2_parked_keys_move_with_their_partition(harness: BusHarness) {
    let topic = harness.topic("orders");
    let seen = Seen::new();
    let one = harness.bus("g").await;
    let (is_broken, handler) = breaks(&seen);
    one.subscription(&topic).park().envelopes(handler).await.expect("subscribes");
    publish_numbers(&one, &topic, "bad", 0..5).await;
    parked(&one, "all of it", |key| key.messages == 5).await;
    let other = harness.bus("g").await;
    let broken = Arc::clone(&is_broken);
    let handler = fails(&seen, move |note| note.label == "bad" && broken.load(SeqCst));
    other.subscription(&topic).park().envelopes(handler).await.expect("subscribes");
    harness.fault_where_possible(Fault::Rebalance(harness.fixture.name("g"))).await;
    publish_numbers(&other, &topic, "bad", 5..10).await;
    let owner = || {
        let of = |bus: &EventBus| bus.parking().keys().first().map(|key| key.messages);
        match (of(&one), of(&other)) {
            (Some(10), None) => Some(&one),
            (None, Some(10)) => Some(&other),
            _ => None,
        }
    };
    until("one of them has the key", || owner().is_some()).await;
    is_broken.store(false, SeqCst);
    redrive(owner().expect("it has"), &topic).await;
    none_parked(&one).await;
    none_parked(&other).await;
    harness.settled("g", &[&topic]).await;
    let numbers = numbers_of(&seen.all(), "bad");
    assert_eq!(numbers[3..], (0..10).collect::<Vec<_>>(), "{numbers:?}");
    harness.end(&one).await;
    harness.end_clean(&other).await;
}
