//! The rules of Kafka's settings that need no Kafka library to check. The adapter checks the rest
//! when it connects.
//!
//! The bounds are librdkafka's: it would refuse the same values later, by names that no file has.

use super::{
    super::{
        Config, ConfigError,
        duration::show,
        rules::{at_least_one, broken},
    },
    KafkaAssignment, KafkaConfig, KafkaLoginConfig, KafkaMechanism, KafkaSecurityConfig,
};
use std::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_hours(24);
const INT: u32 = i32::MAX.unsigned_abs();

pub(in super::super) fn check(config: &Config) -> Result<(), ConfigError> {
    let kafka = &config.kafka;
    texts(kafka)?;
    times(kafka)?;
    counts(kafka)?;
    let (consumer, linger) = (&kafka.consumer, kafka.producer.linger);
    let (session, poll) = (consumer.session_timeout, consumer.max_poll_interval);
    if consumer.assignment != KafkaAssignment::Broker && consumer.heartbeat_interval * 3 > session {
        let rule = format!("must be at most a third of session_timeout ({})", show(session));
        return broken(
            "kafka.consumer.heartbeat_interval",
            rule,
            show(consumer.heartbeat_interval),
        );
    }
    if session > poll {
        let rule = format!("must be at most max_poll_interval ({})", show(poll));
        return broken("kafka.consumer.session_timeout", rule, show(session));
    }
    if consumer.drain_deadline >= poll {
        let rule = format!("must be less than max_poll_interval ({})", show(poll));
        return broken("kafka.consumer.drain_deadline", rule, show(consumer.drain_deadline));
    }
    if !linger.is_zero() && linger >= config.publish_timeout {
        let rule = format!("must be less than publish_timeout ({})", show(config.publish_timeout));
        return broken("kafka.producer.linger", rule, show(linger));
    }
    security(&kafka.security)?;
    created(kafka)
}

fn texts(kafka: &KafkaConfig) -> Result<(), ConfigError> {
    let tls = kafka.security.tls.clone().unwrap_or_default();
    let login = kafka.security.login.as_ref();
    for (key, text) in [
        ("client_id", Some(&kafka.client_id)),
        ("consumer.instance_id", kafka.consumer.instance_id.as_ref()),
        ("security.login.user", login.and_then(|login| login.user.as_ref())),
        ("security.login.token_file", login.and_then(|login| login.token_file.as_ref())),
        ("security.tls.ca_file", tls.ca_file.as_ref()),
        ("security.tls.certificate_file", tls.certificate_file.as_ref()),
        ("security.tls.key_file", tls.key_file.as_ref()),
    ] {
        if let Some(text) = text.filter(|text| text.trim().is_empty()) {
            return broken(format!("kafka.{key}"), "must not be blank", format!("{text:?}"));
        }
    }
    Ok(())
}

fn times(kafka: &KafkaConfig) -> Result<(), ConfigError> {
    let (consumer, minute) = (&kafka.consumer, Duration::from_secs(60));
    for (key, time, least, most) in [
        ("connect_timeout", kafka.connect_timeout, MILLISECOND * 1000, DAY),
        ("request_timeout", kafka.request_timeout, MILLISECOND * 10, minute * 5),
        ("consumer.session_timeout", consumer.session_timeout, MILLISECOND, minute * 60),
        ("consumer.heartbeat_interval", consumer.heartbeat_interval, MILLISECOND, minute * 60),
        ("consumer.max_poll_interval", consumer.max_poll_interval, MILLISECOND, DAY),
        ("consumer.fetch_max_wait", consumer.fetch_max_wait, Duration::ZERO, minute * 5),
        ("consumer.commit_interval", consumer.commit_interval, MILLISECOND, DAY),
        ("producer.linger", kafka.producer.linger, Duration::ZERO, minute * 15),
    ] {
        let key = format!("kafka.{key}");
        if time < least || time > most {
            return broken(
                key,
                format!("must be from {} to {}", show(least), show(most)),
                show(time),
            );
        }
        whole(key, time)?;
    }
    Ok(())
}

/// Refuses what librdkafka would round: `500us` would be nothing.
fn whole(key: String, time: Duration) -> Result<(), ConfigError> {
    if time.subsec_nanos().is_multiple_of(1_000_000) {
        return Ok(());
    }
    broken(key, "must be whole milliseconds", show(time))
}

