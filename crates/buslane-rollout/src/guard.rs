//! The guard: compares the actor pool with the keyed pool, and decides whether a rollout goes back,
//! holds or may advance. It moves no keys.
//!
//! It compares both pools over the same seconds, so a disturbance that hits both causes no
//! roll-back. At 100 % the keyed pool is idle, and its last window with enough messages is the
//! baseline.

mod simulation;
mod tests;

use crate::{
    Breach, RolloutConfig, Sample, SideFigures, Trigger, WindowStatus, comparison::Comparison,
    samples::SampleHistory, significance::Significance,
};
use std::{
    fmt,
    time::{Duration, Instant},
};

/// Windows shorter than the configured one. The guard tests them first, because a clear breach
/// shows within seconds.
const SHORT: Duration = Duration::from_secs(5);
const MIDDLE: Duration = Duration::from_secs(15);

/// What the guard decides after a sample.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// All keys go back to the keyed pool at once.
    RollBack(Breach),
    /// The stage neither ends nor advances.
    Hold(HoldReason),
    /// The figures allow the next stage. The plan knows whether the stage has lasted long enough.
    MayAdvance,
}

/// Why a stage may not advance although no limit is exceeded.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum HoldReason {
    /// No key runs on the actor pool.
    Idle,
    /// The stage is younger than a window.
    TooEarly,
    /// One of the pools ended too few messages in the window.
    TooFewMessages {
        /// Messages of the keyed pool.
        keyed: u64,
        /// Messages of the actor pool.
        actor: u64,
        /// Messages that each pool needs.
        least: u64,
    },
    /// All keys run on the actor pool, and no window of the keyed pool is known.
    NoBaseline,
    /// The actor pool's p99 is too far above the keyed pool's.
    Latency {
        /// How far above: 0.2 is 20 %.
        increase: f64,
        /// `advance_p99_increase`.
        limit: f64,
    },
    /// Too many messages restart an actor.
    Restarts {
        /// Restarts for each message.
        share: f64,
        /// `advance_restart_share`.
        limit: f64,
    },
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("no key runs on the actor pool"),
            Self::TooEarly => f.write_str("the stage is younger than a window"),
            Self::TooFewMessages { keyed, actor, least } => write!(
                f,
                "too few messages in the window: {keyed} keyed and {actor} actor, \
                 {least} of each are needed"
            ),
            Self::NoBaseline => f.write_str("no window of the keyed pool to compare with"),
            Self::Latency { increase, limit } => write!(
                f,
                "p99 is {:+.1} % relative to the keyed pool, limit {:+.1} %",
                increase * 100.0,
                limit * 100.0
            ),
            Self::Restarts { share, limit } => write!(
                f,
                "{:.2} % of the messages restart an actor, limit {:.2} %",
                share * 100.0,
                limit * 100.0
            ),
        }
    }
}

/// Decides from samples of both pools, taken in order.
///
/// ```
/// use buslane_rollout::{Decision, Guard, HoldReason, RolloutConfig, Sample, SideFigures};
/// use std::time::Instant;
///
/// let sample = |percent| Sample {
///     at: Instant::now(),
///     percent,
///     keyed: SideFigures::default(),
///     actor: SideFigures::default(),
///     resident_bytes: None,
/// };
/// let mut guard = Guard::new(RolloutConfig::default());
/// assert_eq!(guard.observe(sample(0)), Decision::Hold(HoldReason::Idle));
/// guard.begin_stage(sample(10));
/// assert_eq!(guard.observe(sample(10)), Decision::Hold(HoldReason::TooEarly));
/// ```
pub struct Guard {
    config: RolloutConfig,
    significance: Significance,
    history: SampleHistory,
    /// The last keyed window with enough messages: what 100 % is compared with.
    baseline: Option<SideFigures>,
    memory: MemoryLimit,
    status: Option<WindowStatus>,
}

impl Guard {
    /// A guard without samples. Until a stage begins, it records the keyed pool's baseline.
    #[must_use]
    pub fn new(config: RolloutConfig) -> Self {
        let history = SampleHistory::new(config.window, MIDDLE);
        Self {
            config,
            significance: Significance::REQUIRED,
            history,
            baseline: None,
            memory: MemoryLimit::from(None),
            status: None,
        }
    }

