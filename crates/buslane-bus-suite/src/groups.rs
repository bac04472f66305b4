//! Several buses of one group, and buses of several groups.

use super::{
    BusHarness, Note, Seen, notes_events, publish_numbers,
    traffic::{Busy, busy, check_order, plain, publish_round},
};
use buslane::EventBus;
use buslane_core::{Event, Topic};
use buslane_testkit::{
    deadline::{LIMIT, within},
    leak,
};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// Two buses of one group that read the same topic, and every delivery by the name of its bus.
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
    // A group takes its time until both are members.
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

/// Two buses of a group read while messages are published, until each has handled many: no key runs
/// on both at once, and none is out of order.
pub async fn k3_two_buses_of_a_group_keep_each_keys_order(harness: BusHarness) {
    const KEYS: usize = 40;
    let Pair { topic, one, two, seen } = Pair::new(&harness).await;
    let by = |name| handled_by(&seen, name);
    let mut rounds = 0;
    // A group takes its time until both are members.
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

/// One of two buses crashes: the other takes over its open messages.
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
    // A group takes its time until both are members.
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

/// Two buses of different groups in one process, with the same names otherwise, do not affect each
/// other.
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
