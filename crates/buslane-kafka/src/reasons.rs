//! What librdkafka says of its troubles. A failed call names a code alone; why a login was refused
//! stands only in the log.

use crate::repeats::Repeats;
use buslane_core::excerpt;
use parking_lot::Mutex;
use rdkafka::{
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
};
use std::time::Instant;
use tracing::{debug, error, info, warn};

/// What it means, mostly, when the first question of all is answered by closing the connection.
const TLS_HINT: &str = "; that is what a port for TLS does to plain text";

/// The last trouble of one client.
#[derive(Default)]
pub(crate) struct Reasons {
    last: Mutex<Option<String>>,
    repeats: Repeats,
}

impl Reasons {
    pub(crate) fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let message = &*excerpt::error(message).to_string();
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => {
                *self.last.lock() = Some(message.to_owned());
                match self.is_due(message) {
                    Some(suppressed) if level as i32 <= RDKafkaLogLevel::Error as i32 => {
                        error!(facility, message, suppressed, "kafka client");
                    }
                    Some(suppressed) => warn!(facility, message, suppressed, "kafka client"),
                    None => debug!(facility, message, "kafka client"),
                }
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                // A connection that the other side has closed is told no louder, and may have been
                // refused.
                if facility == "FAIL" {
                    let hint = if message.contains("APIVERSION_QUERY") { TLS_HINT } else { "" };
                    *self.last.lock() = Some(format!("{message}{hint}"));
                }
                match self.is_due(message) {
                    Some(suppressed) => info!(facility, message, suppressed, "kafka client"),
                    None => debug!(facility, message, "kafka client"),
                }
            }
            RDKafkaLogLevel::Debug => debug!(facility, message, "kafka client"),
        }
    }

    pub(crate) fn error(&self, error: &KafkaError, reason: &str) {
        let text = if reason.is_empty() { error.to_string() } else { format!("{error}: {reason}") };
        let text = excerpt::error(&text).to_string();
        // A failure that the client has logged before it reports it is told once.
        match self.is_due(if reason.is_empty() { &text } else { reason }) {
            Some(suppressed) => warn!(error = text, suppressed, "kafka client"),
            None => debug!(error = text, "kafka client"),
        }
        let mut last = self.last.lock();
        // That all brokers are down follows from what was said before it, and says less.
        if last.is_none() || error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *last = Some(text);
        }
    }

    /// The error of a call, with the last trouble behind it.
    pub(crate) fn explain(&self, error: &impl ToString) -> String {
        match &*self.last.lock() {
            Some(reason) => format!("{}: {reason}", error.to_string()),
            None => error.to_string(),
        }
    }

    /// How many lines like this one were left out since the last one; `None` when it is told to
    /// those who debug alone.
    pub(crate) fn is_due(&self, text: &str) -> Option<u64> {
        self.repeats.tell(text, Instant::now())
    }
}
