//! Health reports each fault of a bus under a distinct name until the fault is repaired.
//! SPEC: O3, O4

use std::sync::Arc;
use std::time::{Duration, Instant};

use buslane::{Condition, Config, EventBus, Fault, FaultReport, Health};
use buslane_core::{Message, Record};
use buslane_testkit::deadline::{LIMIT, until};
use buslane_testkit::server::OwnServer;
use buslane_testkit::signal::{Barrier, Gate};

use super::harness::idle;
use super::{
    BusHarness, Note, Seen, envelope, fails, notes_events, notes_messages, notes_then_waits, now,
    publish, publish_numbers, waits_then_notes,
};

pub(super) const SOON: Duration = Duration::from_millis(50);

/// A configuration that checks health often.
pub(super) fn watchful(mut config: Config) -> Config {
    config.health.check_interval = Duration::from_millis(10);
    config
}

/// Waits until the report and its JSON contain this fault and no other.
///
/// # Panics
/// When the report contains another fault, or this one does not appear in time.
pub async fn named(bus: &EventBus, fault: Fault) -> FaultReport {
    until_health(fault.as_str(), bus, |health| health.has(fault)).await;
    let health = bus.health();
    let found: Vec<_> = health.faults().map(|fault| fault.name).collect();
    assert!(!found.is_empty() && found.iter().all(|found| *found == fault), "{health:#?}");
    assert_eq!((health.overall, health.live), (fault.condition(), true), "{health:#?}");
    let json = serde_json::to_value(&health).expect("a report is JSON");
    let components = json["components"].as_array().expect("a list").iter();
    let faults: Vec<_> =
        components.flat_map(|component| component["faults"].as_array().expect("a list")).collect();
    assert!(faults.iter().all(|found| found["name"] == fault.as_str()), "{json:#}");
    assert_eq!(json["overall"], fault.condition().as_str());
    assert!(json["last_check"].as_str().is_some_and(|at| at.ends_with('Z')), "{json:#}");
    health.faults().next().expect("it is there").clone()
}

/// Panics without running the panic hook.
fn boom() {
    std::panic::resume_unwind(Box::new("boom"));
}

/// Waits until the bus is healthy and ready.
///
/// # Panics
/// When the bus is not healthy in time.
pub async fn well(bus: &EventBus) {
    until_health("healthy", bus, |health| health.overall == Condition::Healthy && health.ready)
        .await;
}

/// Checks that health names a fault of the server while it lasts, and no longer after the repair.
/// Prints the time until the fault was named. Needs a multi-threaded runtime.
///
/// # Panics
/// When the bus is unhealthy before the loss or after the repair, has another fault in between, or
/// is not live and unready while the fault lasts.
pub async fn named_while_it_lasts(
    bus: &EventBus,
    server: &mut OwnServer,
    fault: Fault,
    lose: fn(&mut OwnServer),
    mend: fn(&mut OwnServer),
) {
    well(bus).await;
    tokio::task::block_in_place(|| lose(server));
    let start = Instant::now();
    named(bus, fault).await;
    eprintln!("{fault} was named after {:?}", start.elapsed());
    assert!(!bus.health().ready && bus.health().live);
    tokio::task::block_in_place(|| mend(server));
    well(bus).await;
}

/// Polls the health with pauses, so that other processes can run.
///
/// # Panics
/// When the condition does not hold in time.
pub async fn until_health(what: &str, bus: &EventBus, is_so: impl Fn(&Health) -> bool) {
    let wait = async {
        while !is_so(&bus.health()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(LIMIT, wait).await.is_ok(),
        "not {what} within {LIMIT:?}: {:#?}",
        bus.health()
    );
}

/// A bus is healthy while idle, busy and closed. It is ready from the broker's first answer until
/// its shutdown.
pub async fn o3_a_bus_that_is_well_is_healthy(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, page) = harness.bus_with_page(watchful(harness.config("g"))).await;
    well(&bus).await;
    let seen = Seen::new();
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..100).await;
    seen.reached(100).await;
    idle(&bus).await;
    let health = bus.health();
    assert!(health.live && health.started && health.overall == Condition::Healthy, "{health:#?}");
    assert_eq!(
        (health.metrics.processed, health.metrics.open, health.faults().count()),
        (100, 0, 0)
    );
    assert_eq!(page.value("health"), 0.0);
    assert!(harness.logs.saying("health fault").is_empty());
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
    let health = bus.health();
    assert!(health.live && !health.ready && health.overall == Condition::Healthy, "{health:#?}");
}

