//! Messages of a stream by their sequence, as the server has them: its answer is JSON, with the
//! headers' bytes in base64. So it can be read whatever is in them.

use crate::block;
use async_nats::{Client, jetstream::response::Response};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use std::borrow::Cow;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A message whose headers the client library cannot read.
pub(crate) struct Unreadable {
    pub(crate) sequence: u64,
    pub(crate) subject: String,
    pub(crate) timestamp_ms: i64,
    pub(crate) block: Vec<u8>,
    pub(crate) payload: Bytes,
    /// What is wrong with its headers.
    pub(crate) fault: &'static str,
}

#[derive(Deserialize)]
struct Found<'a> {
    #[serde(borrow)]
    message: Raw<'a>,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    subject: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow, default)]
    hdrs: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Cow<'a, str>,
}

/// The message at a place of a stream, if its headers cannot be read; `None` for any other, and for
/// none.
///
/// # Errors
/// No answer, or one that says something else.
pub(crate) async fn unreadable(
    client: &Client,
    stream: &str,
    sequence: u64,
) -> Result<Option<Unreadable>, String> {
    let question = format!(r#"{{"seq":{sequence}}}"#);
    let answer = client.request(format!("$JS.API.STREAM.MSG.GET.{stream}"), question.into()).await;
    read(sequence, &answer.map_err(|error| error.to_string())?.payload)
}

fn read(sequence: u64, answer: &[u8]) -> Result<Option<Unreadable>, String> {
    let found = match serde_json::from_slice::<Response<Found<'_>>>(answer) {
        Ok(Response::Ok(found)) => found.message,
        // It was deleted, or is too old.
        Ok(Response::Err { error }) if error.code() == 404 => return Ok(None),
        Ok(Response::Err { error }) => return Err(error.to_string()),
        Err(error) => return Err(format!("an answer cannot be read: {error}")),
    };
    let decode = |text: &str| BASE64_STANDARD.decode(text).map_err(|error| error.to_string());
    if found.hdrs.is_empty() {
        return Ok(None);
    }
    let block = decode(&found.hdrs)?;
    let Some(fault) = block::fault(&block) else { return Ok(None) };
    let time = OffsetDateTime::parse(&found.time, &Rfc3339).map_err(|error| error.to_string())?;
    Ok(Some(Unreadable {
        sequence,
        subject: found.subject.into_owned(),
        timestamp_ms: i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(0),
        block,
        payload: decode(&found.data)?.into(),
        fault,
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
        let found = read(7, answer(b"NATS/1.0\r\nX-A: a\rb\r\n\r\n").as_bytes()).unwrap().unwrap();
        assert_eq!(
            (found.sequence, &*found.subject, found.timestamp_ms),
            (7, "orders.3", 1_700_000_000_123)
        );
        assert_eq!(
            (&*found.payload, &*found.block),
            (&b"body"[..], &b"NATS/1.0\r\nX-A: a\rb\r\n\r\n"[..])
        );
        assert!(read(7, answer(b"NATS/1.0\r\nX-A: a\r\n\r\n").as_bytes()).unwrap().is_none());
        assert!(read(7, answer(b"").as_bytes()).unwrap().is_none());
        let gone = br#"{"type":"t","error":{"code":404,"err_code":10037,"description":"no message found"}}"#;
        assert!(read(7, gone).unwrap().is_none());
        let other =
            br#"{"type":"t","error":{"code":503,"err_code":10008,"description":"not available"}}"#;
        assert!(read(7, other).err().unwrap().contains("not available"));
        assert!(read(7, b"?").err().unwrap().contains("cannot be read"));
    }
}
