//! Why a configuration was refused, and why a connection failed.

use buslane_core::BrokerError;
use buslane_settings::BrokenRule;
use thiserror::Error;

/// The rule that a setting breaks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KafkaConfigError {
    /// A value breaks the rule of its setting.
    #[error("kafka.{0}")]
    Rule(#[from] BrokenRule),
    /// `properties` names a property that the bus controls.
    #[error("kafka.properties: {property} is controlled by the bus; use kafka.{instead}")]
    Controlled {
        /// The property.
        property: String,
        /// The setting to use.
        instead: &'static str,
    },
    /// librdkafka refuses a property of `properties`.
    #[error("kafka.properties: {property} = {value}: {reason}")]
    Property {
        /// The property.
        property: String,
        /// The refused value, which may be a secret.
        value: String,
        /// librdkafka's reason.
        reason: String,
    },
    /// librdkafka refuses the value of a setting.
    #[error("kafka.{setting}: {reason}")]
    Value {
        /// Name of the setting.
        setting: &'static str,
        /// librdkafka's reason.
        reason: String,
    },
    /// librdkafka refuses the settings together, or cannot use a file that they name.
    #[error("kafka: {reason}")]
    Client {
        /// librdkafka's reason.
        reason: String,
    },
}

/// Why [`KafkaBroker::connect`](crate::KafkaBroker::connect) failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A setting is not valid.
    #[error(transparent)]
    Config(#[from] KafkaConfigError),
    /// No broker has answered, or the login was refused.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}
