//! Keys that change pools while messages flow. SPEC: S3, S4, S6

use super::{
    BusHarness, Note, PoolKind, Seen, envelope, fails, notes_events, notes_then_waits, publish,
    publish_numbers,
};
use buslane::{EventBus, rollout::RolloutEvent};
use buslane_core::Event;
use buslane_testkit::{deadline::until, signal::Gate};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("key-{n}")).collect()
}

/// The running and the finished messages of one key.
#[derive(Default)]
struct Lane {
    is_running: bool,
    done: Vec<usize>,
}

/// Checks that each key runs one message at a time, and records the order.
#[derive(Default)]
struct Lanes(Mutex<BTreeMap<String, Lane>>);

impl Lanes {
    fn of<R>(&self, key: &str, change: impl FnOnce(&mut Lane) -> R) -> R {
        change(
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(key.to_owned())
                .or_default(),
        )
    }

    fn begin(&self, key: &str) {
        assert!(
            !self.of(key, |lane| std::mem::replace(&mut lane.is_running, true)),
            "two at a time of {key}"
        );
    }

    /// Records the end of an attempt; `done` is the number of a message that succeeded.
    fn end(&self, key: &str, done: Option<usize>) {
        self.of(key, |lane| {
            lane.is_running = false;
            lane.done.extend(done);
        });
    }

    fn count(&self) -> usize {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .map(|lane| lane.done.len())
            .sum()
    }
}

/// Handlers that return at once, wait, fail or panic.
fn mixed(lanes: &Arc<Lanes>) -> impl buslane_core::Handler<Event> + use<> {
    let lanes = Arc::clone(lanes);
    move |event: Event| {
        let lanes = Arc::clone(&lanes);
        let note = Note::from(&event);
        let (key, number) = (note.label.clone(), note.number());
        async move {
            lanes.begin(&key);
            if number.is_multiple_of(7) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let fails = number % 13 == 3 && note.attempt == 1;
            lanes.end(&key, (!fails).then_some(number));
            if fails { Err("not yet") } else { Ok(()) }
        }
    }
}

/// During fifty moves, each message runs once, in the order of its key and one at a time.
pub async fn s4_fifty_moves_under_load_lose_nothing(harness: BusHarness) {
    const KEYS: usize = 64;
    let topic = harness.topic("orders");
    let (bus, lanes) = (harness.bus("g").await, Arc::new(Lanes::default()));
    bus.subscribe_envelopes(&topic, mixed(&lanes)).await.expect("subscribes");
    let is_over = Arc::new(AtomicBool::new(false));
    let load = {
        let (bus, topic, is_over) = (bus.clone(), topic.clone(), Arc::clone(&is_over));
        tokio::spawn(async move {
            let mut number = 0;
            while !is_over.load(SeqCst) {
                let batch: Vec<_> = (number..number + 4)
                    .flat_map(|number| {
                        keys(KEYS).into_iter().map(move |key| envelope(&key, number))
                    })
                    .collect();
                publish(&bus, &topic, &batch).await;
                number += 4;
            }
            number
        })
    };
    let rollout = bus.rollout();
    for percent in [10, 50, 100, 0, 100, 30, 70, 0, 1, 99].into_iter().cycle().take(50) {
        rollout.set_percent(percent, "test").expect("an open bus");
        harness.within("the move", rollout.settled()).await;
        let status = rollout.status();
        assert_eq!((status.percent, status.slots.moving, status.stuck.len()), (percent, 0, 0));
        assert_eq!(status.slots.on_actor, 1_024 * usize::from(percent) / 100);
    }
    is_over.store(true, SeqCst);
    let numbers = harness.within("the load", load).await.expect("publishes");
    harness.settled("g", &[&topic]).await;
    assert_eq!(lanes.count(), KEYS * numbers);
    for key in keys(KEYS) {
        lanes.of(&key, |lane| assert_eq!(lane.done, (0..numbers).collect::<Vec<_>>(), "{key}"));
    }
    let stats = bus.pool_stats();
    assert_eq!(
        (stats.open, stats.accepted),
        (0, stats.ok + stats.failed + stats.panicked + stats.abandoned)
    );
    harness.end_clean(&bus).await;
}

