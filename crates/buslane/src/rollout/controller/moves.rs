//! What became of slots that were asked to move.

use super::{Controller, State, boundary};
use crate::{clock::now, rollout::RolloutEvent};
use std::time::Instant;
use tracing::{info, warn};

impl Controller {
    /// Asks the slots that are elsewhere to move.
    pub(super) fn aim(&self, state: &mut State) {
        self.pool.rebalance_to(boundary(state.percent));
        let moving = self.pool.counts().moving;
        if moving > 0 {
            state.aimed = Some((now(), moving));
            self.is_moving.send_replace(true);
        }
        self.aimed.notify_one();
    }

    /// Asks the slots that have stayed to move again.
    pub(in crate::rollout) fn retry_stuck(&self) {
        let mut state = self.state.lock();
        if !state.stuck.is_empty() {
            self.aim(&mut state);
        }
    }

    /// Slots stay where they are for now.
    pub(in crate::rollout) fn gave_up(&self, slots: &[usize], since: impl Fn(usize) -> Instant) {
        let mut state = self.state.lock();
        for slot in slots {
            if state.stuck.insert(*slot, since(*slot)).is_none() {
                warn!(slot, "rollout slot stays for now: a handler of it does not end");
                self.tell(RolloutEvent::SlotStuck { slot: *slot });
            }
        }
        self.metrics.stuck(state.stuck.len());
    }

    /// Some slots have arrived; `moving` are still on their way, and these were waited for in vain.
    pub(in crate::rollout) fn moved(&self, moving: usize) {
        self.metrics.moving(moving);
        if moving > 0 {
            return;
        }
        let mut state = self.state.lock();
        // Something may have been asked for meanwhile.
        if self.pool.counts().moving > 0 {
            return;
        }
        let is_there = |slot: &usize| self.pool.is_settled(*slot);
        state.stuck.retain(|slot, _| !is_there(slot));
        self.metrics.stuck(state.stuck.len());
        if let Some((since, slots)) = state.aimed.take() {
            let (percent, took) = (state.percent, now() - since);
            let slots = slots.saturating_sub(state.stuck.len());
            info!(
                percent,
                slots,
                seconds = took.as_secs_f64(),
                stuck = state.stuck.len(),
                "rollout slots moved"
            );
            self.tell(RolloutEvent::Moved { percent, slots, took });
        }
        self.is_moving.send_replace(false);
    }
}
