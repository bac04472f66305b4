//! Messages that a bus sends to itself: the faults that they find, and no fault in a healthy bus.
//! SPEC: O4

use super::{
    BusHarness,
    health::{named, watchful, well},
};
use buslane::{Config, Fault};
use std::time::Duration;

/// A bus that sends probes often.
fn probing(harness: &BusHarness, group: &str) -> Config {
    let mut config = watchful(harness.config(group));
    config.health.probe.enabled = true;
    config.health.probe.topic = harness.fixture.name("health");
    config.health.probe.interval = Duration::from_millis(20);
    config.health.probe.limit = Duration::from_secs(2);
    // What comes back is looked at as often.
    config.health.partition_limit = Duration::from_secs(1);
    config
}

/// Probes that are refused or not answered are a fault, which ends once they are answered.
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
        let found = named(&bus, Fault::PublisherStuck).await;
        let reason = if is_silent { "the broker has not answered" } else { "read only" };
        assert!(found.detail.contains(reason), "{found:?}");
        if !is_silent {
            faulty.refuse(&topic, false);
            well(&bus).await;
        }
        harness.end(&bus).await;
    }
}

/// Probes that are acknowledged but do not come back are a fault of reading.
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

/// Two buses of one group share the topic of the probes: both are healthy, and so is the one that
/// remains.
pub async fn o4_every_member_of_a_group_is_well(harness: BusHarness) {
    let mut config = probing(&harness, "g");
    config.health.probe.limit = Duration::from_secs(5);
    let (one, two) = (harness.bus_of(config.clone()).await, harness.bus_of(config).await);
    for bus in [&one, &two] {
        well(bus).await;
    }
    // Twice as long as none may come back.
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
