//! The configuration of a bus: plain data with a default for every setting.
//!
//! A value comes from the default, then the file (YAML or TOML), then the environment, then code;
//! the later one wins. Only [`Config::load`] and [`Config::from_env`] read the process environment.
//!
//! Settings of a single subscription or topic, and changes while the bus runs, are elsewhere.

mod backend;
mod choice;
mod delivery;
mod environment;
mod error;
mod file;
mod kafka;
mod nats;
mod operations;
mod pools;
mod reference;
mod url;

pub use backend::BackendConfig;
pub use buslane_core::Secret;
pub use buslane_rollout::RolloutConfig;
pub use buslane_settings::Setting as KeyReference;
pub(crate) use choice::InFile;
pub use choice::{ChosenBy, PoolChoice};
pub use delivery::{DeadLetterFormat, LaneScope, Terminal};
pub use environment::VariableReference;
pub use error::ConfigError;
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
    BacklogConfig, HealthConfig, LimitsConfig, ProbeConfig, RateLimit, RecoveryConfig,
    RecoveryStart, TopicLimitsConfig,
};
pub use pools::{ActorPoolConfig, KeyedPoolConfig, LaneMode};
pub use url::BusUrl;

#[cfg(feature = "kafka")]
pub(crate) use kafka::{refused as kafka_refused, settings as kafka_settings};
#[cfg(feature = "nats")]
pub(crate) use nats::{refused as nats_refused, settings as nats_settings};

use crate::{ErrorClasses, Retry};
use buslane_core::Backend;
use buslane_settings::{
    BrokenRule, Value, above_zero, default_text,
    duration::{millis, secs, show},
    judge, kind, not_blank, settings, topic_name, variables,
};
use choice::Origins;
use std::{ffi::OsString, path::Path, time::Duration};

/// Settings of the embedded broker and the pools of a bus on it.
pub type MemoryConfig = BackendConfig<buslane_memory::MemoryConfig>;

/// Where environment variables are looked up: [`std::env::var_os`], or a table in a test.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

settings! {
    /// The configuration of a bus.
    ///
    /// Start from [`Config::default`], [`Config::new`], a file or the environment, then change
    /// fields. The constructors return valid configurations; a bus checks again when it connects.
    ///
    /// Printing and serialising hides the secrets: those of the URL, passwords, and the values of
    /// `kafka.properties`.
    #[non_exhaustive]
    pub struct Config {
        /// The broker.
        url: BusUrl, variables(&["BUSLANE_URL"]);
        /// The consumer group, or durable consumer, of this process. Default: the name of the
        /// program's file, with everything but ASCII letters, digits, `.`, `_` and `-` as `-`.
        group: String = environment::default_group(), default_text(""), not_blank(),
            variables(&["BUSLANE_GROUP"]);
        /// Topics announced before their handlers; their messages wait until a handler subscribes.
        topics: Vec<String>, kind("list of topic names");
        /// The longest wait of a publish for its acknowledgement.
        publish_timeout: Duration = secs(10), above_zero();
        /// How long a publish may wait for room before it counts as held back; at most
        /// `publish_timeout`.
        publish_fast_path: Duration = millis(100);
        /// How long a shutdown handles open messages before it leaves the rest for redelivery.
        shutdown_deadline: Duration = secs(30);
        /// Whether a lane holds a key's messages of all topics, or of one topic.
        lane_scope: LaneScope;
        /// How often and when a failed envelope is retried.
        retry: Retry;
        /// Which errors of handlers are worth another attempt, by their texts.
        errors: ErrorClasses;
        /// What happens to an envelope whose last attempt failed: its key waits, it is settled and
        /// logged, or it is written to a dead-letter topic.
        terminal: Terminal;
        /// Limits of publishing and handling.
        limits: LimitsConfig;
        /// When this bus counts as behind.
        backlog: BacklogConfig;
        /// How a bus that is behind catches up.
        recovery: RecoveryConfig;
        /// When a condition counts as a fault.
        health: HealthConfig;
        /// How keys move between the pools, and when they go back.
        rollout: RolloutConfig;
        /// Settings of the embedded broker, and the pools when the URL names it.
        memory: MemoryConfig;
        /// Settings of the client and the pools when the URL names Kafka.
        kafka: KafkaConfig;
        /// Settings of the client and the pools when the URL names NATS.
        nats: NatsConfig;
    }
    given {
        /// The sources of the switches.
        origins: Origins;
    }
    also Self::keys_agree;
}

