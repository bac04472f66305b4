//! A plan that is being carried out: its stage, and what each decision of the guard does to it. It
//! moves no keys.

use crate::{Advance, Decision, HoldReason, Plan, Stage};
use serde::Serialize;
use std::{
    fmt,
    time::{Duration, Instant},
};

/// A plan from its first stage to its end.
#[derive(Debug)]
pub struct ActivePlan {
    plan: Plan,
    stage: usize,
    since: Instant,
    advice: Advice,
    is_over: bool,
}

/// What a decision of the guard did to the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanStep {
    /// Nothing.
    Stay,
    /// The stage may advance from now on. Returned once, until it may not and then may again.
    MayAdvance,
    /// The plan advanced to this stage by itself.
    Advanced(Stage),
    /// The last stage ended, and with it the plan.
    Done,
    /// The guard rolls back to 0 %, and the plan ended.
    RolledBack,
}

/// Whether the next stage may begin, and why not.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Advice {
    /// It may.
    Go,
    /// The stage has not lasted long enough.
    Wait {
        /// Time until it has.
        left: Duration,
    },
    /// The figures do not allow it.
    Hold(HoldReason),
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Go => f.write_str("may advance"),
            Self::Wait { left } => write!(f, "hold for another {:.0} s", left.as_secs_f64().ceil()),
            Self::Hold(reason) => write!(f, "hold: {reason}"),
        }
    }
}

/// The state of an active plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PlanStatus {
    /// Its stages, such as `10 for 1h, 50 for 1h, 100`.
    pub stages: String,
    /// Who begins the next stage.
    pub advance: Advance,
    /// The current stage, from 0.
    pub stage: usize,
    /// Seconds since the stage began.
    pub seconds: u64,
    /// `may advance`, or why the next stage may not begin.
    pub advice: String,
}

impl ActivePlan {
    /// Begins the first stage.
    #[must_use]
    pub const fn new(plan: Plan, now: Instant) -> Self {
        let advice = Advice::Hold(HoldReason::TooEarly);
        Self { plan, stage: 0, since: now, advice, is_over: false }
    }

    /// The plan.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The index of the current stage.
    #[must_use]
    pub const fn place(&self) -> usize {
        self.stage
    }

