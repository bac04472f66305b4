//! The section of NATS. The adapter defines the settings; the bus adds servers, login, group and
//! publish timeout.

use super::{Config, backend::BackendConfig, url};
use buslane_core::Backend;
pub use buslane_nats::{
    ConsumerConfig as NatsConsumerConfig, Login as NatsLoginConfig, Partitions as NatsPartitions,
    PublisherConfig as NatsPublisherConfig, Security as NatsSecurityConfig, Start as NatsStart,
    Storage as NatsStorage, StreamConfig as NatsStreamConfig, Tls as NatsTlsConfig,
};
use buslane_settings::BrokenRule;

/// Settings of the client and the pools of a bus on NATS. Servers, group and publish timeout are
/// keys of the bus.
pub type NatsConfig = BackendConfig<buslane_nats::NatsConfig>;

/// The rules between the section and the keys of the bus.
pub(super) fn check(config: &Config) -> Result<(), BrokenRule> {
    if config.backend() == Backend::Nats {
        check_bus_keys(config)?;
    }
    check_failing(&config.nats)
}

/// The rules of NATS for the keys of the bus.
fn check_bus_keys(config: &Config) -> Result<(), BrokenRule> {
    let login = match url::nats_servers(config.url.hosts()) {
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

/// Messages of failing keys must leave room for others: the server delivers no more once all
/// unacknowledged messages are theirs.
fn check_failing(nats: &NatsConfig) -> Result<(), BrokenRule> {
    let most = nats.consumer.max_ack_pending as usize;
    // A tenth is kept free.
    let usable = most - most / 10;
    for (key, failing) in [
        ("nats.keyed_pool.failing_messages", nats.keyed_pool.failing_messages),
        ("nats.actor_pool.failing_messages", nats.actor_pool.failing_messages),
    ] {
        if failing >= usable {
            let rule = format!(
                "must be less than nine tenths of nats.consumer.max_ack_pending ({usable})"
            );
            return BrokenRule::because(key, rule, failing);
        }
    }
    Ok(())
}

#[cfg(feature = "nats")]
pub(crate) use connect::{refused, settings};

#[cfg(feature = "nats")]
mod connect {
    use super::{super::ConfigError, Config, url};
    use buslane_nats::{NatsConfig, NatsConfigError};

    /// The settings that the adapter connects with.
    ///
    /// # Errors
    /// The URL is not valid.
    pub(crate) fn settings(config: &Config) -> Result<NatsConfig, ConfigError> {
        let servers = url::nats_servers(config.url.hosts()).map_err(|rule| ConfigError::Rule {
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

    /// An error of the adapter, with the key in the file.
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
