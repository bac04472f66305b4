//! Redelivery after a shutdown or a crash, to the same bus and to the others of its group.

use std::sync::Arc;
use std::time::Duration;

use buslane::EventBus;
use buslane_core::{Event, Message, Record, Topic};
use buslane_testkit::deadline::{LIMIT, within};
use buslane_testkit::leak;
use buslane_testkit::signal::Gate;
use tokio::time::timeout;

use super::seen::{Busy, busy, check_order, plain, publish_round};
use super::{
    BusHarness, Note, Seen, envelope, fails, notes_events, notes_messages, notes_then_waits, now,
    publish, publish_numbers,
};

/// The deadline cancels running handlers. The next bus gets their messages and the remaining ones,
/// and no others.
pub async fn d1_what_a_shutdown_leaves_comes_again(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen, gate) =
        (harness.bus_of(harness.sized("g", 4, 100)).await, Seen::new(), Arc::new(Gate::default()));
    let (into, opened) = (Arc::clone(&seen), Arc::clone(&gate));
    let handler = move |event: Event| {
        let (into, gate) = (Arc::clone(&into), Arc::clone(&opened));
        async move {
            if Note::from(&event).number() >= 20 {
                gate.wait().await;
            }
            into.push(Note::from(&event));
        }
    };
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    let first: Vec<_> = (0..20).map(|n| envelope(&format!("a{n}"), n)).collect();
    publish(&bus, &topic, &first).await;
    seen.reached(20).await;
    let rest: Vec<_> = (20..60).map(|n| envelope(&format!("a{}", n % 20), n)).collect();
    publish(&bus, &topic, &rest).await;
    buslane_testkit::deadline::until("all are queued", || bus.pool_stats().accepted == 60).await;
    let report = harness
        .within("the shutdown", bus.shutdown(Duration::from_millis(50)))
        .await
        .expect("it reports");
    assert_eq!((report.finished, report.abandoned, report.stragglers), (0, 40, 0), "{report:?}");
    assert_eq!(seen.len(), 20);
    assert!(report.elapsed >= Duration::from_millis(50), "{report:?}");

    let (bus, again) = (harness.bus("g").await, Seen::new());
    bus.subscribe_envelopes(&topic, notes_events(&again)).await.expect("subscribes");
    harness.settled("g", &[&topic]).await;
    let notes = again.all();
    assert_eq!(notes.len(), 40, "{notes:?}");
    assert_eq!(super::seen::sorted(&notes), (20..60).collect());
    for key in 0..20 {
        assert_eq!(super::seen::numbers_of(&notes, &format!("a{key}")), [20 + key, 40 + key]);
    }
    harness.end_clean(&bus).await;
}

/// Dropping a bus is a crash: handlers are cancelled, open messages are delivered again in order,
/// and done ones are not.
pub async fn d1_a_crash_loses_nothing(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen, gate) =
        (harness.bus_of(harness.sized("g", 4, 100)).await, Seen::new(), Arc::new(Gate::default()));
    let (into, opened) = (Arc::clone(&seen), Arc::clone(&gate));
    let handler = move |event: Event| {
        let (into, gate) = (Arc::clone(&into), Arc::clone(&opened));
        async move {
            if Note::from(&event).number() >= 10 {
                gate.wait().await;
            }
            into.push(Note::from(&event));
        }
    };
    let subscription = bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..10).await;
    publish_numbers(&bus, &topic, "b", 0..10).await;
    harness.settled("g", &[&topic]).await;
    super::harness::idle(&bus).await;
    publish_numbers(&bus, &topic, "a", 10..20).await;
    publish_numbers(&bus, &topic, "b", 10..20).await;
    buslane_testkit::deadline::until("all are queued", || bus.pool_stats().accepted == 40).await;
    drop((subscription, bus));
    leak::no_more_tasks_than(0).await;
    gate.open();
    assert_eq!(seen.len(), 20, "the cancelled handlers do not go on");

    let (bus, again) = (harness.bus("g").await, Seen::new());
    bus.subscribe_envelopes(&topic, notes_events(&again)).await.expect("subscribes");
    harness.settled("g", &[&topic]).await;
    let notes = again.all();
    for key in ["a", "b"] {
        assert_eq!(super::seen::numbers_of(&notes, key), (10..20).collect::<Vec<_>>());
    }
    harness.end_clean(&bus).await;
}

