//! Blocked keys, and the partitions that they hold: health names each while it lasts. SPEC: D4, O3

use super::{
    BusHarness, Note, Seen, each_pool, envelope, fails,
    health::{SOON, named, until_health, watchful, well},
    notes_events, publish_numbers,
};
use buslane::{Fault, Health};
use buslane_testkit::deadline::until;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

/// Health, the status, the log and a gauge name each blocked key and its partition at once, and no
/// longer when it recovers.
pub async fn o3_each_blocked_key_is_named(harness: BusHarness) {
    // SPEC: O3, D7
    let topic = harness.topic("orders");
    let (bus, page) = harness.bus_with_page(watchful(harness.config("g"))).await;
    let (seen, mended) = (Seen::<Note>::new(), Arc::new(AtomicUsize::new(0)));
    let handler = |mended: &Arc<AtomicUsize>| {
        let mended = Arc::clone(mended);
        let broken = move |note: &Note| match &*note.label {
            "bad" => mended.load(SeqCst) < 1,
            "worse" => mended.load(SeqCst) < 2,
            _ => false,
        };
        fails(&seen, broken)
    };
    bus.subscription(&topic).block_failed().envelopes(handler(&mended)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "good", 0..5).await;
    let mut places = Vec::new();
    for key in ["bad", "worse"] {
        let receipt = bus.publish_envelope(&topic, envelope(key, 0)).await.expect("published");
        places.push((key.to_owned(), receipt.partition, receipt.offset));
        publish_numbers(&bus, &topic, key, 1..3).await;
    }
    until_health("both are named", &bus, |health| health.faults().count() == 2).await;
    named(&bus, Fault::BlockedKey).await;
    let health = bus.health();
    for (key, partition, offset) in &places {
        let subject = format!("{topic}/{partition} offset {offset} key {key}");
        let found = health.faults().find(|found| found.subject == subject);
        assert!(found.is_some_and(|found| found.detail == "no to 0"), "{subject} in {health:#?}");
        let lines = harness.logs.saying("key blocked");
        let line = lines.iter().find(|line| line.field("key") == key).expect("the key in a line");
        assert_eq!(line.field("offset"), offset.to_string(), "{line}");
    }
    assert_eq!(health.metrics.blocked_keys, 2);
    assert!(health.ready || !health.started, "others are still served");
    let known = || -> BTreeSet<_> {
        let blocked = bus.status().blocked;
        blocked
            .into_iter()
            .map(|blocked| (blocked.key, blocked.partition, blocked.offset))
            .collect()
    };
    assert_eq!(known(), places.iter().cloned().collect());
    let status = bus.status();
    assert!(
        status.blocked_keys == 2
            && status.blocked.iter().all(|one| one.attempts >= 3 && one.error == "no to 0")
    );
    until("both are counted", || page.value("blocked_keys") == 2.0).await;

    // One recovers, the other one goes with its subscription.
    mended.store(1, SeqCst);
    until("one is left", || known() == BTreeSet::from([places[1].clone()])).await;
    until("one is counted", || page.value("blocked_keys") == 1.0).await;
    bus.unsubscribe(&topic).await.expect("unsubscribed");
    until("none is left", || bus.status().blocked_keys == 0 && page.value("blocked_keys") == 0.0)
        .await;
    well(&bus).await;
    bus.subscription(&topic).block_failed().envelopes(handler(&mended)).await.expect("subscribes");
    until("it is blocked again", || known().iter().any(|(key, ..)| key == "worse")).await;
    mended.store(2, SeqCst);
    well(&bus).await;
    assert!(known().is_empty());
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// A key that keeps failing has more messages than a lane holds: reading of its partition stops,
/// and others continue. Health names the partition and the key. When the key recovers, all messages
/// are handled in order.
pub async fn d4_a_partition_that_a_failing_key_holds_is_named_with_the_key(harness: BusHarness) {
    // SPEC: D4, O3, D7
    const EACH: usize = 40;
    let (topic, other) = (harness.topic("orders"), harness.topic("other"));
    let mut config = watchful(harness.config("g"));
    config.health.pool_limit = SOON;
    each_pool(&mut config, |keyed, actor| (keyed.lane_limit, actor.lane_limit) = (5, 5));
    let (bus, seen, recovered) =
        (harness.bus_of(config).await, Seen::new(), Arc::new(AtomicBool::new(false)));
    let is_well = Arc::clone(&recovered);
    let handler = fails(&seen, move |note| note.label == "bad" && !is_well.load(SeqCst));
    bus.subscription(&topic).block_failed().envelopes(handler).await.expect("subscribes");
    bus.subscribe_envelopes(&other, notes_events(&seen)).await.expect("subscribes");
    let held = bus.publish_envelope(&topic, envelope("bad", 0)).await.expect("taken").partition;
    publish_numbers(&bus, &topic, "bad", 1..EACH).await;
    let place = format!("{topic}/{held}");
    let is_named = |health: &Health| {
        health.has(Fault::BlockedKey)
            && health
                .faults()
                .any(|found| found.name == Fault::PartitionHeld && found.subject == place)
    };
    until_health("the partition is named", &bus, is_named).await;
    let health = bus.health();
    let found =
        health.faults().find(|found| found.name == Fault::PartitionHeld).expect("it is there");
    assert_eq!(found.detail, "key bad: lane is full: 5 messages of this key are open");
    let stalled = bus.status().stalled_partitions;
    assert_eq!(
        stalled.iter().map(|one| one.key.as_deref()).collect::<Vec<_>>(),
        [Some("bad")],
        "{stalled:?}"
    );

    // Where it has other partitions, their keys go on, and so do other topics.
    let mut healthy = BTreeMap::new();
    for n in 0..EACH {
        for key in (0..16).map(|key| format!("a{key}")) {
            let receipt = bus.publish_envelope(&topic, envelope(&key, n)).await.expect("taken");
            healthy.insert(key, receipt.partition);
        }
    }
    publish_numbers(&bus, &other, "b", 0..EACH).await;
    let elsewhere = healthy.values().filter(|partition| **partition != held).count();
    let of_others =
        |note: &&Note| note.label != "bad" && (note.topic == *other || note.partition != held);
    let all_others = (elsewhere + 1) * EACH;
    seen.until("everything of other partitions", |notes| {
        notes.iter().filter(of_others).count() == all_others
    })
    .await;
    // A healthy key may fill its small lane for a moment, where the handlers are slow.
    let told = |text: &str| {
        let mut lines = harness.logs.saying(text);
        lines.retain(|line| {
            (line.field("topic"), line.field("partition")) == (&*topic, &*held.to_string())
        });
        lines
    };
    let stopped = told("reading stopped: no room");
    assert_eq!(stopped.len(), 1, "said once: {stopped:?}");
    assert_eq!(stopped[0].field("key"), "bad", "{}", stopped[0]);
    assert!(told("reading goes on").is_empty());

    recovered.store(true, SeqCst);
    well(&bus).await;
    harness.settled("g", &[&topic, &other]).await;
    let notes = seen.all();
    for key in healthy.keys() {
        assert_eq!(super::seen::numbers_of(&notes, key), (0..EACH).collect::<Vec<_>>(), "{key}");
    }
    let bad: Vec<_> =
        super::seen::numbers_of(&notes, "bad").into_iter().filter(|n| *n > 0).collect();
    assert_eq!(bad, (1..EACH).collect::<Vec<_>>());
    assert!(!told("reading goes on").is_empty());
    harness.end_clean(&bus).await;
}
