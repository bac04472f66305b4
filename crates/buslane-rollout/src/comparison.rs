//! Both pools over one window, tested against the limits. It knows no other window.

use crate::{
    Breach, HoldReason, RolloutConfig, Sample, SideFigures, Trigger,
    samples::Window,
    significance::{Pair, Share, Significance, standard_errors},
};
use serde::Serialize;
use std::time::Duration;

/// With fewer slices a burst cannot be told from a breach.
const MIN_SLICES: usize = 3;

/// Both pools over the guard's window, or since the stage began.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WindowStatus {
    /// Its length.
    pub seconds: f64,
    /// The keyed pool; at 100 % its last window with enough messages, or `None`.
    pub keyed: Option<WindowSide>,
    /// The actor pool.
    pub actor: WindowSide,
}

/// One pool over a window.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WindowSide {
    /// Messages that ended.
    pub messages: u64,
    /// Time from acceptance to outcome that 99 % of the messages did not exceed, in milliseconds.
    /// `None` without messages.
    pub p99_ms: Option<f64>,
    /// Share of the attempts that failed: 0.01 is 1 %.
    pub error_share: f64,
    /// Restarts of actors for each message: 0.01 is 1 %.
    pub restart_share: f64,
}

/// A window of the actor pool, and the keyed figures that it is compared with.
pub(crate) struct Comparison<'a> {
    window: Window<'a>,
    pub(crate) is_full: bool,
    /// Whether the keyed figures are of the past, not of the same time.
    is_past: bool,
    /// Whether the window is long enough to be compared with the past.
    is_long_enough_for_past: bool,
    pub(crate) keyed: Option<SideFigures>,
    actor: SideFigures,
}

impl<'a> Comparison<'a> {
    /// With `past`, its keyed figures, if any, replace those of the window.
    pub(crate) fn new(
        window: Window<'a>,
        past: Option<Option<&SideFigures>>,
        is_long_enough_for_past: bool,
    ) -> Self {
        let ends = window.samples.first().zip(window.samples.last());
        let actor = ends.map(|(first, last)| last.actor.since(&first.actor)).unwrap_or_default();
        let keyed = past.map_or_else(
            || ends.map(|(first, last)| last.keyed.since(&first.keyed)),
            Option::<&_>::cloned,
        );
        let (is_full, is_past) = (window.is_full, past.is_some());
        Self { window, is_full, is_past, is_long_enough_for_past, keyed, actor }
    }

    /// Whether the keyed pool ended enough messages to be a baseline.
    pub(crate) fn has_enough_keyed(&self, config: &RolloutConfig) -> bool {
        self.keyed.as_ref().is_some_and(|keyed| keyed.messages() >= config.min_messages)
    }

    pub(crate) fn status(&self) -> WindowStatus {
        let side = |figures: &SideFigures| WindowSide {
            messages: figures.ended,
            p99_ms: p99(figures).map(milliseconds),
            error_share: errors(figures).value(),
            restart_share: restarts(figures).value(),
        };
        let seconds = self.window.length().as_secs_f64();
        WindowStatus { seconds, keyed: self.keyed.as_ref().map(side), actor: side(&self.actor) }
    }

    /// The first limit that the actor pool exceeds, and not by chance.
    pub(crate) fn breach(
        &self,
        config: &RolloutConfig,
        significance: &Significance,
    ) -> Option<Breach> {
        if !self.is_full || self.window.samples.len() <= MIN_SLICES {
            return None;
        }
        let (trigger, actor, baseline, limit) =
            self.restarts(config, significance).or_else(|| {
                let keyed = self
                    .keyed
                    .as_ref()
                    .filter(|_| self.is_long_enough_for_past || !self.is_past)?;
                self.errors(keyed, config, significance)
                    .or_else(|| self.latency(keyed, config, significance))
            })?;
        Some(Breach {
            trigger,
            window: self.window.length(),
            keyed_messages: self.keyed.as_ref().map_or(0, |keyed| keyed.ended),
            actor_messages: self.actor.ended,
            actor,
            baseline,
            limit,
        })
    }

    /// Why this window does not allow the next stage.
    pub(crate) fn hold(&self, config: &RolloutConfig) -> Option<HoldReason> {
        if !self.is_full {
            return Some(HoldReason::TooEarly);
        }
        let Some(keyed) = &self.keyed else { return Some(HoldReason::NoBaseline) };
        let least = config.min_messages;
        if keyed.messages().min(self.actor.messages()) < least {
            return Some(HoldReason::TooFewMessages {
                keyed: keyed.messages(),
                actor: self.actor.messages(),
                least,
            });
        }
        let increase = increase(p99(&self.actor)?, p99(keyed)?);
        if increase > config.advance_p99_increase {
            return Some(HoldReason::Latency { increase, limit: config.advance_p99_increase });
        }
        let (share, limit) = (restarts(&self.actor).value(), config.advance_restart_share);
        (share >= limit).then_some(HoldReason::Restarts { share, limit })
    }

