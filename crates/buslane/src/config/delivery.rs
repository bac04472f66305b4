//! Which messages share a lane, and what happens to an envelope that is given up.

use buslane_settings::{BrokenRule, Setting, Value, choices, join, judge, plain_value, topic_name};
use serde::{Deserialize, Serialize};

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

/// What happens to an envelope whose last attempt failed, or that can never be handled.
///
/// ```
/// use buslane::{Config, Terminal};
///
/// let mut config = Config::default();
/// assert_eq!(config.terminal, Terminal::Block);
/// config.terminal = Terminal::dead_letter("orders.dlq");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Terminal {
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
    /// The message, and every later one of its key, is set aside in a log, until an operator
    /// redrives them in order. Other keys continue. The log is the topic `{topic}.parked`. If it
    /// cannot be written, the key blocks.
    Park,
    /// As [`Park`](Self::Park), in this topic.
    ParkTo {
        /// The topic of the logs. Required.
        topic: String,
    },
}

impl Terminal {
    /// Writes dead letters to this topic, in the default format.
    #[must_use]
    pub fn dead_letter(topic: impl Into<String>) -> Self {
        Self::DeadLetter { topic: topic.into(), format: DeadLetterFormat::default() }
    }
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

const PARK_TOPIC: &str = "park_to.topic";

/// Written by hand: two choices have settings of their own.
impl Value for Terminal {
    plain_value!();

    fn kind() -> String {
        "`block`, `skip`, `park`, or a table `dead_letter` or `park_to`".to_owned()
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
        let log = row(
            PARK_TOPIC,
            "topic name".to_owned(),
            String::new(),
            "The topic with the logs of parked keys; required with `park_to`.",
        );
        let mut own = own;
        own.default = "block".to_owned();
        list.extend([own, topic, format, log]);
    }

    fn validate(&self, key: &str) -> Result<(), BrokenRule> {
        match self {
            Self::DeadLetter { topic, .. } => judge(topic, join(key, TOPIC), vec![topic_name()]),
            Self::ParkTo { topic } => judge(topic, join(key, PARK_TOPIC), vec![topic_name()]),
            _ => Ok(()),
        }
    }
}