/// The keys that run on the actor pool, according to `pool_of` in their handlers.
async fn on_actor(
    harness: &BusHarness,
    bus: &EventBus,
    topic: &buslane_core::Topic,
) -> BTreeSet<String> {
    let found = Arc::new(Mutex::new(BTreeSet::new()));
    let (seen, into, asked) = (Seen::new(), Arc::clone(&found), bus.clone());
    let noted = Arc::clone(&seen);
    let handler = super::now(move |event: Event| {
        let note = Note::from(&event);
        if asked.rollout().pool_of(&note.topic, &note.label).expect("a topic") == "actor" {
            into.lock().unwrap_or_else(PoisonError::into_inner).insert(note.label.clone());
        }
        noted.push(note);
    });
    bus.subscribe_envelopes(topic, handler).await.expect("subscribes");
    let batch: Vec<_> = keys(200).iter().map(|key| envelope(key, 0)).collect();
    publish(bus, topic, &batch).await;
    seen.reached(200).await;
    harness.settled("g", &[topic]).await;
    bus.unsubscribe(topic).await.expect("unsubscribes");
    std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The keys of a larger share include those of a smaller one, and a restart changes nothing.
pub async fn s3_a_key_stays_on_its_side(harness: BusHarness) {
    let topic = harness.topic("orders");
    let bus = harness.bus("g").await;
    let mut shares = Vec::new();
    for percent in [0, 10, 50, 100] {
        bus.rollout().set_percent(percent, "test").expect("an open bus");
        harness.within("the move", bus.rollout().settled()).await;
        shares.push(on_actor(&harness, &bus, &topic).await);
        let name = match percent {
            0 => "keyed",
            100 => "actor",
            _ => "split",
        };
        assert_eq!(bus.status().pool, name);
    }
    harness.end_clean(&bus).await;
    assert!(shares.windows(2).all(|pair| pair[0].is_subset(&pair[1])), "{shares:?}");
    assert_eq!((shares[0].len(), shares[3].len()), (0, 200));
    assert!(
        (5..40).contains(&shares[1].len()) && (70..130).contains(&shares[2].len()),
        "{shares:?}"
    );
    let bus = harness.bus("g").await;
    bus.rollout().set_percent(10, "test").expect("an open bus");
    harness.within("the move", bus.rollout().settled()).await;
    assert_eq!(on_actor(&harness, &bus, &topic).await, shares[1]);
    harness.end_clean(&bus).await;
}

/// Messages that wait for a retry, and messages of blocked keys, move to the other pool. They are
/// retried there before later messages.
pub async fn s4_waiting_and_blocked_messages_move(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen, heals) =
        (harness.bus("g").await, Seen::new(), Arc::new(AtomicBool::new(false)));
    let healed = Arc::clone(&heals);
    let handler = fails(&seen, move |note| note.number() == 0 && !healed.load(SeqCst));
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    for key in keys(8) {
        publish_numbers(&bus, &topic, &key, 0..3).await;
    }
    until("every key is blocked", || bus.pool_stats().blocked_lanes == 8).await;
    let failures = || -> Vec<_> {
        let state = |key: &String| {
            bus.key_state(&topic, key).expect("a good topic").expect("it has messages")
        };
        keys(8).iter().map(|key| state(key).failures).collect()
    };
    let before = failures();
    let to = if harness.pool == PoolKind::Actor { 0 } else { 100 };
    bus.rollout().set_percent(to, "test").expect("an open bus");
    harness.within("the move", bus.rollout().settled()).await;
    // A blocked key does not count as blocked during an attempt, but its failures always count.
    let after = failures();
    assert!(
        before.iter().zip(&after).all(|(before, after)| before <= after),
        "{before:?}, then {after:?}"
    );
    until("every key is blocked", || bus.pool_stats().blocked_lanes == 8).await;
    assert_eq!((bus.pool_stats().open, bus.status().blocked_keys), (24, 8));
    assert_eq!(bus.status().pool, if to == 100 { "actor" } else { "keyed" });
    assert!(seen.all().iter().all(|note| note.number() == 0), "nothing overtakes");
    heals.store(true, SeqCst);
    harness.settled("g", &[&topic]).await;
    for key in keys(8) {
        let notes: Vec<_> = seen.all().into_iter().filter(|note| note.label == key).collect();
        let attempts: Vec<_> =
            notes.iter().filter(|note| note.number() == 0).map(|note| note.attempt).collect();
        assert_eq!(
            attempts,
            (1..=u32::try_from(attempts.len()).expect("few")).collect::<Vec<_>>(),
            "attempts go on"
        );
        let after: Vec<_> = notes[attempts.len()..].iter().map(Note::number).collect();
        assert_eq!(after, [1, 2], "{key}");
    }
    assert_eq!(bus.status().blocked_keys, 0);
    harness.end_clean(&bus).await;
}

