//! Which messages share a lane, a key or a pool.

use super::{BusHarness, Note, Seen, envelope, notes_events, notes_messages, now, publish_numbers};
use buslane::config::LaneScope;
use buslane_core::{Envelope, Event, Message};
use buslane_testkit::signal::Gate;
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

/// The keys whose messages are running, and whether two of one key ever ran at once.
#[derive(Default)]
struct Exclusive {
    running: AtomicUsize,
    most: AtomicUsize,
}

impl Exclusive {
    fn enter(&self) {
        self.most.fetch_max(self.running.fetch_add(1, SeqCst) + 1, SeqCst);
    }

    fn leave(&self) {
        self.running.fetch_sub(1, SeqCst);
    }
}

/// Messages without a key run concurrently and are numbered one by one, whatever their topic.
pub async fn r2_messages_without_a_key_go_round_robin(harness: BusHarness) {
    let topics = [harness.topic("one"), harness.topic("two")];
    let bus = harness.bus("g").await;
    let (seen, gate) = (Seen::new(), Arc::new(Gate::default()));
    for topic in &topics {
        let (into, gate) = (Arc::clone(&seen), Arc::clone(&gate));
        let handler = move |message: Message| {
            let (into, gate) = (Arc::clone(&into), Arc::clone(&gate));
            async move {
                into.push(Note::from(&message));
                gate.wait().await;
            }
        };
        bus.subscribe(topic, handler).await.expect("subscribes");
    }
    for n in 0..16 {
        bus.publish(&topics[n % 2], n.to_string()).await.expect("published");
    }
    // All sixteen workers have one at the same time.
    let notes = seen.reached(16).await;
    gate.open();
    let labels: HashSet<_> = notes.iter().map(|note| note.label.clone()).collect();
    assert_eq!(labels, (0..16).map(|n| format!("rr-{n}")).collect());
    harness.end_clean(&bus).await;
}

/// An aggregate of three topics has one handler at a time.
pub async fn r3_an_aggregate_has_one_handler_at_a_time_whatever_the_topic(harness: BusHarness) {
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let topics: Vec<_> = (0..3).map(|n| harness.topic(&format!("t{n}"))).collect();
    let exclusive = Arc::new(Exclusive::default());
    for topic in &topics {
        let (into, exclusive) = (Arc::clone(&seen), Arc::clone(&exclusive));
        let handler = move |event: Event| {
            let (into, exclusive) = (Arc::clone(&into), Arc::clone(&exclusive));
            async move {
                exclusive.enter();
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
                exclusive.leave();
                into.push(Note::from(&event));
            }
        };
        bus.subscribe_envelopes(topic, handler).await.expect("subscribes");
    }
    for topic in &topics {
        publish_numbers(&bus, topic, "one", 0..50).await;
    }
    let notes = seen.reached(150).await;
    assert_eq!(exclusive.most.load(SeqCst), 1);
    for topic in &topics {
        let of =
            notes.iter().filter(|note| note.topic == **topic).map(Note::number).collect::<Vec<_>>();
        assert_eq!(of, (0..50).collect::<Vec<_>>());
    }
    harness.end_clean(&bus).await;
}

/// Messages of the same key in different topics run concurrently.
pub async fn r3_lane_scope_topic_keeps_topics_apart(harness: BusHarness) {
    let mut config = harness.config("g");
    config.lane_scope = LaneScope::Topic;
    let (bus, seen, gate) = (harness.bus_of(config).await, Seen::new(), Arc::new(Gate::default()));
    let (slow, quick) = (harness.topic("slow"), harness.topic("quick"));
    let opened = Arc::clone(&gate);
    let handler = move |_: Event| {
        let gate = Arc::clone(&opened);
        async move { gate.wait().await }
    };
    bus.subscribe_envelopes(&slow, handler).await.expect("subscribes");
    bus.subscribe_envelopes(&quick, notes_events(&seen)).await.expect("subscribes");
    publish_numbers(&bus, &slow, "one", 0..1).await;
    publish_numbers(&bus, &quick, "one", 0..5).await;
    assert_eq!(seen.reached(5).await.len(), 5);
    gate.open();
    harness.end_clean(&bus).await;
}

