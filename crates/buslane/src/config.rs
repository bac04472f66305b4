//! What a bus is told at its start: plain data with a default for everything.
//!
//! A value comes from the default, then the file (YAML or TOML), then the environment, then code;
//! the later one wins. Only [`Config::load`] and [`Config::from_env`] read the process environment.
//!
//! Not here: settings of a single subscription or topic, and anything that changes while the bus
//! runs.

mod backend;
mod choice;
mod delivery;
mod environment;
mod error;
mod file;
mod health;
mod kafka;
mod names;
mod nats;
mod operations;
mod origins;
mod pools;
mod predecessor;
mod program;
mod reference;
mod servers;
mod url;
mod wording;

pub use backend::BackendConfig;
pub use buslane_core::Secret;
pub use buslane_rollout::RolloutConfig;
pub use buslane_settings::Setting as KeyReference;
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
pub(crate) use operations::check_rate;
pub use operations::{
    BacklogConfig, LimitsConfig, RateLimit, RecoveryConfig, RecoveryStart, TopicLimitsConfig,
};
pub(crate) use origins::InFile;
pub use pools::{ActorPoolConfig, ChosenBy, KeyedPoolConfig, LaneMode, PoolChoice};
pub use reference::VariableReference;
pub use url::BusUrl;

#[cfg(feature = "kafka")]
pub(crate) use kafka::{refused as kafka_refused, settings as kafka_settings};
#[cfg(feature = "nats")]
pub(crate) use nats::{refused as nats_refused, settings as nats_settings};

use buslane_core::Backend;
use buslane_settings::{
    BrokenRule, Value, above_zero, default_text,
    duration::{millis, secs, show},
    judge, kind, not_blank, settings, topic_name, variables,
};
use origins::Origins;
use std::{ffi::OsString, path::Path, time::Duration};

/// Settings of the embedded broker and of the pools beside it.
pub type MemoryConfig = BackendConfig<buslane_memory::MemoryConfig>;

/// Where environment variables are looked up: [`std::env::var_os`], or a table in a test.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

settings! {
    /// Everything a bus is told at its start.
    ///
    /// Start from [`Config::default`], [`Config::new`], a file or the environment, then change
    /// fields. What the functions here return is valid; after a change in code the bus checks again
    /// when it connects.
    ///
    /// Printing and serialising it hides the secrets: those of the URL, passwords, and the values
    /// of `kafka.properties`.
    #[non_exhaustive]
    pub struct Config {
        /// The broker.
        url: BusUrl, variables(&["BUSLANE_URL"]);
        /// Consumer group, or durable consumer, that this process reads as. Default: the name of
        /// the program's file, in which everything but ASCII letters, digits, `.`, `_` and `-`
        /// becomes `-`.
        group: String = program::group(), default_text(""), not_blank(),
            variables(&["BUSLANE_GROUP"]);
        /// Topics announced before their handlers; their messages are held until one subscribes.
        topics: Vec<String>, kind("list of topic names");
        /// Longest wait of a publish until the broker has acknowledged it.
        publish_timeout: Duration = secs(10), above_zero();
        /// How long a publish waits for room before it counts as held back; at most
        /// `publish_timeout`.
        publish_fast_path: Duration = millis(100);
        /// How long a shutdown drains before it leaves the rest for redelivery.
        shutdown_deadline: Duration = secs(30);
        /// Whether a lane holds a key's messages of all topics, or of one topic alone.
        lane_scope: LaneScope;
        /// How often and when a failed envelope is tried again.
        retry: RetryConfig;
        /// What becomes of an envelope whose last attempt failed: its key waits, it is settled and
        /// logged, or it is written to a dead-letter topic.
        terminal: TerminalConfig;
        /// How much may be published and handled.
        limits: LimitsConfig;
        /// When this bus is behind.
        backlog: BacklogConfig;
        /// How it catches up when it is.
        recovery: RecoveryConfig;
        /// From when on something counts as a fault.
        health: HealthConfig;
        /// How keys are moved from one pool to the other, and when that is undone.
        rollout: RolloutConfig;
        /// Settings of the embedded broker, and of the pools when the URL names it.
        memory: MemoryConfig;
        /// Settings of the client and of the pools when the URL names Kafka.
        kafka: KafkaConfig;
        /// Settings of the client and of the pools when the URL names NATS.
        nats: NatsConfig;
    }
    given {
        /// Who said what of the switches.
        origins: Origins;
    }
    also Self::agrees;
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
        let mut config = self.clone();
        config.kafka.settings = kafka::given(self);
        Value::validate(&config, "")?;
        choice::check(self, backend)
    }

    /// The rules that join several keys.
    fn agrees(&self, _key: &str) -> Result<(), BrokenRule> {
        for (index, name) in self.topics.iter().enumerate() {
            let key = format!("topics[{index}]");
            judge(name, key.clone(), vec![topic_name()])?;
            if let Some(first) = self.topics[..index].iter().position(|other| other == name) {
                let rule = format!("must differ from topics[{first}]");
                return BrokenRule::because(key, rule, format!("{name:?}"));
            }
        }
        if self.publish_fast_path > self.publish_timeout {
            let rule = format!("must be at most publish_timeout ({})", show(self.publish_timeout));
            return BrokenRule::because("publish_fast_path", rule, show(self.publish_fast_path));
        }
        nats::check(self)
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
        buslane_settings::reference::<Self>("")
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
