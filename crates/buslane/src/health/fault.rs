//! The faults that health knows: name, component, condition and consequences of each.

use serde::Serialize;
use std::fmt;

/// The health of a bus or of a component: the worst of its faults.
///
/// Conditions are ordered, from the best to the worst.
///
/// ```
/// use buslane::{Condition, Fault};
///
/// assert_eq!(Fault::BlockedKey.condition(), Condition::Degraded);
/// assert!(Condition::Healthy < Condition::Warning && Condition::Warning < Condition::Degraded);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Condition {
    /// No fault. Idle and paused buses are healthy. The default.
    #[default]
    Healthy,
    /// Worth a look, not urgent.
    Warning,
    /// A part of the work does not get done.
    Degraded,
    /// No work gets done.
    Unhealthy,
}

impl Condition {
    /// `healthy`, `warning`, `degraded` or `unhealthy`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Warning => "warning",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A part of a bus that can have faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Component {
    /// The connection to the broker, the login and the consumer group.
    Broker,
    /// Publishing.
    Publisher,
    /// Reading.
    Subscriber,
    /// Handlers, and the keys whose messages fail.
    Handlers,
    /// The pool of workers or actors.
    Pool,
    /// The process, and the bus's tasks in it.
    Process,
}

impl Component {
    /// All components, in the order of a report.
    pub const ALL: [Self; 6] = [
        Self::Broker,
        Self::Publisher,
        Self::Subscriber,
        Self::Handlers,
        Self::Pool,
        Self::Process,
    ];
}

macro_rules! faults {
    ($($(#[$doc:meta])* $fault:ident $name:literal $component:ident $condition:ident,)*) => {
        /// A fault that health can name: a condition that has lasted longer than its limit.
        ///
        /// Limits are set in [`HealthConfig`](crate::config::HealthConfig). The list is complete:
        /// health reports no other fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum Fault {
            $($(#[$doc])* $fault,)*
        }

        impl Fault {
            /// All faults.
            pub const ALL: &[Self] = &[$(Self::$fault,)*];

            /// The names of all faults.
            pub(crate) const NAMES: &[&'static str] = &[$($name,)*];

            /// The name in reports, metrics and log lines, such as `blocked_key`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$fault => $name,)*
                }
            }

            /// The part of the bus that has the fault.
            #[must_use]
            pub const fn component(self) -> Component {
                match self {
                    $(Self::$fault => Component::$component,)*
                }
            }

            /// The condition of a component with this fault.
            #[must_use]
            pub const fn condition(self) -> Condition {
                match self {
                    $(Self::$fault => Condition::$condition,)*
                }
            }
        }
    };
}

faults! {
    /// The broker cannot be reached.
    BrokerGone "broker_gone" Broker Unhealthy,
    /// The broker is connected and answers no ping.
    BrokerSilent "broker_silent" Broker Unhealthy,
    /// The broker refuses the login.
    CredentialExpired "credential_expired" Broker Unhealthy,
    /// A task of the broker's client has ended and was not replaced.
    ClientEnded "client_ended" Broker Unhealthy,
    /// The consumer group does not become stable: this member has no reliable share.
    GroupNotStable "group_not_stable" Broker Degraded,
    /// Probes that the bus publishes to itself are not acknowledged.
    PublisherStuck "publisher_stuck" Publisher Degraded,
    /// Dead letters cannot be written: their keys are blocked.
    DeadLetterUnwritable "dead_letter_unwritable" Publisher Degraded,
    /// Probes that the bus publishes to itself are acknowledged and do not come back.
    ProbesLost "probes_lost" Subscriber Degraded,
    /// A partition holds messages and delivers none.
    DeadPartition "dead_partition" Subscriber Degraded,
    /// The broker refuses settlements: handled messages would run again after a restart.
    CommitRefused "commit_refused" Subscriber Degraded,
    /// A topic is paused, or has no handler, for too long.
    PausedTooLong "paused_too_long" Subscriber Warning,
    /// Reading has ended for good.
    ReadingEnded "reading_ended" Subscriber Unhealthy,
    /// One attempt of a handler takes too long.
    StuckHandler "stuck_handler" Handlers Degraded,
    /// A key is out of attempts and waits.
    BlockedKey "blocked_key" Handlers Degraded,
    /// A partition is not read because the key of its next message has no room: the key fails, or
    /// has too many messages.
    PartitionHeld "partition_held" Handlers Degraded,
    /// A source finds no room in the pool.
    PoolFull "pool_full" Pool Degraded,
    /// Actors are restarted too often.
    RestartStorm "restart_storm" Pool Degraded,
    /// The process uses more memory than configured.
    MemoryCeiling "memory_ceiling" Process Degraded,
    /// A task of the bus has ended while the bus is open.
    TaskEnded "task_ended" Process Unhealthy,
}

impl Fault {
    /// Whether only a new process repairs it.
    pub(super) const fn is_deadly(self) -> bool {
        matches!(self, Self::ClientEnded | Self::ReadingEnded | Self::TaskEnded)
    }

    /// Whether a bus with it is not ready.
    pub(super) const fn blocks_readiness(self) -> bool {
        matches!(
            self,
            Self::BrokerGone | Self::BrokerSilent | Self::CredentialExpired | Self::GroupNotStable
        ) || self.is_deadly()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o3_a_fault_has_one_name_everywhere() {
        for fault in Fault::ALL {
            assert_eq!(serde_json::to_value(fault).unwrap(), fault.as_str());
        }
        let names: std::collections::BTreeSet<_> =
            Fault::ALL.iter().map(|fault| fault.as_str()).collect();
        assert_eq!(names.len(), Fault::ALL.len());
    }
}
