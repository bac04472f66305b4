//! Parked messages as records of a log, and back.

use crate::flow::History;
use buslane_core::{Headers, Message, Record, Source, broker::header};
use buslane_parking::{Entry, record::KIND};
use bytes::Bytes;
use std::sync::Arc;

/// The record key of the message, where that is not the key of its entry. Empty: it had none.
const RECORD_KEY: &str = "X-Parking-Record-Key";
/// The message had no body, as opposed to an empty one.
const NULL: &str = "X-Parking-Null";

/// The record that parks a message: its body and headers, followed by those of the entry and those
/// of a dead letter.
pub(super) fn parked(
    entry: &Entry,
    message: &Message,
    group: &str,
    history: Option<&History>,
) -> Record {
    let mut headers = Headers::builder();
    headers.extend(&message.headers);
    // The first of the appended headers, which is where the message ends when it is read back.
    entry.write(&mut headers);
    headers
        .push(header::ORIGINAL_TOPIC, message.topic().as_bytes())
        .push_integer(header::ORIGINAL_PARTITION, i64::from(message.partition()))
        .push_integer(header::ORIGINAL_TIMESTAMP, message.timestamp_ms)
        .push(header::ORIGINAL_GROUP, group);
    if message.key.as_ref() != entry.key() {
        headers.push(RECORD_KEY, message.key.as_deref().unwrap_or_default());
    }
    if message.is_null {
        headers.push(NULL, "true");
    }
    if let Some(history) = history {
        history.write(&history.error, &mut headers);
    }
    let mut record = Record::new(message.payload.clone()).with_headers(headers.build());
    record.key = entry.key().cloned();
    record.is_null = message.is_null;
    record
}

/// The record of an entry without a message.
pub(super) fn bare(entry: &Entry) -> Record {
    let mut headers = Headers::builder();
    entry.write(&mut headers);
    let mut record = Record::new(Bytes::new()).with_headers(headers.build());
    record.key = entry.key().cloned();
    record
}

/// The message that a record parks, as its source has delivered it.
pub(super) fn message(stored: &Message, source: &Arc<Source>, origin: u64) -> Message {
    let text = |name| {
        let value = stored.headers.last(name)?;
        std::str::from_utf8(value).ok()
    };
    let timestamp_ms = text(header::ORIGINAL_TIMESTAMP).and_then(|text| text.parse().ok());
    let named = stored.headers.iter().enumerate().filter(|(_, (name, _))| *name == KIND);
    let own = named.last().map_or(0, |(at, _)| at);
    let mut headers = Headers::builder();
    for (name, value) in stored.headers.iter().take(own) {
        headers.push(name, value);
    }
    let mut record = Record::new(stored.payload.clone()).with_headers(headers.build());
    record.key = match stored.headers.last(RECORD_KEY) {
        None => stored.key.clone(),
        Some([]) => None,
        Some(key) => Some(Bytes::copy_from_slice(key)),
    };
    record.is_null = stored.headers.last(NULL).is_some();
    record.into_message(Arc::clone(source), origin, timestamp_ms.unwrap_or(stored.timestamp_ms))
}
