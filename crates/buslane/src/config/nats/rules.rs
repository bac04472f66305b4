//! The rules of the settings of NATS that need no NATS library to check.

use super::{
    super::{
        Config, ConfigError,
        duration::show,
        rules::{at_least_one, broken, topic_name},
    },
    NatsConfig, NatsLoginConfig, NatsPartitions, servers,
};
use buslane_core::Backend;
use std::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);

pub(in super::super) fn check(config: &Config) -> Result<(), ConfigError> {
    let nats = &config.nats;
    if config.backend() == Backend::Nats {
        of_the_bus(config)?;
    }
    if nats.client_name.trim().is_empty() {
        return broken("nats.client_name", "must not be blank", format!("{:?}", nats.client_name));
    }
    for (index, topic) in nats.ephemeral.iter().enumerate() {
        topic_name(&format!("nats.ephemeral[{index}]"), topic)?;
    }
    times(nats)?;
    counts(nats)?;
    parked(nats)?;
    stream(nats)?;
    security(nats)
}

/// What the bus's own keys must be on NATS.
fn of_the_bus(config: &Config) -> Result<(), ConfigError> {
    let url = servers::read(config.url.hosts());
    let login = match url {
        Err(rule) => return broken("url", rule, format!("{:?}", config.url.to_string())),
        Ok(servers) => servers.login,
    };
    if login.is_some() && config.nats.security.login.is_some() {
        return broken("nats.security.login", "must be left out: the URL has a login", "both");
    }
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if config.group.len() > 100 || !config.group.bytes().all(is_letter) {
        let rule = "must be at most 100 characters of A-Z a-z 0-9 . _ - on NATS";
        return broken("group", rule, format!("{:?}", config.group));
    }
    Ok(())
}

fn times(nats: &NatsConfig) -> Result<(), ConfigError> {
    let (consumer, least) = (&nats.consumer, MILLISECOND * 100);
    let fixed = [
        ("connect_timeout", nats.connect_timeout, MILLISECOND * 10),
        ("request_timeout", nats.request_timeout, MILLISECOND * 10),
        ("ping_interval", nats.ping_interval, MILLISECOND * 10),
        ("consumer.ack_wait", consumer.ack_wait, least),
        ("consumer.expires", consumer.expires, SECOND),
        ("consumer.heartbeat", consumer.heartbeat, least),
        ("consumer.drain_deadline", consumer.drain_deadline, Duration::ZERO),
        ("consumer.lease", consumer.lease, least * 3),
        ("publisher.duplicate_window", nats.publisher.duplicate_window, least),
    ];
    let waits = consumer.backoff.iter().map(|wait| ("consumer.backoff", *wait, least));
    for (key, time, least) in fixed.into_iter().chain(waits) {
        if time < least || time > DAY {
            let rule = format!("must be from {} to {}", show(least), show(DAY));
            return broken(format!("nats.{key}"), rule, show(time));
        }
    }
    if consumer.heartbeat * 2 > consumer.expires {
        let rule =
            format!("must be at most half of nats.consumer.expires ({})", show(consumer.expires));
        return broken("nats.consumer.heartbeat", rule, show(consumer.heartbeat));
    }
    Ok(())
}

fn counts(nats: &NatsConfig) -> Result<(), ConfigError> {
    let (consumer, stream) = (&nats.consumer, &nats.stream);
    let partitions = match stream.partitions {
        NatsPartitions::Exactly(count) => Some(count),
        NatsPartitions::Auto | NatsPartitions::Shared => None,
    };
    for (key, count, most) in [
        ("consumer.max_deliver", consumer.max_deliver, u32::MAX),
        ("consumer.max_ack_pending", Some(consumer.max_ack_pending), 10_000_000),
        ("consumer.replicas", consumer.replicas.map(u32::from), 5),
        ("consumer.prefetch", Some(consumer.prefetch), 50_000),
        ("publisher.max_in_flight", Some(nats.publisher.max_in_flight), 50_000),
        ("stream.partitions", partitions, 1_024),
        ("stream.replication", stream.replication.map(u32::from), 5),
    ] {
        if let Some(count) = count.filter(|count| *count < 1 || *count > most) {
            return broken(format!("nats.{key}"), format!("must be from 1 to {most}"), count);
        }
    }
    match consumer.max_deliver {
        Some(most) if most as usize <= consumer.backoff.len() => {
            let rule = format!(
                "must be more than nats.consumer.backoff has entries ({})",
                consumer.backoff.len()
            );
            broken("nats.consumer.max_deliver", rule, most)
        }
        _ => Ok(()),
    }
}

