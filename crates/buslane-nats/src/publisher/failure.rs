//! Why a record was not stored, before it is said for a topic.

use buslane_core::{PublishError, Record, Topic};
use serde::Deserialize;
use std::time::Duration;

#[derive(Debug, Clone)]
pub(super) enum Failure {
    Closed,
    /// After so long; what was waited for.
    Timeout(Duration, &'static str),
    /// What it is too large for.
    TooLarge(String),
    /// The stream has no room, or the server no means, at present.
    Unavailable(String),
    Refused(String),
    /// Nobody listens on the subject: there is no stream.
    NoStream,
}

/// The error in an acknowledgement.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AckError {
    code: u16,
    err_code: u32,
    description: String,
}

/// `message size exceeds maximum allowed`: that of the stream.
const MESSAGE_TOO_LARGE: u32 = 10_054;
/// `header size exceeds maximum allowed of 64k`.
const HEADERS_TOO_LARGE: u32 = 10_097;

impl From<AckError> for Failure {
    fn from(error: AckError) -> Self {
        let AckError { code, err_code, description } = error;
        match err_code {
            MESSAGE_TOO_LARGE => {
                Self::TooLarge(format!("max_msg_size of the stream: {description}"))
            }
            HEADERS_TOO_LARGE => {
                Self::TooLarge(format!("the server's limit of headers: {description}"))
            }
            // As in HTTP: the server's trouble, not the record's. A stream that is full is among
            // them.
            _ if code >= 500 => Self::Unavailable(description),
            _ => Self::Refused(description),
        }
    }
}

impl Failure {
    pub(super) fn explain(self, topic: &Topic, record: &Record) -> PublishError {
        let topic = topic.clone();
        match self {
            Self::Closed => PublishError::Closed,
            Self::Timeout(waited, detail) => {
                PublishError::Timeout { topic, waited, detail: detail.to_owned() }
            }
            Self::TooLarge(limit) => PublishError::TooLarge { topic, bytes: record.bytes(), limit },
            Self::Unavailable(reason) => PublishError::Unavailable { topic, reason },
            Self::Refused(reason) => PublishError::Refused { topic, reason },
            Self::NoStream => {
                PublishError::Refused { topic, reason: "no stream covers the subject".to_owned() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b6_what_the_server_refuses_is_told_from_what_it_cannot_do_now() {
        let failure = |code, err_code| {
            Failure::from(AckError { code, err_code, description: "why".to_owned() })
        };
        assert!(
            matches!(failure(400, 10_054), Failure::TooLarge(limit) if limit == "max_msg_size of the stream: why")
        );
        assert!(matches!(failure(400, 10_097), Failure::TooLarge(_)));
        assert!(matches!(failure(503, 10_077), Failure::Unavailable(reason) if reason == "why"));
        assert!(matches!(failure(500, 10_047), Failure::Unavailable(_)));
        assert!(matches!(failure(400, 10_109), Failure::Refused(reason) if reason == "why"));
    }
}
