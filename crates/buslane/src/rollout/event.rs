//! What a rollout tells of.

use super::guard::Breach;
use serde::Serialize;
use std::{fmt, time::Duration};
use time::OffsetDateTime;
use tokio::sync::broadcast;

/// Something about the rollout has changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RolloutEvent {
    /// Another share of the keys belongs to the actor pool.
    PercentChanged {
        /// Before.
        from: u8,
        /// From now on.
        to: u8,
        /// Who asked for it.
        by: String,
    },
    /// The slots are where they belong, except those that are stuck.
    Moved {
        /// The share of the keys that was asked for.
        percent: u8,
        /// Slots that have moved.
        slots: usize,
        /// Time since they were asked to.
        took: Duration,
    },
    /// A slot stays for now: a handler of it did not end within the deadline.
    SlotStuck {
        /// Which.
        slot: usize,
    },
    /// The guard has nothing against the next stage.
    MayAdvance {
        /// The stage that may end, from 0.
        stage: usize,
    },
    /// The plan is at another stage.
    Advanced {
        /// Which, from 0.
        stage: usize,
        /// Who asked for it.
        by: String,
    },
    /// Every key goes back to the keyed pool.
    RolledBack(RollBack),
    /// The plan has ended, at its last stage.
    PlanEnded,
}

/// A return to 0 %.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RollBack {
    /// What caused it; none when somebody asked for it.
    pub breach: Option<Breach>,
    /// Who decided it: `guard`, or who asked.
    pub by: String,
    /// Share of the keys that was on the actor pool.
    pub percent: u8,
    /// Slots that were there, or on their way.
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

/// Events of a rollout, in order. A reader that is more than 256 events late misses the oldest.
pub struct RolloutEvents(pub(super) broadcast::Receiver<RolloutEvent>);

impl RolloutEvents {
    /// Waits for the next one; `None` when the bus is gone.
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
