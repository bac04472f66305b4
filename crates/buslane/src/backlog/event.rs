//! The events of backlog and recovery mode: plain values, the same in callbacks and in the status.

use buslane_core::Topic;
use std::{fmt, time::Duration};
use tracing::{debug, info, warn};

/// A change of a bus's backlog or recovery mode, for the callbacks of
/// [`EventBus::on_event`](crate::EventBus::on_event).
///
/// Not a message: an [`Event`](crate::Event) is an envelope that a handler receives.
///
/// Callbacks get the events in the order in which they happened, each once. 1,024 events may wait
/// for slow callbacks; further ones are lost, with a line in the log.
///
/// ```
/// use buslane::{BusEvent, Config, EventBus, RecoveryPhase};
/// # use std::{sync::mpsc, time::Duration};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = EventBus::connect(Config::default()).await?;
/// let (phases, seen) = mpsc::channel();
/// bus.on_event(move |event| match event {
///     BusEvent::BacklogEntered(partition) => println!("{} is behind", partition.topic),
///     BusEvent::Recovery { now, .. } => drop(phases.send(now.phase)),
///     _ => {}
/// });
/// bus.set_recovery_mode(true);
/// bus.set_recovery_mode(false);
/// bus.shutdown(Duration::from_secs(10)).await?; // Delivers the events so far.
/// assert_eq!(seen.try_iter().collect::<Vec<_>>(), [RecoveryPhase::On, RecoveryPhase::Off]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BusEvent {
    /// A partition is behind: it exceeds a limit of [`BacklogConfig`](crate::config::BacklogConfig).
    BacklogEntered(PartitionBacklog),
    /// A partition is no longer behind, or no longer read by this bus. Holds the last figures above
    /// the limit.
    BacklogLeft(PartitionBacklog),
    /// The severity of the publish backlog changed.
    PublishBacklog {
        /// The severity before.
        before: Severity,
        /// The backlog now.
        now: PublishBacklog,
    },
    /// Recovery mode was entered or left, or its limits changed.
    Recovery {
        /// The phase before.
        before: RecoveryPhase,
        /// Phase and limits now.
        now: RecoveryStatus,
    },
}

/// A partition that is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionBacklog {
    /// The topic.
    pub topic: Topic,
    /// The number of the partition.
    pub partition: u32,
    /// Unsettled messages.
    pub messages: u64,
    /// Time since the oldest of them was published; `None` where the broker does not know it.
    pub age: Option<Duration>,
}

/// The records that the broker has not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PublishBacklog {
    /// The worse severity of depth and latency.
    pub severity: Severity,
    /// Unacknowledged records.
    pub depth: u64,
    /// Mean latency of the acknowledgements since the last check; zero without one.
    pub latency: Duration,
}

/// How close a figure is to its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[non_exhaustive]
pub enum Severity {
    /// Less than half of the limit. The default.
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

/// The phase of recovery mode. The mode is on in both `On` and `Ramping`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RecoveryPhase {
    /// Off: it limits nothing. The default.
    #[default]
    Off,
    /// On, until some checks in a row find no backlog.
    On,
    /// No partition is behind: the limits are raised step by step, then the mode is left.
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
    /// A call of [`EventBus::set_recovery_mode`](crate::EventBus::set_recovery_mode).
    ByHand,
    /// A new source of the bus was behind, or the configuration enters the mode at every start.
    Start,
    /// A check found a backlog.
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

/// Recovery mode and its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RecoveryStatus {
    /// The phase.
    pub phase: RecoveryPhase,
    /// Why the mode was entered; `None` while it is off.
    pub cause: Option<RecoveryCause>,
    /// Messages a second that the mode admits; `None` while it is off, and without a rate.
    pub per_second: Option<u32>,
    /// Keys that may have work at the same time; `None` while the mode is off.
    pub keys: Option<usize>,
}

impl BusEvent {
    /// The name in log lines.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::BacklogEntered(_) => "backlog_entered",
            Self::BacklogLeft(_) => "backlog_left",
            Self::PublishBacklog { .. } => "publish_backlog",
            Self::Recovery { .. } => "recovery",
        }
    }

    /// Logs the event, in the texts that docs/operations.md lists.
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
                debug!(topic = topic.as_str(), partition, "partition is no longer behind");
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