/// Health names the partition of an attempt that does not return, even if it blocks its thread.
pub async fn o3_a_stuck_handler_is_named(harness: BusHarness) {
    let (waits, blocks) = (harness.topic("waits"), harness.topic("blocks"));
    let mut config = watchful(harness.config("g"));
    config.health.handler_limit = SOON;
    let (bus, page) = harness.bus_with_page(config).await;
    let (seen, gate) = (Seen::<Note>::new(), Arc::new(Gate::default()));
    bus.subscribe_envelopes(&waits, notes_then_waits(&seen, &gate)).await.expect("subscribes");
    publish_numbers(&bus, &waits, "a", 0..1).await;
    let found = named(&bus, Fault::StuckHandler).await;
    let place = seen.all()[0].clone();
    assert!(
        found.subject.starts_with(waits.as_str()) && found.subject.contains(" offset "),
        "{found:?} {place:?}"
    );
    until("all say so", || page.value("health_fault{fault=\"stuck_handler\"}") == 1.0).await;
    assert_eq!(page.value("health"), 2.0);
    gate.open();
    well(&bus).await;

    let barrier = Arc::new(Barrier::default());
    let inner = Arc::clone(&barrier);
    bus.subscribe(&blocks, now(move |_: Message| assert!(inner.block())))
        .await
        .expect("subscribes");
    bus.publish(&blocks, Record::new("x")).await.expect("published");
    // The wait uses no timer, because the blocked thread may be the one that serves the timers.
    until("it is named", || bus.health().has(Fault::StuckHandler)).await;
    let health = bus.health();
    let found = health.faults().next().expect("it is there");
    assert!(found.subject.starts_with(blocks.as_str()), "{found:?}");
    barrier.open();
    well(&bus).await;
    let line = harness.logs.saying("health fault").remove(0);
    assert_eq!(line.field("fault"), "stuck_handler");
    harness.settled("g", &[&waits, &blocks]).await;
    harness.end_clean(&bus).await;
}

