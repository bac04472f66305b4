//! Recovery mode: when it is entered, what it limits, and when it is left. Pure: the time is an
//! argument.
//!
//! ```text
//!         begin, or a check that finds a backlog           clean checks in a row
//!   off ────────────────────────────────────────▶ on ───────────────────────────────▶ ramping
//!    ▲                                            ▲ │ raise, where it would never end   │ │
//!    │                                            │ └─┘                                │ │
//!    │                                            └──── a backlog again ───────────────┘ │
//!    └───────────────────────── by hand, or the ramp's last step ────────────────────────┘
//! ```

use super::event::{BusEvent, RecoveryCause, RecoveryPhase, RecoveryStatus};
use crate::config::{RateLimit, RecoveryConfig};
use std::time::{Duration, Instant};

/// Steps of the ramp. Each doubles the limits, so the last one admits a thousand times as much as
/// the mode did.
const STEPS: u32 = 10;

/// The result of a backlog check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BacklogSample {
    /// Whether recovery mode would reduce the backlog.
    pub(super) is_behind: bool,
    /// Unsettled messages.
    pub(super) open: u64,
    /// Messages that the pool accepted since the last check.
    pub(super) accepted: u64,
}

/// The limits of recovery mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecoveryLimits {
    /// `None` for no rate limit.
    pub(super) rate: Option<RateLimit>,
    /// Keys that may have work at the same time.
    pub(super) keys: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Off,
    On {
        /// Checks in a row without a backlog.
        clean: u32,
    },
    Ramping {
        since: Instant,
        /// Completed steps.
        step: u32,
    },
}

/// The state of recovery mode.
pub(super) struct RecoveryMode {
    on_backlog: bool,
    clean_checks: u32,
    ramp: Duration,
    /// The limits without any doubling.
    base: RecoveryLimits,
    phase: Phase,
    cause: RecoveryCause,
    /// How often the limits were doubled since the mode was entered.
    doublings: u32,
    drain: DrainProgress,
}

/// Whether the backlog shrinks.
#[derive(Debug, Clone, Copy, Default)]
struct DrainProgress {
    /// The time of the last check, and the open messages then.
    last: Option<(Instant, u64)>,
    /// Checks in a row in which the backlog did not shrink although the rate was used up.
    stagnant: u32,
}

impl RecoveryMode {
    pub(super) fn new(config: &RecoveryConfig) -> Self {
        Self {
            on_backlog: config.on_backlog,
            clean_checks: config.clean_checks,
            ramp: config.ramp,
            base: RecoveryLimits { rate: config.rate, keys: config.keys },
            phase: Phase::Off,
            cause: RecoveryCause::ByHand,
            doublings: 0,
            drain: DrainProgress::default(),
        }
    }

    /// Enters the mode, or returns to it from the ramp. Does nothing while it is on.
    pub(super) fn begin(&mut self, cause: RecoveryCause) -> Option<BusEvent> {
        if let Phase::On { .. } = self.phase {
            return None;
        }
        self.change(|mode| {
            if mode.phase == Phase::Off {
                mode.cause = cause;
            }
            mode.phase = Phase::On { clean: 0 };
            mode.doublings = 0;
            mode.drain = DrainProgress::default();
        })
    }

    /// Leaves the mode at once, without a ramp.
    pub(super) fn end(&mut self) -> Option<BusEvent> {
        if self.phase == Phase::Off { None } else { self.change(|mode| mode.phase = Phase::Off) }
    }

    /// Replaces the limits, now or for the next time.
    pub(super) fn set_limits(&mut self, limits: RecoveryLimits) -> Option<BusEvent> {
        (self.base, self.doublings) = (limits, 0);
        let now = self.status();
        (now.phase != RecoveryPhase::Off).then_some(BusEvent::Recovery { before: now.phase, now })
    }