/// Blocked messages must leave room for the others: the server sends nothing once all it waits for
/// are blocked.
fn parked(nats: &NatsConfig) -> Result<(), ConfigError> {
    let most = nats.consumer.max_ack_pending as usize;
    // A tenth is kept free.
    let usable = most - most / 10;
    for (key, parked) in [
        ("nats.keyed_pool.parked_messages", nats.keyed_pool.parked_messages),
        ("nats.actor_pool.parked_messages", nats.actor_pool.parked_messages),
    ] {
        if parked >= usable {
            let rule = format!(
                "must be less than nine tenths of nats.consumer.max_ack_pending ({usable})"
            );
            return broken(key, rule, parked);
        }
    }
    Ok(())
}

fn stream(nats: &NatsConfig) -> Result<(), ConfigError> {
    if let Some(time) = nats.stream.retention.filter(|time| *time < MILLISECOND * 100) {
        return broken("nats.stream.retention", "must be at least 100ms", show(time));
    }
    match nats.stream.retention_bytes {
        Some(0) => at_least_one("nats.stream.retention_bytes", 0),
        Some(bytes) if bytes > i64::MAX.unsigned_abs() => {
            broken("nats.stream.retention_bytes", format!("must be at most {}", i64::MAX), bytes)
        }
        _ => Ok(()),
    }
}

fn security(nats: &NatsConfig) -> Result<(), ConfigError> {
    let tls = nats.security.tls.clone().unwrap_or_default();
    let login = nats.security.login.clone();
    let credentials = login.as_ref().and_then(|login| login.credentials_file.as_ref());
    for (key, text) in [
        ("tls.ca_file", tls.ca_file.as_ref()),
        ("tls.certificate_file", tls.certificate_file.as_ref()),
        ("tls.key_file", tls.key_file.as_ref()),
        ("login.credentials_file", credentials),
    ] {
        if let Some(text) = text.filter(|text| text.trim().is_empty()) {
            return broken(
                format!("nats.security.{key}"),
                "must not be blank",
                format!("{text:?}"),
            );
        }
    }
    if tls.certificate_file.is_some() != tls.key_file.is_some() {
        let (key, other) = if tls.key_file.is_some() {
            ("key_file", "certificate_file")
        } else {
            ("certificate_file", "key_file")
        };
        return broken(
            format!("nats.security.tls.{key}"),
            format!("needs {other} beside it"),
            "none",
        );
    }
    login.as_ref().map_or(Ok(()), one_login)
}

fn one_login(login: &NatsLoginConfig) -> Result<(), ConfigError> {
    if login.user.is_some() != login.password.is_some() {
        let (key, other) =
            if login.user.is_some() { ("user", "password") } else { ("password", "user") };
        return broken(
            format!("nats.security.login.{key}"),
            format!("needs {other} beside it"),
            "none",
        );
    }
    let ways = [
        login.user.is_some(),
        login.token.is_some(),
        login.nkey_seed.is_some(),
        login.credentials_file.is_some(),
    ];
    match ways.into_iter().filter(|is_there| *is_there).count() {
        1 => Ok(()),
        found => {
            let rule = "must be one of user and password, token, nkey_seed, credentials_file";
            broken("nats.security.login", rule, format!("{found} of them"))
        }
    }
}
