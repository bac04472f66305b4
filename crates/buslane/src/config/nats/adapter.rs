//! From the settings of the bus to those of the adapter, and from the adapter's errors back to keys
//! of the bus.

use super::{
    super::{Config, ConfigError},
    NatsLoginConfig, NatsPartitions, NatsStart, NatsStorage,
    servers::{self, UrlLogin},
};
use buslane_core::{TopicSettings, TopicStorage};
use buslane_nats as nats;
use buslane_nats::NatsConfigError;

/// What the adapter connects with.
///
/// # Errors
/// A URL that is none.
pub(crate) fn settings(config: &Config) -> Result<nats::NatsConfig, ConfigError> {
    let (own, stream) = (&config.nats, &config.nats.stream);
    let servers = servers::read(config.url.hosts()).map_err(|rule| ConfigError::Rule {
        key: "url".to_owned(),
        rule: rule.to_owned(),
        found: config.url.to_string(),
    })?;
    let login = match servers.login {
        Some(UrlLogin::User(user, password)) => Some(nats::Login::User { user, password }),
        Some(UrlLogin::Token(token)) => Some(nats::Login::Token(token)),
        None => own.security.login.as_ref().and_then(login),
    };
    Ok(nats::NatsConfig {
        servers: servers.hosts,
        group: config.group.clone(),
        client_name: own.client_name.clone(),
        consumer: consumer(config),
        publisher: nats::PublisherConfig {
            max_in_flight: own.publisher.max_in_flight,
            publish_timeout: config.publish_timeout,
            duplicate_window: own.publisher.duplicate_window,
        },
        security: nats::Security {
            tls: own.security.tls.as_ref().map(|tls| nats::Tls {
                ca_file: tls.ca_file.clone(),
                certificate_file: tls.certificate_file.clone(),
                key_file: tls.key_file.clone(),
            }),
            login,
        },
        create_missing: stream.create.then(|| TopicSettings {
            replication: stream.replication,
            retention: stream.retention,
            retention_bytes: stream.retention_bytes,
            storage: stream.storage.map(|storage| match storage {
                NatsStorage::File => TopicStorage::File,
                NatsStorage::Memory => TopicStorage::Memory,
            }),
            ..TopicSettings::default()
        }),
        partitions: match stream.partitions {
            NatsPartitions::Auto => nats::Partitions::Auto,
            NatsPartitions::Exactly(count) => nats::Partitions::Exactly(count),
            NatsPartitions::Shared => nats::Partitions::Shared,
        },
        ephemeral: own.ephemeral.clone(),
        connect_timeout: own.connect_timeout,
        request_timeout: own.request_timeout,
        ping_interval: own.ping_interval,
    })
}

fn consumer(config: &Config) -> nats::ConsumerConfig {
    let own = &config.nats.consumer;
    nats::ConsumerConfig {
        start: match own.start {
            NatsStart::Earliest => nats::Start::Earliest,
            NatsStart::Latest => nats::Start::Latest,
        },
        ack_wait: own.ack_wait,
        max_deliver: own.max_deliver,
        backoff: own.backoff.clone(),
        max_ack_pending: own.max_ack_pending,
        replicas: own.replicas,
        memory_storage: own.memory_storage,
        prefetch: own.prefetch,
        expires: own.expires,
        heartbeat: own.heartbeat,
        drain_deadline: own.drain_deadline,
        lease: own.lease,
    }
}

fn login(own: &NatsLoginConfig) -> Option<nats::Login> {
    let NatsLoginConfig { user, password, token, nkey_seed, credentials_file } = own.clone();
    if let (Some(user), Some(password)) = (user, password) {
        return Some(nats::Login::User { user, password });
    }
    let token = token.map(nats::Login::Token);
    let nkey = || nkey_seed.map(nats::Login::Nkey);
    token.or_else(nkey).or_else(|| credentials_file.map(nats::Login::CredentialsFile))
}

/// A rule of the adapter, by the key of a file.
pub(crate) fn refused(error: NatsConfigError) -> ConfigError {
    let key = |setting: &str| match setting {
        "servers" => "url".to_owned(),
        "group" => "group".to_owned(),
        "publisher.publish_timeout" => "publish_timeout".to_owned(),
        other => format!("nats.{other}"),
    };
    match error {
        NatsConfigError::Rule { setting, rule, found } => {
            ConfigError::Rule { key: key(setting), rule: rule.to_owned(), found }
        }
        NatsConfigError::File { setting, file, reason } => {
            ConfigError::Rule { key: key(setting), rule: reason, found: file }
        }
        other => ConfigError::Rule {
            key: "nats".to_owned(),
            rule: other.to_string(),
            found: String::new(),
        },
    }
}
