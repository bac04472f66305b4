//! What a bus is told at its start: plain data with a default for everything.
//!
//! A value comes from the default, then the file (YAML or TOML), then the environment, then code;
//! the later one wins. Only [`Config::load`] and [`Config::from_env`] read the process environment.
//!
//! Not here: settings of a single subscription or topic, and anything that changes while the bus
//! runs.

mod backends;
mod choice;
mod delivery;
pub(crate) mod duration;
mod environment;
mod error;
mod file;
mod health;
mod kafka;
mod names;
mod nats;
mod operations;
mod optional;
mod origins;
mod pools;
mod program;
mod reference;
mod rollout;
mod rules;
mod url;
mod wording;

pub use backends::MemoryConfig;
pub use buslane_core::Secret;
pub use delivery::{DeadLetterFormat, LaneScope, RetryConfig, TerminalConfig};
pub use error::ConfigError;
pub use health::{HealthConfig, ProbeConfig};
pub use kafka::{
    KafkaAssignment, KafkaCompression, KafkaConfig, KafkaConsumerConfig, KafkaIsolation,
    KafkaLoginConfig, KafkaMechanism, KafkaOffsetReset, KafkaPartitioner, KafkaProducerConfig,
    KafkaSecurityConfig, KafkaTlsConfig, KafkaTopicConfig,
};
pub use nats::{
    NatsConfig, NatsConsumerConfig, NatsLoginConfig, NatsPartitions, NatsPublisherConfig,
    NatsSecurityConfig, NatsStart, NatsStorage, NatsStreamConfig, NatsTlsConfig,
};
pub use operations::{
    BacklogConfig, LimitsConfig, RateLimit, RecoveryConfig, RecoveryStart, TopicLimitsConfig,
};
pub(crate) use origins::InFile;
pub use pools::{ActorPoolConfig, ChosenBy, KeyedPoolConfig, LaneMode, PoolChoice};
pub use reference::{KeyReference, VariableReference};
pub use rollout::RolloutConfig;
pub(crate) use rules::rate as check_rate;
pub use url::BusUrl;

#[cfg(feature = "kafka")]
pub(crate) use kafka::{refused as kafka_refused, settings as kafka_settings};
#[cfg(feature = "nats")]
pub(crate) use nats::{refused as nats_refused, settings as nats_settings};

use buslane_core::Backend;
use origins::Origins;
use serde::{Deserialize, Serialize};
use std::{ffi::OsString, path::Path, time::Duration};

/// Where environment variables are looked up: [`std::env::var_os`], or a table in a test.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Everything a bus is told at its start.
///
/// Start from [`Config::default`], [`Config::new`], a file or the environment, then change fields.
/// What the functions here return is valid; after a change in code the bus checks again when it
/// connects.
///
/// Printing and serialising it hides the secrets: those of the URL, passwords, and the values of
/// `kafka.properties`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The broker: `memory://`, `kafka://HOST:PORT,...` or `nats://HOST:PORT,...`. Default:
    /// `memory://`.
    pub url: BusUrl,
    /// Consumer group, or durable consumer, that this process reads as. Default: none that is
    /// fixed, but the name of the program's file, in which everything but ASCII letters, digits,
    /// `.`, `_` and `-` becomes `-`; `buslane` where there is no such name.
    pub group: String,
    /// Topics announced before their handlers; their messages are held until one subscribes.
    /// Default: none.
    pub topics: Vec<String>,
    /// Longest wait of a publish until the broker has acknowledged it. Default: `10s`.
    #[serde(with = "duration")]
    pub publish_timeout: Duration,
    /// How long a publish waits for room before it counts as held back; at most `publish_timeout`.
    /// Default: `100ms`.
    #[serde(with = "duration")]
    pub publish_fast_path: Duration,
    /// How long a shutdown drains before it leaves the rest for redelivery. Default: `30s`.
    #[serde(with = "duration")]
    pub shutdown_deadline: Duration,
    /// Whether a lane holds a key's messages of all topics, or of one. Default: `key`.
    pub lane_scope: LaneScope,
    /// How often and when a failed envelope is tried again.
    pub retry: RetryConfig,
    /// What becomes of an envelope whose last attempt failed. Default: `block`.
    pub terminal: TerminalConfig,
    /// How much may be published and handled. Default: no limit.
    pub limits: LimitsConfig,
    /// When this bus is behind.
    pub backlog: BacklogConfig,
    /// How it catches up when it is.
    pub recovery: RecoveryConfig,
    /// From when on something counts as a fault.
    pub health: HealthConfig,
    /// How keys are moved from one pool to the other, and when that is undone.
    pub rollout: RolloutConfig,
    /// Settings of the embedded broker, and of the pools when the URL names it.
    pub memory: MemoryConfig,
    /// Settings of the client and of the pools when the URL names Kafka.
    pub kafka: KafkaConfig,
    /// Settings of the client and of the pools when the URL names NATS.
    pub nats: NatsConfig,
    #[serde(skip)]
    origins: Origins,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: BusUrl::default(),
            group: program::group(),
            topics: Vec::new(),
            publish_timeout: Duration::from_secs(10),
            publish_fast_path: Duration::from_millis(100),
            shutdown_deadline: Duration::from_secs(30),
            lane_scope: LaneScope::default(),
            retry: RetryConfig::default(),
            terminal: TerminalConfig::default(),
            limits: LimitsConfig::default(),
            backlog: BacklogConfig::default(),
            recovery: RecoveryConfig::default(),
            health: HealthConfig::default(),
            rollout: RolloutConfig::default(),
            memory: MemoryConfig::default(),
            kafka: KafkaConfig::default(),
            nats: NatsConfig::default(),
            origins: Origins::default(),
        }
    }
}

