//! The section of Kafka: its adapter defines the settings, and the bus gives what it has itself.

use super::{Config, backend::BackendConfig};
pub use buslane_kafka::{
    Assignment as KafkaAssignment, Compression as KafkaCompression,
    ConsumerConfig as KafkaConsumerConfig, Isolation as KafkaIsolation, Login as KafkaLoginConfig,
    Mechanism as KafkaMechanism, OffsetReset as KafkaOffsetReset, Partitioner as KafkaPartitioner,
    ProducerConfig as KafkaProducerConfig, Security as KafkaSecurityConfig, Tls as KafkaTlsConfig,
    TopicConfig as KafkaTopicConfig,
};

/// Settings of the client, and of the pools, of a bus on Kafka. Brokers, group and publish timeout
/// are the bus's own.
pub type KafkaConfig = BackendConfig<buslane_kafka::KafkaConfig>;

/// The settings with what the bus has itself: brokers, group and publish timeout.
pub(super) fn given(config: &Config) -> buslane_kafka::KafkaConfig {
    let mut kafka = config.kafka.settings.clone();
    kafka.brokers = config.url.hosts().to_owned();
    kafka.group.clone_from(&config.group);
    kafka.producer.publish_timeout = config.publish_timeout;
    kafka
}

#[cfg(feature = "kafka")]
pub(crate) use connect::{refused, settings};

#[cfg(feature = "kafka")]
mod connect {
    use super::{super::ConfigError, Config, KafkaMechanism, KafkaSecurityConfig, given};
    use buslane_kafka::{KafkaConfig, KafkaConfigError};

    /// What the adapter connects with.
    ///
    /// # Errors
    /// Encryption or a login that this build does not contain.
    pub(crate) fn settings(config: &Config) -> Result<KafkaConfig, ConfigError> {
        contained(&config.kafka.security)?;
        Ok(given(config))
    }

    /// Refuses here what librdkafka would refuse with the password in its text.
    fn contained(security: &KafkaSecurityConfig) -> Result<(), ConfigError> {
        let mechanism = security.login.as_ref().and_then(|login| login.mechanism);
        let (key, found) = match (&security.tls, mechanism) {
            _ if cfg!(feature = "kafka-tls") => return Ok(()),
            (Some(_), _) => ("kafka.security.tls", "TLS"),
            (None, Some(KafkaMechanism::OAuthBearer)) => {
                ("kafka.security.login.mechanism", "OAUTHBEARER")
            }
            (None, Some(KafkaMechanism::ScramSha256 | KafkaMechanism::ScramSha512)) => {
                ("kafka.security.login.mechanism", "SCRAM")
            }
            (None, _) => return Ok(()),
        };
        let rule =
            "is not part of this build: build buslane with the cargo feature kafka-tls".to_owned();
        Err(ConfigError::Rule { key: key.to_owned(), rule, found: found.to_owned() })
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
        let (key, rule, found) = match error {
            KafkaConfigError::Rule(broken) => (key(&broken.key), broken.rule, broken.found),
            KafkaConfigError::Controlled { property, instead } => {
                let rule = match instead.strip_prefix("nothing: ") {
                    Some(reason) => format!("must be left out: {reason}"),
                    None => format!("must be left out: {} sets it", key(instead)),
                };
                (format!("kafka.properties.{property}"), rule, "***".to_owned())
            }
            KafkaConfigError::Property { property, value, reason } => {
                let reason = if value.is_empty() { reason } else { reason.replace(&value, "***") };
                (format!("kafka.properties.{property}"), reason, "***".to_owned())
            }
            other => ("kafka".to_owned(), other.to_string(), "***".to_owned()),
        };
        ConfigError::Rule { key, rule, found }
    }
}
