//! The state of a rollout: percentage, plan, guard. It carries out what operators, the plan and the
//! guard decide.

mod look;
mod moves;

use super::{
    RollBack, RolloutError, RolloutEvent, RolloutEvents, RolloutStatus, ShadowComparison,
    SlotStatus, StuckSlot,
};
use crate::{
    clock::now,
    config::LaneScope,
    metrics::{BusMetrics, RolloutMetrics},
};
use buslane_core::{Job, Topic};
use buslane_pools::{ACTOR, Pools, SLOTS};
use buslane_rollout::{ActivePlan, Breach, Guard, Plan, RolloutConfig};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};
use time::OffsetDateTime;
use tokio::sync::{Notify, broadcast, watch};
use tracing::{error, info, warn};

/// Events that a reader may be behind.
const EVENTS: usize = 256;

/// The rollout of one bus.
pub(crate) struct Controller {
    pub(super) pool: Arc<Pools>,
    state: Mutex<State>,
    events: broadcast::Sender<RolloutEvent>,
    /// Notified when slots have to move.
    pub(super) aimed: Notify,
    /// Whether slots are moving.
    is_moving: watch::Sender<bool>,
    is_closed: AtomicBool,
    metrics: RolloutMetrics,
    comparison: Arc<ShadowComparison>,
    lane_scope: LaneScope,
}

struct State {
    percent: u8,
    set_by: String,
    /// Whether the configuration still decides, and nobody has at run time.
    is_configured: bool,
    /// Whether the percentage has ever changed.
    has_changed: bool,
    run: Option<ActivePlan>,
    guard: Guard,
    /// Slots that stay for now, and since when they were to move.
    stuck: BTreeMap<usize, Instant>,
    /// When the current move began, and how many slots it has.
    aimed: Option<(Instant, usize)>,
    roll_backs: u64,
    last_roll_back: Option<RollBack>,
}

/// Slots that the actor pool has at this percentage.
pub(crate) const fn boundary(percent: u8) -> usize {
    SLOTS * percent as usize / 100
}

impl Controller {
    pub(crate) fn new(
        pool: Arc<Pools>,
        percent: u8,
        set_by: &str,
        config: &RolloutConfig,
        lane_scope: LaneScope,
        metrics: &BusMetrics,
    ) -> Arc<Self> {
        let comparison = Arc::new(ShadowComparison::new(metrics.shadows()));
        let metrics = metrics.rollout();
        metrics.percent(percent);
        let state = State {
            percent,
            set_by: set_by.to_owned(),
            is_configured: true,
            has_changed: false,
            run: None,
            guard: Guard::new(config.clone()),
            stuck: BTreeMap::new(),
            aimed: None,
            roll_backs: 0,
            last_roll_back: None,
        };
        Arc::new(Self {
            pool,
            state: Mutex::new(state),
            events: broadcast::Sender::new(EVENTS),
            aimed: Notify::new(),
            is_moving: watch::Sender::new(false),
            is_closed: AtomicBool::new(false),
            metrics,
            comparison,
            lane_scope,
        })
    }

    pub(super) fn status(&self) -> RolloutStatus {
        let (state, counts, now) = (self.state.lock(), self.pool.counts(), now());
        RolloutStatus {
            percent: state.percent,
            set_by: state.set_by.clone(),
            slots: SlotStatus { total: SLOTS, on_actor: counts.at[ACTOR], moving: counts.moving },
            stuck: (state.stuck.iter())
                .map(|(slot, since)| StuckSlot { slot: *slot, seconds: (now - *since).as_secs() })
                .collect(),
            plan: state.run.as_ref().map(|plan| plan.status(now)),
            window: state.guard.status().cloned(),
            roll_backs: state.roll_backs,
            last_roll_back: state.last_roll_back.clone(),
            shadow: self.comparison.status(),
        }
    }

    /// The comparison of handlers with their twins.
    pub(crate) fn comparison(&self) -> &Arc<ShadowComparison> {
        &self.comparison
    }

    /// As [`Pools::try_shadow`].
    pub(crate) fn try_shadow(&self, job: Job) -> bool {
        self.pool.try_shadow(job)
    }

