//! What librdkafka says of its troubles. A failed call names a code alone; why a login was refused stands only in the
//! log.

use parking_lot::Mutex;
use rdkafka::{
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
};
use std::time::{Duration, Instant};
use tracing::{debug, error, info, warn};

/// What it means, mostly, when the first question of all is answered by closing the connection.
const TLS_HINT: &str = "; that is what a port for TLS does to plain text";

/// The same error within this time is told only to those who debug: a client that looks for a broker finds it ten times a second.
const REPEATED: Duration = Duration::from_secs(10);

/// The last trouble of one client.
#[derive(Default)]
pub(crate) struct Reasons {
    last: Mutex<Option<String>>,
    told: Mutex<Option<(String, Instant)>>,
}

impl Reasons {
    pub(crate) fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => {
                *self.last.lock() = Some(message.to_owned());
                if level as i32 <= RDKafkaLogLevel::Error as i32 {
                    error!(facility, message, "kafka client");
                } else {
                    warn!(facility, message, "kafka client");
                }
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                // A connection that the other side has closed is told no louder, and may have been refused.
                if facility == "FAIL" {
                    let hint = if message.contains("APIVERSION_QUERY") { TLS_HINT } else { "" };
                    *self.last.lock() = Some(format!("{message}{hint}"));
                }
                info!(facility, message, "kafka client");
            }
            RDKafkaLogLevel::Debug => debug!(facility, message, "kafka client"),
        }
    }

    pub(crate) fn error(&self, error: &KafkaError, reason: &str) {
        let text = if reason.is_empty() { error.to_string() } else { format!("{error}: {reason}") };
        if self.is_repeated(&text) {
            debug!(error = text, "kafka client");
        } else {
            warn!(error = text, "kafka client");
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

    fn is_repeated(&self, text: &str) -> bool {
        let (mut told, now) = (self.told.lock(), Instant::now());
        if told.as_ref().is_some_and(|(last, at)| last == text && now.duration_since(*at) < REPEATED) {
            return true;
        }
        *told = Some((text.to_owned(), now));
        false
    }
}