impl Config {
    /// The defaults with this URL.
    ///
    /// # Errors
    /// [`ConfigError::Rule`] when the URL is not valid.
    pub fn new(url: &str) -> Result<Self, ConfigError> {
        Ok(Self { url: url.parse()?, ..Self::default() })
    }

    /// Reads the file that the variable `BUSLANE_CONFIG` names, if it is set, then the environment.
    ///
    /// # Errors
    /// The file cannot be read, a key or variable cannot be read or breaks a rule, or a variable
    /// that begins with `BUSLANE_` is unknown.
    pub fn load() -> Result<Self, ConfigError> {
        environment::check_names(environment::process_names())?;
        Self::load_with(&environment::process)
    }

    /// Reads the environment, and no file.
    ///
    /// # Errors
    /// A variable cannot be read, breaks a rule, or begins with `BUSLANE_` and is unknown.
    pub fn from_env() -> Result<Self, ConfigError> {
        environment::check_names(environment::process_names())?;
        Self::default().with_variables(&environment::process)
    }

    /// As [`Config::load`], with variables from `variables` instead of the process environment. It
    /// cannot list other variables, so it refuses none as unknown.
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

    /// Overlays this configuration with variables.
    ///
    /// # Errors
    /// A variable cannot be read, then as [`Config::validate`].
    pub fn with_variables(mut self, variables: Variables<'_>) -> Result<Self, ConfigError> {
        environment::apply(&mut self, variables)?;
        self.checked()
    }

    /// Reads a file whose name ends in `.yaml`, `.yml` or `.toml`. Does not read the environment.
    ///
    /// # Errors
    /// The file cannot be read, or a key in it is unknown, unreadable or breaks a rule.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        file::read(path.as_ref())?.checked()
    }

    /// Reads YAML. Keys that it leaves out keep their defaults.
    ///
    /// # Errors
    /// A key is unknown, unreadable or breaks a rule.
    pub fn parse_yaml(text: &str) -> Result<Self, ConfigError> {
        file::yaml(text, None)?.checked()
    }

    /// Reads TOML. Keys that it leaves out keep their defaults.
    ///
    /// # Errors
    /// A key is unknown, unreadable or breaks a rule.
    pub fn parse_toml(text: &str) -> Result<Self, ConfigError> {
        file::toml(text, None)?.checked()
    }

    /// Checks every rule that the types do not enforce.
    ///
    /// # Errors
    /// The first broken rule, with the key, or the variable that set it.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_for(self.backend())
    }

    /// As [`Config::validate`], for a broker that was not made from the URL: the variables of its
    /// backend apply.
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

    /// The rules between several keys.
    fn keys_agree(&self, _key: &str) -> Result<(), BrokenRule> {
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

    /// The settings of both pools on the URL's backend, which share of the keys each runs, and who
    /// decided it.
    #[must_use]
    pub fn pools(&self) -> PoolChoice {
        self.pools_for(self.backend())
    }

    /// As [`Config::pools`], for a broker that was not made from the URL.
    #[must_use]
    pub fn pools_for(&self, backend: Backend) -> PoolChoice {
        choice::of(self, backend)
    }

    /// Whether the environment names a configuration file.
    #[cfg(unix)]
    pub(crate) fn names_file() -> bool {
        environment::process(environment::CONFIG_FILE).is_some()
    }

    /// Every key that a file may set, in the order of the documentation.
    #[must_use]
    pub fn reference() -> Vec<KeyReference> {
        buslane_settings::reference::<Self>("")
    }

    /// Every environment variable that a configuration reads.
    #[must_use]
    pub fn variables() -> Vec<VariableReference> {
        environment::variables()
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