    pub(super) fn pool_of(&self, topic: &Topic, key: &[u8]) -> &'static str {
        if self.pool.runs_at(self.lane_scope.lane(topic, key)) == ACTOR { "actor" } else { "keyed" }
    }

    pub(super) fn watch(&self) -> RolloutEvents {
        RolloutEvents(self.events.subscribe())
    }

    pub(super) async fn settled(&self) {
        // It cannot fail: the sender lives as long as `self`.
        let _ = self.is_moving.subscribe().wait_for(|is_moving| !is_moving).await;
    }

    /// Refuses every later command: the bus is closing.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Relaxed);
        self.is_moving.send_replace(false);
    }

    fn check_open(&self) -> Result<(), RolloutError> {
        if self.is_closed.load(Relaxed) { Err(RolloutError::Closed) } else { Ok(()) }
    }

    pub(super) fn set_percent(&self, percent: u8, by: &str) -> Result<(), RolloutError> {
        self.check_open()?;
        if percent > 100 {
            return Err(RolloutError::Percent(percent));
        }
        let mut state = self.state.lock();
        state.run = None;
        self.go_to(&mut state, percent, by);
        Ok(())
    }

    pub(super) fn begin(&self, plan: Plan, by: &str) -> Result<(), RolloutError> {
        self.check_open()?;
        self.begin_in(&mut self.state.lock(), plan, by);
        Ok(())
    }

    /// Applies the configuration: a plan, or else a share of the keys. If somebody has decided at
    /// run time, it changes nothing and returns who.
    pub(crate) fn configure(
        &self,
        percent: u8,
        plan: Option<Plan>,
        by: &str,
    ) -> Result<Option<String>, RolloutError> {
        self.check_open()?;
        let mut state = self.state.lock();
        if !state.is_configured {
            return Ok(Some(state.set_by.clone()));
        }
        match plan {
            Some(plan) => self.begin_in(&mut state, plan, by),
            None => {
                state.run = None;
                self.go_to(&mut state, percent, by);
            }
        }
        state.is_configured = true;
        Ok(None)
    }

    /// Who has decided at run time; `None` while the configuration decides.
    pub(crate) fn overridden_by(&self) -> Option<String> {
        let state = self.state.lock();
        (!state.is_configured).then(|| state.set_by.clone())
    }

    fn begin_in(&self, state: &mut State, plan: Plan, by: &str) {
        let plan = ActivePlan::new(plan, now());
        let percent = plan.stage().percent;
        info!(plan = %plan.plan(), by, "rollout plan begun");
        state.run = Some(plan);
        self.go_to(state, percent, by);
    }

    pub(super) fn advance(&self, by: &str) -> Result<(), RolloutError> {
        self.check_open()?;
        self.advance_in(&mut self.state.lock(), by)
    }

    fn advance_in(&self, state: &mut State, by: &str) -> Result<(), RolloutError> {
        let plan = state.run.as_mut().ok_or(RolloutError::NoPlan)?;
        let percent = plan.advance(now()).ok_or(RolloutError::LastStage)?.percent;
        self.advanced(state, percent, by);
        Ok(())
    }

    fn advanced(&self, state: &mut State, percent: u8, by: &str) {
        let stage = state.run.as_ref().map_or(0, ActivePlan::place);
        self.tell(RolloutEvent::Advanced { stage, by: by.to_owned() });
        self.go_to(state, percent, by);
    }

    pub(super) fn roll_back_by(&self, by: &str) {
        self.roll_back(&mut self.state.lock(), None, by);
    }

    fn roll_back(&self, state: &mut State, breach: Option<Breach>, by: &str) {
        let counts = self.pool.counts();
        let back = RollBack {
            by: by.to_owned(),
            percent: state.percent,
            slots: counts.at[ACTOR] + counts.moving,
            at: OffsetDateTime::now_utc(),
            breach,
        };
        state.run = None;
        state.roll_backs += 1;
        match &back.breach {
            Some(breach) => error!(
                from_percent = back.percent,
                slots = back.slots,
                %breach,
                "rolled back to the keyed pool"
            ),
            None => warn!(
                from_percent = back.percent,
                slots = back.slots,
                by,
                "rolled back to the keyed pool"
            ),
        }
        self.metrics.rolled_back(back.breach.as_ref().map(|breach| breach.trigger));
        state.last_roll_back = Some(back.clone());
        self.go_to(state, 0, by);
        self.tell(RolloutEvent::RolledBack(back));
    }

    /// Sets the percentage, begins a stage, and asks the slots to move.
    fn go_to(&self, state: &mut State, percent: u8, by: &str) {
        let from = std::mem::replace(&mut state.percent, percent);
        by.clone_into(&mut state.set_by);
        state.is_configured = false;
        state.stuck.clear();
        state.has_changed |= from != percent;
        state.guard.begin_stage(self.sample(percent));
        self.metrics.percent(percent);
        if from != percent {
            info!(from, to = percent, by, "rollout percentage changed");
            self.tell(RolloutEvent::PercentChanged { from, to: percent, by: by.to_owned() });
        }
        self.aim(state);
    }

    /// Sends an event to those who watch.
    fn tell(&self, event: RolloutEvent) {
        // It fails when nobody watches.
        let _ = self.events.send(event);
    }
}
