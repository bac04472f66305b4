//! Messages that share a lane, a key or a pool run in order, and all others run concurrently.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use buslane::config::LaneScope;
use buslane_core::{Envelope, Event, Message};
use buslane_testkit::signal::Gate;

use super::seen::numbers_of;
use super::{
    BusHarness, Note, Seen, envelope, fails, notes_events, notes_messages, notes_then_waits, now,
    publish, publish_numbers,
};

/// A hundred versions of one aggregate, and ten versions of ten aggregates.
pub async fn r3_versions_of_an_aggregate_are_handled_in_order(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "hot", 0..100).await;
    let mixed: Vec<_> = (0..100).map(|n| envelope(&format!("a{}", n % 10), n / 10)).collect();
    publish(&bus, &topic, &mixed).await;
    let notes = seen.reached(200).await;
    assert_eq!(numbers_of(&notes, "hot"), (0..100).collect::<Vec<_>>());
    for key in 0..10 {
        assert_eq!(numbers_of(&notes, &format!("a{key}")), (0..10).collect::<Vec<_>>());
    }
    harness.end_clean(&bus).await;
}

/// Handlers yield a varying number of times.
pub async fn r3_order_holds_while_handlers_wait(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let into = Arc::clone(&seen);
    let handler = move |event: Event| {
        let into = Arc::clone(&into);
        async move {
            let note = Note::from(&event);
            for _ in 0..(note.offset * 7 + note.number() as u64 * 13) % 5 {
                tokio::task::yield_now().await;
            }
            into.push(note);
        }
    };
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    let envelopes: Vec<_> = (0..1_000).map(|n| envelope(&format!("a{}", n % 50), n / 50)).collect();
    for part in envelopes.chunks(37) {
        publish(&bus, &topic, part).await;
    }
    let notes = seen.reached(1_000).await;
    for key in 0..50 {
        assert_eq!(numbers_of(&notes, &format!("a{key}")), (0..20).collect::<Vec<_>>());
    }
    harness.end_clean(&bus).await;
}

/// Messages 1 to 5 keep their order when 1 or 3 fails once.
pub async fn d3_order_is_kept_across_a_failed_attempt(harness: BusHarness) {
    for failing in ["1", "3"] {
        let topic = harness.topic(&format!("orders-{failing}"));
        let (bus, seen) = (harness.bus("g").await, Seen::new());
        let handler = fails(&seen, move |note| note.body == failing && note.attempt == 1);
        bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
        publish_numbers(&bus, &topic, "a", 1..6).await;
        let notes = seen.reached(6).await;
        let mut expected = vec!["1", "2", "3", "4", "5"];
        expected.insert(failing.parse().expect("a number"), failing);
        assert_eq!(super::seen::bodies(&notes), expected);
        harness.end_clean(&bus).await;
        assert_eq!(seen.len(), 6);
    }
}

/// Other keys finish while a slow key still waits, also within its partition.
pub async fn r3_a_slow_key_does_not_delay_the_others(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen, gate) = (harness.bus("g").await, Seen::new(), Arc::new(Gate::default()));
    let (into, opened) = (Arc::clone(&seen), Arc::clone(&gate));
    let handler = move |event: Event| {
        let (into, gate) = (Arc::clone(&into), Arc::clone(&opened));
        async move {
            if event.aggregate_id == "slow" {
                gate.wait().await;
            }
            into.push(Note::from(&event));
        }
    };
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "slow", 0..10).await;
    let others: Vec<_> = (0..200).map(|n| envelope(&format!("a{}", n % 40), n / 40)).collect();
    publish(&bus, &topic, &others).await;
    let notes = seen.reached(200).await;
    assert!(notes.iter().all(|note| note.label != "slow"));
    gate.open();
    let notes = seen.reached(210).await;
    assert_eq!(numbers_of(&notes, "slow"), (0..10).collect::<Vec<_>>());
    harness.end_clean(&bus).await;
}

