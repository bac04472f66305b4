//! The faults that health knows, by name: which part of the bus each belongs to, how bad it is, and
//! what follows from it.

use serde::Serialize;
use std::fmt;

/// How well a bus, or a part of it, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Condition {
    /// Nothing is wrong. Idle and paused are healthy.
    #[default]
    Healthy,
    /// Somebody should look at it when there is time.
    Warning,
    /// Something does not work, other things do.
    Degraded,
    /// Nothing works.
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

/// A part of a bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Component {
    /// The way to the broker, the login and the group.
    Broker,
    /// What is published.
    Publisher,
    /// What is read.
    Subscriber,
    /// Handlers, and the keys whose messages they do not manage.
    Handlers,
    /// The pool of workers or actors.
    Pool,
    /// The process, and the tasks of the bus in it.
    Process,
}

impl Component {
    /// All of them, in the order of a report.
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
        /// What can be wrong with a bus.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum Fault {
            $($(#[$doc])* $fault,)*
        }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$fault,)*];

            /// The names of all of them.
            pub(crate) const NAMES: &[&'static str] = &[$($name,)*];

            /// Its name in reports, metrics and log lines, such as `blocked_key`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$fault => $name,)*
                }
            }

            /// The part of the bus that has it.
            #[must_use]
            pub const fn component(self) -> Component {
                match self {
                    $(Self::$fault => Component::$component,)*
                }
            }

            /// How bad it is.
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
    /// The broker is connected and does not answer.
    BrokerSilent "broker_silent" Broker Unhealthy,
    /// The broker refuses the login.
    CredentialExpired "credential_expired" Broker Unhealthy,
    /// A task of the client has ended, and none has taken its place.
    ClientEnded "client_ended" Broker Unhealthy,
    /// The group does not come to rest, and this member has no share that it can rely on.
    GroupNotStable "group_not_stable" Broker Degraded,
    /// What the bus publishes to itself is not acknowledged.
    PublisherStuck "publisher_stuck" Publisher Degraded,
    /// Dead letters cannot be written: their keys are blocked.
    DeadLetterUnwritable "dead_letter_unwritable" Publisher Degraded,
    /// What the bus publishes to itself is acknowledged and does not come back.
    ProbesLost "probes_lost" Subscriber Degraded,
    /// A partition holds messages and gives none.
    DeadPartition "dead_partition" Subscriber Degraded,
    /// The broker does not take settlements: messages that are done would run again.
    CommitRefused "commit_refused" Subscriber Degraded,
    /// A topic is paused, or has no handler, for very long.
    PausedTooLong "paused_too_long" Subscriber Warning,
    /// Reading has ended for good.
    ReadingEnded "reading_ended" Subscriber Unhealthy,
    /// One attempt of a handler takes very long.
    StuckHandler "stuck_handler" Handlers Degraded,
    /// Keys are out of attempts and wait.
    BlockedKey "blocked_key" Handlers Degraded,
    /// A partition is not read, because the key of its next message has no room: it fails, or has
    /// too many messages.
    PartitionHeld "partition_held" Handlers Degraded,
    /// A source finds no room in the pool.
    PoolFull "pool_full" Pool Degraded,
    /// Actors are restarted again and again.
    RestartStorm "restart_storm" Pool Degraded,
    /// The process has more memory than it should.
    MemoryCeiling "memory_ceiling" Process Degraded,
    /// A task of the bus has ended that should not.
    TaskEnded "task_ended" Process Unhealthy,
}

impl Fault {
    /// Whether only a new process mends it.
    pub(super) const fn is_deadly(self) -> bool {
        matches!(self, Self::ClientEnded | Self::ReadingEnded | Self::TaskEnded)
    }

    /// Whether nothing should be sent to this process until it is over.
    pub(super) const fn is_in_the_way(self) -> bool {
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
