//! Limits, backlog and recovery: what may stand there, and which rule is named when it may not.

use super::table;
use buslane::config::{Config, RateLimit, RecoveryStart};
use std::time::Duration;

/// Every key that has no default, and some that have.
pub(crate) const YAML: &str = "
limits:
  publish: { per_second: 5000, burst: 50 }
  subscribe: { per_second: 200 }
  topics:
    orders: { publish: { per_second: 10, burst: 1 } }
    audit: { subscribe: { burst: 7 } }
backlog: { check_interval: 5s, messages: 0, age: 0s, publish_depth: 7, publish_latency: 250ms }
recovery:
  at_start: never
  on_backlog: false
  rate: { per_second: 10000000, burst: 4294967295 }
  keys: 12
  clean_checks: 1
  ramp: 0s
";

const TOML: &str = r#"
[limits]
publish = { per_second = 5000, burst = 50 }
subscribe.per_second = 200
topics.orders.publish = { per_second = 10, burst = 1 }
topics.audit.subscribe.burst = 7

[backlog]
check_interval = "5s"
messages = 0
age = "0s"
publish_depth = 7
publish_latency = "250ms"

[recovery]
at_start = "never"
on_backlog = false
rate = { per_second = 10000000, burst = 4294967295 }
keys = 12
clean_checks = 1
ramp = "0s"
"#;

#[test]
fn b8_limits_are_read_from_yaml_and_toml() {
    // SPEC: B8, L1, L2, L3
    let config = Config::parse_yaml(YAML).unwrap();
    assert_eq!(config, Config::parse_toml(TOML).unwrap());
    assert_eq!(config.limits.publish, Some(RateLimit::new(5_000, 50)));
    assert_eq!(config.limits.subscribe, Some(RateLimit::new(200, 100)));
    let topics = &config.limits.topics;
    assert_eq!(
        (topics["orders"].publish, topics["orders"].subscribe),
        (Some(RateLimit::new(10, 1)), None)
    );
    assert_eq!(topics["audit"].subscribe, Some(RateLimit::new(1_000, 7)));
    let backlog = &config.backlog;
    assert_eq!(
        (backlog.check_interval, backlog.messages, backlog.age),
        (Duration::from_secs(5), 0, Duration::ZERO)
    );
    assert_eq!((backlog.publish_depth, backlog.publish_latency), (7, Duration::from_millis(250)));
    let recovery = &config.recovery;
    assert_eq!((recovery.at_start, recovery.on_backlog), (RecoveryStart::Never, false));
    assert_eq!((recovery.keys, recovery.clean_checks, recovery.ramp), (12, 1, Duration::ZERO));
    assert_eq!(recovery.rate, Some(RateLimit::new(10_000_000, u32::MAX)));
}

#[test]
fn b8_by_default_nothing_is_limited() {
    // SPEC: B8, L1, L2, L3, L4
    let config = Config::default();
    assert_eq!(
        (config.limits.publish, config.limits.subscribe, config.limits.topics.len()),
        (None, None, 0)
    );
    assert_eq!((config.backlog.messages, config.backlog.age), (10_000, Duration::from_secs(300)));
    assert_eq!(
        (config.backlog.publish_depth, config.backlog.publish_latency),
        (10_000, Duration::from_secs(5))
    );
    assert_eq!(config.backlog.check_interval, Duration::from_secs(30));
    let recovery = &config.recovery;
    assert_eq!((recovery.at_start, recovery.on_backlog), (RecoveryStart::Auto, true));
    assert_eq!((recovery.rate, recovery.keys, recovery.clean_checks), (None, 1_000, 3));
    assert_eq!(recovery.ramp, Duration::from_secs(60));
    for (processors, idle) in [
        (config.kafka.actor_pool.max_processors, config.kafka.actor_pool.processor_idle),
        (config.nats.keyed_pool.max_processors, config.nats.keyed_pool.processor_idle),
    ] {
        assert_eq!((processors, idle), (10_000, Duration::from_secs(300)));
    }
}

/// SPEC: B8. Zero, negative, not a number, a burst below one: each names the field and the rule.
#[test]
fn b8_wrong_limits_are_refused_with_field_and_rule() {
    let rate = "per_second: must be from 1 to 10000000, found";
    let whole = "must be a whole number, 0 or more";
    for key in
        ["limits.publish", "limits.subscribe", "limits.topics.orders.publish", "recovery.rate"]
    {
        let refused = |field: &str| {
            let yaml = format!(
                "{}: {{{field}}}{}",
                key.replace('.', ": {"),
                "}".repeat(key.matches('.').count())
            );
            Config::parse_yaml(&yaml).unwrap_err().to_string()
        };
        for (field, expected) in [
            ("per_second: 0", format!("{key}.{rate} 0")),
            ("per_second: 10000001", format!("{key}.{rate} 10000001")),
            ("burst: 0", format!("{key}.burst: must be at least 1, found 0")),
        ] {
            assert_eq!(refused(field), expected);
        }
        for (field, name) in [
            ("per_second: -1", "per_second"),
            ("per_second: 0.5", "per_second"),
            ("per_second: .nan", "per_second"),
            ("per_second: many", "per_second"),
            ("per_second: 99999999999", "per_second"),
            ("burst: -5", "burst"),
            ("burst: .inf", "burst"),
        ] {
            let error = refused(field);
            assert!(error.ends_with(&format!("{key}.{name}: {whole}")), "{field}: {error}");
        }
        let unknown = refused("rate: 5");
        assert!(
            unknown.contains("unknown field `rate`, expected one of per_second, burst"),
            "{unknown}"
        );
    }
}

