//! Why a record was not stored, before it is said for a topic.

use async_nats::client::PublishErrorKind;
use buslane_core::{PublishError, Topic};
use std::time::Duration;

#[derive(Debug, Clone)]
pub(super) enum Failure {
    Closed,
    /// After so long; what was waited for.
    Timeout(Duration, &'static str),
    Refused(String),
    /// Nobody listens on the subject: there is no stream.
    NoStream,
}

impl Failure {
    /// The client did not take it.
    pub(super) fn unsent(error: &async_nats::PublishError) -> Self {
        Self::Refused(match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => format!("{error} (max_payload of the server)"),
            _ => error.to_string(),
        })
    }

    pub(super) fn explain(self, topic: &Topic) -> PublishError {
        let topic = topic.clone();
        match self {
            Self::Closed => PublishError::Closed,
            Self::Timeout(waited, detail) => PublishError::Timeout { topic, waited, detail: detail.to_owned() },
            Self::Refused(reason) => PublishError::Refused { topic, reason },
            Self::NoStream => PublishError::Refused { topic, reason: "no stream covers the subject".to_owned() },
        }
    }
}