    /// Tests the actor pool alone: the keyed pool has nothing to restart.
    fn restarts(&self, config: &RolloutConfig, significance: &Significance) -> Option<Exceeded> {
        let (share, limit) = (restarts(&self.actor), config.max_restart_share);
        let pair = |actor: &SideFigures, _: &SideFigures| Pair {
            actor: restarts(actor),
            keyed: Share::NONE,
        };
        let whole = Pair { actor: share, keyed: Share::NONE };
        let is_over = share.value() > limit
            && whole.has_both(config.min_messages)
            && self.is_significant(whole, pair, limit, significance);
        is_over.then(|| (Trigger::Restarts, share.value(), 0.0, limit))
    }

    fn errors(
        &self,
        keyed: &SideFigures,
        config: &RolloutConfig,
        significance: &Significance,
    ) -> Option<Exceeded> {
        let pair = |actor: &SideFigures, keyed: &SideFigures| Pair {
            actor: errors(actor),
            keyed: errors(keyed),
        };
        let whole = pair(&self.actor, keyed);
        let (share, baseline) = (whole.actor.value(), whole.keyed.value());
        let limit = baseline + config.max_error_increase;
        let is_over = share > limit
            && whole.has_both(config.min_messages)
            && self.is_significant(whole, pair, config.max_error_increase, significance);
        is_over.then_some((Trigger::Errors, share, baseline, limit))
    }

    /// p99 exceeds its limit when more than 1 % of the actor pool's latencies exceed the keyed p99
    /// plus the allowed increase. So p99 is tested as a share, too.
    fn latency(
        &self,
        keyed: &SideFigures,
        config: &RolloutConfig,
        significance: &Significance,
    ) -> Option<Exceeded> {
        let (share, baseline) = (p99(&self.actor)?, p99(keyed)?);
        let limit = baseline.as_secs_f64() * (1.0 + config.max_p99_increase);
        let limit = Duration::try_from_secs_f64(limit).unwrap_or(Duration::MAX);
        if share <= limit {
            return None;
        }
        let beyond = |mark: Duration| {
            move |actor: &SideFigures, keyed: &SideFigures| Pair {
                actor: longer(actor, mark),
                keyed: longer(keyed, baseline),
            }
        };
        let (whole, far) =
            (beyond(baseline)(&self.actor, keyed), beyond(limit)(&self.actor, keyed));
        let is_over = whole.has_both(config.min_messages)
            && self.differs(whole, beyond(baseline), 0.0) > significance.queued
            && self.differs(far, beyond(limit), 0.0) > significance.over_limit;
        is_over.then(|| {
            (Trigger::Latency, milliseconds(share), milliseconds(baseline), milliseconds(limit))
        })
    }

    /// Whether chance explains neither the difference nor that it exceeds the margin.
    fn is_significant(
        &self,
        whole: Pair,
        pair: impl Fn(&SideFigures, &SideFigures) -> Pair,
        margin: f64,
        significance: &Significance,
    ) -> bool {
        self.differs(whole, &pair, 0.0) > significance.counted
            && self.differs(whole, &pair, margin) > significance.over_limit
    }

    fn differs(
        &self,
        whole: Pair,
        pair: impl Fn(&SideFigures, &SideFigures) -> Pair,
        margin: f64,
    ) -> f64 {
        let slice = |two: &[Sample]| {
            let actor = two[1].actor.since(&two[0].actor);
            if self.is_past {
                return Pair { actor: pair(&actor, &actor).actor, keyed: whole.keyed };
            }
            pair(&actor, &two[1].keyed.since(&two[0].keyed))
        };
        let slices = |samples: &[Sample]| samples.windows(2).map(slice).collect::<Vec<_>>();
        standard_errors(whole, &slices(self.window.samples), &slices(self.window.before), margin)
    }
}

/// Trigger, the actor pool's value, the baseline, the limit.
type Exceeded = (Trigger, f64, f64, f64);

fn p99(figures: &SideFigures) -> Option<Duration> {
    figures.latencies.quantile(0.99)
}

fn longer(figures: &SideFigures, mark: Duration) -> Share {
    Share { hits: figures.latencies.above(mark), of: figures.latencies.count() }
}

const fn errors(figures: &SideFigures) -> Share {
    Share { hits: figures.errors, of: figures.attempts }
}

const fn restarts(figures: &SideFigures) -> Share {
    Share { hits: figures.restarts, of: figures.ended }
}

/// How far the actor pool is above the keyed pool: 0.2 is 20 %.
fn increase(actor: Duration, keyed: Duration) -> f64 {
    actor.as_secs_f64() / keyed.max(Duration::from_nanos(1)).as_secs_f64() - 1.0
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
