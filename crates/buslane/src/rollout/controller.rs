//! The state of a rollout: percentage, plan and guard. It carries out the decisions of operators,
//! of the plan and of the guard.

use super::{
    RollBack, RolloutError, RolloutEvent, RolloutEvents, RolloutStatus, ShadowComparison,
    SlotStatus, StuckSlot,
};
use crate::{
    config::LaneScope,
    metrics::{BusMetrics, RolloutMetrics},
    process::{now, resident_memory},
};
use buslane_core::{Job, Pool, Topic};
use buslane_pools::{ACTOR, KEYED, Pools, SLOTS};
use buslane_rollout::{
    ActivePlan, Breach, Decision, Guard, Plan, PlanStep, RolloutConfig, Sample, SideFigures,
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};
use time::OffsetDateTime;
use tokio::sync::{Notify, broadcast, watch};
use tracing::{error, info, warn};

/// Events that a reader may be late by. It misses older ones.
const EVENTS: usize = 256;

/// The rollout of one bus.
pub(crate) struct Controller {
    runs: Runs,
    state: Mutex<State>,
    events: broadcast::Sender<RolloutEvent>,
    /// Notified when slots have to move.
    retargeted: Notify,
    /// Whether slots are moving.
    is_moving: watch::Sender<bool>,
    is_closed: AtomicBool,
    metrics: RolloutMetrics,
    comparison: Arc<ShadowComparison>,
    lane_scope: LaneScope,
}

/// The pools that run the keys of a bus.
pub(crate) enum Runs {
    /// Both pools of the bus share the keys.
    Both(Arc<Pools>),
    /// A pool of the program runs all keys: there is nothing to roll out.
    Own(Arc<dyn Pool>),
}

impl Runs {
    /// The pools behind the interface of one.
    pub(crate) fn pool(&self) -> Arc<dyn Pool> {
        match self {
            Self::Both(pools) => Arc::clone(pools) as _,
            Self::Own(pool) => Arc::clone(pool),
        }
    }

    /// Both pools of the bus, unless the program has a pool of its own.
    pub(crate) fn both(&self) -> Option<&Pools> {
        match self {
            Self::Both(pools) => Some(pools),
            Self::Own(_) => None,
        }
    }
}

struct State {
    percent: u8,
    set_by: String,
    /// Whether the configuration decides: no operator, plan or guard has decided since.
    is_configured: bool,
    /// Whether the percentage has ever changed.
    has_changed: bool,
    active_plan: Option<ActivePlan>,
    guard: Guard,
    /// Slots that stay in their pool for now, and since when they should have moved.
    stuck: BTreeMap<usize, Instant>,
    /// When the current move began, and its number of slots.
    current_move: Option<(Instant, usize)>,
    roll_backs: u64,
    last_roll_back: Option<RollBack>,
}

/// The number of slots that the actor pool owns at this percentage.
pub(crate) const fn boundary(percent: u8) -> usize {
    SLOTS * percent as usize / 100
}

