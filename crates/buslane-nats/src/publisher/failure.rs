//! Why a record was not stored.

use crate::error::SERVER;
use buslane_core::{BrokerError, PublishError, Record, Topic};
use serde::Deserialize;
use std::time::Duration;

#[derive(Debug, Clone)]
pub(super) enum Failure {
    Closed,
    /// The time for which the publisher waited, and the reason.
    Timeout(Duration, &'static str),
    /// The limit that the record exceeds.
    TooLarge(String),
    /// The stream or the server has no capacity at present.
    Unavailable(String),
    Refused(String),
    /// No stream listens to the subject.
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

/// `message size exceeds maximum allowed`: the limit of the stream.
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
            // As in HTTP, a fault of the server and not of the record, for example a full stream.
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
            // The look-up found the stream, but a stream without a leader listens to no subject.
            Self::NoStream => PublishError::Unavailable {
                topic,
                reason: "no server listens for the stream: it has no leader, or has just gone"
                    .to_owned(),
            },
        }
    }
}

/// Distinguishes an outage during the look-up of a topic's stream from a refusal.
pub(super) fn of_look_up(topic: &Topic, error: BrokerError) -> PublishError {
    let topic = topic.clone();
    match error {
        BrokerError::Closed => PublishError::Closed,
        BrokerError::Unreachable { reason } => PublishError::Unreachable { reason },
        BrokerError::Timeout { what, deadline } => {
            PublishError::Timeout { topic, waited: deadline, detail: what }
        }
        BrokerError::Setting { setting: SERVER, rule, .. } => {
            PublishError::Unavailable { topic, reason: rule }
        }
        other => PublishError::Refused { topic, reason: other.to_string() },
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

    #[test]
    fn b6_an_outage_during_the_look_up_passes_and_a_refusal_stays() {
        let topic = Topic::new("orders").unwrap();
        let setting = |setting| BrokerError::Setting {
            topic: topic.clone(),
            setting,
            rule: "why".to_owned(),
        };
        let unreachable = BrokerError::Unreachable { reason: "timed out".to_owned() };
        let timeout =
            BrokerError::Timeout { what: "a look-up".to_owned(), deadline: Duration::ZERO };
        for passing in [unreachable, timeout, setting(SERVER)] {
            let error = of_look_up(&topic, passing);
            assert!(!error.is_permanent(), "{error}");
        }
        for refusal in [setting("partitions"), BrokerError::UnknownTopic { topic: topic.clone() }] {
            let error = of_look_up(&topic, refusal);
            assert!(error.is_permanent(), "{error}");
        }
        let leaderless = Failure::NoStream.explain(&topic, &Record::default());
        assert!(matches!(leaderless, PublishError::Unavailable { .. }), "{leaderless}");
    }
}
