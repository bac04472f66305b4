//! Moves keys between the two pools of a bus by percentage, while the bus runs.
//!
//! The decisions are in `buslane-rollout`; here are the API, the events, and the tasks that carry
//! the decisions out. It knows nothing of other instances.

mod controller;
mod mover;
mod report;
mod shadow;

pub use buslane_rollout::{
    Advance, Breach, Plan, PlanError, PlanStatus, RolloutConfig, Stage, Trigger, WindowSide,
    WindowStatus,
};
pub use report::{
    RollBack, RolloutError, RolloutEvent, RolloutEvents, RolloutStatus, ShadowStatus, SlotStatus,
    StuckSlot,
};

pub(crate) use controller::{Controller, boundary};
pub(crate) use mover::mover;
pub(crate) use shadow::{ShadowComparison, ShadowOutcome};

use crate::BusError;
use buslane_core::Topic;
use std::sync::Arc;

/// The rollout of one bus: the share of its keys that the actor pool runs, and its plan.
///
/// Cloning is cheap and gives the same rollout. It does not keep the bus alive.
#[derive(Clone)]
pub struct Rollout(Arc<Controller>);

impl Rollout {
    pub(crate) fn of(controller: &Arc<Controller>) -> Self {
        Self(Arc::clone(controller))
    }

    /// Its state.
    #[must_use]
    pub fn status(&self) -> RolloutStatus {
        self.0.status()
    }

    /// Moves this share of the keys to the actor pool: 0 for none, 100 for all. A larger share
    /// contains the keys of a smaller one. Keys move one slot at a time, while no message of the
    /// slot runs; [`Rollout::settled`] waits for them. Ends an active plan. Logs and events name
    /// `by` as the one who asked.
    ///
    /// # Errors
    /// A share above 100, a bus that is closed, or a build without the actor pool and a share above
    /// 0.
    pub fn set_percent(&self, percent: u8, by: &str) -> Result<(), RolloutError> {
        if percent > 0 {
            has_actor_pool()?;
        }
        self.0.set_percent(percent, by)
    }

    /// Begins a plan at its first stage. Replaces an active one.
    ///
    /// # Errors
    /// A bus that is closed, or a build without the actor pool.
    pub fn begin(&self, plan: Plan, by: &str) -> Result<(), RolloutError> {
        has_actor_pool()?;
        self.0.begin(plan, by)
    }

    /// Advances the plan to its next stage, even if the guard would hold it.
    ///
    /// # Errors
    /// No plan is active, it is at its last stage, or the bus is closed.
    pub fn advance(&self, by: &str) -> Result<(), RolloutError> {
        self.0.advance(by)
    }

    /// Moves every key back to the keyed pool, and ends the plan.
    pub fn roll_back(&self, by: &str) {
        self.0.roll_back_by(by);
    }

    /// The pool that runs the messages of a key now: `keyed` or `actor`. For the key of its own
    /// message, a handler gets the pool that runs it.
    ///
    /// # Errors
    /// `topic` is not a topic name.
    pub fn pool_of(&self, topic: &str, key: impl AsRef<[u8]>) -> Result<&'static str, BusError> {
        let topic = Topic::new(topic)?;
        Ok(self.0.pool_of(&topic, key.as_ref()))
    }

    /// The events from now on.
    #[must_use]
    pub fn watch(&self) -> RolloutEvents {
        self.0.watch()
    }

    /// Waits until no slot is moving. [`RolloutStatus::stuck`] names the slots that stayed because
    /// a handler did not end within the deadline.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn settled(&self) {
        self.0.settled().await;
    }
}

const fn has_actor_pool() -> Result<(), RolloutError> {
    if cfg!(feature = "actor") { Ok(()) } else { Err(RolloutError::NoActorPool) }
}