impl Controller {
    pub(crate) fn new(
        runs: Runs,
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
            active_plan: None,
            guard: Guard::new(config.clone()),
            stuck: BTreeMap::new(),
            current_move: None,
            roll_backs: 0,
            last_roll_back: None,
        };
        Arc::new(Self {
            runs,
            state: Mutex::new(state),
            events: broadcast::Sender::new(EVENTS),
            retargeted: Notify::new(),
            is_moving: watch::Sender::new(false),
            is_closed: AtomicBool::new(false),
            metrics,
            comparison,
            lane_scope,
        })
    }

    pub(super) fn status(&self) -> RolloutStatus {
        let (state, now) = (self.state.lock(), now());
        let slots =
            self.pools().map(|pools| pools.counts()).map_or_else(SlotStatus::default, |counts| {
                SlotStatus { total: SLOTS, on_actor: counts.at[ACTOR], moving: counts.moving }
            });
        RolloutStatus {
            percent: state.percent,
            set_by: state.set_by.clone(),
            slots,
            stuck: (state.stuck.iter())
                .map(|(slot, since)| StuckSlot { slot: *slot, seconds: (now - *since).as_secs() })
                .collect(),
            plan: state.active_plan.as_ref().map(|plan| plan.status(now)),
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

    /// Both pools of the bus, unless the program has a pool of its own.
    pub(crate) fn pools(&self) -> Option<&Pools> {
        self.runs.both()
    }

    /// As [`Pools::try_shadow`].
    pub(crate) fn try_shadow(&self, job: Job) -> bool {
        self.pools().is_some_and(|pools| pools.try_shadow(job))
    }

    pub(super) fn pool_of(&self, topic: &Topic, key: &[u8]) -> &'static str {
        match &self.runs {
            Runs::Own(pool) => pool.name(),
            Runs::Both(pools) if pools.runs_at(self.lane_scope.lane(topic, key)) == ACTOR => {
                "actor"
            }
            Runs::Both(_) => "keyed",
        }
    }

    pub(super) fn watch(&self) -> RolloutEvents {
        RolloutEvents(self.events.subscribe())
    }

    pub(super) async fn settled(&self) {
        // It cannot fail: the sender lives as long as `self`.
        let _ = self.is_moving.subscribe().wait_for(|is_moving| !is_moving).await;
    }

    /// Completes when slots have to move.
    pub(crate) async fn retargeted(&self) {
        self.retargeted.notified().await;
    }

    /// Refuses every later command: the bus is closing.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Relaxed);
        self.is_moving.send_replace(false);
    }

    /// The pools that a command is about.
    fn open_pools(&self) -> Result<&Pools, RolloutError> {
        if self.is_closed.load(Relaxed) {
            return Err(RolloutError::Closed);
        }
        self.pools().ok_or(RolloutError::OwnPool)
    }

    pub(super) fn set_percent(&self, percent: u8, by: &str) -> Result<(), RolloutError> {
        let pools = self.open_pools()?;
        if percent > 100 {
            return Err(RolloutError::Percent(percent));
        }
        let mut state = self.state.lock();
        state.active_plan = None;
        self.go_to(pools, &mut state, percent, by);
        Ok(())
    }

    pub(super) fn begin(&self, plan: Plan, by: &str) -> Result<(), RolloutError> {
        let pools = self.open_pools()?;
        self.begin_in(pools, &mut self.state.lock(), plan, by);
        Ok(())
    }

    /// Applies the configuration: a plan, or else a share of the keys. Where the share was decided
    /// at run time, changes nothing and returns by whom.
    pub(crate) fn configure(
        &self,
        percent: u8,
        plan: Option<Plan>,
        by: &str,
    ) -> Result<Option<String>, RolloutError> {
        let pools = self.open_pools()?;
        let mut state = self.state.lock();
        if !state.is_configured {
            return Ok(Some(state.set_by.clone()));
        }
        match plan {
            Some(plan) => self.begin_in(pools, &mut state, plan, by),
            None => {
                state.active_plan = None;
                self.go_to(pools, &mut state, percent, by);
            }
        }
        state.is_configured = true;
        Ok(None)
    }

    /// By whom the share was decided at run time; `None` while the configuration decides.
    pub(crate) fn overridden_by(&self) -> Option<String> {
        let state = self.state.lock();
        (!state.is_configured).then(|| state.set_by.clone())
    }

    fn begin_in(&self, pools: &Pools, state: &mut State, plan: Plan, by: &str) {
        let plan = ActivePlan::new(plan, now());
        let percent = plan.stage().percent;
        info!(plan = %plan.plan(), by, "rollout plan begun");
        state.active_plan = Some(plan);
        self.go_to(pools, state, percent, by);
    }

    pub(super) fn advance(&self, by: &str) -> Result<(), RolloutError> {
        let pools = self.open_pools()?;
        let mut state = self.state.lock();
        let plan = state.active_plan.as_mut().ok_or(RolloutError::NoPlan)?;
        let percent = plan.advance(now()).ok_or(RolloutError::LastStage)?.percent;
        self.advanced(pools, &mut state, percent, by);
        Ok(())
    }

    fn advanced(&self, pools: &Pools, state: &mut State, percent: u8, by: &str) {
        let stage = state.active_plan.as_ref().map_or(0, ActivePlan::place);
        self.emit(RolloutEvent::Advanced { stage, by: by.to_owned() });
        self.go_to(pools, state, percent, by);
    }

    pub(super) fn roll_back_by(&self, by: &str) {
        if let Some(pools) = self.pools() {
            self.roll_back(pools, &mut self.state.lock(), None, by);
        }
    }

    fn roll_back(&self, pools: &Pools, state: &mut State, breach: Option<Breach>, by: &str) {
        let counts = pools.counts();
        let back = RollBack {
            by: by.to_owned(),
            percent: state.percent,
            slots: counts.at[ACTOR] + counts.moving,
            at: OffsetDateTime::now_utc(),
            breach,
        };
        state.active_plan = None;
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
        self.go_to(pools, state, 0, by);
        self.emit(RolloutEvent::RolledBack(back));
    }

    /// Sets the percentage, begins a stage, and makes the slots move.
    fn go_to(&self, pools: &Pools, state: &mut State, percent: u8, by: &str) {
        let from = std::mem::replace(&mut state.percent, percent);
        by.clone_into(&mut state.set_by);
        state.is_configured = false;
        state.stuck.clear();
        state.has_changed |= from != percent;
        state.guard.begin_stage(sample(pools, percent));
        self.metrics.percent(percent);
        if from != percent {
            info!(from, to = percent, by, "rollout percentage changed");
            self.emit(RolloutEvent::PercentChanged { from, to: percent, by: by.to_owned() });
        }
        self.retarget(pools, state);
    }

    /// Makes the slots move that are not in their pool.
    fn retarget(&self, pools: &Pools, state: &mut State) {
        pools.rebalance_to(boundary(state.percent));
        let moving = pools.counts().moving;
        if moving > 0 {
            state.current_move = Some((now(), moving));
            self.is_moving.send_replace(true);
        }
        self.retargeted.notify_one();
    }

    /// Makes the stuck slots move again.
    pub(super) fn retry_stuck(&self, pools: &Pools) {
        let mut state = self.state.lock();
        if !state.stuck.is_empty() {
            self.retarget(pools, &mut state);
        }
    }

    /// Leaves slots in their pool for now, with the time since when each waits for a handler.
    pub(super) fn abort_stuck(&self, pools: &Pools, slots: &HashMap<usize, Instant>) {
        pools.abort(&slots.keys().copied().collect::<Vec<_>>());
        let mut state = self.state.lock();
        for (slot, since) in slots {
            if state.stuck.insert(*slot, *since).is_none() {
                warn!(slot, "rollout slot stays for now: a handler of it does not end");
                self.emit(RolloutEvent::SlotStuck { slot: *slot });
            }
        }
        self.metrics.stuck(state.stuck.len());
    }

    /// Takes the number of slots that still move after a step. The move has ended when there is
    /// none.
    pub(super) fn moved(&self, pools: &Pools, moving: usize) {
        self.metrics.moving(moving);
        if moving > 0 {
            return;
        }
        let mut state = self.state.lock();
        // Another move may have begun since.
        if pools.counts().moving > 0 {
            return;
        }
        let is_there = |slot: &usize| pools.is_settled(*slot);
        state.stuck.retain(|slot, _| !is_there(slot));
        self.metrics.stuck(state.stuck.len());
        if let Some((since, slots)) = state.current_move.take() {
            let (percent, took) = (state.percent, now() - since);
            let slots = slots.saturating_sub(state.stuck.len());
            info!(
                percent,
                slots,
                seconds = took.as_secs_f64(),
                stuck = state.stuck.len(),
                "rollout slots moved"
            );
            self.emit(RolloutEvent::Moved { percent, slots, took });
        }
        self.is_moving.send_replace(false);
    }

    /// Compares both pools, and carries out the decisions of guard and plan.
    pub(crate) fn evaluate(&self) {
        let Some(pools) = self.pools() else { return };
        let mut state = self.state.lock();
        if state.percent == 100 && !state.has_changed && state.active_plan.is_none() {
            // The configuration has chosen the actor pool alone: there is nothing to roll back to.
            return;
        }
        let sample = sample(pools, state.percent);
        let decision = state.guard.observe(sample);
        let step = match &mut state.active_plan {
            Some(plan) => plan.decided(&decision, now()),
            None => PlanStep::Stay,
        };
        match step {
            PlanStep::Stay | PlanStep::RolledBack => {}
            PlanStep::Advanced(stage) => {
                // A plan of the configuration stays one, whatever its stage.
                let is_configured = state.is_configured;
                self.advanced(pools, &mut state, stage.percent, "plan");
                state.is_configured = is_configured;
            }
            PlanStep::MayAdvance => {
                let stage = state.active_plan.as_ref().map_or(0, ActivePlan::place);
                info!(stage, "rollout may advance");
                self.emit(RolloutEvent::MayAdvance { stage });
            }
            PlanStep::Done => {
                state.active_plan = None;
                info!(percent = state.percent, "rollout plan ended");
                self.emit(RolloutEvent::PlanEnded);
            }
        }
        if let Decision::RollBack(breach) = decision {
            self.roll_back(pools, &mut state, Some(breach), "guard");
        }
    }

    fn emit(&self, event: RolloutEvent) {
        // It fails when no reader exists.
        let _ = self.events.send(event);
    }
}

/// The present figures of both pools.
fn sample(pools: &Pools, percent: u8) -> Sample {
    let side = |side| pools.pool(side).map(SideFigures::from).unwrap_or_default();
    Sample {
        at: now(),
        percent,
        keyed: side(KEYED),
        actor: side(ACTOR),
        resident_bytes: resident_memory(),
    }
}
