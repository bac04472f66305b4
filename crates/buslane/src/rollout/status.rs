//! How a rollout stands, as a value.

use super::{Advance, RollBack, WindowStatus};
use serde::Serialize;

/// How a rollout stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RolloutStatus {
    /// Share of the keys that belongs to the actor pool.
    pub percent: u8,
    /// Who decided that.
    pub set_by: String,
    /// The hash slots.
    pub slots: SlotStatus,
    /// Slots that stay where they are, because a handler of them did not end. They are tried again.
    pub stuck: Vec<StuckSlot>,
    /// The plan that runs.
    pub plan: Option<PlanStatus>,
    /// What the guard saw last; none before its first look.
    pub window: Option<WindowStatus>,
    /// Roll-backs since the bus began.
    pub roll_backs: u64,
    /// The last of them.
    pub last_roll_back: Option<RollBack>,
    /// What handlers and their twins came to; none before the first message of
    /// [a subscription with a twin](crate::SubscriptionBuilder::shadow).
    pub shadow: Option<ShadowStatus>,
}

/// Handlers and their twins compared, since the bus began.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ShadowStatus {
    /// Messages of which both have ended.
    pub compared: u64,
    /// Of these, messages that one of the two succeeded with and the other did not.
    pub different: u64,
    /// Messages that were to be compared and will not be: there was no room for the twin, the slot
    /// of the key was on its way, or one of the two was dropped before it ended.
    pub dropped: u64,
    /// Time from acceptance to outcome that 99 % of the handlers did not exceed, retries included,
    /// in milliseconds.
    pub handler_p99_ms: Option<f64>,
    /// The same of the twins.
    pub twin_p99_ms: Option<f64>,
}

/// How many slots are where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SlotStatus {
    /// All of them.
    pub total: usize,
    /// At the actor pool.
    pub on_actor: usize,
    /// On their way.
    pub moving: usize,
}

/// A slot that does not move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StuckSlot {
    /// Which.
    pub slot: usize,
    /// Seconds since it was asked to move.
    pub seconds: u64,
}

/// A plan that runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PlanStatus {
    /// Its stages, as `10 for 1h, 50 for 1h, 100`.
    pub stages: String,
    /// Whether it goes on by itself.
    pub advance: Advance,
    /// The stage it is at, from 0.
    pub stage: usize,
    /// Seconds since that began.
    pub seconds: u64,
    /// What is to be told of the next stage: `may advance`, or why not.
    pub advice: String,
}