/// A partition is given up past the deadline of its running handler, and comes back to the same
/// process: the messages that are delivered again wait in the lane until that handler has ended.
pub async fn k3_a_partition_that_comes_back_waits_for_its_straggler(harness: BusHarness) {
    let topic = harness.topic("orders");
    let config = harness.config("g");
    let broker = harness.broker_that_drains(&config, Duration::from_millis(100)).await;
    let bus = EventBus::with_broker(config, broker).await.expect("a bus starts");
    let (begun, ended, gate) = (Seen::new(), Seen::new(), Arc::new(Gate::default()));
    let subscribe = async || {
        let (begun, ended, gate) = (Arc::clone(&begun), Arc::clone(&ended), Arc::clone(&gate));
        let handler = move |event: Event| {
            let (ended, gate) = (Arc::clone(&ended), Arc::clone(&gate));
            assert_eq!(begun.len(), ended.len(), "one handler of a key at a time");
            begun.push(Note::from(&event));
            async move {
                gate.wait().await;
                ended.push(Note::from(&event).number());
            }
        };
        bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    };
    subscribe().await;
    publish_numbers(&bus, &topic, "a", 0..5).await;
    begun.reached(1).await;
    harness.within("the end of the subscription", bus.unsubscribe(&topic)).await.expect("it ends");
    assert!(ended.is_empty(), "the handler goes on");
    subscribe().await;
    let all_wait =
        || bus.key_state(&topic, "a").is_ok_and(|lane| lane.is_some_and(|lane| lane.open == 6));
    buslane_testkit::deadline::until("all are delivered again", all_wait).await;
    assert_eq!(begun.len(), 1);
    gate.open();
    harness.settled("g", &[&topic]).await;
    assert_eq!(ended.all(), [0, 0, 1, 2, 3, 4]);
    harness.end_clean(&bus).await;
}

/// A message that is settled before its handler runs at most once, even in a crash.
pub async fn d1_settle_first_is_at_most_once(harness: BusHarness) {
    let topic = harness.topic("raw");
    let (bus, seen, gate) = (harness.bus("g").await, Seen::new(), Arc::new(Gate::default()));
    let subscription = bus
        .subscription(&topic)
        .settle_first()
        .messages(notes_then_waits(&seen, &gate))
        .await
        .expect("subscribes");
    bus.publish(&topic, Record::new("0").with_key("k")).await.expect("published");
    seen.reached(1).await;
    assert_eq!(harness.unsettled("g", &topic).await, 0, "settled before the handler has ended");
    drop((subscription, bus));
    leak::no_more_tasks_than(0).await;
    let bus = harness.bus("g").await;
    bus.subscription(&topic)
        .settle_first()
        .messages(notes_messages(&seen))
        .await
        .expect("subscribes");
    bus.publish(&topic, Record::new("1").with_key("k")).await.expect("published");
    assert_eq!(seen.reached(2).await.iter().map(Note::number).collect::<Vec<_>>(), [0, 1]);
    harness.end_clean(&bus).await;
}

/// After five messages and a restart, only the next five are delivered.
pub async fn d1_a_restart_continues_and_does_not_replay(harness: BusHarness) {
    let topic = harness.topic("orders");
    let seen = Seen::new();
    for round in 0..3 {
        let bus = harness.bus("g").await;
        bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
        publish_numbers(&bus, &topic, "a", 5 * round..5 * round + 5).await;
        seen.reached(5 * round + 5).await;
        harness.end_clean(&bus).await;
    }
    assert_eq!(
        seen.all().iter().map(Note::number).collect::<Vec<_>>(),
        (0..15).collect::<Vec<_>>()
    );
}

