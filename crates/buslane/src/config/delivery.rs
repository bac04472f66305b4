//! What happens to a message beside its handler: lane, retries, terminal policy.

use super::duration;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What shares a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LaneScope {
    /// All messages of a key, whatever their topic. The default.
    #[default]
    Key,
    /// The messages of a key in one topic: a blocked key holds that topic's messages alone.
    Topic,
}

/// How often and when a failed envelope is tried again, in its lane. The wait doubles with each
/// failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RetryConfig {
    /// Attempts in all, the first one included; at least 1. Default: `5`.
    pub attempts: u32,
    /// Wait before the second attempt; more than zero. Default: `100ms`.
    #[serde(with = "duration")]
    pub initial: Duration,
    /// Longest wait between two attempts, and the wait of a blocked key; at least `initial`.
    /// Default: `30s`.
    #[serde(with = "duration")]
    pub max: Duration,
    /// Whether waits are spread at random, so that many keys do not come back at one moment.
    /// Default: `true`.
    pub jitter: bool,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            attempts: 5,
            initial: Duration::from_millis(100),
            max: Duration::from_secs(30),
            jitter: true,
        }
    }
}

/// What becomes of an envelope whose last attempt failed, or that can never be handled.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum TerminalConfig {
    /// The key waits and its message is tried again at the longest wait. The default.
    #[default]
    Block,
    /// The message is settled, counted and logged as an error.
    Skip,
    /// The message is written to a dead-letter topic; where that fails, the key blocks.
    DeadLetter {
        /// The dead-letter topic. Required.
        topic: String,
        /// How the dead letter is written. Default: `headers`.
        #[serde(default)]
        format: DeadLetterFormat,
    },
}

/// How a dead letter is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeadLetterFormat {
    /// Original key, payload and headers, with headers that say where it came from and why. The
    /// default.
    #[default]
    Headers,
    /// One JSON document that holds the original message in base64.
    Document,
}