#[test]
fn l1_wrong_settings_are_refused_with_field_and_rule() {
    // SPEC: L1, L3, L4
    for (text, expected) in [
        (
            "limits: {topics: {'a b': {}}}",
            "limits.topics: must be a topic name: allowed are A-Z a-z 0-9 . _ -, found \"a b\"",
        ),
        (
            "backlog: {check_interval: 0s}",
            "backlog.check_interval: must be from 1ms to 1h, found 0s",
        ),
        (
            "backlog: {check_interval: 2h}",
            "backlog.check_interval: must be from 1ms to 1h, found 2h",
        ),
        ("recovery: {keys: 0}", "recovery.keys: must be at least 1, found 0"),
        ("recovery: {clean_checks: 0}", "recovery.clean_checks: must be at least 1, found 0"),
        ("recovery: {ramp: 25h}", "recovery.ramp: must be at most 24h, found 25h"),
        (
            "kafka: {keyed_pool: {processor_idle: 0s}}",
            "kafka.keyed_pool.processor_idle: must be more than zero, found 0s",
        ),
        (
            "nats: {actor_pool: {processor_idle: 0s}}",
            "nats.actor_pool.processor_idle: must be more than zero, found 0s",
        ),
    ] {
        assert_eq!(Config::parse_yaml(text).unwrap_err().to_string(), expected, "{text:?}");
    }
    let error = Config::parse_yaml("recovery: {at_start: sometimes}").unwrap_err().to_string();
    assert!(
        error.ends_with("unknown variant `sometimes`, expected one of auto, always, never"),
        "{error}"
    );
    let config = Config::parse_yaml("limits: {publish: }").unwrap();
    assert_eq!(
        config.limits.publish,
        Some(RateLimit::default()),
        "an empty key is not the same as none"
    );
}

#[test]
fn l3_variables_set_recovery_mode() {
    let set = |list: &'static [&'static str]| Config::default().with_variables(&table(list));
    for (list, start) in [
        (&["BUSLANE_RECOVERY_AT_START=always"][..], RecoveryStart::Always),
        (&["BUSLANE_RECOVERY_AT_START=never"], RecoveryStart::Never),
        (&["BUSLANE_RECOVERY_AT_START=auto"], RecoveryStart::Auto),
    ] {
        assert_eq!(set(list).unwrap().recovery.at_start, start);
    }
    let config = set(&[
        "BUSLANE_RECOVERY_RATE=25",
        "BUSLANE_RECOVERY_KEYS=3",
        "BUSLANE_RECOVERY_ON_BACKLOG=false",
    ])
    .unwrap();
    assert_eq!((config.recovery.rate, config.recovery.keys), (Some(RateLimit::new(25, 100)), 3));
    assert!(!config.recovery.on_backlog);
    for (list, expected) in [
        (
            &["BUSLANE_RECOVERY_AT_START=yes"][..],
            "BUSLANE_RECOVERY_AT_START: must be auto, always or never, found \"yes\"",
        ),
        (
            &["BUSLANE_RECOVERY_ON_BACKLOG="],
            "BUSLANE_RECOVERY_ON_BACKLOG: must be true, false, 1 or 0, found \"\"",
        ),
        (
            &["BUSLANE_RECOVERY_RATE=0"],
            "BUSLANE_RECOVERY_RATE: must be a whole number from 1 to 10000000, found \"0\"",
        ),
        (
            &["BUSLANE_RECOVERY_RATE=-3"],
            "BUSLANE_RECOVERY_RATE: must be a whole number from 1 to 10000000, found \"-3\"",
        ),
        (
            &["BUSLANE_RECOVERY_RATE=NaN"],
            "BUSLANE_RECOVERY_RATE: must be a whole number from 1 to 10000000, found \"NaN\"",
        ),
        (
            &["BUSLANE_RECOVERY_KEYS=0"],
            "BUSLANE_RECOVERY_KEYS: must be a whole number from 1 to 4294967295, found \"0\"",
        ),
    ] {
        assert_eq!(set(list).unwrap_err().to_string(), format!("environment variable {expected}"));
    }
}
