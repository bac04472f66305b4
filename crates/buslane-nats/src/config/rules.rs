//! The rules that settings must keep.

use super::{NatsConfig, Partitions, Security};
use crate::names;
use std::{fmt::Debug, time::Duration};
use thiserror::Error;

/// The rule that a setting breaks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NatsConfigError {
    /// A value is not possible.
    #[error("nats.{setting} {rule}, found {found}")]
    Rule {
        /// Name of the setting.
        setting: &'static str,
        /// What it must be.
        rule: &'static str,
        /// The value.
        found: String,
    },
    /// A file that a setting names cannot be used. What is in it stays out of the text.
    #[error("nats.{setting}: {file}: {reason}")]
    File {
        /// Name of the setting.
        setting: &'static str,
        /// The file.
        file: String,
        /// Why not.
        reason: String,
    },
}

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(24 * 3_600);

impl NatsConfig {
    /// Checks every rule, without connecting.
    ///
    /// # Errors
    /// The first rule that a setting breaks.
    pub fn validate(&self) -> Result<(), NatsConfigError> {
        let good_host = |host: &str| {
            let port = host.rsplit_once(':').map(|(name, port)| (name, port.parse::<u16>()));
            matches!(port, Some((name, Ok(1..))) if !name.is_empty() && !name.contains(['/', '@', '?', '#', ' ']))
        };
        check(
            "servers",
            "must be HOST:PORT,HOST:PORT",
            &self.servers,
            self.servers.split(',').all(good_host),
        )?;
        let is_name = |name: &str| {
            (1..=100).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        check(
            "group",
            "must be 1 to 100 characters of A-Z a-z 0-9 . _ -",
            &self.group,
            is_name(&self.group),
        )?;
        for topic in &self.ephemeral {
            check("ephemeral", "must name topics", topic, buslane_core::Topic::new(topic).is_ok())?;
        }
        if let Partitions::Exactly(count) = self.partitions {
            check(
                "stream.partitions",
                "must be 1 to 1,024",
                &count,
                (1..=names::MOST_PARTITIONS).contains(&count),
            )?;
        }
        let doubled = self.create_missing.as_ref().and_then(|settings| settings.partitions);
        check(
            "create_missing.partitions",
            "must be left out: `partitions` has them",
            &doubled,
            doubled.is_none(),
        )?;
        let time = |setting, value: Duration, from: Duration, to: Duration, rule| {
            check(setting, rule, &value, (from..=to).contains(&value))
        };
        time(
            "connect_timeout",
            self.connect_timeout,
            10 * MILLISECOND,
            DAY,
            "must be 10 ms to 24 h",
        )?;
        time(
            "request_timeout",
            self.request_timeout,
            10 * MILLISECOND,
            DAY,
            "must be 10 ms to 24 h",
        )?;
        time("ping_interval", self.ping_interval, 10 * MILLISECOND, DAY, "must be 10 ms to 24 h")?;
        self.check_consumer()?;
        let publisher = &self.publisher;
        let in_flight = publisher.max_in_flight;
        check(
            "publisher.max_in_flight",
            "must be 1 to 50,000",
            &in_flight,
            (1..=crate::publisher::MOST).contains(&in_flight),
        )?;
        time(
            "publisher.publish_timeout",
            publisher.publish_timeout,
            MILLISECOND,
            DAY,
            "must be 1 ms to 24 h",
        )?;
        time(
            "publisher.duplicate_window",
            publisher.duplicate_window,
            100 * MILLISECOND,
            DAY,
            "must be 100 ms to 24 h",
        )?;
        check_security(&self.security)
    }

    fn check_consumer(&self) -> Result<(), NatsConfigError> {
        let own = &self.consumer;
        let time = |setting, value: Duration, from: Duration, rule| {
            check(setting, rule, &value, (from..=DAY).contains(&value))
        };
        time("consumer.ack_wait", own.ack_wait, 100 * MILLISECOND, "must be 100 ms to 24 h")?;
        for wait in &own.backoff {
            time("consumer.backoff", *wait, 100 * MILLISECOND, "must be times of 100 ms to 24 h")?;
        }
        if let Some(most) = own.max_deliver {
            check("consumer.max_deliver", "must be at least 1", &most, most > 0)?;
            check(
                "consumer.max_deliver",
                "must be more than the entries of nats.consumer.backoff",
                &most,
                most as usize > own.backoff.len(),
            )?;
        }
        let open = own.max_ack_pending;
        check(
            "consumer.max_ack_pending",
            "must be 1 to 10,000,000",
            &open,
            (1..=10_000_000).contains(&open),
        )?;
        let prefetch = own.prefetch;
        check(
            "consumer.prefetch",
            "must be 1 to 50,000",
            &prefetch,
            (1..=50_000).contains(&prefetch),
        )?;
        if let Some(replicas) = own.replicas {
            check("consumer.replicas", "must be 1 to 5", &replicas, (1..=5).contains(&replicas))?;
        }
        time("consumer.expires", own.expires, SECOND, "must be 1 s to 24 h")?;
        time("consumer.heartbeat", own.heartbeat, 100 * MILLISECOND, "must be 100 ms to 24 h")?;
        check(
            "consumer.heartbeat",
            "must be at most half of nats.consumer.expires",
            &own.heartbeat,
            own.heartbeat * 2 <= own.expires,
        )?;
        time(
            "consumer.drain_deadline",
            own.drain_deadline,
            Duration::ZERO,
            "must be at most 24 h",
        )?;
        time("consumer.lease", own.lease, 300 * MILLISECOND, "must be 300 ms to 24 h")
    }
}

fn check_security(security: &Security) -> Result<(), NatsConfigError> {
    let Some(tls) = &security.tls else { return Ok(()) };
    let both = tls.certificate_file.is_some() == tls.key_file.is_some();
    let rule = "must name certificate_file and key_file together";
    check("security.tls", rule, &(tls.certificate_file.as_deref(), tls.key_file.as_deref()), both)
}

fn check(
    setting: &'static str,
    rule: &'static str,
    found: &impl Debug,
    holds: bool,
) -> Result<(), NatsConfigError> {
    if holds {
        Ok(())
    } else {
        Err(NatsConfigError::Rule { setting, rule, found: format!("{found:?}") })
    }
}