/// A failing envelope is delivered again after successes of other keys and a restart.
pub async fn d2_a_failing_message_comes_again_after_a_restart(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscription(&topic)
        .block_failed()
        .envelopes(fails(&seen, |note| note.label == "bad"))
        .await
        .expect("subscribes");
    publish_numbers(&bus, &topic, "bad", 100..101).await;
    let good: Vec<_> = (0..50).map(|n| envelope(&format!("a{n}"), n)).collect();
    publish(&bus, &topic, &good).await;
    seen.until("all good ones", |notes| {
        (0..50).all(|n| notes.iter().any(|note| note.body == n.to_string()))
    })
    .await;
    harness.end(&bus).await;
    let again = Seen::new();
    let bus = harness.bus("g").await;
    let into = Arc::clone(&again);
    let handler = now(move |event: Event| into.push(Note::from(&event)));
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    harness.settled("g", &[&topic]).await;
    let notes = again.all();
    assert!(notes.iter().any(|note| note.number() == 100), "{notes:?}");
    harness.end_clean(&bus).await;
}

/// Settling before the handler works for an announced topic too.
pub async fn d1_settle_first_counts_for_an_announced_topic(harness: BusHarness) {
    let topic = harness.topic("raw");
    let (bus, seen, gate) = (harness.bus("g").await, Seen::new(), Arc::new(Gate::default()));
    bus.topics().announce([&*topic]).await.expect("announced");
    let subscription = bus.subscription(&topic).settle_first().concurrency(1);
    subscription.messages(notes_then_waits(&seen, &gate)).await.expect("subscribes");
    bus.publish(&topic, Record::new("0").with_key("k")).await.expect("published");
    seen.reached(1).await;
    assert_eq!(harness.unsettled("g", &topic).await, 0, "settled before the handler has ended");
    bus.publish(&topic, Record::new("1").with_key("other")).await.expect("published");
    gate.open();
    seen.reached(2).await;
    harness.end_clean(&bus).await;
}