    /// Begins a stage: `sample` is its first, and no later comparison looks behind it.
    pub fn begin_stage(&mut self, sample: Sample) {
        self.memory = MemoryLimit::from(sample.resident_bytes);
        self.history.begin(sample);
        self.status = None;
    }

    /// Decides from the figures up to `sample`. To be called about once a second at every
    /// percentage, including 0, where the baseline of a jump to 100 % comes from.
    ///
    /// A counter lower than before means that a pool was replaced: the windows begin anew.
    pub fn observe(&mut self, sample: Sample) -> Decision {
        let (at, percent, resident_bytes) = (sample.at, sample.percent, sample.resident_bytes);
        self.history.push(sample);
        let whole = self.compare(self.config.window, percent);
        let (status, hold) = (whole.status(), whole.hold(&self.config));
        let (breach, baseline) =
            (self.breach(&whole, percent), self.newer_baseline(&whole, percent));
        self.status = Some(status);
        self.baseline = baseline.or_else(|| self.baseline.take());
        if percent == 0 {
            return Decision::Hold(HoldReason::Idle);
        }
        let breach = breach.or_else(|| self.memory.breach(&self.config, resident_bytes, at));
        breach.map(Decision::RollBack).or(hold.map(Decision::Hold)).unwrap_or(Decision::MayAdvance)
    }

    /// Both pools over the window, or since the stage began while that is shorter. `None` before
    /// the stage's first [`Guard::observe`].
    #[must_use]
    pub const fn status(&self) -> Option<&WindowStatus> {
        self.status.as_ref()
    }

    /// The breach of the shortest window that has one.
    fn breach(&self, whole: &Comparison<'_>, percent: u8) -> Option<Breach> {
        let shorter = [SHORT, MIDDLE].into_iter().filter(|span| *span < self.config.window);
        let test =
            |comparison: &Comparison<'_>| comparison.breach(&self.config, &self.significance);
        shorter
            .map(|span| self.compare(span, percent))
            .find_map(|part| test(&part))
            .or_else(|| test(whole))
    }

    fn newer_baseline(&self, whole: &Comparison<'_>, percent: u8) -> Option<SideFigures> {
        let is_better = whole.is_full || self.baseline.is_none();
        if percent < 100 && is_better && whole.has_enough_keyed(&self.config) {
            whole.keyed.clone()
        } else {
            None
        }
    }

    fn compare(&self, span: Duration, percent: u8) -> Comparison<'_> {
        let past = (percent == 100).then_some(self.baseline.as_ref());
        // The past does not share today's stalls, so a few seconds prove nothing against it.
        let is_long_enough_for_past = span > SHORT;
        Comparison::new(self.history.window(span), past, is_long_enough_for_past)
    }
}

/// Whether resident memory has stayed above its limit since the stage began. It is the memory of
/// the whole process: both pools share one.
#[derive(Debug)]
struct MemoryLimit {
    at_begin: Option<u64>,
    above_since: Option<Instant>,
}

impl MemoryLimit {
    /// Begins a stage. If memory is unreadable now, the first readable value counts instead.
    const fn from(at_begin: Option<u64>) -> Self {
        Self { at_begin, above_since: None }
    }

    /// The breach once memory has been above the limit for `memory_patience` without a break. A
    /// sample without a value neither breaks nor begins that time.
    fn breach(
        &mut self,
        config: &RolloutConfig,
        resident_bytes: Option<u64>,
        at: Instant,
    ) -> Option<Breach> {
        let resident = resident_bytes?;
        let at_begin = *self.at_begin.get_or_insert(resident);
        let limit = at_begin as f64 * (1.0 + config.max_memory_growth);
        if resident as f64 <= limit {
            self.above_since = None;
            return None;
        }
        let lasted = at.saturating_duration_since(*self.above_since.get_or_insert(at));
        (lasted >= config.memory_patience).then_some(Breach {
            trigger: Trigger::Memory,
            window: lasted,
            keyed_messages: 0,
            actor_messages: 0,
            actor: resident as f64,
            baseline: at_begin as f64,
            limit,
        })
    }
}
