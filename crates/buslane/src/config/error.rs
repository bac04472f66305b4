//! Why a configuration is refused.

use buslane_settings::BrokenRule;
use thiserror::Error;

/// Why a configuration is refused. The text names the file, key or variable, the rule, and the
/// value found.
///
/// Texts hold no secret: URLs are shown without user and password.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: cannot read the configuration file: {reason}")]
    File {
        /// The given path.
        path: String,
        /// The error of the operating system.
        reason: String,
    },
    /// The file's extension names no known format.
    #[error("{path}: a configuration file must end in .yaml, .yml or .toml")]
    FileFormat {
        /// The given path.
        path: String,
    },
    /// The text is not YAML or TOML, or a key in it is unknown or has a value of the wrong kind.
    #[error("{source_name}{}: {}{reason}", Place(*.line, *.column), Key(.key))]
    Text {
        /// The file; `YAML` or `TOML` for text without a file.
        source_name: String,
        /// Line, from 1; 0 when unknown.
        line: u64,
        /// Column, from 1; 0 when unknown.
        column: u64,
        /// Path of the key, such as `memory.keyed_pool.worker_count`; empty when unknown.
        key: String,
        /// The mistake.
        reason: String,
    },
    /// A value breaks a rule.
    #[error("{key}: {rule}, found {found}")]
    Rule {
        /// Path of the key.
        key: String,
        /// The rule.
        rule: String,
        /// The value, in the form of a file.
        found: String,
    },
    /// An environment variable cannot be read, or its value breaks a rule.
    #[error("environment variable {name}: {rule}, found {found}")]
    Variable {
        /// Its name.
        name: &'static str,
        /// The rule, with the allowed values.
        rule: String,
        /// The value, in quotes.
        found: String,
    },
    /// A variable begins with `BUSLANE_` and is unknown.
    #[error("environment variable {name} is not known; the nearest name that is: {nearest}")]
    UnknownVariable {
        /// Its name.
        name: String,
        /// The most similar known name.
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
