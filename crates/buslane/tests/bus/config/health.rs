//! Health: what may stand there, and which rule is named when it may not.

use super::table;
use buslane::config::Config;
use std::time::Duration;

/// SPEC: O3, O4
#[test]
fn o3_the_limits_are_read_and_have_their_defaults() {
    let health = Config::default().health;
    let seconds = [
        (health.check_interval, 1),
        (health.handler_limit, 60),
        (health.partition_limit, 5),
        (health.broker_limit, 5),
        (health.settlement_limit, 5),
        (health.group_limit, 30),
        (health.pool_limit, 5),
        (health.pause_limit, 3_600),
        (health.probe.interval, 30),
        (health.probe.limit, 90),
    ];
    for (limit, seconds) in seconds {
        assert_eq!(limit, Duration::from_secs(seconds));
    }
    assert_eq!((health.restarts, health.memory, health.probe.enabled), (10, 0, false));
    assert_eq!(health.probe.topic, "buslane.health");

    let text = "health: {pause_limit: 2h, memory: 1000000, probe: {enabled: true, topic: probes, limit: 31s}}";
    let health = Config::parse_yaml(text).unwrap().health;
    assert_eq!((health.pause_limit, health.memory), (Duration::from_secs(7_200), 1_000_000));
    assert!(health.probe.enabled && health.probe.topic == "probes");
    let config = Config::default()
        .with_variables(&table(&["BUSLANE_HEALTH_PROBE=1", "BUSLANE_HEALTH_MEMORY=7"]));
    let health = config.unwrap().health;
    assert_eq!((health.probe.enabled, health.memory), (true, 7));
}

#[test]
fn o3_wrong_limits_are_refused_with_field_and_rule() {
    // SPEC: O3, O4
    for (text, expected) in [
        ("check_interval: 9ms", "health.check_interval: must be from 10ms to 10s, found 9ms"),
        ("check_interval: 11s", "health.check_interval: must be from 10ms to 10s, found 11s"),
        ("handler_limit: 8761h", "health.handler_limit: must be at most 8760h, found 8761h"),
        ("restarts: 10001", "health.restarts: must be at most 10000, found 10001"),
        (
            "probe: {topic: 'a b'}",
            "health.probe.topic: must be a topic name: allowed are A-Z a-z 0-9 . _ -, found \"a b\"",
        ),
        ("probe: {interval: 0s}", "health.probe.interval: must be from 10ms to 1h, found 0s"),
        (
            "probe: {limit: 30s}",
            "health.probe.limit: must be more than health.probe.interval (30s), found 30s",
        ),
    ] {
        let error = Config::parse_yaml(&format!("health: {{{text}}}")).unwrap_err().to_string();
        assert_eq!(error, expected, "{text}");
    }
    for (variable, expected) in [
        (
            "BUSLANE_HEALTH_PROBE=on",
            "BUSLANE_HEALTH_PROBE: must be true, false, 1 or 0, found \"on\"",
        ),
        ("BUSLANE_HEALTH_MEMORY=-1", "BUSLANE_HEALTH_MEMORY: must be a whole number from 0 to"),
    ] {
        let error = Config::default().with_variables(&|name| {
            variable.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value.into())
        });
        assert!(error.unwrap_err().to_string().contains(expected), "{variable}");
    }
}
