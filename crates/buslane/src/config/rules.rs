//! The rules that types alone do not keep. Each error names its key.

use super::{
    ActorPoolConfig, Config, ConfigError, KeyedPoolConfig, RateLimit, TerminalConfig, duration,
    kafka, nats, rollout,
};
use buslane_core::Topic;
use std::{fmt::Display, time::Duration};

/// Every key, in percent.
pub(super) const ALL: u8 = 100;
/// Most workers or actors of a pool.
pub(super) const MAX_WORKERS: usize = 65_536;
/// Most messages that a pool may be told to hold.
pub(super) const MAX_CAPACITY: usize = u32::MAX as usize;
/// Longest time for which limits are raised.
const DAY: Duration = Duration::from_hours(24);
/// Longest limit of health: a year.
const MOST: Duration = Duration::from_hours(8_760);
/// Restarts that health remembers.
const MAX_RESTARTS: u32 = 10_000;
/// Most partitions of a topic on the embedded broker.
const MAX_PARTITIONS: usize = 4096;

pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    if config.group.trim().is_empty() {
        return broken("group", "must not be blank", format!("{:?}", config.group));
    }
    topics(config)?;
    positive("publish_timeout", config.publish_timeout)?;
    if config.publish_fast_path > config.publish_timeout {
        let rule =
            format!("must be at most publish_timeout ({})", duration::show(config.publish_timeout));
        return broken("publish_fast_path", rule, duration::show(config.publish_fast_path));
    }
    at_least_one("retry.attempts", config.retry.attempts as usize)?;
    positive("retry.initial", config.retry.initial)?;
    if config.retry.max < config.retry.initial {
        let rule =
            format!("must be at least retry.initial ({})", duration::show(config.retry.initial));
        return broken("retry.max", rule, duration::show(config.retry.max));
    }
    if let TerminalConfig::DeadLetter { topic, .. } = &config.terminal {
        topic_name("terminal.dead_letter.topic", topic)?;
    }
    operations(config)?;
    health(config)?;
    rollout::check(config)?;
    range("memory.partitions", config.memory.partitions as usize, MAX_PARTITIONS)?;
    at_least_one("memory.max_messages", config.memory.max_messages)?;
    at_least_one("memory.max_bytes", config.memory.max_bytes)?;
    at_least_one("memory.max_message_bytes", config.memory.max_message_bytes)?;
    kafka::check(config)?;
    nats::check(config)?;
    for (backend, keyed, actor) in [
        ("memory", &config.memory.keyed_pool, &config.memory.actor_pool),
        ("kafka", &config.kafka.keyed_pool, &config.kafka.actor_pool),
        ("nats", &config.nats.keyed_pool, &config.nats.actor_pool),
    ] {
        keyed_pool(&format!("{backend}.keyed_pool"), keyed)?;
        actor_pool(&format!("{backend}.actor_pool"), actor)?;
    }
    Ok(())
}

fn topics(config: &Config) -> Result<(), ConfigError> {
    for (index, name) in config.topics.iter().enumerate() {
        topic_name(&format!("topics[{index}]"), name)?;
        if let Some(first) = config.topics[..index].iter().position(|other| other == name) {
            return broken(
                format!("topics[{index}]"),
                format!("must differ from topics[{first}]"),
                format!("{name:?}"),
            );
        }
    }
    Ok(())
}

fn operations(config: &Config) -> Result<(), ConfigError> {
    let limits = &config.limits;
    rate("limits.publish", limits.publish)?;
    rate("limits.subscribe", limits.subscribe)?;
    for (topic, limits) in &limits.topics {
        topic_name("limits.topics", topic)?;
        rate(&format!("limits.topics.{topic}.publish"), limits.publish)?;
        rate(&format!("limits.topics.{topic}.subscribe"), limits.subscribe)?;
    }
    let interval = config.backlog.check_interval;
    if interval < Duration::from_millis(1) || interval > Duration::from_hours(1) {
        return broken(
            "backlog.check_interval",
            "must be from 1ms to 1h",
            duration::show(interval),
        );
    }
    let recovery = &config.recovery;
    rate("recovery.rate", recovery.rate)?;
    at_least_one("recovery.keys", recovery.keys)?;
    at_least_one("recovery.clean_checks", recovery.clean_checks as usize)?;
    if recovery.ramp > DAY {
        return broken("recovery.ramp", "must be at most 24h", duration::show(recovery.ramp));
    }
    Ok(())
}