/// A shutdown leaves regular messages for redelivery too.
pub async fn d1_regular_messages_that_a_shutdown_leaves_come_again(harness: BusHarness) {
    let topic = harness.topic("raw");
    let (bus, started) = (harness.bus("g").await, Seen::new());
    let into = Arc::clone(&started);
    let handler = move |_: Message| {
        into.push(());
        std::future::pending::<()>()
    };
    bus.subscribe(&topic, handler).await.expect("subscribes");
    for n in 0..5 {
        bus.publish(&topic, Record::new(n.to_string()).with_key("k")).await.expect("published");
    }
    buslane_testkit::deadline::until("all are queued", || bus.pool_stats().accepted == 5).await;
    started.reached(1).await;
    let report = harness
        .within("the shutdown", bus.shutdown(Duration::from_millis(20)))
        .await
        .expect("it reports");
    assert_eq!((report.finished, report.abandoned), (0, 5), "{report:?}");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscribe(&topic, notes_messages(&seen)).await.expect("subscribes");
    harness.settled("g", &[&topic]).await;
    assert_eq!(seen.all().iter().map(Note::number).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    harness.end_clean(&bus).await;
}

/// Two buses of one group that read the same topic, and each delivery with the name of its bus.
struct Pair {
    topic: Topic,
    one: EventBus,
    two: EventBus,
    seen: Arc<Seen<(&'static str, Note)>>,
}

impl Pair {
    async fn new(harness: &BusHarness) -> Self {
        let topic = harness.topic("orders");
        let (seen, keys) = (Seen::new(), Arc::new(Busy::default()));
        let (one, two) = (harness.bus("g").await, harness.bus("g").await);
        for (bus, name) in [(&one, "one"), (&two, "two")] {
            bus.subscribe_envelopes(&topic, busy(&seen, &keys, name)).await.expect("subscribes");
        }
        Self { topic, one, two, seen }
    }
}

fn handled_by(seen: &Seen<(&'static str, Note)>, bus: &str) -> usize {
    seen.all().iter().filter(|(name, _)| *name == bus).count()
}

/// Two buses of a group share the work, and each message is handled once. When one ends, the other
/// takes over.
pub async fn k3_two_buses_share_and_hand_over(harness: BusHarness) {
    let Pair { topic, one, two, seen } = Pair::new(&harness).await;
    let by = |name| handled_by(&seen, name);
    // Both buses need some time to join the group.
    let mut rounds = 0;
    within(LIMIT, "both have a share", async {
        while by("one") == 0 || by("two") == 0 {
            publish_round(&one, &topic, 100, rounds..rounds + 1).await;
            rounds += 1;
            harness.settled("g", &[&topic]).await;
        }
    })
    .await;
    assert_eq!(check_order(&plain(&seen), 100, rounds), 0, "each once");

    publish_round(&two, &topic, 100, rounds..rounds + 5).await;
    harness.end(&one).await;
    let before = by("one");
    publish_round(&two, &topic, 100, rounds + 5..rounds + 10).await;
    harness.settled("g", &[&topic]).await;
    assert_eq!(
        check_order(&plain(&seen), 100, rounds + 10),
        0,
        "each once, also across the hand-over"
    );
    assert_eq!(by("one"), before);
    harness.end_clean(&two).await;
}

/// Two buses of a group read while messages are published, until each has handled many. No key runs
/// on both at once or out of order.
pub async fn k3_two_buses_of_a_group_keep_each_keys_order(harness: BusHarness) {
    const KEYS: usize = 40;
    let Pair { topic, one, two, seen } = Pair::new(&harness).await;
    let by = |name| handled_by(&seen, name);
    let mut rounds = 0;
    // Both buses need some time to join the group.
    within(LIMIT, "both have a good part", async {
        while rounds < 150 || by("one").min(by("two")) < 1_000 {
            publish_round(
                if rounds % 2 == 0 { &one } else { &two },
                &topic,
                KEYS,
                rounds..rounds + 1,
            )
            .await;
            rounds += 1;
        }
    })
    .await;
    harness.settled("g", &[&topic]).await;
    assert_eq!(check_order(&plain(&seen), KEYS, rounds), 0, "each once");
    harness.end_clean(&one).await;
    harness.end_clean(&two).await;
}

/// When one of two buses crashes, the other takes over its open messages.
pub async fn d1_another_bus_takes_over_after_a_crash(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (seen, keys) = (Seen::new(), Arc::new(Busy::default()));
    let (one, two) = (harness.bus("g").await, harness.bus("g").await);
    let started = Seen::new();
    let into = Arc::clone(&started);
    let stuck = move |_: Event| {
        into.push(());
        std::future::pending::<()>()
    };
    let subscription = one.subscribe_envelopes(&topic, stuck).await.expect("subscribes");
    two.subscribe_envelopes(&topic, busy(&seen, &keys, "two")).await.expect("subscribes");
    // Both buses need some time to join the group.
    let mut rounds = 0;
    within(LIMIT, "one has a share", async {
        while started.is_empty() {
            publish_round(&two, &topic, 100, rounds..rounds + 1).await;
            rounds += 1;
            let _ = timeout(Duration::from_millis(100), started.reached(1)).await;
        }
    })
    .await;
    let tasks = leak::tasks();
    drop((subscription, one));
    buslane_testkit::deadline::until("its tasks are gone", || leak::tasks() < tasks).await;
    harness.settled("g", &[&topic]).await;
    check_order(&plain(&seen), 100, rounds);
    harness.end_clean(&two).await;
}

/// Two buses in one process whose groups differ, and whose other names are the same, do not affect
/// each other.
pub async fn k3_buses_of_other_groups_are_not_disturbed(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (one, two) = (harness.bus("g").await, harness.bus("h").await);
    let (seen_one, seen_two) = (Seen::new(), Seen::new());
    one.subscribe_envelopes(&topic, notes_events(&seen_one)).await.expect("subscribes");
    two.subscribe_envelopes(&topic, notes_events(&seen_two)).await.expect("subscribes");
    publish_numbers(&one, &topic, "a", 0..5).await;
    seen_one.reached(5).await;
    harness.end_clean(&one).await;
    publish_numbers(&two, &topic, "a", 5..10).await;
    assert_eq!(
        seen_two.reached(10).await.iter().map(Note::number).collect::<Vec<_>>(),
        (0..10).collect::<Vec<_>>()
    );
    assert_eq!(harness.unsettled("g", &topic).await, 5);
    harness.end_clean(&two).await;
}
