//! What happens to a message beside its handler: lane, retries, terminal policy.

use buslane_settings::{
    BrokenRule, Setting, Value, above_zero, at_least, choices,
    duration::{millis, secs, show},
    join, judge, plain_value, settings, topic_name,
};
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

settings! {
    /// How often and when a failed envelope is tried again, in its lane. The wait doubles with each
    /// failure.
    #[derive(Eq)]
    #[non_exhaustive]
    pub struct RetryConfig {
        /// Attempts of an envelope in all, the first one included.
        attempts: u32 = 5, at_least(1);
        /// Wait before the second attempt. It doubles with each failure.
        initial: Duration = millis(100), above_zero();
        /// Longest wait between two attempts, and the wait of a blocked key; at least
        /// `retry.initial`.
        max: Duration = secs(30);
        /// Whether waits are spread at random, so that many keys do not come back at one moment.
        jitter: bool = true;
    }
    also Self::max_is_longer;
}

impl RetryConfig {
    fn max_is_longer(&self, key: &str) -> Result<(), BrokenRule> {
        if self.max >= self.initial {
            return Ok(());
        }
        let rule = format!("must be at least {key}.initial ({})", show(self.initial));
        BrokenRule::because(format!("{key}.max"), rule, show(self.max))
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

choices!(LaneScope, DeadLetterFormat);

const TOPIC: &str = "dead_letter.topic";

/// The one choice that has settings of its own, so it lists and checks them by hand.
impl Value for TerminalConfig {
    plain_value!();

    fn kind() -> String {
        "`block`, `skip` or a table `dead_letter`".to_owned()
    }

    fn list(_: Option<&Self>, own: Setting, list: &mut Vec<Setting>) {
        let row = |name, kind: String, default: String, meaning: &str| {
            let mut row = own.clone();
            (row.key, row.kind, row.default) = (join(&own.key, name), kind, default);
            row.meaning = meaning.to_owned();
            row
        };
        let topic = row(
            TOPIC,
            "topic name".to_owned(),
            String::new(),
            "The dead-letter topic; required with `dead_letter`.",
        );
        let format = row(
            "dead_letter.format",
            DeadLetterFormat::kind(),
            DeadLetterFormat::default().show(),
            "The original message with headers that say where it came from and why, or one JSON document.",
        );
        let mut own = own;
        own.default = "block".to_owned();
        list.extend([own, topic, format]);
    }

    fn validate(&self, key: &str) -> Result<(), BrokenRule> {
        match self {
            Self::DeadLetter { topic, .. } => judge(topic, join(key, TOPIC), vec![topic_name()]),
            _ => Ok(()),
        }
    }
}
