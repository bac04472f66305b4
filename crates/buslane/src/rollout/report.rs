//! The report of a rollout: its events, its status, and the errors of its commands.

use buslane_rollout::{Breach, PlanStatus, WindowStatus};
use serde::Serialize;
use std::{fmt, time::Duration};
use thiserror::Error;
use time::OffsetDateTime;
use tokio::sync::broadcast;

/// A change of a rollout, from [`Rollout::watch`](crate::Rollout::watch).
///
/// ```
/// use buslane::{Config, EventBus, rollout::RolloutEvent};
/// # use std::time::Duration;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = EventBus::connect(Config::default()).await?;
/// let mut events = bus.rollout().watch();
/// bus.rollout().set_percent(10, "alice")?;
/// while let Some(event) = events.next().await {
///     if let RolloutEvent::Moved { percent, slots, .. } = event {
///         assert_eq!((percent, slots), (10, 102)); // of 1,024
///         break;
///     }
/// }
/// # bus.shutdown(Duration::from_secs(10)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RolloutEvent {
    /// The actor pool's share of the keys changed.
    PercentChanged {
        /// The share before.
        from: u8,
        /// The share from now on.
        to: u8,
        /// The origin of the change: an operator, `plan` or `guard`.
        by: String,
    },
    /// A move has ended: all slots are in their pools, except the stuck ones.
    Moved {
        /// The actor pool's share of the keys.
        percent: u8,
        /// Slots that moved.
        slots: usize,
        /// The duration of the move.
        took: Duration,
    },
    /// A slot stays in its pool for now: its handler did not end within the deadline.
    SlotStuck {
        /// The slot.
        slot: usize,
    },
    /// The plan's next stage may begin.
    MayAdvance {
        /// The current stage, from 0.
        stage: usize,
    },
    /// The plan's next stage began.
    Advanced {
        /// The new stage, from 0.
        stage: usize,
        /// The origin of the change: an operator, `plan` or `guard`.
        by: String,
    },
    /// Every key moves back to the keyed pool.
    RolledBack(RollBack),
    /// The plan has completed its last stage.
    PlanEnded,
}

/// A return to 0 %.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RollBack {
    /// The limit that was exceeded; `None` when an operator rolled back.
    pub breach: Option<Breach>,
    /// The origin of the roll-back: `guard`, or the operator.
    pub by: String,
    /// The actor pool's share of the keys before.
    pub percent: u8,
    /// Slots that were on the actor pool, or moving.
    pub slots: usize,
    /// When the roll-back began.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

impl fmt::Display for RollBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {} % of the keys by {}", self.percent, self.by)?;
        match &self.breach {
            Some(breach) => write!(f, ": {breach}"),
            None => Ok(()),
        }
    }
}

/// The events of a rollout since [`Rollout::watch`](crate::Rollout::watch), in order. A reader that
/// is more than 256 events late misses the oldest.
pub struct RolloutEvents(pub(super) broadcast::Receiver<RolloutEvent>);

impl RolloutEvents {
    /// Waits for the next event; `None` after the bus and every [`Rollout`](crate::Rollout) of it
    /// are dropped.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn next(&mut self) -> Option<RolloutEvent> {
        loop {
            match self.0.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// Why a rollout refused a command. Nothing has changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RolloutError {
    /// This build does not contain the actor pool.
    #[error("the actor pool is not part of this build: build buslane with the cargo feature actor")]
    NoActorPool,
    /// The bus runs a pool of its own, from [`BusBuilder::pool`](crate::BusBuilder::pool).
    #[error("the bus runs a pool of its own, which shares no keys")]
    OwnPool,
    /// The share is above 100 %.
    #[error("percent must be 0 to 100, not {0}")]
    Percent(u8),
    /// No plan is active.
    #[error("no plan runs")]
    NoPlan,
    /// The plan has no further stage.
    #[error("the plan is at its last stage")]
    LastStage,
    /// The bus is closed.
    #[error("eventbus is closed")]
    Closed,
}

/// The state of a rollout at one moment, from [`Rollout::status`](crate::Rollout::status).
///
/// As JSON, which the HTTP server sends, keys are the names of the fields.
///
/// ```
/// use buslane::{Config, EventBus};
/// # use std::time::Duration;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = EventBus::connect(Config::default()).await?;
/// let status = bus.rollout().status();
/// assert_eq!((status.percent, status.slots.total, status.slots.on_actor), (0, 1_024, 0));
/// assert!(status.plan.is_none() && status.stuck.is_empty() && status.roll_backs == 0);
/// # bus.shutdown(Duration::from_secs(10)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RolloutStatus {
    /// The actor pool's share of the keys.
    pub percent: u8,
    /// The origin of that share: a source of the configuration, an operator, `plan` or `guard`.
    pub set_by: String,
    /// The hash slots.
    pub slots: SlotStatus,
    /// Slots that stay in their pool because a handler did not end. Their move is retried after
    /// `rollout.move_deadline`.
    pub stuck: Vec<StuckSlot>,
    /// The active plan.
    pub plan: Option<PlanStatus>,
    /// Both pools over the guard's last window; `None` before its first comparison.
    pub window: Option<WindowStatus>,
    /// Roll-backs since the bus started.
    pub roll_backs: u64,
    /// The last roll-back.
    pub last_roll_back: Option<RollBack>,
    /// Handlers compared with their twins; `None` before the first message of
    /// [a subscription with a twin](crate::SubscriptionBuilder::shadow).
    pub shadow: Option<ShadowStatus>,
}

/// The owners of the hash slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct SlotStatus {
    /// All slots: 1,024, or 0 on a bus with a pool of its own.
    pub total: usize,
    /// Slots on the actor pool.
    pub on_actor: usize,
    /// Slots that are moving between the pools.
    pub moving: usize,
}

/// A slot that stays in its pool because a handler does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StuckSlot {
    /// The slot.
    pub slot: usize,
    /// Seconds since its move began.
    pub seconds: u64,
}

/// The comparison of handlers with their twins, since the bus started.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ShadowStatus {
    /// Messages that both handler and twin have ended.
    pub compared: u64,
    /// Of these, messages that one of the two handled and the other failed.
    pub different: u64,
    /// Chosen messages without a comparison: there was no room for the twin, the key's slot was
    /// moving, or one of the two was dropped before it ended.
    pub dropped: u64,
    /// The 99th percentile of the time from acceptance to outcome of handlers, with their retries,
    /// in milliseconds.
    pub handler_p99_ms: Option<f64>,
    /// The same of twins, which have no retries.
    pub twin_p99_ms: Option<f64>,
}
