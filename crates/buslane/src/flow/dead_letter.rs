//! The record that a message leaves behind when it is given up.

mod room;
mod write;

pub(super) use write::write;

use crate::{config::DeadLetterFormat, state::BlockedEntry};
use base64::{Engine, prelude::BASE64_STANDARD};
use buslane_core::{Headers, Message, Record, broker::header};
use room::{Kept, Room};
use serde::Serialize;
use std::sync::Arc;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The failures of one message.
#[derive(Clone)]
pub(super) struct History {
    pub(super) attempts: u32,
    pub(super) first_failure: OffsetDateTime,
    pub(super) last_failure: OffsetDateTime,
    /// The last error.
    pub(super) error: String,
    /// Its entry among the blocked keys, once it is one.
    pub(super) blocked: Option<Arc<BlockedEntry>>,
}

impl History {
    /// `before` with one more failure, now.
    pub(super) fn after(before: Option<Self>, error: String) -> Self {
        let now = OffsetDateTime::now_utc();
        match before {
            None => {
                Self { attempts: 1, first_failure: now, last_failure: now, error, blocked: None }
            }
            Some(before) => {
                Self { attempts: before.attempts + 1, last_failure: now, error, ..before }
            }
        }
    }
}

/// The JSON form of a dead letter.
#[derive(Serialize)]
struct Document<'a> {
    original_topic: &'a str,
    /// Standard base64 with padding.
    original_message: String,
    error: &'a str,
    timestamp: String,
    retry_count: u32,
    #[serde(flatten)]
    truncated: Option<Truncated<'a>>,
}

/// What the JSON form says beyond its five fields when something was cut.
#[derive(Serialize)]
struct Truncated<'a> {
    /// As [`header::TRUNCATED`].
    truncated: &'a str,
    original_partition: u32,
    original_offset: u64,
}

/// A message that is given up, and why.
pub(super) struct Letter<'a> {
    pub(super) message: &'a Message,
    pub(super) history: &'a History,
    /// Which group gives it up.
    pub(super) group: &'a str,
    pub(super) format: DeadLetterFormat,
}

impl Letter<'_> {
    /// The record of a letter that may be so large, and what was cut for that. The message's key is
    /// kept, so that dead letters of an aggregate stay in order.
    fn record(&self, room: &Room) -> (Record, String) {
        let (kept, record) = match self.format {
            DeadLetterFormat::Document => {
                let kept = Kept::without_headers(self.message, &self.history.error, room);
                let record =
                    Record::new(serde_json::to_vec(&self.document(&kept)).unwrap_or_default());
                (kept, record)
            }
            DeadLetterFormat::Headers => {
                let kept = Kept::of(self.message, &self.history.error, room);
                let record = Record::new(kept.body.clone()).with_headers(self.headers(&kept));
                let record = Record { is_null: self.message.is_null, ..record };
                (kept, record)
            }
        };
        (Record { key: kept.key, ..record }, kept.cut)
    }

    fn document<'a>(&'a self, kept: &'a Kept<'_>) -> Document<'a> {
        let (message, history) = (self.message, self.history);
        Document {
            original_topic: message.topic(),
            original_message: BASE64_STANDARD.encode(&kept.body),
            error: kept.error,
            timestamp: rfc3339(history.last_failure),
            retry_count: history.attempts.saturating_sub(1),
            truncated: (!kept.cut.is_empty()).then(|| Truncated {
                truncated: &kept.cut,
                original_partition: message.partition(),
                original_offset: message.offset,
            }),
        }
    }

    /// The message's own headers, those of an earlier dead letter among them, and behind them those
    /// of this one.
    fn headers(&self, kept: &Kept<'_>) -> Headers {
        let (message, history) = (self.message, self.history);
        let mut headers = Headers::builder();
        headers
            .extend(&kept.headers)
            .push(header::ORIGINAL_TOPIC, message.topic().as_bytes())
            .push_integer(header::ORIGINAL_PARTITION, i64::from(message.partition()))
            .push(header::ORIGINAL_OFFSET, message.offset.to_string())
            .push_integer(header::ORIGINAL_TIMESTAMP, message.timestamp_ms)
            .push(header::ORIGINAL_GROUP, self.group)
            .push(header::ERROR_MESSAGE, kept.error)
            .push_integer(header::ATTEMPTS, i64::from(history.attempts))
            .push(header::FIRST_FAILURE, rfc3339(history.first_failure))
            .push(header::LAST_FAILURE, rfc3339(history.last_failure));
        if !kept.cut.is_empty() {
            headers.push(header::TRUNCATED, &kept.cut);
        }
        headers.build()
    }
}

fn rfc3339(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}