    /// The current stage.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.plan.stages()[self.stage]
    }

    /// Whether the next stage may begin, as of the last decision.
    #[must_use]
    pub const fn advice(&self) -> Advice {
        self.advice
    }

    /// The state for operators.
    #[must_use]
    pub fn status(&self, now: Instant) -> PlanStatus {
        PlanStatus {
            stages: self.plan.to_string(),
            advance: self.plan.advance(),
            stage: self.stage,
            seconds: self.lasted(now).as_secs(),
            advice: self.advice.to_string(),
        }
    }

    /// Applies a decision of the guard. The last stage is done when its time is over and the
    /// figures are good.
    pub fn decided(&mut self, decision: &Decision, now: Instant) -> PlanStep {
        if self.is_over {
            return PlanStep::Stay;
        }
        let left = self.stage().hold.saturating_sub(self.lasted(now));
        let advice = match decision {
            Decision::RollBack(_) => {
                self.is_over = true;
                return PlanStep::RolledBack;
            }
            _ if !left.is_zero() => Advice::Wait { left },
            Decision::Hold(reason) => Advice::Hold(*reason),
            Decision::MayAdvance => Advice::Go,
        };
        let before = std::mem::replace(&mut self.advice, advice);
        let is_last = self.stage + 1 == self.plan.stages().len();
        match self.plan.advance() {
            _ if advice != Advice::Go => PlanStep::Stay,
            _ if is_last => {
                self.is_over = true;
                PlanStep::Done
            }
            Advance::Automatic => self.advance(now).map_or(PlanStep::Stay, PlanStep::Advanced),
            Advance::Manual if before == Advice::Go => PlanStep::Stay,
            Advance::Manual => PlanStep::MayAdvance,
        }
    }

    /// Begins the next stage, whatever the figures are. `None` at the last stage, and when the plan
    /// has ended.
    pub fn advance(&mut self, now: Instant) -> Option<Stage> {
        let next = self.stage + 1;
        let stage = *self.plan.stages().get(next).filter(|_| !self.is_over)?;
        self.stage = next;
        self.since = now;
        self.advice = Advice::Hold(HoldReason::TooEarly);
        Some(stage)
    }

    fn lasted(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

#[cfg(test)]
impl ActivePlan {
    pub(crate) const fn is_over(&self) -> bool {
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Breach, Trigger};

    const MINUTE: Duration = Duration::from_secs(60);

    fn begun(text: &str, advance: Advance) -> (ActivePlan, Instant) {
        let start = Instant::now();
        (ActivePlan::new(text.parse::<Plan>().unwrap().advancing(advance), start), start)
    }

    fn breach() -> Decision {
        Decision::RollBack(Breach {
            trigger: Trigger::Errors,
            window: MINUTE,
            keyed_messages: 1,
            actor_messages: 1,
            actor: 1.0,
            baseline: 0.0,
            limit: 0.01,
        })
    }

    #[test]
    fn s5_a_manual_plan_tells_once_and_never_advances_by_itself() {
        let (mut active, start) = begun("10 for 1m, 50, 100", Advance::Manual);
        assert_eq!(active.decided(&Decision::MayAdvance, start + MINUTE / 2), PlanStep::Stay);
        assert_eq!(active.advice().to_string(), "hold for another 30 s");
        assert_eq!(active.decided(&Decision::MayAdvance, start + MINUTE), PlanStep::MayAdvance);
        assert_eq!(active.decided(&Decision::MayAdvance, start + 2 * MINUTE), PlanStep::Stay);
        assert_eq!(
            active.decided(&Decision::Hold(HoldReason::Idle), start + 2 * MINUTE),
            PlanStep::Stay
        );
        assert_eq!(active.advice().to_string(), "hold: no key runs on the actor pool");
        assert_eq!(active.decided(&Decision::MayAdvance, start + 3 * MINUTE), PlanStep::MayAdvance);
        assert_eq!((active.place(), active.stage().percent), (0, 10));
        assert_eq!(active.advance(start + 3 * MINUTE).map(|stage| stage.percent), Some(50));
        assert_eq!(active.lasted(start + 4 * MINUTE), MINUTE);
        assert_eq!(active.decided(&Decision::MayAdvance, start + 4 * MINUTE), PlanStep::MayAdvance);
        assert_eq!(active.advance(start + 4 * MINUTE).map(|stage| stage.percent), Some(100));
        assert_eq!(active.advance(start + 4 * MINUTE), None);
    }

    #[test]
    fn s5_an_automatic_plan_advances_when_time_and_figures_allow_it() {
        let (mut active, start) = begun("10 for 1m, 100", Advance::Automatic);
        assert_eq!(
            active.decided(&Decision::MayAdvance, start + MINUTE - MINUTE / 60),
            PlanStep::Stay
        );
        assert_eq!(
            active.decided(&Decision::Hold(HoldReason::TooEarly), start + 2 * MINUTE),
            PlanStep::Stay
        );
        let PlanStep::Advanced(stage) = active.decided(&Decision::MayAdvance, start + 3 * MINUTE)
        else {
            panic!("{:?}", active.advice());
        };
        assert_eq!((stage.percent, active.lasted(start + 3 * MINUTE)), (100, Duration::ZERO));
        assert_eq!(
            active.decided(&Decision::Hold(HoldReason::TooEarly), start + 3 * MINUTE),
            PlanStep::Stay
        );
        assert_eq!(active.decided(&Decision::MayAdvance, start + 4 * MINUTE), PlanStep::Done);
        assert!(active.is_over);
        assert_eq!(active.decided(&breach(), start + 5 * MINUTE), PlanStep::Stay);
    }

    #[test]
    fn s5_the_last_stage_lasts_as_long_as_it_says() {
        let (mut active, start) = begun("100 for 1m", Advance::Manual);
        assert_eq!(active.decided(&Decision::MayAdvance, start + MINUTE / 2), PlanStep::Stay);
        assert_eq!(active.decided(&Decision::MayAdvance, start + MINUTE), PlanStep::Done);
    }

    #[test]
    fn s5_after_a_roll_back_the_plan_is_over() {
        for advance in [Advance::Manual, Advance::Automatic] {
            let (mut active, start) = begun("10, 50", advance);
            assert_eq!(active.decided(&breach(), start), PlanStep::RolledBack);
            assert!(active.is_over);
            assert_eq!(active.decided(&Decision::MayAdvance, start + MINUTE), PlanStep::Stay);
            assert_eq!(active.advance(start + MINUTE), None);
        }
    }
}
