//! Reads single messages from a stream. The server answers with JSON and the headers' bytes in
//! base64, so every message can be read.

use crate::{header_block, link::Link};
use async_nats::{HeaderMap, jetstream::response::Response};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use std::borrow::Cow;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A message as the stream holds it.
pub(crate) struct StoredMessage {
    pub(crate) sequence: u64,
    pub(crate) subject: String,
    pub(crate) timestamp_ms: i64,
    /// The bytes of the headers.
    pub(crate) block: Vec<u8>,
    /// The headers, or the reason why the client library cannot read them.
    pub(crate) headers: Result<HeaderMap, &'static str>,
    pub(crate) payload: Bytes,
}

#[derive(Deserialize)]
struct StreamReply<'a> {
    #[serde(borrow)]
    message: RawMessage<'a>,
}

#[derive(Deserialize)]
struct RawMessage<'a> {
    #[serde(borrow)]
    subject: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow, default)]
    hdrs: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Cow<'a, str>,
}

/// The message with this sequence. `None` if the stream lacks it, or, unless `with_readable` is
/// set, if the client library can read its headers.
///
/// # Errors
/// When the server does not answer, or the answer cannot be read.
pub(crate) async fn message(
    link: &Link,
    stream: &str,
    sequence: u64,
    with_readable: bool,
) -> Result<Option<StoredMessage>, String> {
    let (subject, request) = (subject(stream), format!(r#"{{"seq":{sequence}}}"#));
    match link.client().request(subject.clone(), request.into()).await {
        Ok(answer) => read(sequence, &answer.payload, with_readable),
        Err(error) => Err(link.explain(&subject, &error)),
    }
}

/// The subject at which a stream returns its messages.
pub(crate) fn subject(stream: &str) -> String {
    format!("$JS.API.STREAM.MSG.GET.{stream}")
}

pub(crate) fn read(
    sequence: u64,
    answer: &[u8],
    with_readable: bool,
) -> Result<Option<StoredMessage>, String> {
    let found = match serde_json::from_slice::<Response<StreamReply<'_>>>(answer) {
        Ok(Response::Ok(found)) => found.message,
        // The message was deleted, or has expired.
        Ok(Response::Err { error }) if error.code() == 404 => return Ok(None),
        Ok(Response::Err { error }) => return Err(error.to_string()),
        Err(error) => return Err(format!("the answer cannot be read: {error}")),
    };
    let decode = |text: &str| BASE64_STANDARD.decode(text).map_err(|error| error.to_string());
    let block = decode(&found.hdrs)?;
    let headers = if block.is_empty() { Ok(HeaderMap::new()) } else { header_block::parse(&block) };
    if headers.is_ok() && !with_readable {
        return Ok(None);
    }
    let time = OffsetDateTime::parse(&found.time, &Rfc3339).map_err(|error| error.to_string())?;
    Ok(Some(StoredMessage {
        sequence,
        subject: found.subject.into_owned(),
        timestamp_ms: i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(0),
        block,
        headers,
        payload: decode(&found.data)?.into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n6_the_servers_answer_is_read() {
        let answer = |hdrs: &[u8]| {
            let hdrs = BASE64_STANDARD.encode(hdrs);
            format!(
                r#"{{"type":"io.nats.jetstream.api.v1.stream_msg_get_response","message":{{"subject":"orders.3","seq":7,"hdrs":"{hdrs}","data":"Ym9keQ==","time":"2023-11-14T22:13:20.123456789Z"}}}}"#
            )
        };
        let read = |answer: &[u8]| read(7, answer, false);
        let found = read(answer(b"NATS/1.0\r\nX-A: a\rb\r\n\r\n").as_bytes()).unwrap().unwrap();
        assert_eq!(
            (found.sequence, &*found.subject, found.timestamp_ms),
            (7, "orders.3", 1_700_000_000_123)
        );
        assert_eq!(
            (&*found.payload, &*found.block),
            (&b"body"[..], &b"NATS/1.0\r\nX-A: a\rb\r\n\r\n"[..])
        );
        let readable = answer(b"NATS/1.0\r\nX-A: a\r\n\r\n");
        assert!(read(readable.as_bytes()).unwrap().is_none());
        let headers = super::read(7, readable.as_bytes(), true).unwrap().unwrap().headers.unwrap();
        assert_eq!(headers.get("X-A").unwrap().as_str(), "a");
        assert!(read(answer(b"").as_bytes()).unwrap().is_none());
        let gone = br#"{"type":"t","error":{"code":404,"err_code":10037,"description":"no message found"}}"#;
        assert!(read(gone).unwrap().is_none());
        let other =
            br#"{"type":"t","error":{"code":503,"err_code":10008,"description":"not available"}}"#;
        assert!(read(other).err().unwrap().contains("not available"));
        assert!(read(b"?").err().unwrap().contains("cannot be read"));
    }
}
