//! What a rollout reports: its events, its status, and why it refuses a command.

use buslane_rollout::{Breach, PlanStatus, WindowStatus};
use serde::Serialize;
use std::{fmt, time::Duration};
use thiserror::Error;
use time::OffsetDateTime;
use tokio::sync::broadcast;

/// A change of the rollout.
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
        /// Who asked for it.
        by: String,
    },
    /// All slots have arrived in their pools, except those that are stuck.
    Moved {
        /// The actor pool's share of the keys.
        percent: u8,
        /// Slots that moved.
        slots: usize,
        /// How long it took.
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
        /// Who asked for it.
        by: String,
    },
    /// Every key goes back to the keyed pool.
    RolledBack(RollBack),
    /// The plan ended after its last stage.
    PlanEnded,
}

/// A return to 0 %.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RollBack {
    /// The limit that was exceeded; `None` when an operator rolled back.
    pub breach: Option<Breach>,
    /// Who decided it: `guard`, or the operator.
    pub by: String,
    /// The actor pool's share of the keys before.
    pub percent: u8,
    /// Slots that ran on the actor pool, or were moving.
    pub slots: usize,
    /// When.
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

/// The events of a rollout, in order. A reader that is more than 256 events late misses the oldest.
pub struct RolloutEvents(pub(super) broadcast::Receiver<RolloutEvent>);

impl RolloutEvents {
    /// Waits for the next event; `None` when the bus is gone.
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

/// Why a rollout refuses a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RolloutError {
    /// This build does not contain the actor pool.
    #[error("the actor pool is not part of this build: build buslane with the cargo feature actor")]
    NoActorPool,
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

/// The state of a rollout.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RolloutStatus {
    /// The actor pool's share of the keys.
    pub percent: u8,
    /// Who decided it.
    pub set_by: String,
    /// The hash slots.
    pub slots: SlotStatus,
    /// Slots that stay in their pool because a handler did not end. They are tried again.
    pub stuck: Vec<StuckSlot>,
    /// The active plan.
    pub plan: Option<PlanStatus>,
    /// Both pools over the guard's last window; `None` before its first comparison.
    pub window: Option<WindowStatus>,
    /// Roll-backs since the bus started.
    pub roll_backs: u64,
    /// The last of them.
    pub last_roll_back: Option<RollBack>,
    /// Handlers compared with their twins; `None` before the first message of
    /// [a subscription with a twin](crate::SubscriptionBuilder::shadow).
    pub shadow: Option<ShadowStatus>,
}

/// Where the slots are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SlotStatus {
    /// All slots.
    pub total: usize,
    /// Those that run on the actor pool.
    pub on_actor: usize,
    /// Those that are moving between the pools.
    pub moving: usize,
}

/// A slot that does not move because a handler does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StuckSlot {
    /// The slot.
    pub slot: usize,
    /// Seconds since it was to move.
    pub seconds: u64,
}

/// Handlers compared with their twins, since the bus started.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ShadowStatus {
    /// Messages that both have ended.
    pub compared: u64,
    /// Of these, messages that one of the two handled and the other failed.
    pub different: u64,
    /// Messages that were chosen and not compared: there was no room for the twin, the key's slot
    /// was moving, or one of the two was dropped before it ended.
    pub dropped: u64,
    /// Time from acceptance to outcome that 99 % of the handlers did not exceed, retries included,
    /// in milliseconds.
    pub handler_p99_ms: Option<f64>,
    /// The same of the twins.
    pub twin_p99_ms: Option<f64>,
}
