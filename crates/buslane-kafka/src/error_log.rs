//! Logs librdkafka's lines and errors, limits repeated ones, and remembers the last failure. The
//! error of a call is a bare code, and only librdkafka's log has the reason, for example of a
//! refused login.

use buslane_core::excerpt;
use parking_lot::Mutex;
use rdkafka::{
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use tracing::{debug, error, info, warn};

/// The usual cause when the other side closes the connection at its first request.
const TLS_HINT: &str = "; that is what a port for TLS does to plain text";
/// librdkafka suggests a PLAINTEXT listener itself, but not when the other side closes first.
const PLAIN_HINT: &str = "; that is what a PLAINTEXT listener does to TLS";

/// Time between two lines of a kind. A client without a broker fails ten times a second.
const INTERVAL: Duration = Duration::from_secs(10);
/// Kinds that are distinguished at a time. Further ones share one kind.
const KINDS: usize = 64;

/// The log of one client.
#[derive(Default)]
pub(crate) struct ErrorLog {
    last: Mutex<Option<String>>,
    limiter: LineLimiter,
}

impl ErrorLog {
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
                // A closed connection is logged at this level and may be a refusal.
                if facility == "FAIL" {
                    *self.last.lock() = Some(format!("{message}{}", hint(message)));
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
        // The client may have logged the same failure already.
        match self.is_due(if reason.is_empty() { &text } else { reason }) {
            Some(suppressed) => warn!(error = text, suppressed, "kafka client"),
            None => debug!(error = text, "kafka client"),
        }
        let mut last = self.last.lock();
        // "All brokers are down" is less specific than the failure before it.
        if last.is_none() || error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *last = Some(format!("{text}{}", hint(&text)));
        }
    }

    /// The error of a call, followed by the last failure.
    pub(crate) fn explain(&self, error: &impl ToString) -> String {
        match &*self.last.lock() {
            Some(reason) => format!("{}: {reason}", error.to_string()),
            None => error.to_string(),
        }
    }

    /// The number of lines like this one that were suppressed since the last logged one. `None`
    /// when this one is suppressed too, or logged only at level debug.
    pub(crate) fn is_due(&self, text: &str) -> Option<u64> {
        self.limiter.pass(text, Instant::now())
    }
}

/// The usual reason for a connection that closes in the state that `line` names.
fn hint(line: &str) -> &'static str {
    if line.contains("APIVERSION_QUERY") {
        TLS_HINT
    } else if line.contains("closed by peer") && line.contains("SSL_HANDSHAKE") {
        PLAIN_HINT
    } else {
        ""
    }
}

/// Limits repeated lines: the first line of a kind passes, then one every ten seconds.
#[derive(Default)]
struct LineLimiter(Mutex<HashMap<String, Kind>>);

struct Kind {
    logged: Instant,
    suppressed: u64,
}

impl LineLimiter {
    /// `Some` when a line like `text` passes, with the number of lines suppressed since the last
    /// one.
    fn pass(&self, text: &str, now: Instant) -> Option<u64> {
        let mut kinds = self.0.lock();
        let mut name = kind(text);
        if kinds.len() >= KINDS && !kinds.contains_key(&name) {
            kinds.retain(|_, kind| now.duration_since(kind.logged) < INTERVAL);
            if kinds.len() >= KINDS {
                name.clear();
            }
        }
        match kinds.get_mut(&name) {
            Some(kind) if now.duration_since(kind.logged) < INTERVAL => {
                kind.suppressed += 1;
                None
            }
            Some(kind) => {
                kind.logged = now;
                Some(std::mem::take(&mut kind.suppressed))
            }
            None => {
                kinds.insert(name, Kind { logged: now, suppressed: 0 });
                Some(0)
            }
        }
    }
}

/// A line without the client's thread and without digits, except those of the broker's name at its
/// front.
fn kind(text: &str) -> String {
    let text = text
        .strip_prefix("[thrd:")
        .and_then(|text| Some(text.split_once("]: ")?.1))
        .unwrap_or(text);
    // Removes the duration, and the number of equal lines that the client itself has suppressed.
    let text = text.split(" (after ").next().unwrap_or(text);
    let (broker, rest) = text.split_once(": ").unwrap_or(("", text));
    broker.chars().chain(rest.chars().filter(|letter| !letter.is_ascii_digit())).collect()
}

#[cfg(test)]
mod tests {
    use super::{INTERVAL, KINDS, LineLimiter, hint};
    use std::time::{Duration, Instant};

    const REFUSED: &str =
        "[thrd:b1:9092/1]: b1:9092/1: Connect to ipv4#10.0.0.1:9092 failed: Connection refused";

    #[test]
    fn k5_a_connection_that_the_wrong_listener_closes_names_it() {
        let closed = "ssl://b1:9092/bootstrap: Disconnected: SSL connection closed by peer (after 0ms in state SSL_HANDSHAKE)";
        assert!(hint(closed).contains("a PLAINTEXT listener"));
        let refused = "b1:9093/bootstrap: Disconnected while requesting ApiVersion (after 1ms in state APIVERSION_QUERY)";
        assert!(hint(refused).contains("a port for TLS"));
        assert_eq!(hint(REFUSED), "");
    }

    #[test]
    fn k7_a_repeated_line_passes_every_ten_seconds() {
        let (limiter, start) = (LineLimiter::default(), Instant::now());
        let mut passed = Vec::new();
        for tick in 0..250 {
            let line = format!(
                "{REFUSED} (after {tick}ms in state CONNECT, {tick} identical error(s) suppressed)"
            );
            passed.extend(limiter.pass(&line, start + Duration::from_millis(100) * tick));
        }
        assert_eq!(passed, [0, 99, 99]);
    }

    #[test]
    fn k7_another_line_passes_at_once() {
        let (limiter, now) = (LineLimiter::default(), Instant::now());
        let other_broker = REFUSED.replace("b1", "b2");
        let reported = REFUSED.split_once("]: ").expect("a thread").1;
        for line in [
            REFUSED,
            &other_broker,
            "[thrd:b1:9092/1]: b1:9092/1: SASL authentication failed",
            "fenced",
        ] {
            assert_eq!(
                (limiter.pass(line, now), limiter.pass(line, now)),
                (Some(0), None),
                "{line}"
            );
        }
        assert_eq!(
            limiter.pass(reported, now),
            None,
            "the client logs a failure and reports it as an error"
        );
    }

    #[test]
    fn k7_kinds_are_bounded_and_further_ones_share_one() {
        let (limiter, start) = (LineLimiter::default(), Instant::now());
        let name = |number: usize| "x".repeat(number + 1);
        let passed =
            (0..1_000).filter(|number| limiter.pass(&name(*number), start).is_some()).count();
        assert_eq!(passed, KINDS + 1);
        assert!(limiter.0.lock().len() <= KINDS + 1);
        assert_eq!(
            limiter.pass(&name(5_000), start + INTERVAL),
            Some(0),
            "expired kinds make room"
        );
    }
}
