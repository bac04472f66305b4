//! What the connections of the server may take: how many there are, and how long each lasts.

use super::HttpError;
use std::time::Duration;

/// Most connections that a server may be told to keep.
const MOST: usize = 65_536;
/// Longest time that a connection may be told to take.
const LONGEST: Duration = Duration::from_secs(3_600);

/// How many clients a server keeps, and for how long it waits for one. A client that is slow or
/// silent is closed, so that a probe is answered however many such clients there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLimits {
    /// Connections at a time; 1 to 65,536. One more closes the connection whose last request began
    /// the longest ago. Default: 64.
    pub connections: usize,
    /// Time from the opening of a connection, or from its last answer, until the head of its next
    /// request is complete; 1 ms to 1 h. So it bounds slow heads and idle connections. Default: 30
    /// s.
    pub idle_timeout: Duration,
    /// Time from the head of a request to its answer, its body included; 1 ms to 1 h. What takes
    /// longer is answered with 408 and closed. A client that does not read its answer is closed
    /// after this and `idle_timeout`. Default: 10 s.
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
