//! Messages that a bus sends to itself: what they find, and that they find nothing where nothing is
//! wrong. SPEC: O4

use super::{
    Ground,
    health::{named, watchful, well},
};
use buslane::{Config, Fault};
use std::time::Duration;

/// A bus that sends probes often.
fn probing(ground: &Ground, group: &str) -> Config {
    let mut config = watchful(ground.config(group));
    config.health.probe.enabled = true;
    config.health.probe.topic = ground.fixture.name("health");
    config.health.probe.interval = Duration::from_millis(20);
    config.health.probe.limit = Duration::from_secs(2);
    // What comes back is looked at as often.
    config.health.partition_limit = Duration::from_secs(1);
    config
}

/// Probes that are refused, or not answered at all; and well again once they are.
pub async fn o4_a_stuck_publisher_is_named(ground: Ground) {
    let topic = ground.topic("health");
    for is_silent in [false, true] {
        let (bus, meddler) = ground.meddled(probing(&ground, "g")).await;
        well(&bus).await;
        assert!(!bus.health().has(Fault::PublisherStuck));
        match is_silent {
            true => meddler.keep_silent(&topic),
            false => meddler.refuse(&topic, true),
        }
        let found = named(&bus, Fault::PublisherStuck).await;
        let reason = if is_silent { "the broker has not answered" } else { "read only" };
        assert!(found.detail.contains(reason), "{found:?}");
        if !is_silent {
            meddler.refuse(&topic, false);
            well(&bus).await;
        }
        ground.end(&bus).await;
    }
}

/// Probes that are acknowledged and do not come back: reading is what is wrong.
pub async fn o4_probes_that_do_not_come_back_are_named(ground: Ground) {
    let topic = ground.topic("health");
    let mut config = probing(&ground, "g");
    config.health.partition_limit = Duration::from_secs(600);
    let (bus, meddler) = ground.meddled(config).await;
    well(&bus).await;
    meddler.mute(&topic, true);
    named(&bus, Fault::ProbesLost).await;
    meddler.mute(&topic, false);
    well(&bus).await;
    ground.end(&bus).await;
}

/// Two buses of one group share the topic of the probes: each is well, as long as it is, and so is
/// the one that is left.
pub async fn o4_every_member_of_a_group_is_well(ground: Ground) {
    let mut config = probing(&ground, "g");
    config.health.probe.limit = Duration::from_secs(5);
    let (one, two) = (ground.bus_of(config.clone()).await, ground.bus_of(config).await);
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
    ground.end(&one).await;
    assert!(!two.health().has(Fault::ProbesLost));
    ground.end(&two).await;
}
