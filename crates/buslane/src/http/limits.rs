//! The bounds of the server's connections: their number, and the time that each may take.

use super::HttpError;
use std::time::Duration;

/// The largest `connections`.
const MOST: usize = 65_536;
/// The longest timeout.
const LONGEST: Duration = Duration::from_secs(3_600);

/// The number of connections that a server keeps, and the time that it waits for each. Slow and
/// silent clients are disconnected, so any number of them leaves room for a probe.
///
/// ```
/// use buslane::http::{Listen, ServerLimits};
/// use std::time::Duration;
///
/// let mut limits = ServerLimits::default();
/// limits.request_timeout = Duration::from_secs(2);
/// let listen = Listen::on("127.0.0.1:8080".parse()?).limits(limits);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerLimits {
    /// Connections at a time; 1 to 65,536. A further one closes the connection whose last request
    /// began longest ago. Default: 64.
    pub connections: usize,
    /// Time from the opening of a connection, or from its last answer, until the head of its next
    /// request is complete; 1 ms to 1 h. Bounds slow heads and idle connections. Default: 30 s.
    pub idle_timeout: Duration,
    /// Time from the head of a request to its answer, its body included; 1 ms to 1 h. A request
    /// that takes longer is answered with 408, and its connection is closed. A client that does not
    /// read its answer is disconnected after this and `idle_timeout`. Default: 10 s.
    pub request_timeout: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 64,
            idle_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(10),
        }
    }
}

impl ServerLimits {
    /// The first rule that is broken.
    pub(super) fn check(self) -> Result<Self, HttpError> {
        let broken =
            |name, rule: &str, found| Err(HttpError::Limit { name, rule: rule.to_owned(), found });
        if !(1..=MOST).contains(&self.connections) {
            return broken("connections", "must be from 1 to 65536", self.connections.to_string());
        }
        for (name, time) in
            [("idle_timeout", self.idle_timeout), ("request_timeout", self.request_timeout)]
        {
            if !(Duration::from_millis(1)..=LONGEST).contains(&time) {
                return broken(name, "must be from 1ms to 1h", format!("{time:?}"));
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o3_a_limit_out_of_range_is_refused_by_name() {
        let good = ServerLimits::default();
        assert_eq!(good.check().unwrap(), good);
        for (limits, expected) in [
            (
                ServerLimits { connections: 0, ..good },
                "limits.connections: must be from 1 to 65536, found 0",
            ),
            (
                ServerLimits { connections: 65_537, ..good },
                "limits.connections: must be from 1 to 65536, found 65537",
            ),
            (
                ServerLimits { idle_timeout: Duration::ZERO, ..good },
                "limits.idle_timeout: must be from 1ms to 1h, found 0ns",
            ),
            (
                ServerLimits { request_timeout: Duration::from_secs(3_601), ..good },
                "limits.request_timeout: must be from 1ms to 1h, found 3601s",
            ),
        ] {
            assert_eq!(limits.check().unwrap_err().to_string(), expected);
        }
    }
}