    /// Takes the result of a regular check.
    pub(super) fn checked(&mut self, sample: BacklogSample, now: Instant) -> Option<BusEvent> {
        match self.phase {
            Phase::Off | Phase::Ramping { .. } if sample.is_behind && self.on_backlog => {
                self.begin(RecoveryCause::Backlog)
            }
            Phase::Off | Phase::Ramping { .. } => None,
            Phase::On { .. } if sample.is_behind => {
                self.phase = Phase::On { clean: 0 };
                self.is_stagnant(sample, now)
                    .then(|| self.change(|mode| mode.doublings += 1))
                    .flatten()
            }
            Phase::On { clean } if clean + 1 < self.clean_checks => {
                self.phase = Phase::On { clean: clean + 1 };
                None
            }
            Phase::On { .. } => self.change(|mode| {
                mode.phase = if mode.ramp.is_zero() {
                    Phase::Off
                } else {
                    Phase::Ramping { since: now, step: 0 }
                };
            }),
        }
    }

    /// Whether the mode would never end: its rate has kept the backlog from shrinking for as many
    /// checks as a clean end takes. Without a rate there is nothing to raise: handlers that are too
    /// slow gain nothing from more messages.
    fn is_stagnant(&mut self, sample: BacklogSample, now: Instant) -> bool {
        let Some(RateLimit { per_second, .. }) = self.raised().rate else { return false };
        #[allow(
            clippy::cast_precision_loss,
            reason = "a share of a count needs no more than 52 bits"
        )]
        let is_stagnant =
            self.drain.last.replace((now, sample.open)).is_some_and(|(then, open)| {
                let most = f64::from(per_second) * (now - then).as_secs_f64();
                sample.open >= open && sample.accepted as f64 >= 0.9 * most
            });
        self.drain.stagnant = if is_stagnant { self.drain.stagnant + 1 } else { 0 };
        let is = self.drain.stagnant >= self.clean_checks && per_second < RateLimit::MOST;
        if is {
            self.drain.stagnant = 0;
        }
        is
    }

    /// Performs the due steps of the ramp.
    pub(super) fn tick(&mut self, now: Instant) -> Option<BusEvent> {
        let Phase::Ramping { since, step } = self.phase else { return None };
        let over =
            (step..STEPS).take_while(|step| since + self.ramp * (step + 1) / STEPS <= now).count();
        let step = step + u32::try_from(over).unwrap_or(STEPS);
        if over == 0 {
            return None;
        }
        self.change(|mode| {
            mode.phase = if step == STEPS { Phase::Off } else { Phase::Ramping { since, step } }
        })
    }

    /// When [`RecoveryMode::tick`] has something to do.
    pub(super) fn next_tick(&self) -> Option<Instant> {
        match self.phase {
            Phase::Ramping { since, step } => Some(since + self.ramp * (step + 1) / STEPS),
            Phase::Off | Phase::On { .. } => None,
        }
    }

    /// The limits in force; `None` while the mode is off.
    pub(super) fn limits(&self) -> Option<RecoveryLimits> {
        (self.phase != Phase::Off).then(|| self.raised())
    }

    pub(super) fn status(&self) -> RecoveryStatus {
        let limits = self.limits();
        RecoveryStatus {
            phase: match self.phase {
                Phase::Off => RecoveryPhase::Off,
                Phase::On { .. } => RecoveryPhase::On,
                Phase::Ramping { .. } => RecoveryPhase::Ramping,
            },
            cause: limits.map(|_| self.cause),
            per_second: limits.and_then(|limits| limits.rate).map(|rate| rate.per_second),
            keys: limits.map(|limits| limits.keys),
        }
    }

    /// The limits with all doublings so far.
    fn raised(&self) -> RecoveryLimits {
        let steps = if let Phase::Ramping { step, .. } = self.phase { step + 1 } else { 0 };
        let doublings = (self.doublings + steps).min(31);
        let doubled = |RateLimit { per_second, burst }: RateLimit| {
            let per_second = per_second.saturating_mul(1 << doublings).min(RateLimit::MOST);
            RateLimit::new(per_second, burst.saturating_mul(1 << doublings))
        };
        RecoveryLimits {
            rate: self.base.rate.map(doubled),
            keys: self.base.keys.saturating_mul(1 << doublings),
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Self)) -> Option<BusEvent> {
        let before = self.status().phase;
        change(self);
        Some(BusEvent::Recovery { before, now: self.status() })
    }
}

#[cfg(test)]
mod tests;
