//! Moves keys between the two pools of a bus by percentage, while the bus runs.
//!
//! The decisions are in `buslane-rollout`; here are the API, the events, and the code that
//! carries the decisions out. A rollout knows nothing of other instances.

mod controller;
mod migrator;
mod report;
mod shadow_comparison;

pub use buslane_rollout::{
    Advance, Breach, Plan, PlanError, PlanStatus, RolloutConfig, Stage, Trigger, WindowSide,
    WindowStatus,
};
pub use report::{
    RollBack, RolloutError, RolloutEvent, RolloutEvents, RolloutStatus, ShadowStatus, SlotStatus,
    StuckSlot,
};

pub(crate) use controller::{Controller, Runs, boundary};
pub(crate) use migrator::Migrator;
pub(crate) use shadow_comparison::{ShadowComparison, ShadowOutcome};

use crate::BusError;
use buslane_core::Topic;
use std::sync::Arc;

/// The rollout of one bus: the share of its keys that the actor pool runs, and its plan.
///
/// Cloning is cheap and gives the same rollout. A clone does not keep the bus alive: commands to
/// the rollout of a closed bus fail with [`RolloutError::Closed`].
///
/// What a program sets here wins over file and environment, and holds until the process ends.
///
/// ```
/// use buslane::{Config, EventBus, rollout::{Plan, RolloutEvent}};
/// # use std::time::Duration;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = EventBus::connect(Config::default()).await?;
/// let rollout = bus.rollout();
/// let mut events = rollout.watch();
///
/// rollout.set_percent(25, "alice")?;
/// let percent = events.next().await;
/// assert!(matches!(percent, Some(RolloutEvent::PercentChanged { from: 0, to: 25, .. })));
/// rollout.settled().await;
/// assert_eq!(rollout.status().slots.on_actor, 256); // of 1,024
///
/// let plan: Plan = "50 for 1h, 100".parse()?;
/// rollout.begin(plan, "alice")?;
/// assert_eq!(rollout.status().percent, 50);
/// rollout.roll_back("alice");
/// assert_eq!((rollout.status().percent, rollout.status().plan), (0, None));
/// # bus.shutdown(Duration::from_secs(10)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Rollout(Arc<Controller>);

impl Rollout {
    pub(crate) const fn new(controller: Arc<Controller>) -> Self {
        Self(controller)
    }

    /// The present state.
    #[must_use]
    pub fn status(&self) -> RolloutStatus {
        self.0.status()
    }

    /// Moves this share of the keys to the actor pool: 0 for none, 100 for all. A larger share
    /// contains the keys of a smaller one. Returns at once: keys move one slot at a time, each
    /// while no message of the slot runs, and [`Rollout::settled`] waits for them. Ends an active
    /// plan. Logs and events name `by` as the origin of the change.
    ///
    /// # Errors
    /// [`RolloutError::Percent`] for a share above 100, [`RolloutError::Closed`] after the bus,
    /// [`RolloutError::OwnPool`] where the program brought its pool, and a share above 0 in a build
    /// without the actor pool. Nothing has changed then.
    pub fn set_percent(&self, percent: u8, by: &str) -> Result<(), RolloutError> {
        if percent > 0 {
            has_actor_pool()?;
        }
        self.0.set_percent(percent, by)
    }

    /// Begins a plan at its first stage. Replaces an active one.
    ///
    /// # Errors
    /// [`RolloutError::Closed`] after the bus, [`RolloutError::OwnPool`] where the program brought
    /// its pool, or a build without the actor pool.
    pub fn begin(&self, plan: Plan, by: &str) -> Result<(), RolloutError> {
        has_actor_pool()?;
        self.0.begin(plan, by)
    }

    /// Advances the plan to its next stage, even if the guard would hold it.
    ///
    /// # Errors
    /// [`RolloutError::NoPlan`] without an active plan, [`RolloutError::LastStage`] at its last
    /// stage, [`RolloutError::Closed`] after the bus, [`RolloutError::OwnPool`] where the program
    /// brought its pool.
    pub fn advance(&self, by: &str) -> Result<(), RolloutError> {
        self.0.advance(by)
    }

    /// Moves every key back to the keyed pool, and ends the plan. Without effect on a bus with a
    /// pool of its own.
    pub fn roll_back(&self, by: &str) {
        self.0.roll_back_by(by);
    }

    /// The pool that runs the messages of a key now: `keyed`, `actor`, or the name of the bus's own
    /// pool. In a handler, for the key of its own message, this is the pool that runs the handler.
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

    /// Waits until no slot is moving, or the bus is closed. [`RolloutStatus::stuck`] names the
    /// slots that stayed because a handler did not end within `rollout.move_deadline`.
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
