//! Both sides over one window, held against the limits. It decides about this window alone.

use super::{
    Breach, Hold, Rules, Sample, SideFigures, Trigger,
    chance::{Chance, Pair, Share, standard_errors},
    history::Window,
};
use serde::Serialize;
use std::time::Duration;

/// Below this many slices a burst cannot be told from a breach.
const MIN_SLICES: usize = 3;

/// Both sides over the guard's window, or since the stage began.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WindowStatus {
    /// How long it is.
    pub seconds: f64,
    /// The keyed side; at 100 % its last window that counted, and `None` if there was none.
    pub keyed: Option<WindowSide>,
    /// The actor side.
    pub actor: WindowSide,
}

/// One side over a window.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WindowSide {
    /// Messages that ended.
    pub messages: u64,
    /// 99 of 100 messages took no longer from accepted to outcome, in milliseconds. `None` without
    /// messages.
    pub p99_ms: Option<f64>,
    /// The share of the attempts that failed: 0.01 is 1 %.
    pub error_share: f64,
    /// The share of the messages that restarted an actor: 0.01 is 1 %.
    pub restart_share: f64,
}

/// A window and what it is compared with.
pub(super) struct Comparison<'a> {
    window: Window<'a>,
    pub(super) is_full: bool,
    /// What it is compared with is another time, not the other side of the same time.
    is_past: bool,
    /// Whether it is long enough to be compared with another time.
    is_for_past: bool,
    pub(super) keyed: Option<SideFigures>,
    actor: SideFigures,
}

impl<'a> Comparison<'a> {
    /// `past`: the keyed figures of another time, if any are known, to be taken instead of those of
    /// the window.
    pub(super) fn new(
        window: Window<'a>,
        past: Option<Option<&SideFigures>>,
        is_for_past: bool,
    ) -> Self {
        let ends = window.samples.first().zip(window.samples.last());
        let actor = ends.map(|(first, last)| last.actor.since(&first.actor)).unwrap_or_default();
        let keyed = past.map_or_else(
            || ends.map(|(first, last)| last.keyed.since(&first.keyed)),
            Option::<&_>::cloned,
        );
        Self { is_full: window.is_full, is_past: past.is_some(), is_for_past, keyed, actor, window }
    }

    pub(super) fn keyed_counts(&self, rules: &Rules) -> bool {
        self.keyed.as_ref().is_some_and(|keyed| keyed.messages() >= rules.min_messages)
    }

    pub(super) fn status(&self) -> WindowStatus {
        let side = |figures: &SideFigures| WindowSide {
            messages: figures.ended,
            p99_ms: p99(figures).map(milliseconds),
            error_share: errors(figures).value(),
            restart_share: restarts(figures).value(),
        };
        let seconds = self.window.length().as_secs_f64();
        WindowStatus { seconds, keyed: self.keyed.as_ref().map(side), actor: side(&self.actor) }
    }

    /// The first limit that the actor side is over and not by chance.
    pub(super) fn breach(&self, rules: &Rules, chance: &Chance) -> Option<Breach> {
        if !self.is_full || self.window.samples.len() <= MIN_SLICES {
            return None;
        }
        let (trigger, actor, baseline, limit) = self.restarts(rules, chance).or_else(|| {
            let keyed = self.keyed.as_ref().filter(|_| self.is_for_past || !self.is_past)?;
            self.errors(keyed, rules, chance).or_else(|| self.latency(keyed, rules, chance))
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

    /// Why the next stage has to wait for this window.
    pub(super) fn hold(&self, rules: &Rules) -> Option<Hold> {
        if !self.is_full {
            return Some(Hold::TooEarly);
        }
        let Some(keyed) = &self.keyed else { return Some(Hold::NoBaseline) };
        let least = rules.min_messages;
        if keyed.messages().min(self.actor.messages()) < least {
            return Some(Hold::TooFewMessages {
                keyed: keyed.messages(),
                actor: self.actor.messages(),
                least,
            });
        }
        let increase = increase(p99(&self.actor)?, p99(keyed)?);
        if increase > rules.advance_p99_increase {
            return Some(Hold::Latency { increase, limit: rules.advance_p99_increase });
        }
        let (share, limit) = (restarts(&self.actor).value(), rules.advance_restart_share);
        (share >= limit).then_some(Hold::Restarts { share, limit })
    }

    /// Of the actor side alone: the keyed pool has nothing to restart, so its messages need not be
    /// many.
    fn restarts(&self, rules: &Rules, chance: &Chance) -> Option<Found> {
        let (share, limit) = (restarts(&self.actor), rules.max_restart_share);
        let pair = |actor: &SideFigures, _: &SideFigures| Pair {
            actor: restarts(actor),
            keyed: Share::NONE,
        };
        let whole = Pair { actor: share, keyed: Share::NONE };
        let is_over = share.value() > limit
            && whole.has_both(rules.min_messages)
            && self.is_sure(whole, pair, limit, chance);
        is_over.then(|| (Trigger::Restarts, share.value(), 0.0, limit))
    }

    fn errors(&self, keyed: &SideFigures, rules: &Rules, chance: &Chance) -> Option<Found> {
        let pair = |actor: &SideFigures, keyed: &SideFigures| Pair {
            actor: errors(actor),
            keyed: errors(keyed),
        };
        let whole = pair(&self.actor, keyed);
        let (share, baseline) = (whole.actor.value(), whole.keyed.value());
        let limit = baseline + rules.max_error_increase;
        let is_over = share > limit
            && whole.has_both(rules.min_messages)
            && self.is_sure(whole, pair, rules.max_error_increase, chance);
        is_over.then_some((Trigger::Errors, share, baseline, limit))
    }

    /// p99 is over the limit when more than a hundredth of the actor's latencies are longer than
    /// the keyed p99 and the increase that is allowed: so a p99, too, is a share.
    fn latency(&self, keyed: &SideFigures, rules: &Rules, chance: &Chance) -> Option<Found> {
        let (share, baseline) = (p99(&self.actor)?, p99(keyed)?);
        let limit = baseline.as_secs_f64() * (1.0 + rules.max_p99_increase);
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
        let is_over = whole.has_both(rules.min_messages)
            && self.differs(whole, beyond(baseline), 0.0) > chance.queued
            && self.differs(far, beyond(limit), 0.0) > chance.over;
        is_over.then(|| {
            (Trigger::Latency, milliseconds(share), milliseconds(baseline), milliseconds(limit))
        })
    }

    /// Whether neither that the sides differ nor that they do so by more than the margin is chance.
    fn is_sure(
        &self,
        whole: Pair,
        pair: impl Fn(&SideFigures, &SideFigures) -> Pair,
        margin: f64,
        chance: &Chance,
    ) -> bool {
        self.differs(whole, &pair, 0.0) > chance.counted
            && self.differs(whole, &pair, margin) > chance.over
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

/// Trigger, the actor's value, the baseline's value, the limit.
type Found = (Trigger, f64, f64, f64);

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

/// How far one is above the other: 0.2 is +20 %.
fn increase(actor: Duration, keyed: Duration) -> f64 {
    actor.as_secs_f64() / keyed.max(Duration::from_nanos(1)).as_secs_f64() - 1.0
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