/// As many keys of one topic run concurrently as the pool has workers.
pub async fn r3_keys_of_a_topic_run_beside_each_other(harness: BusHarness) {
    let topic = harness.topic("orders");
    let bus = harness.bus_of(harness.sized("g", 100, 10)).await;
    let (started, gate) = (Seen::new(), Arc::new(Gate::default()));
    bus.subscribe_envelopes(&topic, notes_then_waits(&started, &gate)).await.expect("subscribes");
    let envelopes: Vec<Envelope> = (0..100).map(|n| envelope(&format!("a{n}"), n)).collect();
    publish(&bus, &topic, &envelopes).await;
    started.reached(100).await;
    gate.open();
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// Envelopes keep their order, and all regular messages arrive.
pub async fn r3_envelopes_and_regular_messages_go_together(harness: BusHarness) {
    let bus = harness.bus("g").await;
    let (events, plain) = (Seen::new(), Seen::new());
    let topics: Vec<_> = (0..4).map(|n| harness.topic(&format!("t{n}"))).collect();
    for (n, topic) in topics.iter().enumerate() {
        if n < 2 {
            bus.subscribe_envelopes(topic, notes_events(&events)).await.expect("subscribes");
        } else {
            bus.subscribe(topic, notes_messages(&plain)).await.expect("subscribes");
        }
    }
    for n in 0..100 {
        for (at, topic) in topics.iter().enumerate() {
            if at < 2 {
                publish(&bus, topic, &[envelope(&format!("{topic}-a"), n)]).await;
            } else {
                bus.publish(topic, n.to_string()).await.expect("published");
            }
        }
    }
    let events = events.reached(200).await;
    for topic in &topics[..2] {
        assert_eq!(numbers_of(&events, &format!("{topic}-a")), (0..100).collect::<Vec<_>>());
    }
    let plain = plain.reached(200).await;
    for topic in &topics[2..] {
        let mut numbers: Vec<_> =
            plain.iter().filter(|note| note.topic == **topic).map(Note::number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    }
    harness.end_clean(&bus).await;
}

/// A single worker runs a hundred keys, each in order, and never two messages at once.
pub async fn r3_order_holds_with_a_single_worker(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus_of(harness.sized("g", 1, 16)).await, Seen::new());
    let (busy, together) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (into, twice) = (Arc::clone(&seen), Arc::clone(&together));
    let handler = now(move |event: Event| {
        twice.fetch_add(usize::from(busy.swap(true, SeqCst)), SeqCst);
        into.push(Note::from(&event));
        busy.store(false, SeqCst);
    });
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    let envelopes: Vec<_> = (0..500).map(|n| envelope(&format!("a{}", n % 100), n / 100)).collect();
    publish(&bus, &topic, &envelopes).await;
    let notes = seen.reached(500).await;
    assert_eq!(together.load(SeqCst), 0);
    for key in 0..100 {
        assert_eq!(numbers_of(&notes, &format!("a{key}")), (0..5).collect::<Vec<_>>());
    }
    harness.end_clean(&bus).await;
}

/// Regular messages with a record key keep their order too.
pub async fn r3_regular_messages_of_a_key_keep_their_order(harness: BusHarness) {
    let topic = harness.topic("raw");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let into = Arc::clone(&seen);
    let handler = move |message: Message| {
        let into = Arc::clone(&into);
        async move {
            tokio::task::yield_now().await;
            into.push(Note::from(&message));
        }
    };
    bus.subscribe(&topic, handler).await.expect("subscribes");
    for n in 0..100 {
        let record = buslane_core::Record::new(n.to_string()).with_key(format!("k{}", n % 3));
        bus.publish(&topic, record).await.expect("published");
    }
    let notes = seen.reached(100).await;
    for key in 0..3 {
        let expected: Vec<_> = (0..100).filter(|n| n % 3 == key).collect();
        assert_eq!(numbers_of(&notes, &format!("k{key}")), expected);
    }
    harness.end_clean(&bus).await;
}

/// The number of running messages, and the highest number so far.
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

/// Messages without a key run concurrently, and one counter numbers them across all topics.
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
    // All sixteen workers hold one message at the same time.
    let notes = seen.reached(16).await;
    gate.open();
    let labels: HashSet<_> = notes.iter().map(|note| note.label.clone()).collect();
    assert_eq!(labels, (0..16).map(|n| format!("rr-{n}")).collect());
    harness.end_clean(&bus).await;
}

/// An aggregate with messages in three topics has one handler at a time.
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

/// With this scope, messages of the same key in different topics run concurrently.
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

/// The log warns once when members may hold different partitions of two topics, and only for buses
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

/// A retried message delays the messages of its key in every topic, and those of no other key.
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