fn counts(kafka: &KafkaConfig) -> Result<(), ConfigError> {
    let (consumer, producer) = (&kafka.consumer, &kafka.producer);
    for (key, count, least, most) in [
        ("consumer.fetch_min_bytes", consumer.fetch_min_bytes, 1, 100_000_000),
        ("consumer.fetch_max_bytes", consumer.fetch_max_bytes, 1_000_000, 2_147_483_135),
        ("consumer.fetch_partition_bytes", consumer.fetch_partition_bytes, 1, 1_000_000_000),
        ("consumer.prefetch_messages", consumer.prefetch_messages, 1, 10_000_000),
        ("consumer.prefetch_kib", consumer.prefetch_kib, 1, 2_097_151),
        ("producer.batch_bytes", producer.batch_bytes, 1, INT),
        ("producer.max_message_bytes", producer.max_message_bytes, 1000, 1_000_000_000),
        ("producer.queue_messages", producer.queue_messages, 1, INT),
        ("producer.queue_kib", producer.queue_kib, 1, INT),
        ("producer.retries", producer.retries, 1, INT),
    ] {
        if count < least || count > most {
            return broken(
                format!("kafka.{key}"),
                format!("must be from {least} to {most}"),
                count,
            );
        }
    }
    if consumer.commit_every == 0 { at_least_one("kafka.consumer.commit_every", 0) } else { Ok(()) }
}

fn security(security: &KafkaSecurityConfig) -> Result<(), ConfigError> {
    security.login.as_ref().map_or(Ok(()), login)?;
    let Some(tls) = &security.tls else {
        return Ok(());
    };
    for (key, there, needed, other) in [
        ("key_file", tls.key_file.is_some(), tls.certificate_file.is_none(), "certificate_file"),
        ("certificate_file", tls.certificate_file.is_some(), tls.key_file.is_none(), "key_file"),
        ("key_password", tls.key_password.is_some(), tls.key_file.is_none(), "key_file"),
    ] {
        if there && needed {
            return broken(
                format!("kafka.security.tls.{key}"),
                format!("needs {other} beside it"),
                "none",
            );
        }
    }
    Ok(())
}

/// A login has what its mechanism needs, and nothing else.
fn login(login: &KafkaLoginConfig) -> Result<(), ConfigError> {
    let by_token = login.mechanism == KafkaMechanism::OAuthBearer;
    for (key, there, needed) in [
        ("user", login.user.is_some(), !by_token),
        ("password", login.password.is_some(), !by_token),
        ("token_file", login.token_file.is_some(), by_token),
    ] {
        let key = format!("kafka.security.login.{key}");
        match (there, needed) {
            (false, true) => return broken(key, "is needed for this mechanism", "none"),
            (true, false) => return broken(key, "must be left out for this mechanism", "one"),
            _ => {}
        }
    }
    Ok(())
}

fn created(kafka: &KafkaConfig) -> Result<(), ConfigError> {
    let Some(topic) = &kafka.create_missing else {
        return Ok(());
    };
    for (key, zero) in [
        ("partitions", topic.partitions == Some(0)),
        ("replication", topic.replication == Some(0)),
        ("retention_bytes", topic.retention_bytes == Some(0)),
    ] {
        if zero {
            return at_least_one(&format!("kafka.create_missing.{key}"), 0);
        }
    }
    for (key, value) in [
        ("partitions", topic.partitions.map(u64::from)),
        ("retention_bytes", topic.retention_bytes),
    ] {
        let most = if key == "partitions" { u64::from(INT) } else { i64::MAX.unsigned_abs() };
        if let Some(value) = value.filter(|value| *value > most) {
            return broken(
                format!("kafka.create_missing.{key}"),
                format!("must be at most {most}"),
                value,
            );
        }
    }
    if let Some(copies) = topic.replication.filter(|copies| *copies > i16::MAX.unsigned_abs()) {
        return broken(
            "kafka.create_missing.replication",
            format!("must be at most {}", i16::MAX),
            copies,
        );
    }
    match topic.retention {
        Some(time) if time < MILLISECOND => {
            broken("kafka.create_missing.retention", "must be at least 1ms", show(time))
        }
        Some(time) => whole("kafka.create_missing.retention".to_owned(), time),
        None => Ok(()),
    }
}
