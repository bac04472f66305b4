//! `kafka://`: the settings of the bus become a connected broker.

use crate::{BusError, Config, config};
use buslane_kafka::{ConnectError, KafkaBroker};

/// Connects as a member of the bus's group.
///
/// # Errors
/// The rule that a setting breaks, by its key in a file, or why no broker has answered.
pub(super) async fn connect(config: &Config) -> Result<KafkaBroker, BusError> {
    KafkaBroker::connect(config::kafka_settings(config)?).await.map_err(|error| match error {
        ConnectError::Config(rule) => config::kafka_refused(rule).into(),
        ConnectError::Broker(error) => error.into(),
        other => config::ConfigError::Rule {
            key: "kafka".to_owned(),
            rule: other.to_string(),
            found: config.url.to_string(),
        }
        .into(),
    })
}
