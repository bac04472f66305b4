//! One look at both sides: what the guard decides of it, and what the plan does then.

use super::Controller;
use crate::{clock::now, rollout::RolloutEvent};
use buslane_pools::{ACTOR, KEYED};
use buslane_rollout::{ActivePlan as Progress, Decision, PlanStep as Step, Sample, SideFigures};
use tracing::info;

impl Controller {
    /// Compares both sides, and does what follows from it.
    pub(in crate::rollout) fn look(&self) {
        let mut state = self.state.lock();
        if state.percent == 100 && !state.has_changed && state.run.is_none() {
            // The pool that was configured: there is nothing to go back to by itself.
            return;
        }
        let sample = self.sample(state.percent);
        let decision = state.guard.observe(sample);
        let step = state.run.as_mut().map_or(Step::Stay, |run| run.decided(&decision, now()));
        match step {
            Step::Stay | Step::RolledBack => {}
            Step::Advanced(stage) => {
                // It goes on as whoever gave it wants it to.
                let is_configured = state.is_configured;
                self.advanced(&mut state, stage.percent, "plan");
                state.is_configured = is_configured;
            }
            Step::MayAdvance => {
                let stage = state.run.as_ref().map_or(0, Progress::place);
                info!(stage, "rollout may advance");
                self.tell(RolloutEvent::MayAdvance { stage });
            }
            Step::Done => {
                state.run = None;
                info!(percent = state.percent, "rollout plan ended");
                self.tell(RolloutEvent::PlanEnded);
            }
        }
        if let Decision::RollBack(breach) = decision {
            self.roll_back(&mut state, Some(breach), "guard");
        }
    }

    /// What there is to compare just now.
    pub(super) fn sample(&self, percent: u8) -> Sample {
        let side = |side| self.pool.pool(side).map(SideFigures::from).unwrap_or_default();
        Sample {
            at: now(),
            percent,
            keyed: side(KEYED),
            actor: side(ACTOR),
            resident_bytes: crate::health::resident(),
        }
    }
}
