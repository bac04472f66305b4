//! Back-pressure of a full pool and of a full broker.

use super::metrics_page::MetricsPage;
use super::{
    BusHarness, Note, Seen, each_pool, envelope, notes_events, now, publish, publish_numbers,
    waits_then_notes,
};
use buslane::{BusError, EventBus, Topic};
use buslane_core::{Event, Message, PublishError, Record};
use buslane_testkit::{
    deadline::until,
    signal::{Count, Gate},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

/// A full pool makes the sources wait beyond its wait timeout. The log reports the wait once for
/// each source, no message is lost, and all run in order.
pub async fn p3_a_full_pool_makes_the_sources_wait(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen, gate) =
        (harness.bus_of(harness.sized("g", 2, 10)).await, Seen::new(), Arc::new(Gate::default()));
    bus.subscribe_envelopes(&topic, waits_then_notes(&seen, &gate)).await.expect("subscribes");
    let envelopes: Vec<_> = (0..300).map(|n| envelope(&format!("a{}", n % 30), n / 30)).collect();
    publish(&bus, &topic, &envelopes).await;
    until("the sources wait", || !harness.logs.saying("reading stopped: no room").is_empty()).await;
    assert_eq!(bus.pool_stats().open, 20);
    gate.open();
    harness.settled("g", &[&topic]).await;
    let notes = seen.all();
    assert_eq!(notes.len(), 300);
    for key in 0..30 {
        assert_eq!(
            super::seen::numbers_of(&notes, &format!("a{key}")),
            (0..10).collect::<Vec<_>>()
        );
    }
    harness.end_clean(&bus).await;
}

