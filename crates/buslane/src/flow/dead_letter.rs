//! Dead letters: the records of messages that are given up.

mod size;

use crate::{config::DeadLetterFormat, state::BlockedEntry};
use base64::{Engine, prelude::BASE64_STANDARD};
use buslane_core::{
    Broker, Headers, HeadersBuilder, Message, PublishError, Record, Topic, broker::header,
};
use serde::Serialize;
use size::{Kept, SIZES, Size};
use std::sync::Arc;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tracing::warn;

/// The failures of one message.
#[derive(Clone)]
pub(crate) struct History {
    pub(super) attempts: u32,
    pub(super) first_failure: OffsetDateTime,
    pub(super) last_failure: OffsetDateTime,
    /// The last error.
    pub(crate) error: String,
    /// The entry of its key among the blocked keys, once the key is blocked.
    pub(super) blocked: Option<Arc<BlockedEntry>>,
}

impl History {
    /// Appends the headers that describe the failures, with the text of the last one.
    pub(crate) fn write(&self, error: &str, headers: &mut HeadersBuilder) {
        headers
            .push(header::ERROR_MESSAGE, error)
            .push_integer(header::ATTEMPTS, i64::from(self.attempts))
            .push(header::FIRST_FAILURE, rfc3339(self.first_failure))
            .push(header::LAST_FAILURE, rfc3339(self.last_failure));
    }

    /// That of a message without a failure.
    pub(super) fn before_the_first() -> Self {
        Self { attempts: 0, ..Self::after(None, String::new()) }
    }

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

/// Further fields of the JSON form of a letter that was cut.
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
    /// The consumer group that gives it up.
    pub(super) group: &'a str,
    pub(super) format: DeadLetterFormat,
}

impl Letter<'_> {
    /// The record of a letter of this size, and a description of the cut parts. It keeps the key of
    /// the message, so that dead letters of an aggregate stay in order.
    fn record(&self, size: &Size) -> (Record, String) {
        let (kept, mut record) = match self.format {
            DeadLetterFormat::Document => {
                let kept = Kept::without_headers(self.message, &self.history.error, size);
                let record =
                    Record::new(serde_json::to_vec(&self.document(&kept)).unwrap_or_default());
                (kept, record)
            }
            DeadLetterFormat::Headers => {
                let kept = Kept::of(self.message, &self.history.error, size);
                let mut record = Record::new(kept.body.clone()).with_headers(self.headers(&kept));
                record.is_null = self.message.is_null;
                (kept, record)
            }
        };
        record.key = kept.key;
        (record, kept.cut)
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

    /// The headers of the message, including those of an earlier dead letter, followed by the
    /// headers of this one.
    fn headers(&self, kept: &Kept<'_>) -> Headers {
        let (message, history) = (self.message, self.history);
        let mut headers = Headers::builder();
        headers
            .extend(&kept.headers)
            .push(header::ORIGINAL_TOPIC, message.topic().as_bytes())
            .push_integer(header::ORIGINAL_PARTITION, i64::from(message.partition()))
            .push(header::ORIGINAL_OFFSET, message.offset.to_string())
            .push_integer(header::ORIGINAL_TIMESTAMP, message.timestamp_ms)
            .push(header::ORIGINAL_GROUP, self.group);
        history.write(kept.error, &mut headers);
        if !kept.cut.is_empty() {
            headers.push(header::TRUNCATED, &kept.cut);
        }
        headers.build()
    }
}

/// Publishes the letter in the largest form that its topic accepts.
///
/// A duplicate of the same letter, whose acknowledgement was lost, counts as written.
///
/// # Errors
/// The reason of the refusal, and whether it is permanent or an outage.
pub(super) async fn write(
    broker: &dyn Broker,
    to: &Topic,
    letter: &Letter<'_>,
) -> Result<(), String> {
    let (mut refused, mut last) = (None, usize::MAX);
    for size in &SIZES {
        let (record, cut) = letter.record(size);
        if record.bytes() >= last {
            continue;
        }
        last = record.bytes();
        match broker
            .publish(to, vec![record])
            .get()
            .await
            .pop()
            .unwrap_or(Err(PublishError::Closed))
        {
            Ok(_) => {
                if let Some(reason) = refused {
                    log_reduced(letter, to, &cut, &reason);
                }
                return Ok(());
            }
            Err(error @ PublishError::TooLarge { .. }) => refused = Some(error),
            Err(error) if error.is_permanent() => {
                return Err(format!("permanent refusal: {error}"));
            }
            Err(error) => return Err(format!("outage: {error}")),
        }
    }
    let reason = refused.unwrap_or(PublishError::Closed);
    Err(format!("permanent refusal, even of the smallest form: {reason}"))
}

fn log_reduced(letter: &Letter<'_>, to: &Topic, cut: &str, reason: &PublishError) {
    let message = letter.message;
    let (topic, partition, offset) =
        (message.topic().as_str(), message.partition(), message.offset);
    warn!(kind = "envelope", topic, partition, offset, dead_letters = %to, cut, %reason, "dead letter reduced");
}

fn rfc3339(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}
