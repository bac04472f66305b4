//! What can be wrong with a configuration.

use buslane_settings::BrokenRule;
use thiserror::Error;

/// Why a configuration is refused. Each text names the file, key or variable, the rule, and what
/// was found.
///
/// Texts never hold a secret: values of URLs are shown without user and password.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: cannot read the configuration file: {reason}")]
    File {
        /// The file as it was named.
        path: String,
        /// What the operating system says.
        reason: String,
    },
    /// The file's name does not say its format.
    #[error("{path}: a configuration file must end in .yaml, .yml or .toml")]
    FileFormat {
        /// The file as it was named.
        path: String,
    },
    /// The text is not YAML or TOML, or a key in it is unknown or has a value of the wrong kind.
    #[error("{source_name}{}: {}{reason}", Place(*.line, *.column), Key(.key))]
    Text {
        /// The file, or `YAML` or `TOML` for text that came without one.
        source_name: String,
        /// Line, from 1; 0 when it is not known.
        line: u64,
        /// Column, from 1; 0 when it is not known.
        column: u64,
        /// Path of the key, such as `memory.keyed_pool.worker_count`; empty when it is not known.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A value breaks a rule.
    #[error("{key}: {rule}, found {found}")]
    Rule {
        /// Path of the key.
        key: String,
        /// The rule.
        rule: String,
        /// The value, as a file would say it.
        found: String,
    },
    /// An environment variable cannot be read, or its value breaks a rule.
    #[error("environment variable {name}: {rule}, found {found}")]
    Variable {
        /// Its name.
        name: &'static str,
        /// The rule, with the values that are allowed.
        rule: String,
        /// The value, in quotes.
        found: String,
    },
    /// A variable begins with `BUSLANE_` and is none of those that are read.
    #[error("environment variable {name} is not known; the nearest name that is: {nearest}")]
    UnknownVariable {
        /// Its name.
        name: String,
        /// The known name that differs least.
        nearest: &'static str,
    },
}

impl From<BrokenRule> for ConfigError {
    fn from(BrokenRule { key, rule, found }: BrokenRule) -> Self {
        Self::Rule { key, rule, found }
    }
}

struct Place(u64, u64);

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => Ok(()),
            line => write!(f, " line {line}, column {}", self.1),
        }
    }
}

struct Key<'a>(&'a str);

impl std::fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "{}: ", self.0) }
    }
}
