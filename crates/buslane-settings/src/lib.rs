//! One definition for each setting. This crate reads no file and no environment variable.
//!
#![doc = include_str!("../README.md")]

mod choices;
pub mod duration;
mod macros;
mod rule;
mod value;

#[doc(hidden)]
pub use choices::{from_word, or, word, words};
pub use rule::{
    Detail, Rule, above_zero, at_least, at_most, check, default_text, kind, not_blank, range,
    share, topic_name, variables, whole_millis,
};
#[doc(hidden)]
pub use serde;
pub use value::Value;
#[doc(hidden)]
pub use value::{describe, field, is_absent, join, judge, set};

use thiserror::Error;

/// One key that a file may set: a row of the reference.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Setting {
    /// Its path, such as `memory.keyed_pool.worker_count`.
    pub key: String,
    /// The type and range of its value.
    pub kind: String,
    /// The default as a file would write it, in JSON for lists; empty if there is none.
    pub default: String,
    /// The environment variables that set it, in order of precedence.
    pub variables: Vec<&'static str>,
    /// Its meaning.
    pub meaning: String,
}

/// A setting that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{key}: {rule}, found {found}")]
pub struct BrokenRule {
    /// The path of the key.
    pub key: String,
    /// The rule.
    pub rule: String,
    /// The value, as a file would write it.
    pub found: String,
}

impl BrokenRule {
    /// The error of a rule that the code checks itself, such as a rule about several settings.
    ///
    /// # Errors
    /// Always.
    pub fn because(
        key: impl Into<String>,
        rule: impl Into<String>,
        found: impl std::fmt::Display,
    ) -> Result<(), Self> {
        Err(Self { key: key.into(), rule: rule.into(), found: found.to_string() })
    }
}

/// The rows of a section whose keys begin with `key`.
#[must_use]
pub fn reference<T: Value + Default>(key: &str) -> Vec<Setting> {
    let mut rows = Vec::new();
    T::list(Some(&T::default()), Setting { key: key.to_owned(), ..Setting::default() }, &mut rows);
    rows
}
