//! The section of Kafka. The adapter defines the settings; the bus adds brokers, group and publish
//! timeout.

use super::{Config, backend::BackendConfig};
pub use buslane_kafka::{
    Assignment as KafkaAssignment, Compression as KafkaCompression,
    ConsumerConfig as KafkaConsumerConfig, Isolation as KafkaIsolation, Login as KafkaLoginConfig,
    Mechanism as KafkaMechanism, OffsetReset as KafkaOffsetReset, Partitioner as KafkaPartitioner,
    ProducerConfig as KafkaProducerConfig, Security as KafkaSecurityConfig, Tls as KafkaTlsConfig,
    TopicConfig as KafkaTopicConfig,
};

/// Settings of the client and the pools of a bus on Kafka. Brokers, group and publish timeout are
/// keys of the bus.
pub type KafkaConfig = BackendConfig<buslane_kafka::KafkaConfig>;

/// The adapter's settings, with the keys of the bus.
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

    /// The settings that the adapter connects with.
    ///
    /// # Errors
    /// This build does not contain the encryption or the login.
    pub(crate) fn settings(config: &Config) -> Result<KafkaConfig, ConfigError> {
        check_is_built(&config.kafka.security)?;
        Ok(given(config))
    }

    /// Refuses logins that are not built in: librdkafka's own error would show the password.
    fn check_is_built(security: &KafkaSecurityConfig) -> Result<(), ConfigError> {
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

    /// The key in the file of a setting of the adapter.
    fn key(setting: &str) -> String {
        match setting {
            "brokers" => "url".to_owned(),
            "group" => "group".to_owned(),
            "producer.publish_timeout" => "publish_timeout".to_owned(),
            other => format!("kafka.{other}"),
        }
    }

    /// An error of the adapter, with the key in the file. Values of properties may be secrets and
    /// are hidden.
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
