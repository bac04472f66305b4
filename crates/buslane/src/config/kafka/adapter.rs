//! From the settings of the bus to those of the adapter, and from the adapter's errors back to keys
//! of the bus.

use super::{
    super::{Config, ConfigError},
    KafkaAssignment, KafkaCompression, KafkaConfig, KafkaIsolation, KafkaMechanism,
    KafkaOffsetReset, KafkaPartitioner, KafkaSecurityConfig,
};
use buslane_core::TopicSettings;
use buslane_kafka as kafka;
use buslane_kafka::KafkaConfigError;

/// What the adapter connects with.
///
/// # Errors
/// Encryption or a login that this build does not contain.
pub(crate) fn settings(config: &Config) -> Result<kafka::KafkaConfig, ConfigError> {
    let own = &config.kafka;
    contained(&own.security)?;
    Ok(kafka::KafkaConfig {
        brokers: config.url.hosts().to_owned(),
        group: config.group.clone(),
        client_id: own.client_id.clone(),
        consumer: consumer(own),
        producer: producer(config),
        security: security(&own.security),
        create_missing: own.create_missing.as_ref().map(|topic| TopicSettings {
            partitions: topic.partitions,
            replication: topic.replication,
            retention: topic.retention,
            retention_bytes: topic.retention_bytes,
            compression: topic.compression,
            ..TopicSettings::default()
        }),
        connect_timeout: own.connect_timeout,
        request_timeout: own.request_timeout,
        properties: own
            .properties
            .iter()
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect(),
    })
}

/// Refuses here what librdkafka would refuse with the password in its text.
fn contained(security: &KafkaSecurityConfig) -> Result<(), ConfigError> {
    let hashed =
        security.login.as_ref().is_some_and(|login| login.mechanism != KafkaMechanism::Plain);
    let key = match (&security.tls, hashed) {
        (Some(_), _) => "kafka.security.tls",
        (None, true) => "kafka.security.login.mechanism",
        (None, false) => return Ok(()),
    };
    if cfg!(feature = "kafka-tls") {
        return Ok(());
    }
    let found = match security.login.as_ref().map(|login| login.mechanism) {
        _ if security.tls.is_some() => "TLS",
        Some(KafkaMechanism::OAuthBearer) => "OAUTHBEARER",
        _ => "SCRAM",
    };
    let rule =
        "is not part of this build: build buslane with the cargo feature kafka-tls".to_owned();
    Err(ConfigError::Rule { key: key.to_owned(), rule, found: found.to_owned() })
}

fn consumer(own: &KafkaConfig) -> kafka::ConsumerConfig {
    let own = &own.consumer;
    kafka::ConsumerConfig {
        offset_reset: match own.offset_reset {
            KafkaOffsetReset::Earliest => kafka::OffsetReset::Earliest,
            KafkaOffsetReset::Latest => kafka::OffsetReset::Latest,
        },
        assignment: match own.assignment {
            KafkaAssignment::CooperativeSticky => kafka::Assignment::CooperativeSticky,
            KafkaAssignment::Range => kafka::Assignment::Range,
            KafkaAssignment::RoundRobin => kafka::Assignment::RoundRobin,
            KafkaAssignment::Broker => kafka::Assignment::Broker,
        },
        instance_id: own.instance_id.clone(),
        session_timeout: own.session_timeout,
        heartbeat_interval: own.heartbeat_interval,
        max_poll_interval: own.max_poll_interval,
        isolation: match own.isolation {
            KafkaIsolation::ReadCommitted => kafka::Isolation::ReadCommitted,
            KafkaIsolation::ReadUncommitted => kafka::Isolation::ReadUncommitted,
        },
        fetch_min_bytes: own.fetch_min_bytes,
        fetch_max_wait: own.fetch_max_wait,
        fetch_max_bytes: own.fetch_max_bytes,
        fetch_partition_bytes: own.fetch_partition_bytes,
        prefetch_messages: own.prefetch_messages,
        prefetch_kib: own.prefetch_kib,
        drain_deadline: own.drain_deadline,
        commit_interval: own.commit_interval,
        commit_every: own.commit_every,
        metadata_limit: own.metadata_limit,
    }
}

fn producer(config: &Config) -> kafka::ProducerConfig {
    let own = &config.kafka.producer;
    kafka::ProducerConfig {
        compression: match own.compression {
            KafkaCompression::None => kafka::Compression::None,
            KafkaCompression::Gzip => kafka::Compression::Gzip,
            KafkaCompression::Snappy => kafka::Compression::Snappy,
            KafkaCompression::Lz4 => kafka::Compression::Lz4,
            KafkaCompression::Zstd => kafka::Compression::Zstd,
        },
        partitioner: match own.partitioner {
            KafkaPartitioner::Fnv1a => kafka::Partitioner::Fnv1a,
            KafkaPartitioner::Murmur2 => kafka::Partitioner::Murmur2,
        },
        linger: own.linger,
        batch_bytes: own.batch_bytes,
        max_message_bytes: own.max_message_bytes,
        queue_messages: own.queue_messages,
        queue_kib: own.queue_kib,
        retries: own.retries,
        publish_timeout: config.publish_timeout,
    }
}

fn security(own: &KafkaSecurityConfig) -> kafka::Security {
    kafka::Security {
        tls: own.tls.as_ref().map(|tls| kafka::Tls {
            ca_file: tls.ca_file.clone(),
            certificate_file: tls.certificate_file.clone(),
            key_file: tls.key_file.clone(),
            key_password: tls.key_password.clone(),
        }),
        login: own.login.as_ref().map(|login| {
            // The rules have seen to it that what the mechanism needs is there.
            let user = login.user.clone().unwrap_or_default();
            let password = login.password.clone().unwrap_or_default();
            match login.mechanism {
                KafkaMechanism::Plain => kafka::Login::Plain { user, password },
                KafkaMechanism::ScramSha256 => kafka::Login::ScramSha256 { user, password },
                KafkaMechanism::ScramSha512 => kafka::Login::ScramSha512 { user, password },
                KafkaMechanism::OAuthBearer => {
                    let file = login.token_file.clone().unwrap_or_default();
                    kafka::Login::OAuthBearer(kafka::Tokens::from_file(file))
                }
            }
        }),
    }
}

/// The adapter's name of a setting, as a file says it.
fn key(setting: &str) -> String {
    match setting {
        "brokers" => "url".to_owned(),
        "group" => "group".to_owned(),
        "producer.publish_timeout" => "publish_timeout".to_owned(),
        other => format!("kafka.{other}"),
    }
}

/// A rule of the adapter. Values of properties may be secrets and are left out.
pub(crate) fn refused(error: KafkaConfigError) -> ConfigError {
    let hidden = || "***".to_owned();
    let property = |name: &str| format!("kafka.properties.{name}");
    match error {
        KafkaConfigError::Rule { setting, rule, found } => {
            ConfigError::Rule { key: key(setting), rule: rule.to_owned(), found }
        }
        KafkaConfigError::Controlled { property: name, instead } => {
            let rule = match instead.strip_prefix("nothing: ") {
                Some(reason) => format!("must be left out: {reason}"),
                None => format!("must be left out: {} sets it", key(instead)),
            };
            ConfigError::Rule { key: property(&name), rule, found: hidden() }
        }
        KafkaConfigError::Property { property: name, value, reason } => {
            let reason = if value.is_empty() { reason } else { reason.replace(&value, "***") };
            ConfigError::Rule { key: property(&name), rule: reason, found: hidden() }
        }
        other => {
            ConfigError::Rule { key: "kafka".to_owned(), rule: other.to_string(), found: hidden() }
        }
    }
}