impl Config {
    /// Defaults, with this broker.
    ///
    /// # Errors
    /// [`ConfigError::Rule`] when `url` is not one that a bus can use.
    pub fn new(url: &str) -> Result<Self, ConfigError> {
        Ok(Self { url: url.parse()?, ..Self::default() })
    }

    /// Reads the file that the variable `BUSLANE_CONFIG` names, when it is set, then the
    /// environment.
    ///
    /// # Errors
    /// The first key or variable that cannot be read or breaks a rule, a variable that begins with
    /// `BUSLANE_` and is not known, or why the file cannot be read.
    pub fn load() -> Result<Self, ConfigError> {
        names::check(process_variables())?;
        Self::load_with(&process_environment)
    }

    /// Defaults, then the environment; no file.
    ///
    /// # Errors
    /// The first variable that cannot be read, breaks a rule, or begins with `BUSLANE_` and is not
    /// known.
    pub fn from_env() -> Result<Self, ConfigError> {
        names::check(process_variables())?;
        Self::default().with_variables(&process_environment)
    }

    /// As [`Config::load`], with variables from elsewhere than the process environment. Which other
    /// variables there are is not known here, so none is refused as unknown.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_with(variables: Variables<'_>) -> Result<Self, ConfigError> {
        let config = match environment::config_file(variables)? {
            Some(path) => file::read(Path::new(&path))?,
            None => Self::default(),
        };
        config.with_variables(variables)
    }

    /// This configuration, overlaid with variables: what the environment says wins over what is set
    /// so far.
    ///
    /// # Errors
    /// The first variable that cannot be read, then as [`Config::validate`].
    pub fn with_variables(mut self, variables: Variables<'_>) -> Result<Self, ConfigError> {
        environment::apply(&mut self, variables)?;
        self.checked()
    }

    /// Reads a file whose name ends in `.yaml`, `.yml` or `.toml`. Does not read the environment.
    ///
    /// # Errors
    /// Why the file cannot be read, or the first key in it that is unknown, unreadable or breaks a
    /// rule.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        file::read(path.as_ref())?.checked()
    }

    /// Reads YAML text. Keys that it leaves out keep their defaults.
    ///
    /// # Errors
    /// The first key that is unknown, unreadable or breaks a rule.
    pub fn parse_yaml(text: &str) -> Result<Self, ConfigError> {
        file::yaml(text, None)?.checked()
    }

    /// Reads TOML text. Keys that it leaves out keep their defaults.
    ///
    /// # Errors
    /// The first key that is unknown, unreadable or breaks a rule.
    pub fn parse_toml(text: &str) -> Result<Self, ConfigError> {
        file::toml(text, None)?.checked()
    }

    /// Checks every rule that a type alone does not keep.
    ///
    /// # Errors
    /// The first rule that is broken; the error names the key, or the variable that set it.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_for(self.backend())
    }

    /// As [`Config::validate`], for a broker that was not made from the URL: variables of its
    /// backend count.
    ///
    /// # Errors
    /// As [`Config::validate`].
    pub fn validate_for(&self, backend: Backend) -> Result<(), ConfigError> {
        self.origins.check(backend)?;
        rules::check(self)?;
        choice::check(self, backend)
    }

    /// The backend that the URL names.
    #[must_use]
    pub const fn backend(&self) -> Backend {
        self.url.backend()
    }

    /// The settings of both pools on the URL's backend, which of them runs the lanes, and who
    /// decided it.
    ///
    /// The other pool's settings are complete too, so that a switch needs nothing but the switch.
    #[must_use]
    pub fn pools(&self) -> PoolChoice {
        self.pools_for(self.backend())
    }

    /// As [`Config::pools`], for a broker that was not made from the URL.
    #[must_use]
    pub fn pools_for(&self, backend: Backend) -> PoolChoice {
        choice::of(self, backend)
    }

    /// Whether there is a file to read.
    #[cfg(unix)]
    pub(crate) fn names_file() -> bool {
        process_environment(environment::CONFIG).is_some()
    }

    /// Every key that a file may set, in the order of the documentation.
    #[must_use]
    pub fn reference() -> Vec<KeyReference> {
        reference::keys()
    }

    /// Every environment variable that is read.
    #[must_use]
    pub fn variables() -> Vec<VariableReference> {
        reference::variables()
    }

    /// The text of `docs/configuration.md`.
    #[must_use]
    pub fn reference_markdown() -> String {
        reference::markdown()
    }

    fn checked(self) -> Result<Self, ConfigError> {
        self.validate()?;
        Ok(self)
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
fn process_environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

#[allow(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
fn process_variables() -> impl Iterator<Item = OsString> {
    std::env::vars_os().map(|(name, _)| name)
}