/// A slot whose handler does not end stays and is reported as stuck. The other slots move, and the
/// stuck one follows later.
pub async fn s6_a_slot_whose_handler_does_not_end_stays_and_is_named(harness: BusHarness) {
    let topic = harness.topic("orders");
    let mut config = harness.config("g");
    config.rollout.move_deadline = Duration::from_millis(50);
    let bus = harness.bus_of(config).await;
    let (seen, gate) = (Seen::new(), Arc::new(Gate::default()));
    bus.subscribe_envelopes(&topic, notes_then_waits(&seen, &gate)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "stuck", 0..3).await;
    seen.reached(1).await;
    let mut events = bus.rollout().watch();
    let to = if harness.pool == PoolKind::Actor { 0 } else { 100 };
    bus.rollout().set_percent(to, "test").expect("an open bus");
    until("the slot is named", || bus.rollout().status().stuck.len() == 1).await;
    harness.within("the move of the others", bus.rollout().settled()).await;
    let status = bus.rollout().status();
    let moved = if to == 100 { status.slots.on_actor } else { 1_024 - status.slots.on_actor };
    assert_eq!((moved, status.slots.moving), (1_023, 0), "{status:?}");
    gate.open();
    harness.settled("g", &[&topic]).await;
    until("it has followed", || bus.rollout().status().stuck.is_empty()).await;
    assert_eq!(seen.all().iter().map(Note::number).collect::<Vec<_>>(), [0, 1, 2]);
    let mut names = Vec::new();
    while !matches!(names.last(), Some(RolloutEvent::Moved { .. })) {
        names.extend(harness.within("an event", events.next()).await);
    }
    assert!(
        matches!(names[0], RolloutEvent::PercentChanged { to: found, .. } if found == to),
        "{names:?}"
    );
    assert!(names.iter().any(|event| matches!(event, RolloutEvent::SlotStuck { .. })), "{names:?}");
    harness.end_clean(&bus).await;
}

/// A bus that closes during a migration finishes its open messages in order.
pub async fn s4_closing_while_keys_move_loses_nothing(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen, gate) = (harness.bus("g").await, Seen::new(), Arc::new(Gate::default()));
    bus.subscribe_envelopes(&topic, notes_then_waits(&seen, &gate)).await.expect("subscribes");
    for key in keys(4) {
        publish_numbers(&bus, &topic, &key, 0..5).await;
    }
    seen.reached(4).await;
    // Messages that the bus has not read would stay at the broker.
    until("all are taken", || bus.pool_stats().open == 20).await;
    bus.rollout().set_percent(50, "test").expect("an open bus");
    bus.rollout().roll_back("test");
    bus.rollout()
        .set_percent(if harness.pool == PoolKind::Actor { 0 } else { 100 }, "test")
        .expect("an open bus");
    let closing = harness.begin_to_end(&bus).await;
    gate.open();
    let report = harness.within("the shutdown", closing).await.expect("a shutdown reports");
    assert_eq!((report.abandoned, report.stragglers), (0, 0), "{report:?}");
    assert!(bus.rollout().set_percent(10, "test").is_err(), "a closed bus changes nothing");
    for key in keys(4) {
        assert_eq!(super::seen::numbers_of(&seen.all(), &key), (0..5).collect::<Vec<_>>(), "{key}");
    }
}

/// Ending a subscription while its keys move loses no message and keeps the order.
pub async fn s4_a_subscription_may_end_while_its_keys_move(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    for round in 0..6 {
        bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
        for key in keys(16) {
            publish_numbers(&bus, &topic, &key, round * 4..round * 4 + 4).await;
        }
        bus.rollout()
            .set_percent(if round % 2 == 0 { 60 } else { 20 }, "test")
            .expect("an open bus");
        bus.unsubscribe(&topic).await.expect("unsubscribes");
    }
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    harness.settled("g", &[&topic]).await;
    for key in keys(16) {
        assert_eq!(
            super::seen::numbers_of(&seen.all(), &key),
            (0..24).collect::<Vec<_>>(),
            "{key}"
        );
    }
    harness.end_clean(&bus).await;
}
