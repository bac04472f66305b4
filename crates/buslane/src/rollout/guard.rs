//! The guard: figures of both sides go in, a decision comes out. Pure: the time is an argument,
//! nothing is moved here.
//!
//! It compares the actor side with the keyed side over the same seconds, so that what befalls both
//! is no reason to go back. At 100 % there is no keyed side: the last keyed window that counted
//! stands for it.

mod breach;
mod chance;
mod comparison;
mod figures;
mod history;
mod memory;
mod simulation;
mod tests;

pub use breach::{Breach, Trigger};
pub use comparison::{WindowSide, WindowStatus};

pub(crate) use figures::{Sample, SideFigures};

use super::config::RolloutConfig as Rules;
use chance::Chance;
use comparison::Comparison;
use history::History;
use memory::Memory;
use std::{fmt, time::Duration};

/// The shorter windows, besides that of the rules: a breach is found in the first that has enough
/// of it.
const SHORT: Duration = Duration::from_secs(5);
const MIDDLE: Duration = Duration::from_secs(15);

/// What the figures say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Decision {
    /// Back to 0 %, at once.
    RollBack(Breach),
    /// Neither back nor on.
    Hold(Hold),
    /// The figures allow the next stage; whether its time has come the plan knows.
    MayAdvance,
}

/// Why a stage may not advance although nothing is wrong enough to go back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Hold {
    /// No key is on the actor side.
    Idle,
    /// The stage has not lasted for a window.
    TooEarly,
    /// One of the sides had too few messages in the window.
    TooFewMessages { keyed: u64, actor: u64, least: u64 },
    /// At 100 %, and no keyed window has ever counted.
    NoBaseline,
    /// p99 is above the keyed side's by this share.
    Latency { increase: f64, limit: f64 },
    /// This share of the messages restarted an actor.
    Restarts { share: f64, limit: f64 },
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("no key is on the actor side"),
            Self::TooEarly => f.write_str("the stage has not lasted for a window"),
            Self::TooFewMessages { keyed, actor, least } => {
                write!(
                    f,
                    "too few messages in the window: {keyed} keyed and {actor} actor, {least} of each are needed"
                )
            }
            Self::NoBaseline => f.write_str("no window of the keyed side to compare with"),
            Self::Latency { increase, limit } => {
                write!(
                    f,
                    "p99 is {:+.1} % beside the keyed side, limit {:+.1} %",
                    increase * 100.0,
                    limit * 100.0
                )
            }
            Self::Restarts { share, limit } => {
                write!(
                    f,
                    "{:.2} % of the messages restart an actor, limit {:.2} %",
                    share * 100.0,
                    limit * 100.0
                )
            }
        }
    }
}

/// Judges samples of both sides, one after the other.
pub(crate) struct Guard {
    rules: Rules,
    chance: Chance,
    history: History,
    /// The last window of the keyed side that counted, for when there is no keyed side any more.
    baseline: Option<SideFigures>,
    memory: Memory,
    status: Option<WindowStatus>,
}

impl Guard {
    /// A guard that has seen nothing. Until a stage begins it watches the keyed side.
    pub(crate) fn new(rules: Rules) -> Self {
        let history = History::new(rules.window, MIDDLE);
        Self {
            rules,
            chance: Chance::SURE,
            history,
            baseline: None,
            memory: Memory::since(None),
            status: None,
        }
    }

    /// Another share of the keys is on the actor side from now on: nothing before `sample` is
    /// compared with what comes.
    pub(crate) fn begin_stage(&mut self, sample: Sample) {
        self.memory = Memory::since(sample.resident_bytes);
        self.history.begin(sample);
        self.status = None;
    }

    /// Judges the time up to `sample`. To be called about once a second, at every percentage, 0
    /// included: that is where the baseline of a switch to 100 % comes from. Where a counter is
    /// lower than before, its pool began anew, and so do the windows.
    pub(crate) fn observe(&mut self, sample: Sample) -> Decision {
        let (at, percent, resident_bytes) = (sample.at, sample.percent, sample.resident_bytes);
        self.history.push(sample);
        let whole = self.compare(self.rules.window, percent);
        let (status, hold) = (whole.status(), whole.hold(&self.rules));
        let (breach, baseline) =
            (self.breach(&whole, percent), self.newer_baseline(&whole, percent));
        self.status = Some(status);
        self.baseline = baseline.or_else(|| self.baseline.take());
        if percent == 0 {
            return Decision::Hold(Hold::Idle);
        }
        let breach = breach.or_else(|| self.memory.judge(&self.rules, resident_bytes, at));
        breach.map(Decision::RollBack).or(hold.map(Decision::Hold)).unwrap_or(Decision::MayAdvance)
    }

    /// Both sides over the window, or since the stage began while that is shorter; `None` before
    /// the first look at it.
    pub(crate) const fn status(&self) -> Option<&WindowStatus> {
        self.status.as_ref()
    }

    /// What a shorter window shows is shown there first.
    fn breach(&self, whole: &Comparison<'_>, percent: u8) -> Option<Breach> {
        let shorter = [SHORT, MIDDLE].into_iter().filter(|span| *span < self.rules.window);
        let judge = |comparison: &Comparison<'_>| comparison.breach(&self.rules, &self.chance);
        shorter
            .map(|span| self.compare(span, percent))
            .find_map(|part| judge(&part))
            .or_else(|| judge(whole))
    }

    fn newer_baseline(&self, whole: &Comparison<'_>, percent: u8) -> Option<SideFigures> {
        let is_better = whole.is_full || self.baseline.is_none();
        if percent < 100 && is_better && whole.keyed_counts(&self.rules) {
            whole.keyed.clone()
        } else {
            None
        }
    }

    fn compare(&self, span: Duration, percent: u8) -> Comparison<'_> {
        // What is compared with the past has no neighbour that would feel the same stall: a few
        // seconds say nothing then.
        let past = (percent == 100).then_some(self.baseline.as_ref());
        Comparison::new(self.history.window(span), past, span > SHORT)
    }
}
