//! The section of NATS: its adapter defines the settings, and the bus gives what it has itself.

use super::{Config, backend::BackendConfig, servers};
use buslane_core::Backend;
pub use buslane_nats::{
    ConsumerConfig as NatsConsumerConfig, Login as NatsLoginConfig, Partitions as NatsPartitions,
    PublisherConfig as NatsPublisherConfig, Security as NatsSecurityConfig, Start as NatsStart,
    Storage as NatsStorage, StreamConfig as NatsStreamConfig, Tls as NatsTlsConfig,
};
use buslane_settings::BrokenRule;

/// Settings of the client, and of the pools, of a bus on NATS. Servers, group and publish timeout
/// are the bus's own.
pub type NatsConfig = BackendConfig<buslane_nats::NatsConfig>;

/// The rules that join the section with the bus's own keys.
pub(super) fn check(config: &Config) -> Result<(), BrokenRule> {
    if config.backend() == Backend::Nats {
        of_the_bus(config)?;
    }
    parked(&config.nats)
}

/// What the bus's own keys must be on NATS.
fn of_the_bus(config: &Config) -> Result<(), BrokenRule> {
    let login = match servers::read(config.url.hosts()) {
        Err(rule) => {
            return BrokenRule::because("url", rule, format!("{:?}", config.url.to_string()));
        }
        Ok(servers) => servers.login,
    };
    if login.is_some() && config.nats.security.login.is_some() {
        let rule = "must be left out: the URL has a login";
        return BrokenRule::because("nats.security.login", rule, "both");
    }
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if config.group.len() > 100 || !config.group.bytes().all(is_letter) {
        let rule = "must be at most 100 characters of A-Z a-z 0-9 . _ - on NATS";
        return BrokenRule::because("group", rule, format!("{:?}", config.group));
    }
    Ok(())
}

/// Blocked messages must leave room for the others: the server sends nothing once all it waits for
/// are blocked.
fn parked(nats: &NatsConfig) -> Result<(), BrokenRule> {
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
            return BrokenRule::because(key, rule, parked);
        }
    }
    Ok(())
}

#[cfg(feature = "nats")]
pub(crate) use connect::{refused, settings};

#[cfg(feature = "nats")]
mod connect {
    use super::{super::ConfigError, Config, servers};
    use buslane_nats::{NatsConfig, NatsConfigError};

    /// What the adapter connects with: its settings, and servers, login, group and publish timeout
    /// of the bus.
    ///
    /// # Errors
    /// A URL that is none.
    pub(crate) fn settings(config: &Config) -> Result<NatsConfig, ConfigError> {
        let servers = servers::read(config.url.hosts()).map_err(|rule| ConfigError::Rule {
            key: "url".to_owned(),
            rule: rule.to_owned(),
            found: config.url.to_string(),
        })?;
        let mut nats = config.nats.settings.clone();
        nats.servers = servers.hosts;
        nats.group.clone_from(&config.group);
        nats.publisher.publish_timeout = config.publish_timeout;
        nats.security.login = servers.login.or(nats.security.login);
        Ok(nats)
    }

    /// A rule of the adapter, by the key of a file.
    pub(crate) fn refused(error: NatsConfigError) -> ConfigError {
        let key = |setting: &str| match setting {
            "servers" => "url".to_owned(),
            "group" => "group".to_owned(),
            "publisher.publish_timeout" => "publish_timeout".to_owned(),
            other => format!("nats.{other}"),
        };
        let (key, rule, found) = match error {
            NatsConfigError::Rule(broken) => (key(&broken.key), broken.rule, broken.found),
            NatsConfigError::File { setting, file, reason } => (key(setting), reason, file),
            other => ("nats".to_owned(), other.to_string(), String::new()),
        };
        ConfigError::Rule { key, rule, found }
    }
}
