//! Requests for messages, and what the server says to them. No client.

use async_nats::{HeaderMap, StatusCode};
use bytes::Bytes;
use serde::Serialize;
use std::time::Duration;

/// One request for messages.
#[derive(Debug, Serialize)]
pub(super) struct Request {
    batch: usize,
    #[serde(skip_serializing_if = "is_zero")]
    expires: u128,
    #[serde(skip_serializing_if = "is_zero")]
    idle_heartbeat: u128,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    no_wait: bool,
}

const fn is_zero(nanoseconds: &u128) -> bool {
    *nanoseconds == 0
}

impl Request {
    /// Waits for messages.
    pub(super) const fn waiting(batch: usize, expires: Duration, heartbeat: Duration) -> Self {
        Self {
            batch,
            expires: expires.as_nanos(),
            idle_heartbeat: heartbeat.as_nanos(),
            no_wait: false,
        }
    }

    /// Takes what is there.
    pub(super) const fn at_once(batch: usize) -> Self {
        Self { batch, expires: 0, idle_heartbeat: 0, no_wait: true }
    }

    pub(super) fn payload(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// What a message without a payload says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// The request stands.
    Heartbeat,
    /// A request has ended in good order, with so many messages not sent; `None`: all.
    Over(Option<usize>),
    /// The consumer is not there, or cannot be asked now.
    Gone(String),
}

/// Reads a status; `None` for a message.
pub(super) fn word(
    status: Option<StatusCode>,
    description: Option<&str>,
    headers: Option<&HeaderMap>,
) -> Option<Word> {
    // Messages have none, and are not to pay for the rest.
    let status = status?;
    let text = description.unwrap_or_default();
    let left =
        headers.and_then(|headers| headers.get("Nats-Pending-Messages")?.as_str().parse().ok());
    Some(match status.as_u16() {
        100 => Word::Heartbeat,
        404 | 408 => Word::Over(left),
        409 if text.contains("Batch Completed") || text.contains("Exceeds MaxBytes") => {
            Word::Over(left)
        }
        code => Word::Gone(format!("{code} {text}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: u16, text: &str, left: Option<&str>) -> Option<Word> {
        let mut headers = HeaderMap::new();
        if let Some(left) = left {
            headers.insert("Nats-Pending-Messages", left);
        }
        word(Some(StatusCode::from_u16(code).unwrap()), Some(text), Some(&headers))
    }

    #[test]
    fn n1_the_server_is_understood() {
        assert_eq!(said(100, "Idle Heartbeat", None), Some(Word::Heartbeat));
        assert_eq!(said(408, "Request Timeout", Some("7")), Some(Word::Over(Some(7))));
        assert_eq!(said(404, "No Messages", None), Some(Word::Over(None)));
        assert_eq!(said(409, "Batch Completed", Some("0")), Some(Word::Over(Some(0))));
        assert_eq!(
            said(409, "Consumer Deleted", None),
            Some(Word::Gone("409 Consumer Deleted".to_owned()))
        );
        assert_eq!(said(503, "", None), Some(Word::Gone("503 ".to_owned())));
        assert_eq!(word(None, None, None), None);
        let request =
            Request::waiting(5, Duration::from_secs(1), Duration::from_millis(1)).payload();
        assert_eq!(request, r#"{"batch":5,"expires":1000000000,"idle_heartbeat":1000000}"#);
        assert_eq!(Request::at_once(3).payload(), r#"{"batch":3,"no_wait":true}"#);
    }
}
