//! Lanes, retries and terminal policy of messages.

use buslane_settings::{
    BrokenRule, Setting, Value, above_zero, at_least, choices,
    duration::{millis, secs, show},
    join, judge, plain_value, settings, topic_name,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Which messages share a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LaneScope {
    /// All messages of a key, in all topics. The default.
    #[default]
    Key,
    /// The messages of a key in one topic. A blocked key blocks that topic's messages only.
    Topic,
}

settings! {
    /// How often and when a failed envelope is retried, in its lane. The wait doubles with each
    /// failure.
    #[derive(Eq)]
    #[non_exhaustive]
    pub struct RetryConfig {
        /// Attempts of an envelope, including the first.
        attempts: u32 = 5, at_least(1);
        /// Wait before the second attempt. It doubles with each failure.
        initial: Duration = millis(100), above_zero();
        /// The longest wait between two attempts, and the wait of a blocked key; at least
        /// `retry.initial`.
        max: Duration = secs(30);
        /// Whether waits vary at random, so that many keys do not retry at the same moment.
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

/// What happens to an envelope whose last attempt failed, or that can never be handled.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum TerminalConfig {
    /// The key waits, and its message is retried at the longest wait. The default.
    #[default]
    Block,
    /// The message is settled, counted and logged as an error.
    Skip,
    /// The message is written to a dead-letter topic. If that fails, the key blocks.
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
    /// The original key, payload and headers, with more headers for its source and its error. The
    /// default.
    #[default]
    Headers,
    /// One JSON document with the original message in base64.
    Document,
}

choices!(LaneScope, DeadLetterFormat);

const TOPIC: &str = "dead_letter.topic";

/// Written by hand: `dead_letter` is the one choice with settings of its own.
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
            "The original message with headers for its source and its error, or one JSON document.",
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
