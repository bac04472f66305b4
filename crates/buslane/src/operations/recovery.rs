//! Recovery mode: when it is entered, what it lets through, when it is left. Pure: the time is an
//! argument.
//!
//! ```text
//!         begin, or a look that finds a backlog             clean looks in a row
//!   off ────────────────────────────────────────▶ on ───────────────────────────────▶ ramping
//!    ▲                                            ▲ │ raise, where it would never end   │ │
//!    │                                            │ └─┘                                │ │
//!    │                                            └──── a backlog again ───────────────┘ │
//!    └───────────────────────── by hand, or the ramp's last step ────────────────────────┘
//! ```

use super::event::{BusEvent, RecoveryCause, RecoveryPhase, RecoveryStatus};
use crate::config::{RateLimit, RecoveryConfig};
use std::time::{Duration, Instant};

/// Steps of the ramp. Each doubles the limits there are, so the last lets a thousand times as much
/// through as the mode did.
const STEPS: u32 = 10;

/// What a look has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    /// There is a backlog that recovery could mend.
    pub(crate) is_behind: bool,
    /// Messages that are not settled.
    pub(crate) open: u64,
    /// Messages let through since the look before.
    pub(crate) passed: u64,
}

/// What is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Through {
    /// `None` for as much as handlers take.
    pub(crate) rate: Option<RateLimit>,
    pub(crate) keys: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Off,
    On {
        /// Looks in a row without a backlog.
        clean: u32,
    },
    Ramping {
        since: Instant,
        /// Steps that are over.
        step: u32,
    },
}

/// The state of recovery mode.
pub(crate) struct Recovery {
    on_backlog: bool,
    clean_checks: u32,
    ramp: Duration,
    through: Through,
    phase: Phase,
    cause: RecoveryCause,
    /// How often the limits were doubled since it was entered.
    doublings: u32,
    headway: Headway,
}

/// Whether the backlog shrinks.
#[derive(Debug, Clone, Copy, Default)]
struct Headway {
    /// When the last look was, and how many messages were open then.
    last: Option<(Instant, u64)>,
    /// Looks in a row that found no fewer than the one before although all was let through that
    /// may.
    vain: u32,
}

impl Recovery {
    pub(crate) fn new(config: &RecoveryConfig) -> Self {
        Self {
            on_backlog: config.on_backlog,
            clean_checks: config.clean_checks,
            ramp: config.ramp,
            through: Through { rate: config.rate, keys: config.keys },
            phase: Phase::Off,
            cause: RecoveryCause::ByHand,
            doublings: 0,
            headway: Headway::default(),
        }
    }

    /// Enters it, or goes back to it from the ramp. Nothing while it is on.
    pub(crate) fn begin(&mut self, cause: RecoveryCause) -> Option<BusEvent> {
        if let Phase::On { .. } = self.phase {
            return None;
        }
        self.change(|mode| {
            if mode.phase == Phase::Off {
                mode.cause = cause;
            }
            mode.phase = Phase::On { clean: 0 };
            mode.doublings = 0;
            mode.headway = Headway::default();
        })
    }

    /// Leaves it at once, without a ramp.
    pub(crate) fn end(&mut self) -> Option<BusEvent> {
        if self.phase == Phase::Off { None } else { self.change(|mode| mode.phase = Phase::Off) }
    }

    /// Lets so much through from now on, now or when it is entered.
    pub(crate) fn set_through(&mut self, through: Through) -> Option<BusEvent> {
        (self.through, self.doublings) = (through, 0);
        let now = self.status();
        (now.phase != RecoveryPhase::Off).then_some(BusEvent::Recovery { before: now.phase, now })
    }

    /// One of the regular looks.
    pub(crate) fn looked(&mut self, look: Look, now: Instant) -> Option<BusEvent> {
        match self.phase {
            Phase::Off | Phase::Ramping { .. } if look.is_behind && self.on_backlog => {
                self.begin(RecoveryCause::Backlog)
            }
            Phase::Off | Phase::Ramping { .. } => None,
            Phase::On { .. } if look.is_behind => {
                self.phase = Phase::On { clean: 0 };
                self.is_in_vain(look, now)
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

    /// Whether it would never end: for as many looks as a clean end takes, the backlog has not
    /// shrunk, and that was by its rate. Where handlers are the slower, more would not help them,
    /// so without a rate there is nothing to raise.
    fn is_in_vain(&mut self, look: Look, now: Instant) -> bool {
        let Some(RateLimit { per_second, .. }) = self.through().rate else { return false };
        #[allow(
            clippy::cast_precision_loss,
            reason = "a share of a count needs no more than 52 bits"
        )]
        let is_vain = self.headway.last.replace((now, look.open)).is_some_and(|(then, open)| {
            let most = f64::from(per_second) * (now - then).as_secs_f64();
            look.open >= open && look.passed as f64 >= 0.9 * most
        });
        self.headway.vain = if is_vain { self.headway.vain + 1 } else { 0 };
        let is = self.headway.vain >= self.clean_checks && per_second < RateLimit::MOST;
        if is {
            self.headway.vain = 0;
        }
        is
    }

    /// Goes on with the ramp.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<BusEvent> {
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

    /// When [`Recovery::tick`] has something to do.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        match self.phase {
            Phase::Ramping { since, step } => Some(since + self.ramp * (step + 1) / STEPS),
            Phase::Off | Phase::On { .. } => None,
        }
    }

    /// What is let through; nothing is limited when it is off.
    pub(crate) fn limits(&self) -> Option<Through> {
        (self.phase != Phase::Off).then(|| self.through())
    }

    pub(crate) fn status(&self) -> RecoveryStatus {
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

    fn through(&self) -> Through {
        let steps = if let Phase::Ramping { step, .. } = self.phase { step + 1 } else { 0 };
        let doublings = (self.doublings + steps).min(31);
        let raised = |RateLimit { per_second, burst }: RateLimit| {
            let per_second = per_second.saturating_mul(1 << doublings).min(RateLimit::MOST);
            RateLimit::new(per_second, burst.saturating_mul(1 << doublings))
        };
        Through {
            rate: self.through.rate.map(raised),
            keys: self.through.keys.saturating_mul(1 << doublings),
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
