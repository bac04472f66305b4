//! The record that a message leaves behind when it is given up.

use crate::config::DeadLetterFormat;
use base64::{Engine, prelude::BASE64_STANDARD};
use buslane_core::{Headers, Message, Record, broker::header};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The failures of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct History {
    pub(super) attempts: u32,
    pub(super) first_failure: OffsetDateTime,
    pub(super) last_failure: OffsetDateTime,
    /// The last error.
    pub(super) error: String,
}

impl History {
    /// `before` with one more failure, now.
    pub(super) fn after(before: Option<Self>, error: String) -> Self {
        let now = OffsetDateTime::now_utc();
        match before {
            None => Self { attempts: 1, first_failure: now, last_failure: now, error },
            Some(before) => Self { attempts: before.attempts + 1, last_failure: now, error, ..before },
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
}

/// The dead letter of a message. Its key is kept, so that dead letters of an aggregate stay in order.
pub(super) fn record(message: &Message, history: &History, format: DeadLetterFormat) -> Record {
    let record = match format {
        DeadLetterFormat::Document => {
            let document = Document {
                original_topic: message.topic(),
                original_message: BASE64_STANDARD.encode(&message.payload),
                error: &history.error,
                timestamp: rfc3339(history.last_failure),
                retry_count: history.attempts.saturating_sub(1),
            };
            Record::new(serde_json::to_vec(&document).unwrap_or_default())
        }
        DeadLetterFormat::Headers => Record::new(message.payload.clone()).with_headers(headers(message, history)),
    };
    Record { key: message.key.clone(), ..record }
}

fn headers(message: &Message, history: &History) -> Headers {
    let mut headers = Headers::builder();
    headers
        .extend(&message.headers)
        .push(header::ORIGINAL_TOPIC, message.topic().as_bytes())
        .push_integer(header::ORIGINAL_PARTITION, i64::from(message.partition()))
        .push(header::ORIGINAL_OFFSET, message.offset.to_string())
        .push_integer(header::ORIGINAL_TIMESTAMP, message.timestamp_ms)
        .push(header::ERROR_MESSAGE, &history.error)
        .push_integer(header::ATTEMPTS, i64::from(history.attempts))
        .push(header::FIRST_FAILURE, rfc3339(history.first_failure))
        .push(header::LAST_FAILURE, rfc3339(history.last_failure));
    headers.build()
}

fn rfc3339(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}