fn health(config: &Config) -> Result<(), ConfigError> {
    let health = &config.health;
    let (least, interval) = (Duration::from_millis(10), health.check_interval);
    if interval < least || interval > Duration::from_secs(10) {
        return broken(
            "health.check_interval",
            "must be from 10ms to 10s",
            duration::show(interval),
        );
    }
    for (key, limit) in [
        ("handler_limit", health.handler_limit),
        ("partition_limit", health.partition_limit),
        ("broker_limit", health.broker_limit),
        ("settlement_limit", health.settlement_limit),
        ("group_limit", health.group_limit),
        ("pool_limit", health.pool_limit),
        ("pause_limit", health.pause_limit),
        ("probe.limit", health.probe.limit),
    ] {
        if limit > MOST {
            return broken(format!("health.{key}"), "must be at most 8760h", duration::show(limit));
        }
    }
    if health.restarts > MAX_RESTARTS {
        return broken(
            "health.restarts",
            format!("must be at most {MAX_RESTARTS}"),
            health.restarts,
        );
    }
    let probe = &health.probe;
    topic_name("health.probe.topic", &probe.topic)?;
    if probe.interval < least || probe.interval > Duration::from_hours(1) {
        return broken(
            "health.probe.interval",
            "must be from 10ms to 1h",
            duration::show(probe.interval),
        );
    }
    if probe.limit <= probe.interval {
        let rule =
            format!("must be more than health.probe.interval ({})", duration::show(probe.interval));
        return broken("health.probe.limit", rule, duration::show(probe.limit));
    }
    Ok(())
}

/// Refuses a rate limit that lets nothing through, or that nothing could keep.
pub(crate) fn rate(key: &str, limit: Option<RateLimit>) -> Result<(), ConfigError> {
    match limit.and_then(RateLimit::broken) {
        Some((field, rule, found)) => broken(format!("{key}.{field}"), rule, found),
        None => Ok(()),
    }
}

fn keyed_pool(path: &str, pool: &KeyedPoolConfig) -> Result<(), ConfigError> {
    range(&format!("{path}.worker_count"), pool.worker_count, MAX_WORKERS)?;
    at_least_one(&format!("{path}.queue_size"), pool.queue_size)?;
    capacity(&format!("{path}.queue_size"), "worker_count", pool.worker_count, pool.queue_size)?;
    at_least_one(&format!("{path}.lane_limit"), pool.lane_limit)?;
    at_least_one(&format!("{path}.max_bytes"), pool.max_bytes)?;
    at_least_one(&format!("{path}.parked_messages"), pool.parked_messages)?;
    at_least_one(&format!("{path}.parked_bytes"), pool.parked_bytes)?;
    positive(&format!("{path}.processor_idle"), pool.processor_idle)
}

fn actor_pool(path: &str, pool: &ActorPoolConfig) -> Result<(), ConfigError> {
    if let Some(percent) = pool.percent.filter(|percent| *percent > ALL) {
        return broken(format!("{path}.percent"), format!("must be from 0 to {ALL}"), percent);
    }
    range(&format!("{path}.pool_size"), pool.pool_size, MAX_WORKERS)?;
    at_least_one(&format!("{path}.inbox_size"), pool.inbox_size)?;
    capacity(&format!("{path}.inbox_size"), "pool_size", pool.pool_size, pool.inbox_size)?;
    positive(&format!("{path}.restart_window"), pool.restart_window)?;
    positive(&format!("{path}.cool_down"), pool.cool_down)?;
    at_least_one(&format!("{path}.lane_limit"), pool.lane_limit)?;
    at_least_one(&format!("{path}.max_bytes"), pool.max_bytes)?;
    at_least_one(&format!("{path}.parked_messages"), pool.parked_messages)?;
    at_least_one(&format!("{path}.parked_bytes"), pool.parked_bytes)?;
    positive(&format!("{path}.processor_idle"), pool.processor_idle)
}

/// Refuses a pool whose capacity is out of reach.
fn capacity(key: &str, factor: &str, workers: usize, size: usize) -> Result<(), ConfigError> {
    match workers.checked_mul(size) {
        Some(capacity) if capacity <= MAX_CAPACITY => Ok(()),
        _ => {
            broken(key, format!("times {factor} ({workers}) must be at most {MAX_CAPACITY}"), size)
        }
    }
}

pub(super) fn topic_name(key: &str, name: &str) -> Result<(), ConfigError> {
    match Topic::new(name) {
        Ok(_) => Ok(()),
        Err(error) => {
            broken(key, format!("must be a topic name: {}", error.rule), format!("{name:?}"))
        }
    }
}

fn range(key: &str, value: usize, most: usize) -> Result<(), ConfigError> {
    if value > most {
        return broken(key, format!("must be at most {most}"), value);
    }
    at_least_one(key, value)
}

pub(super) fn at_least_one(key: &str, value: usize) -> Result<(), ConfigError> {
    if value == 0 { broken(key, "must be at least 1", value) } else { Ok(()) }
}

fn positive(key: &str, value: Duration) -> Result<(), ConfigError> {
    if value.is_zero() {
        broken(key, "must be more than zero", duration::show(value))
    } else {
        Ok(())
    }
}

pub(super) fn broken(
    key: impl Into<String>,
    rule: impl Into<String>,
    found: impl Display,
) -> Result<(), ConfigError> {
    Err(ConfigError::Rule { key: key.into(), rule: rule.into(), found: found.to_string() })
}
