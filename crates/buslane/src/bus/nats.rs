//! `nats://`: the settings of the bus become a connected broker.

use crate::{BusError, Config, config};
use buslane_nats::{ConnectError, NatsBroker};

/// Connects as a member of the bus's group.
///
/// # Errors
/// The rule that a setting breaks, by its key in a file, or why no server has answered.
pub(super) async fn connect(config: &Config) -> Result<NatsBroker, BusError> {
    NatsBroker::connect(config::nats_settings(config)?).await.map_err(|error| match error {
        ConnectError::Config(rule) => config::nats_refused(rule).into(),
        ConnectError::Broker(error) => error.into(),
        other => config::ConfigError::Rule {
            key: "nats".to_owned(),
            rule: other.to_string(),
            found: config.url.to_string(),
        }
        .into(),
    })
}
