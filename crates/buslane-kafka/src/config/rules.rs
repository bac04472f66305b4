//! The rules that settings must keep.

use super::{Assignment, KafkaConfig, properties::CONTROLLED};
use rdkafka::error::KafkaError;
use std::time::Duration;
use thiserror::Error;

/// The rule that a setting breaks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KafkaConfigError {
    /// A value is not possible.
    #[error("kafka.{setting} {rule}, found {found}")]
    Rule {
        /// Name of the setting.
        setting: &'static str,
        /// What it must be.
        rule: &'static str,
        /// The value.
        found: String,
    },
    /// A property passed through is one that the bus controls.
    #[error("kafka.properties: {property} is controlled by the bus; use kafka.{instead}")]
    Controlled {
        /// The property.
        property: String,
        /// What to use.
        instead: &'static str,
    },
    /// librdkafka does not take a property.
    #[error("kafka.properties: {property} = {value}: {reason}")]
    Property {
        /// The property.
        property: String,
        /// Its value.
        value: String,
        /// What librdkafka says.
        reason: String,
    },
    /// librdkafka does not take the value of a setting.
    #[error("kafka.{setting}: {reason}")]
    Value {
        /// Name of the setting.
        setting: &'static str,
        /// What librdkafka says.
        reason: String,
    },
    /// librdkafka does not take the settings together, or cannot use a file that they name.
    #[error("kafka: {reason}")]
    Client {
        /// What librdkafka says.
        reason: String,
    },
}

impl From<KafkaError> for KafkaConfigError {
    /// Why a client was not made. The value stays out of it: it may be a password.
    fn from(error: KafkaError) -> Self {
        match error {
            KafkaError::ClientConfig(_, reason, property, _) => match instead_of(&property) {
                Some(setting) => Self::Value { setting, reason },
                None => Self::Client { reason },
            },
            KafkaError::ClientCreation(reason) => Self::Client { reason },
            other => Self::Client { reason: other.to_string() },
        }
    }
}

/// The setting that a property belongs to.
fn instead_of(property: &str) -> Option<&'static str> {
    CONTROLLED.iter().find(|(name, _)| *name == property).map(|(_, instead)| *instead)
}

impl KafkaConfig {
    /// Checks every rule, without connecting.
    ///
    /// # Errors
    /// The first rule that a setting breaks.
    pub fn validate(&self) -> Result<(), KafkaConfigError> {
        let texts =
            [("brokers", &self.brokers), ("group", &self.group), ("client_id", &self.client_id)];
        for (setting, text) in texts {
            if text.trim().is_empty() {
                return rule(setting, "must not be blank", format!("{text:?}"));
            }
        }
        for broker in self.brokers.split(',') {
            let port =
                broker.rsplit_once(':').map(|(host, port)| (host.is_empty(), port.parse::<u16>()));
            if !matches!(port, Some((false, Ok(1..)))) {
                return rule(
                    "brokers",
                    "must be host:port, separated by commas",
                    format!("{broker:?}"),
                );
            }
        }
        let (consumer, producer) = (&self.consumer, &self.producer);
        let times = [
            ("connect_timeout", self.connect_timeout),
            ("request_timeout", self.request_timeout),
            ("consumer.session_timeout", consumer.session_timeout),
            ("consumer.heartbeat_interval", consumer.heartbeat_interval),
            ("consumer.max_poll_interval", consumer.max_poll_interval),
            ("consumer.commit_interval", consumer.commit_interval),
            ("producer.publish_timeout", producer.publish_timeout),
        ];
        for (setting, time) in times {
            if time < Duration::from_millis(1) || time > Duration::from_hours(24) {
                return rule(setting, "must be from 1 ms to 24 h", format!("{time:?}"));
            }
        }
        if consumer.assignment != Assignment::Broker
            && consumer.heartbeat_interval * 3 > consumer.session_timeout
        {
            let found = format!("{:?}", consumer.heartbeat_interval);
            return rule(
                "consumer.heartbeat_interval",
                "must be at most a third of consumer.session_timeout",
                found,
            );
        }
        if consumer.session_timeout > consumer.max_poll_interval {
            let found = format!("{:?}", consumer.session_timeout);
            return rule(
                "consumer.session_timeout",
                "must be at most consumer.max_poll_interval",
                found,
            );
        }
        if consumer.drain_deadline >= consumer.max_poll_interval {
            let found = format!("{:?}", consumer.drain_deadline);
            return rule(
                "consumer.drain_deadline",
                "must be less than consumer.max_poll_interval",
                found,
            );
        }
        if producer.linger >= producer.publish_timeout {
            let found = format!("{:?}", producer.linger);
            return rule("producer.linger", "must be less than producer.publish_timeout", found);
        }
        let counts = [
            ("consumer.fetch_min_bytes", u64::from(consumer.fetch_min_bytes)),
            ("consumer.fetch_max_bytes", u64::from(consumer.fetch_max_bytes)),
            ("consumer.fetch_partition_bytes", u64::from(consumer.fetch_partition_bytes)),
            ("consumer.prefetch_messages", u64::from(consumer.prefetch_messages)),
            ("consumer.prefetch_kib", u64::from(consumer.prefetch_kib)),
            ("consumer.commit_every", consumer.commit_every),
            ("producer.batch_bytes", u64::from(producer.batch_bytes)),
            ("producer.max_message_bytes", u64::from(producer.max_message_bytes)),
            ("producer.queue_messages", u64::from(producer.queue_messages)),
            ("producer.queue_kib", u64::from(producer.queue_kib)),
            // An idempotent producer sends a batch again, or cannot say what became of it.
            ("producer.retries", u64::from(producer.retries)),
        ];
        for (setting, count) in counts {
            if count == 0 {
                return rule(setting, "must be at least 1", "0".to_owned());
            }
        }
        if let Some(tls) = &self.security.tls {
            let files = [
                ("security.tls.ca_file", &tls.ca_file),
                ("security.tls.certificate_file", &tls.certificate_file),
                ("security.tls.key_file", &tls.key_file),
            ];
            for (setting, file) in files {
                // librdkafka says that it failed, and neither on which file nor why.
                if let Some(file) = file
                    && let Err(error) = std::fs::metadata(file)
                {
                    return rule(setting, "must name a file", format!("{file}: {error}"));
                }
            }
        }
        for (property, value) in &self.properties {
            if let Some(instead) = instead_of(property) {
                return Err(KafkaConfigError::Controlled { property: property.clone(), instead });
            }
            let mut alone = rdkafka::ClientConfig::new();
            if let Err(error) = alone.set(property, value).create_native_config() {
                return Err(KafkaConfigError::Property {
                    property: property.clone(),
                    value: value.clone(),
                    reason: error.to_string(),
                });
            }
        }
        for client in [self.consumer(), self.producer()] {
            client.create_native_config()?;
        }
        Ok(())
    }
}

fn rule(setting: &'static str, rule: &'static str, found: String) -> Result<(), KafkaConfigError> {
    Err(KafkaConfigError::Rule { setting, rule, found })
}
