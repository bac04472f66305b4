//! Moving traffic from one pool to the other by percentage of keys, while the bus runs.
//!
//! Not a deployment tool: it decides which of the two pools of one bus runs a key, and nothing
//! about other instances.

mod comparison;
mod config;
mod controller;
mod error;
mod event;
mod guard;
mod mover;
mod plan;
mod status;

pub use config::RolloutConfig;
pub use error::RolloutError;
pub use event::{RollBack, RolloutEvent, RolloutEvents};
pub use guard::{Breach, Trigger, WindowSide, WindowStatus};
pub use plan::{Advance, Plan, PlanError, Stage};
pub use status::{PlanStatus, RolloutStatus, ShadowStatus, SlotStatus, StuckSlot};

pub(crate) use comparison::{Comparison, Ended};
pub(crate) use controller::{Controller, boundary};
pub(crate) use mover::mover;

use crate::{BusError, EventBus};
use buslane_core::Topic;
use std::sync::Arc;

/// The rollout of one bus: which share of its keys runs on the actor pool, and who decides that.
///
/// Cloning is cheap and gives the same rollout. It does not keep the bus alive.
#[derive(Clone)]
pub struct Rollout(Arc<Controller>);

impl EventBus {
    /// The rollout of this bus.
    #[must_use]
    pub fn rollout(&self) -> Rollout {
        Rollout(Arc::clone(&self.flow().rollout))
    }
}

impl Rollout {
    /// How it stands.
    #[must_use]
    pub fn status(&self) -> RolloutStatus {
        self.0.status()
    }

    /// Sends this share of the keys to the actor pool from now on: 0 for none, 100 for all. The
    /// keys of a smaller share are among those of a larger one. Keys move one slot at a time, when
    /// nothing of the slot runs; [`Rollout::settled`] waits for them. Ends a plan that runs. `by`
    /// says who asked, in logs and events.
    ///
    /// # Errors
    /// A share above 100, or a bus that is closed.
    pub fn set_percent(&self, percent: u8, by: &str) -> Result<(), RolloutError> {
        self.0.set_percent(percent, by)
    }

    /// Begins a plan, at its first stage. Takes the place of one that runs.
    ///
    /// # Errors
    /// A bus that is closed.
    pub fn begin(&self, plan: Plan, by: &str) -> Result<(), RolloutError> {
        self.0.begin(plan, by)
    }

    /// Goes on to the next stage of the plan, whatever the guard says.
    ///
    /// # Errors
    /// No plan runs, it is at its last stage, or the bus is closed.
    pub fn advance(&self, by: &str) -> Result<(), RolloutError> {
        self.0.advance(by)
    }

    /// Sends every key back to the keyed pool, and ends the plan.
    pub fn roll_back(&self, by: &str) {
        self.0.roll_back_by(by);
    }

    /// Which pool runs the messages of a key at this moment: `keyed` or `actor`. A handler that
    /// asks for its own key gets the pool it runs on.
    ///
    /// # Errors
    /// A name that is not one of a topic.
    pub fn pool_of(&self, topic: &str, key: impl AsRef<[u8]>) -> Result<&'static str, BusError> {
        let topic = Topic::new(topic)?;
        Ok(self.0.pool_of(&topic, key.as_ref()))
    }

    /// What happens from now on.
    #[must_use]
    pub fn watch(&self) -> RolloutEvents {
        self.0.watch()
    }

    /// Waits until no slot is on its way. Slots whose handler did not end within the deadline have
    /// stayed: [`RolloutStatus::stuck`] names them.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn settled(&self) {
        self.0.settled().await;
    }
}