/// When members may share two topics out differently, the log says so once, and only for buses
/// whose keys span several topics of envelopes.
pub async fn r3_keys_that_two_processes_may_have_at_once_are_told_of(harness: BusHarness) {
    let told = || harness.logs.saying("a key may be handled in two processes at once").len();
    let topics = ["one", "two", "three"].map(|name| harness.topic(name));
    for (scope, scatters, expected) in [
        (LaneScope::Key, true, [0, 1, 1]),
        (LaneScope::Topic, true, [1; 3]),
        (LaneScope::Key, false, [1; 3]),
    ] {
        let mut config = harness.config("g");
        config.lane_scope = scope;
        let (bus, faulty) = harness.faulty_bus(config).await;
        if scatters {
            faulty.scatter();
        }
        let raw = harness.topic("raw");
        bus.subscribe(&raw, notes_messages(&Seen::new())).await.expect("subscribes");
        let mut found = [0; 3];
        for (topic, found) in topics.iter().zip(&mut found) {
            bus.subscribe_envelopes(topic, notes_events(&Seen::new())).await.expect("subscribes");
            *found = told();
        }
        assert_eq!(found, expected, "{scope:?}, {scatters}");
        harness.end_clean(&bus).await;
    }
}

/// A message that is retried keeps its key's messages of every topic waiting, and no other key's.
pub async fn r3_a_retried_message_holds_its_key_in_every_topic(harness: BusHarness) {
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let (failing, other) = (harness.topic("failing"), harness.topic("other"));
    let into = Arc::clone(&seen);
    let handler = now(move |event: Event| {
        into.push((
            event.message.topic().to_string(),
            event.aggregate_id.to_string(),
            event.message.attempt,
        ));
        if event.message.attempt < 3 { Err("not yet") } else { Ok(()) }
    });
    bus.subscription(&failing).envelopes(handler).await.expect("subscribes");
    let into = Arc::clone(&seen);
    let handler = now(move |event: Event| {
        into.push((
            event.message.topic().to_string(),
            event.aggregate_id.to_string(),
            event.message.attempt,
        ));
    });
    bus.subscribe_envelopes(&other, handler).await.expect("subscribes");
    publish_numbers(&bus, &failing, "held", 0..1).await;
    seen.reached(1).await;
    publish_numbers(&bus, &other, "held", 0..1).await;
    publish_numbers(&bus, &other, "free", 0..1).await;
    let all = seen.reached(5).await;
    let held: Vec<_> = all
        .iter()
        .filter(|(_, key, _)| key == "held")
        .map(|(topic, _, n)| (topic.as_str(), *n))
        .collect();
    assert_eq!(held, [(&*failing, 1), (&*failing, 2), (&*failing, 3), (&*other, 1)]);
    harness.end_clean(&bus).await;
}

/// Five topics share the workers and the capacity of one pool.
pub async fn r4_all_topics_share_one_pool(harness: BusHarness) {
    let workers = 4;
    let (bus, gate) =
        (harness.bus_of(harness.sized("g", workers, 10)).await, Arc::new(Gate::default()));
    let running = Arc::new(Exclusive::default());
    let started = Seen::new();
    let topics: Vec<_> = (0..5).map(|n| harness.topic(&format!("t{n}"))).collect();
    for topic in &topics {
        let (gate, running, started) =
            (Arc::clone(&gate), Arc::clone(&running), Arc::clone(&started));
        let handler = move |_: Event| {
            let (gate, running, started) =
                (Arc::clone(&gate), Arc::clone(&running), Arc::clone(&started));
            async move {
                running.enter();
                started.push(());
                gate.wait().await;
                running.leave();
            }
        };
        bus.subscribe_envelopes(topic, handler).await.expect("subscribes");
    }
    for topic in &topics {
        let envelopes: Vec<Envelope> =
            (0..20).map(|n| envelope(&format!("{topic}-{n}"), n)).collect();
        super::publish(&bus, topic, &envelopes).await;
    }
    started.reached(workers).await;
    buslane_testkit::deadline::until("the pool is full", || bus.pool_stats().open == workers * 10)
        .await;
    let stats = bus.pool_stats();
    assert_eq!((stats.capacity, stats.workers), (workers * 10, workers), "{stats:?}");
    gate.open();
    started.reached(100).await;
    harness.settled("g", &topics.iter().collect::<Vec<_>>()).await;
    assert_eq!(running.most.load(SeqCst), workers);
    harness.end_clean(&bus).await;
}
