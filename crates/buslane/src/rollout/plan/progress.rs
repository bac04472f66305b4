//! A plan that runs: which stage, since when, and what a decision of the guard means for it. It
//! moves nothing itself.

use super::{Advance, Plan, Stage};
use crate::rollout::guard::{Decision, Hold};
use std::{
    fmt,
    time::{Duration, Instant},
};

/// A running plan, from its first stage to its end.
#[derive(Debug)]
pub(crate) struct Progress {
    plan: Plan,
    stage: usize,
    since: Instant,
    advice: Advice,
    is_over: bool,
}

/// What a look at the figures came to for the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing changes.
    Stay,
    /// The stage may be followed by the next since this look: told once for a stage, until it may
    /// not any more.
    MayAdvance,
    /// The plan went on to this stage by itself.
    Advanced(Stage),
    /// The last stage is done, and with it the plan.
    Done,
    /// The guard went back to 0 %, and the plan is over.
    RolledBack,
}

/// Whether the next stage may begin, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Advice {
    /// It may.
    Go,
    /// The stage has not lasted long enough.
    Wait { left: Duration },
    /// The figures do not allow it.
    Hold(Hold),
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Go => f.write_str("may advance"),
            Self::Wait { left } => write!(f, "hold for another {:.0} s", left.as_secs_f64().ceil()),
            Self::Hold(hold) => write!(f, "hold: {hold}"),
        }
    }
}

impl Progress {
    /// Begins the first stage.
    pub(crate) const fn new(plan: Plan, now: Instant) -> Self {
        Self { plan, stage: 0, since: now, advice: Advice::Hold(Hold::TooEarly), is_over: false }
    }

    pub(crate) const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The place of its stage in the plan, from 0.
    pub(crate) const fn place(&self) -> usize {
        self.stage
    }

    pub(crate) fn stage(&self) -> Stage {
        self.plan.stages()[self.stage]
    }

    /// For how long the stage has lasted.
    pub(crate) fn lasted(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// What is to be told of the next stage, as of the last decision.
    pub(crate) const fn advice(&self) -> Advice {
        self.advice
    }

    /// The guard has decided. The last stage needs no hold: it is done when its time, if it has
    /// one, is over and the figures are good.
    pub(crate) fn decided(&mut self, decision: &Decision, now: Instant) -> Step {
        if self.is_over {
            return Step::Stay;
        }
        let left = self.stage().hold.saturating_sub(self.lasted(now));
        let advice = match decision {
            Decision::RollBack(_) => {
                self.is_over = true;
                return Step::RolledBack;
            }
            _ if !left.is_zero() => Advice::Wait { left },
            Decision::Hold(hold) => Advice::Hold(*hold),
            Decision::MayAdvance => Advice::Go,
        };
        let before = std::mem::replace(&mut self.advice, advice);
        let is_last = self.stage + 1 == self.plan.stages().len();
        match self.plan.advance() {
            _ if advice != Advice::Go => Step::Stay,
            _ if is_last => {
                self.is_over = true;
                Step::Done
            }
            Advance::Automatic => self.advance(now).map_or(Step::Stay, Step::Advanced),
            Advance::Manual if before == Advice::Go => Step::Stay,
            Advance::Manual => Step::MayAdvance,
        }
    }

    /// Begins the next stage, whatever the figures say: somebody wants it. `None` at the last stage
    /// and when it is over.
    pub(crate) fn advance(&mut self, now: Instant) -> Option<Stage> {
        let next = self.stage + 1;
        let stage = *self.plan.stages().get(next).filter(|_| !self.is_over)?;
        (self.stage, self.since, self.advice) = (next, now, Advice::Hold(Hold::TooEarly));
        Some(stage)
    }
}

#[cfg(test)]
impl Progress {
    pub(crate) const fn is_over(&self) -> bool {
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::guard::{Breach, Trigger};

    const MINUTE: Duration = Duration::from_secs(60);

    fn begun(text: &str, advance: Advance) -> (Progress, Instant) {
        let start = Instant::now();
        (Progress::new(text.parse::<Plan>().unwrap().advancing(advance), start), start)
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
        let (mut progress, start) = begun("10 for 1m, 50, 100", Advance::Manual);
        assert_eq!(progress.decided(&Decision::MayAdvance, start + MINUTE / 2), Step::Stay);
        assert_eq!(progress.advice().to_string(), "hold for another 30 s");
        assert_eq!(progress.decided(&Decision::MayAdvance, start + MINUTE), Step::MayAdvance);
        assert_eq!(progress.decided(&Decision::MayAdvance, start + 2 * MINUTE), Step::Stay);
        assert_eq!(progress.decided(&Decision::Hold(Hold::Idle), start + 2 * MINUTE), Step::Stay);
        assert_eq!(progress.advice().to_string(), "hold: no key is on the actor side");
        assert_eq!(progress.decided(&Decision::MayAdvance, start + 3 * MINUTE), Step::MayAdvance);
        assert_eq!((progress.place(), progress.stage().percent), (0, 10));
        assert_eq!(progress.advance(start + 3 * MINUTE).map(|stage| stage.percent), Some(50));
        assert_eq!(progress.lasted(start + 4 * MINUTE), MINUTE);
        assert_eq!(progress.decided(&Decision::MayAdvance, start + 4 * MINUTE), Step::MayAdvance);
        assert_eq!(progress.advance(start + 4 * MINUTE).map(|stage| stage.percent), Some(100));
        assert_eq!(progress.advance(start + 4 * MINUTE), None);
    }

    #[test]
    fn s5_an_automatic_plan_advances_when_time_and_figures_allow_it() {
        let (mut progress, start) = begun("10 for 1m, 100", Advance::Automatic);
        assert_eq!(
            progress.decided(&Decision::MayAdvance, start + MINUTE - MINUTE / 60),
            Step::Stay
        );
        assert_eq!(
            progress.decided(&Decision::Hold(Hold::TooEarly), start + 2 * MINUTE),
            Step::Stay
        );
        let Step::Advanced(stage) = progress.decided(&Decision::MayAdvance, start + 3 * MINUTE)
        else {
            panic!("{:?}", progress.advice());
        };
        assert_eq!((stage.percent, progress.lasted(start + 3 * MINUTE)), (100, Duration::ZERO));
        assert_eq!(
            progress.decided(&Decision::Hold(Hold::TooEarly), start + 3 * MINUTE),
            Step::Stay
        );
        assert_eq!(progress.decided(&Decision::MayAdvance, start + 4 * MINUTE), Step::Done);
        assert!(progress.is_over);
        assert_eq!(progress.decided(&breach(), start + 5 * MINUTE), Step::Stay);
    }

    #[test]
    fn s5_the_last_stage_lasts_as_long_as_it_says() {
        let (mut progress, start) = begun("100 for 1m", Advance::Manual);
        assert_eq!(progress.decided(&Decision::MayAdvance, start + MINUTE / 2), Step::Stay);
        assert_eq!(progress.decided(&Decision::MayAdvance, start + MINUTE), Step::Done);
    }

    #[test]
    fn s5_after_a_roll_back_the_plan_is_over() {
        for advance in [Advance::Manual, Advance::Automatic] {
            let (mut progress, start) = begun("10, 50", advance);
            assert_eq!(progress.decided(&breach(), start), Step::RolledBack);
            assert!(progress.is_over);
            assert_eq!(progress.decided(&Decision::MayAdvance, start + MINUTE), Step::Stay);
            assert_eq!(progress.advance(start + MINUTE), None);
        }
    }
}
