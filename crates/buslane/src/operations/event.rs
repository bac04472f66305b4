//! What a bus tells of its own condition: plain values, the same in callbacks and in the status.

use buslane_core::Topic;
use std::{fmt, time::Duration};
use tracing::{debug, info, warn};

/// Something about the bus has changed. Given to the callbacks of
/// [`EventBus::on_event`](crate::EventBus::on_event), in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BusEvent {
    /// A partition is behind.
    BacklogEntered(PartitionBacklog),
    /// A partition is not behind any more, or is not read by this bus any more; as it was seen
    /// last.
    BacklogLeft(PartitionBacklog),
    /// What this bus publishes piles up in front of the broker, or does so less.
    PublishBacklog {
        /// How bad it was.
        before: Severity,
        /// How it is.
        now: PublishBacklog,
    },
    /// Recovery mode is entered, changes its limits, or is left.
    Recovery {
        /// Where it stood.
        before: RecoveryPhase,
        /// How it stands.
        now: RecoveryStatus,
    },
}

/// A partition that is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionBacklog {
    /// Its topic.
    pub topic: Topic,
    /// Its number.
    pub partition: u32,
    /// Messages that are not settled.
    pub messages: u64,
    /// Time since the oldest of them was published, where that is known.
    pub age: Option<Duration>,
}

/// How much lies in front of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PublishBacklog {
    /// How bad that is.
    pub severity: Severity,
    /// Records that the broker has not answered yet.
    pub depth: u64,
    /// Mean time of the answers since the look before; zero when there was none.
    pub latency: Duration,
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[non_exhaustive]
pub enum Severity {
    /// Less than half of the limit.
    #[default]
    Normal,
    /// Half of the limit, or more.
    Warning,
    /// The limit, or more.
    Critical,
}

impl Severity {
    /// `normal`, `warning` or `critical`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where recovery mode stands. It is on in both of the last two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RecoveryPhase {
    /// Not on: nothing is limited by it.
    #[default]
    Off,
    /// On, as long as there is a backlog.
    On,
    /// Nothing is behind any more: its limits are raised step by step, and then it is left.
    Ramping,
}

impl RecoveryPhase {
    /// `off`, `on` or `ramping`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Ramping => "ramping",
        }
    }
}

impl fmt::Display for RecoveryPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why recovery mode was entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryCause {
    /// Somebody asked for it.
    ByHand,
    /// A source that was new to this bus was behind, or the configuration asks for it at every
    /// start.
    Start,
    /// A backlog came up.
    Backlog,
}

impl RecoveryCause {
    /// `by hand`, `start` or `backlog`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ByHand => "by hand",
            Self::Start => "start",
            Self::Backlog => "backlog",
        }
    }
}

impl fmt::Display for RecoveryCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Recovery mode, and what it lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RecoveryStatus {
    /// Where it stands.
    pub phase: RecoveryPhase,
    /// Why it was entered; `None` when it is off.
    pub cause: Option<RecoveryCause>,
    /// Messages a second that it lets through; `None` when it is off, and where no rate is set.
    pub per_second: Option<u32>,
    /// Keys that may have work at the same time; `None` when it is off.
    pub keys: Option<usize>,
}

impl BusEvent {
    /// What log lines call it.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::BacklogEntered(_) => "backlog_entered",
            Self::BacklogLeft(_) => "backlog_left",
            Self::PublishBacklog { .. } => "publish_backlog",
            Self::Recovery { .. } => "recovery",
        }
    }

    /// Writes it to the log, in the fixed texts that operators look for.
    pub(super) fn log(&self) {
        match self {
            Self::BacklogEntered(PartitionBacklog { topic, partition, messages, age }) => {
                let age_seconds = age.map(|age| age.as_secs_f64());
                debug!(
                    topic = topic.as_str(),
                    partition, messages, age_seconds, "partition is behind"
                );
            }
            Self::BacklogLeft(PartitionBacklog { topic, partition, .. }) => {
                debug!(topic = topic.as_str(), partition, "partition is not behind any more");
            }
            Self::PublishBacklog {
                now: PublishBacklog { severity: Severity::Normal, .. }, ..
            } => {
                info!("publish backlog left");
            }
            Self::PublishBacklog { now: PublishBacklog { severity, depth, latency }, .. } => {
                warn!(%severity, depth, latency_seconds = latency.as_secs_f64(), "publish backlog");
            }
            Self::Recovery { before, now: RecoveryStatus { phase, cause, per_second, keys } } => {
                let cause = cause.map(RecoveryCause::as_str);
                match (before, phase) {
                    (RecoveryPhase::Off, RecoveryPhase::On) => {
                        warn!(cause, per_second, keys, "recovery mode entered")
                    }
                    (_, RecoveryPhase::Off) => warn!("recovery mode left"),
                    (RecoveryPhase::Ramping, RecoveryPhase::On) => {
                        warn!(per_second, keys, "recovery mode resumed")
                    }
                    (_, RecoveryPhase::Ramping) => {
                        info!(per_second, keys, "recovery mode ramps up")
                    }
                    (_, RecoveryPhase::On) => {
                        warn!(per_second, keys, "recovery mode limits changed")
                    }
                }
            }
        }
    }
}