/// Health names the partition of a source that waits for capacity, and the exhausted bound.
pub async fn o3_a_full_pool_is_named(harness: BusHarness) {
    let topic = harness.topic("orders");
    let mut config = watchful(harness.sized("g", 2, 10));
    config.health.pool_limit = SOON;
    let (bus, seen, gate) = (harness.bus_of(config).await, Seen::new(), Arc::new(Gate::default()));
    bus.subscribe_envelopes(&topic, waits_then_notes(&seen, &gate)).await.expect("subscribes");
    let envelopes: Vec<_> = (0..300).map(|n| envelope(&format!("a{}", n % 30), n / 30)).collect();
    publish(&bus, &topic, &envelopes).await;
    let found = named(&bus, Fault::PoolFull).await;
    assert!(
        found.subject.starts_with(topic.as_str()) && found.detail.contains("pool is full"),
        "{found:?}"
    );
    gate.open();
    well(&bus).await;
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// Repeated failures of actors are a fault. The keyed pool restarts no worker.
pub async fn o3_a_restart_storm_is_named(harness: BusHarness) {
    let topic = harness.topic("raw");
    let mut config = watchful(harness.config("g"));
    config.health.restarts = 5;
    let (bus, seen) = (harness.bus_of(config).await, Seen::new());
    let into = Arc::clone(&seen);
    let handler = now(move |message: Message| {
        into.push(Note::from(&message));
        boom();
    });
    bus.subscribe(&topic, handler).await.expect("subscribes");
    for n in 0..4 {
        bus.publish(&topic, Record::new(n.to_string()).with_key("k")).await.expect("published");
    }
    harness.settled("g", &[&topic]).await;
    assert_eq!(bus.health().overall, Condition::Healthy, "four are not five");
    bus.publish(&topic, Record::new("4").with_key("k")).await.expect("published");
    harness.settled("g", &[&topic]).await;
    match bus.status().pool {
        "actor" => {
            let found = named(&bus, Fault::RestartStorm).await;
            assert_eq!(found.detail, "5 restarts within a minute");
        }
        _ => {
            until("five panics", || bus.pool_stats().panics == 5).await;
            assert_eq!(bus.health().overall, Condition::Healthy);
        }
    }
    harness.end_clean(&bus).await;
}

/// An actor in cool-down is a fault too.
pub async fn o3_an_actor_that_cools_down_is_named(harness: BusHarness) {
    let topic = harness.topic("raw");
    let mut config = watchful(harness.config("g"));
    super::each_pool(&mut config, |_, actor| actor.max_restarts = 0);
    let bus = harness.bus_of(config).await;
    let handler = now(|_: Message| boom());
    bus.subscribe(&topic, handler).await.expect("subscribes");
    bus.publish(&topic, Record::new("0")).await.expect("published");
    harness.settled("g", &[&topic]).await;
    if bus.status().pool == "actor" {
        let found = named(&bus, Fault::RestartStorm).await;
        assert_eq!(found.detail, "1 of 16 actors cool down");
    }
    harness.end_clean(&bus).await;
}

/// An unwritable dead letter is a fault with the broker's reason, in addition to the blocked key,
/// until the letter is written.
pub async fn o3_dead_letters_that_cannot_be_written_are_named(harness: BusHarness) {
    let (topic, dead) = (harness.topic("orders"), harness.topic("dead"));
    let (bus, faulty) = harness.faulty_bus(watchful(harness.config("g"))).await;
    let handler = fails(&Seen::new(), |_| true);
    bus.subscription(&topic).dead_letter(&dead).envelopes(handler).await.expect("subscribes");
    faulty.refuse(&dead, true);
    publish_numbers(&bus, &topic, "bad", 0..1).await;
    until("it is named", || bus.health().has(Fault::DeadLetterUnwritable)).await;
    let health = bus.health();
    let found: Vec<_> = health.faults().map(|fault| fault.name).collect();
    assert_eq!(found, [Fault::DeadLetterUnwritable, Fault::BlockedKey]);
    let detail = &health.faults().next().expect("there are two").detail;
    assert!(detail.contains(dead.as_str()) && detail.contains("read only"), "{detail}");
    faulty.refuse(&dead, false);
    well(&bus).await;
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// The memory limit is off by default. Health names the fault when memory exceeds the limit.
pub async fn o3_the_memory_ceiling_is_named(harness: BusHarness) {
    for (ceiling, is_named) in [(0, false), (u64::MAX, false), (1, true)] {
        let mut config = watchful(harness.config("g"));
        config.health.memory = ceiling;
        let bus = harness.bus_of(config).await;
        if is_named {
            let found = named(&bus, Fault::MemoryCeiling).await;
            assert!(found.detail.ends_with("1 are the ceiling"), "{found:?}");
        } else {
            well(&bus).await;
        }
        harness.end_clean(&bus).await;
    }
}

/// A partition with free capacity whose messages the broker withholds is a fault until they arrive.
pub async fn o3_a_dead_partition_is_named(harness: BusHarness) {
    let (topic, other) = (harness.topic("orders"), harness.topic("other"));
    let mut config = watchful(harness.config("g"));
    config.health.partition_limit = SOON;
    let (bus, faulty) = harness.faulty_bus(config).await;
    let seen = Seen::new();
    faulty.mute(&topic, true);
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    bus.subscribe_envelopes(&other, notes_events(&seen)).await.expect("subscribes");
    publish_numbers(&bus, &other, "b", 0..10).await;
    publish_numbers(&bus, &topic, "a", 0..5).await;
    let found = named(&bus, Fault::DeadPartition).await;
    assert!(found.subject.starts_with(&format!("{topic}/")), "{found:?}");
    seen.reached(10).await;
    faulty.mute(&topic, false);
    seen.reached(15).await;
    well(&bus).await;
    harness.settled("g", &[&topic, &other]).await;
    harness.end_clean(&bus).await;
}

/// An unreachable broker makes the bus unready until the connection returns.
pub async fn o3_a_broker_that_is_away_is_named(harness: BusHarness) {
    let mut config = watchful(harness.config("g"));
    config.health.broker_limit = SOON;
    let bus = harness.bus_of(config).await;
    well(&bus).await;
    harness.fault(super::Fault::Disconnect).await;
    let found = named(&bus, Fault::BrokerGone).await;
    assert_eq!(found.detail, "cut by a test");
    assert!(!bus.health().ready && bus.health().started);
    harness.fault(super::Fault::Reconnect).await;
    well(&bus).await;
    harness.end_clean(&bus).await;
}

/// A pause, or a topic without a handler, is healthy. Beyond the pause limit, both are a warning.
pub async fn o3_a_pause_that_is_too_long_is_a_warning(harness: BusHarness) {
    let (topic, held) = (harness.topic("orders"), harness.topic("held"));
    let bus = harness.bus_of(watchful(harness.config("g"))).await;
    let seen = Seen::new();
    let subscription =
        bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    subscription.pause();
    publish_numbers(&bus, &topic, "a", 0..20).await;
    well(&bus).await;
    assert!(
        subscription.is_paused() && bus.health().overall == Condition::Healthy && seen.is_empty()
    );
    subscription.resume();
    assert_eq!(seen.reached(20).await.len(), 20);
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;

    let mut config = watchful(harness.config("g"));
    config.health.pause_limit = SOON;
    let bus = harness.bus_of(config).await;
    let subscription =
        bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    subscription.pause();
    subscription.pause();
    publish_numbers(&bus, &topic, "a", 20..40).await;
    let found = named(&bus, Fault::PausedTooLong).await;
    assert_eq!((found.subject.as_str(), found.condition), (topic.as_str(), Condition::Warning));
    assert_eq!(seen.len(), 20);
    subscription.resume();
    well(&bus).await;
    let numbers: Vec<_> = seen.reached(40).await.iter().map(Note::number).collect();
    assert_eq!(numbers, (0..40).collect::<Vec<_>>());
    bus.topics().announce([held.as_str()]).await.expect("announced");
    let found = named(&bus, Fault::PausedTooLong).await;
    assert_eq!(found.subject, held.as_str());
    bus.subscribe(&held, notes_messages(&seen)).await.expect("subscribes");
    well(&bus).await;
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// A paused subscription gives up its sources, ends and shuts down like any other, and loses no
/// message.
pub async fn o3_a_paused_subscription_loses_nothing(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let subscription =
        bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..10).await;
    seen.reached(10).await;
    subscription.pause();
    publish_numbers(&bus, &topic, "a", 10..30).await;
    subscription.unsubscribe().await.expect("it ends");
    let subscription =
        bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes again");
    assert!(!subscription.is_paused());
    seen.reached(30).await;
    subscription.pause();
    publish_numbers(&bus, &topic, "a", 30..40).await;
    harness.end(&bus).await;
    let bus = harness.bus("g").await;
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    harness.settled("g", &[&topic]).await;
    let numbers: Vec<_> = seen.all().iter().map(Note::number).collect();
    assert_eq!(numbers, (0..40).collect::<Vec<_>>());
    harness.end_clean(&bus).await;
}

/// A configuration that probes often.
fn probing(harness: &BusHarness, group: &str) -> Config {
    let mut config = watchful(harness.config(group));
    config.health.probe.enabled = true;
    config.health.probe.topic = harness.fixture.name("health");
    config.health.probe.interval = Duration::from_millis(20);
    config.health.probe.limit = Duration::from_secs(2);
    // Half of this limit is the interval of the lag requests that find settled probes.
    config.health.partition_limit = Duration::from_secs(1);
    config
}

/// Refused and unanswered probes are a fault, which ends once probes are answered.
pub async fn o4_a_stuck_publisher_is_named(harness: BusHarness) {
    let topic = harness.topic("health");
    for is_silent in [false, true] {
        let (bus, faulty) = harness.faulty_bus(probing(&harness, "g")).await;
        well(&bus).await;
        assert!(!bus.health().has(Fault::PublisherStuck));
        match is_silent {
            true => faulty.keep_silent(&topic),
            false => faulty.refuse(&topic, true),
        }
        named(&bus, Fault::PublisherStuck).await;
        let reason = if is_silent { "the broker has not answered" } else { "read only" };
        // A probe that a busy broker has answered late may be the first reason.
        until_health(reason, &bus, |health| {
            let mut stuck = health.faults().filter(|fault| fault.name == Fault::PublisherStuck);
            stuck.any(|fault| fault.detail.contains(reason))
        })
        .await;
        if !is_silent {
            faulty.refuse(&topic, false);
            well(&bus).await;
        }
        harness.end(&bus).await;
    }
}

/// Acknowledged probes that do not return are a fault of reading.
pub async fn o4_probes_that_do_not_come_back_are_named(harness: BusHarness) {
    let topic = harness.topic("health");
    let mut config = probing(&harness, "g");
    config.health.partition_limit = Duration::from_secs(600);
    let (bus, faulty) = harness.faulty_bus(config).await;
    well(&bus).await;
    faulty.mute(&topic, true);
    named(&bus, Fault::ProbesLost).await;
    faulty.mute(&topic, false);
    well(&bus).await;
    harness.end(&bus).await;
}

/// Two buses of one group share the probe topic. Both are healthy, and so is the one that remains
/// after the other ends.
pub async fn o4_every_member_of_a_group_is_well(harness: BusHarness) {
    let mut config = probing(&harness, "g");
    config.health.probe.limit = Duration::from_secs(5);
    let (one, two) = (harness.bus_of(config.clone()).await, harness.bus_of(config).await);
    for bus in [&one, &two] {
        well(bus).await;
    }
    // Twice the limit after which missing probes are a fault.
    let over = tokio::time::Instant::now() + Duration::from_secs(10);
    while tokio::time::Instant::now() < over {
        for bus in [&one, &two] {
            let health = bus.health();
            assert!(
                !health.has(Fault::ProbesLost) && !health.has(Fault::PublisherStuck),
                "{health:#?}"
            );
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    harness.end(&one).await;
    assert!(!two.health().has(Fault::ProbesLost));
    harness.end(&two).await;
}