/// Regular messages wait for capacity too.
pub async fn p3_regular_messages_wait_for_room_too(harness: BusHarness) {
    let topic = harness.topic("raw");
    let (bus, seen, gate) =
        (harness.bus_of(harness.sized("g", 2, 4)).await, Seen::new(), Arc::new(Gate::default()));
    bus.subscribe(&topic, waits_then_notes(&seen, &gate)).await.expect("subscribes");
    let records = (0..100).map(|n| Record::new(n.to_string())).collect();
    bus.publish_batch(&topic, records).await.expect("taken");
    until("the pool is full", || bus.pool_stats().open == 8).await;
    gate.open();
    harness.settled("g", &[&topic]).await;
    let mut numbers: Vec<_> = seen.all().iter().map(Note::number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    harness.end_clean(&bus).await;
}

/// A full lane makes its own source wait, and other sources continue.
pub async fn p3_a_full_lane_leaves_other_sources_alone(harness: BusHarness) {
    let (hot, other) = (harness.topic("hot"), harness.topic("other"));
    let mut config = harness.config("g");
    each_pool(&mut config, |keyed, actor| (keyed.lane_limit, actor.lane_limit) = (5, 5));
    let (bus, seen, gate) = (harness.bus_of(config).await, Seen::new(), Arc::new(Gate::default()));
    bus.subscribe_envelopes(&hot, waits_then_notes(&seen, &gate)).await.expect("subscribes");
    bus.subscribe_envelopes(&other, notes_events(&seen)).await.expect("subscribes");
    publish_numbers(&bus, &hot, "hot", 0..50).await;
    until("its source waits", || !harness.logs.saying("reading stopped: no room").is_empty()).await;
    let envelopes: Vec<_> = (0..100).map(|n| envelope(&format!("a{n}"), n)).collect();
    publish(&bus, &other, &envelopes).await;
    let notes = seen.reached(100).await;
    assert!(notes.iter().all(|note| note.topic == *other));
    until("the others have ended", || bus.pool_stats().open == 5).await;
    gate.open();
    harness.settled("g", &[&hot, &other]).await;
    assert_eq!(super::seen::numbers_of(&seen.all(), "hot"), (0..50).collect::<Vec<_>>());
    harness.end_clean(&bus).await;
}

/// The byte budget bounds the open messages independently of their number.
pub async fn p3_the_byte_budget_bounds_what_is_open(harness: BusHarness) {
    let topic = harness.topic("raw");
    let mut config = harness.config("g");
    each_pool(&mut config, |keyed, actor| (keyed.max_bytes, actor.max_bytes) = (50_000, 50_000));
    let (bus, seen, gate) = (harness.bus_of(config).await, Seen::new(), Arc::new(Gate::default()));
    let (into, opened) = (Arc::clone(&seen), Arc::clone(&gate));
    let handler = move |message: Message| {
        let (into, gate) = (Arc::clone(&into), Arc::clone(&opened));
        async move {
            gate.wait().await;
            into.push(message.payload.len());
        }
    };
    bus.subscribe(&topic, handler).await.expect("subscribes");
    for _ in 0..40 {
        bus.publish(&topic, Record::new(vec![0; 10_000])).await.expect("published");
    }
    until("its source waits", || !harness.logs.saying("reading stopped: no room").is_empty()).await;
    let stats = bus.pool_stats();
    assert!(stats.open <= 5 && stats.open_bytes <= 50_000, "{stats:?}");
    gate.open();
    seen.reached(40).await;
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// Blocked messages have a separate budget. When it is exhausted, partitions with more blocked
/// messages stop and are reported, and the others continue. The stopped partitions resume when the
/// handler recovers.
pub async fn d4_too_many_blocked_messages_stop_their_own_partitions_alone(harness: BusHarness) {
    // SPEC: D4, P3, K4
    const KEYS: usize = 64;
    const EACH: usize = 30;
    let topic = harness.topic("orders");
    let mut config = harness.config("g");
    each_pool(&mut config, |keyed, actor| {
        (keyed.failing_messages, actor.failing_messages) = (10, 10)
    });
    let (bus, page) = harness.bus_with_page(config).await;
    // The partitions of all keys, and two bad keys in different partitions.
    let mut partitions = BTreeMap::new();
    for key in (0..KEYS).map(|key| format!("a{key}")) {
        let receipt = bus.publish_envelope(&topic, envelope(&key, 0)).await.expect("taken");
        partitions.insert(key, receipt.partition);
    }
    let first = partitions["a0"];
    let (other, second) =
        partitions.iter().find(|(_, partition)| **partition != first).expect("many partitions");
    let (bad, stopped) = (["a0".to_owned(), other.clone()], BTreeSet::from([first, *second]));
    let (seen, recovered) = (Seen::<Note>::new(), Arc::new(AtomicBool::new(false)));
    let (into, is_well, is_bad) = (Arc::clone(&seen), Arc::clone(&recovered), bad.clone());
    let handler = now(move |event: Event| {
        if is_bad.iter().any(|bad| event.aggregate_id == bad.as_str()) && !is_well.load(SeqCst) {
            return Err("not yet");
        }
        into.push(Note::from(&event));
        Ok(())
    });
    bus.subscription(&topic).block_failed().envelopes(handler).await.expect("subscribes");
    until("both bad keys are blocked", || bus.pool_stats().blocked_lanes == 2).await;

    let rest: Vec<_> =
        (1..EACH).flat_map(|n| partitions.keys().map(move |key| envelope(key, n))).collect();
    publish(&bus, &topic, &rest).await;
    let healthy = partitions.values().filter(|partition| !stopped.contains(partition)).count();
    let of_healthy =
        |notes: &[Note]| notes.iter().filter(|note| !stopped.contains(&note.partition)).count();
    seen.until("everything of the other partitions", |notes| of_healthy(notes) == healthy * EACH)
        .await;
    let named = || {
        bus.status()
            .stalled_partitions
            .iter()
            .map(|stalled| stalled.partition)
            .collect::<BTreeSet<_>>()
    };
    until("both partitions are named", || named() == stopped).await;
    assert!(bus.status().stalled_partitions.iter().all(|stalled| stalled.topic == topic));
    until("both are counted", || page.value("sources_stalled") == 2.0).await;

    recovered.store(true, SeqCst);
    harness.settled("g", &[&topic]).await;
    let notes = seen.all();
    for key in partitions.keys() {
        assert_eq!(super::seen::numbers_of(&notes, key), (0..EACH).collect::<Vec<_>>(), "{key}");
    }
    until("nothing waits any more", || bus.status().stalled_partitions.is_empty()).await;
    harness.end_clean(&bus).await;
}

/// Handlers panic while more messages wait than the pool holds. All are handled, in order.
pub async fn t4_panics_in_a_full_pool_lose_nothing(harness: BusHarness) {
    // SPEC: T4, P3, P7
    const KEYS: usize = 40;
    const EACH: usize = 50;
    let (orders, raw) = (harness.topic("orders"), harness.topic("raw"));
    let (bus, seen) = (harness.bus_of(harness.sized("g", 4, 10)).await, Seen::<Note>::new());
    let into = Arc::clone(&seen);
    let on_order = move |event: Event| {
        let into = Arc::clone(&into);
        async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let note = Note::from(&event);
            // `panic!` would print a line for each panic.
            if note.number() % 10 == 3 && note.attempt == 1 {
                std::panic::resume_unwind(Box::new("injected"));
            }
            into.push(note);
        }
    };
    let raws = Arc::new(Count::default());
    let counted = Arc::clone(&raws);
    let on_raw = now(move |message: Message| {
        counted.add();
        if message.offset % 10 == 3 {
            std::panic::resume_unwind(Box::new("injected"));
        }
    });
    bus.subscribe_envelopes(&orders, on_order).await.expect("subscribes");
    bus.subscribe(&raw, on_raw).await.expect("subscribes");
    let envelopes: Vec<_> =
        (0..KEYS * EACH).map(|n| envelope(&format!("a{}", n % KEYS), n / KEYS)).collect();
    let records = (0..KEYS * EACH).map(|n| Record::new(n.to_string())).collect();
    bus.publish_batch(&raw, records).await.expect("taken");
    publish(&bus, &orders, &envelopes).await;
    until("the pool is full", || !harness.logs.saying("reading stopped: no room").is_empty()).await;
    harness.settled("g", &[&orders, &raw]).await;
    let notes = seen.all();
    for key in 0..KEYS {
        assert_eq!(
            super::seen::numbers_of(&notes, &format!("a{key}")),
            (0..EACH).collect::<Vec<_>>(),
            "a{key}"
        );
    }
    assert_eq!(raws.get(), KEYS * EACH, "a regular message has one attempt");
    super::harness::idle(&bus).await;
    assert!(bus.pool_stats().panics >= (KEYS * EACH / 10) as u64);
    harness.end_clean(&bus).await;
}

/// Fills one partition to its capacity with messages of one key, for a group that has not read
/// them.
async fn full(harness: &BusHarness, timeout: Duration) -> (EventBus, &MetricsPage, Topic, usize) {
    let topic = harness.topic("orders");
    let capacity = harness.can.capacity.expect("a capacity, or the scenario is listed as unmet");
    let mut config = harness.config("g");
    config.publish_timeout = timeout;
    config.publish_fast_path = Duration::from_millis(10).min(timeout);
    let (bus, page) = harness.bus_with_page(config).await;
    bus.topics().announce([&*topic]).await.expect("announced");
    publish_numbers(&bus, &topic, "a", 0..capacity).await;
    (bus, page, topic, capacity)
}

/// A publish waits up to the publish timeout, then returns a typed error with the reason. Other
/// messages of the topic are not affected.
pub async fn b6_a_publish_waits_and_then_times_out(harness: BusHarness) {
    let timeout = Duration::from_millis(100);
    let (bus, page, topic, capacity) = full(&harness, timeout).await;
    let start = Instant::now();
    let error = bus.publish_envelope(&topic, envelope("a", capacity)).await.expect_err("full");
    assert!(start.elapsed() >= timeout, "{:?}", start.elapsed());
    let BusError::Publish(PublishError::Timeout { topic: to, waited, detail }) = &error else {
        panic!("{error:?}")
    };
    assert_eq!((to, *waited), (&topic, timeout));
    assert!(detail.contains("full"), "{detail}");
    let answers =
        bus.publish_envelopes(&topic, &[envelope("a", 1), envelope("a", 2)]).await.expect("valid");
    assert!(
        answers.iter().all(|answer| matches!(answer, Err(PublishError::Timeout { .. }))),
        "{answers:?}"
    );
    assert_eq!(page.value("publishes_held_back_total"), 2.0);
    let seen = Seen::new();
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    harness.settled("g", &[&topic]).await;
    assert_eq!(
        seen.all().iter().map(Note::number).collect::<Vec<_>>(),
        (0..capacity).collect::<Vec<_>>()
    );
    harness.end_clean(&bus).await;
}

/// A waiting publish continues as soon as the partition has capacity.
pub async fn b6_a_waiting_publish_goes_on_when_there_is_room(harness: BusHarness) {
    let (bus, page, topic, capacity) = full(&harness, harness.can.patience).await;
    let waiting = tokio::spawn({
        let (bus, topic) = (bus.clone(), topic.clone());
        async move { bus.publish_envelope(&topic, envelope("a", capacity)).await }
    });
    // The publish has waited longer than the fast path.
    until("it counts as held back", || page.value("publishes_held_back_total") == 1.0).await;
    assert!(!waiting.is_finished());
    let seen = Seen::new();
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    harness.within("the publish", waiting).await.expect("no panic").expect("published");
    harness.settled("g", &[&topic]).await;
    assert_eq!(
        seen.all().iter().map(Note::number).collect::<Vec<_>>(),
        (0..=capacity).collect::<Vec<_>>()
    );
    harness.end_clean(&bus).await;
}

/// A cancelled publish does not delay those behind it, and stores no record.
pub async fn b6_a_cancelled_publish_leaves_the_others_alone(harness: BusHarness) {
    let (bus, page, topic, capacity) = full(&harness, harness.can.patience).await;
    let publishing = |n| {
        let (bus, topic) = (bus.clone(), topic.clone());
        tokio::spawn(async move { bus.publish_envelope(&topic, envelope("a", n)).await })
    };
    let given_up = publishing(999_999);
    until("it counts as held back", || page.value("publishes_held_back_total") == 1.0).await;
    let kept = publishing(capacity);
    given_up.abort();
    assert!(given_up.await.expect_err("cancelled").is_cancelled());
    let seen = Seen::new();
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    harness.within("the other publish", kept).await.expect("no panic").expect("published");
    harness.settled("g", &[&topic]).await;
    assert_eq!(
        seen.all().iter().map(Note::number).collect::<Vec<_>>(),
        (0..=capacity).collect::<Vec<_>>()
    );
    harness.end_clean(&bus).await;
}

/// The publish timeout holds even if the broker never answers.
pub async fn b6_a_silent_broker_does_not_hold_a_publisher_for_ever(harness: BusHarness) {
    let topic = harness.topic("orders");
    let mut config = harness.config("g");
    (config.publish_timeout, config.publish_fast_path) =
        (Duration::from_millis(30), Duration::from_millis(10));
    let (bus, faulty) = harness.faulty_bus(config).await;
    faulty.keep_silent(&topic);
    let answer = harness.within("an answer", bus.publish_envelope(&topic, envelope("a", 1))).await;
    let error = answer.expect_err("nobody answers");
    let BusError::Publish(PublishError::Timeout { topic: to, waited, .. }) = &error else {
        panic!("{error:?}")
    };
    assert_eq!((to, *waited), (&topic, Duration::from_millis(30)));
    // The first publish may have to create the topic, which can take longer than the timeout.
    let other = harness.topic("other");
    let answered = async { while bus.publish_envelope(&other, envelope("a", 1)).await.is_err() {} };
    harness.within("other topics are answered", answered).await;
    harness.end_clean(&bus).await;
}
