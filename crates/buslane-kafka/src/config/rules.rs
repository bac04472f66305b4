//! The rules that settings must keep.

use super::{KafkaConfig, properties::CONTROLLED};
use buslane_settings::{
    BrokenRule, Value,
    duration::{hours, millis, show},
};
use rdkafka::error::KafkaError;
use thiserror::Error;

/// The rule that a setting breaks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KafkaConfigError {
    /// A value is not possible.
    #[error("kafka.{0}")]
    Rule(#[from] BrokenRule),
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
        Value::validate(self, "")?;
        let publish_timeout = self.producer.publish_timeout;
        for (name, text) in [("brokers", &self.brokers), ("group", &self.group)] {
            if text.trim().is_empty() {
                return rule(name, "must not be blank", format!("{text:?}"));
            }
        }
        for broker in self.brokers.split(',') {
            let port =
                broker.rsplit_once(':').map(|(host, port)| (host.is_empty(), port.parse::<u16>()));
            if !matches!(port, Some((false, Ok(1..)))) {
                let found = format!("{broker:?}");
                return rule("brokers", "must be host:port, separated by commas", found);
            }
        }
        if !(millis(1)..=hours(24)).contains(&publish_timeout) {
            let found = show(publish_timeout);
            return rule("producer.publish_timeout", "must be from 1 ms to 24 h", found);
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
            if let Err(error) = alone.set(property, value.expose()).create_native_config() {
                return Err(KafkaConfigError::Property {
                    property: property.clone(),
                    value: value.expose().to_owned(),
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

fn rule(name: &str, rule: &str, found: String) -> Result<(), KafkaConfigError> {
    Ok(BrokenRule::because(name, rule, found)?)
}
