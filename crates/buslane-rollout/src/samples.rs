//! Samples of both pools: what is counted, and the history that windows are cut from. Bounded:
//! young samples are a second apart, older ones a twelfth of the longest window.

use buslane_core::{Latencies, PoolStats};
use std::time::{Duration, Instant};

/// Closer samples are dropped: a second is fine enough to tell a burst from a breach.
const FINE: Duration = Duration::from_secs(1);
/// Clocks tick unevenly, so a window may be this much shorter than asked.
const EARLY: Duration = Duration::from_millis(500);
/// Older samples keep a distance of the longest window divided by this.
const COARSE_PARTS: u32 = 12;

/// Figures of one pool: counters since its start, or their growth between two samples.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SideFigures {
    /// Attempts that ended.
    pub attempts: u64,
    /// Of these, attempts that failed, panicked or asked for a retry.
    pub errors: u64,
    /// Messages that ended.
    pub ended: u64,
    /// Restarts of actors by their supervisor.
    pub restarts: u64,
    /// Time from acceptance to outcome of each ended message.
    pub latencies: Latencies,
}

impl From<(PoolStats, Latencies)> for SideFigures {
    fn from((stats, latencies): (PoolStats, Latencies)) -> Self {
        let errors = stats.failed + stats.panicked + stats.retried;
        Self {
            attempts: stats.ok + errors,
            errors,
            ended: stats.ok + stats.failed + stats.panicked,
            restarts: stats.restarts,
            latencies,
        }
    }
}

impl SideFigures {
    /// The growth since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            attempts: self.attempts.saturating_sub(earlier.attempts),
            errors: self.errors.saturating_sub(earlier.errors),
            ended: self.ended.saturating_sub(earlier.ended),
            restarts: self.restarts.saturating_sub(earlier.restarts),
            latencies: self.latencies.since(&earlier.latencies),
        }
    }

    /// Whether a counter is lower than `earlier`: the pool was replaced in between.
    fn is_reset_since(&self, earlier: &Self) -> bool {
        self.attempts < earlier.attempts
            || self.errors < earlier.errors
            || self.ended < earlier.ended
            || self.restarts < earlier.restarts
    }

    /// Messages that every figure covers: the fewest of outcomes, attempts and latencies.
    pub(crate) fn messages(&self) -> u64 {
        self.ended.min(self.attempts).min(self.latencies.count())
    }
}

/// The counters of both pools at one moment.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When it was taken.
    pub at: Instant,
    /// Share of the keys that the actor pool runs.
    pub percent: u8,
    /// Counters of the keyed pool since its start.
    pub keyed: SideFigures,
    /// Counters of the actor pool since its start.
    pub actor: SideFigures,
    /// Resident memory of the process; `None` where it cannot be read.
    pub resident_bytes: Option<u64>,
}

impl Sample {
    /// Whether either pool was replaced since `earlier`.
    fn is_reset_since(&self, earlier: &Self) -> bool {
        self.keyed.is_reset_since(&earlier.keyed) || self.actor.is_reset_since(&earlier.actor)
    }
}

/// Samples since the stage began, the newest last: about 30 for a window of a minute, however often
/// samples are taken.
pub(crate) struct SampleHistory {
    longest: Duration,
    /// Samples younger than this stay a second apart.
    fine_for: Duration,
    samples: Vec<Sample>,
}

/// A stretch of time up to the newest sample.
pub(crate) struct Window<'a> {
    /// Its samples, oldest first. Fewer than two span no time.
    pub(crate) samples: &'a [Sample],
    /// The samples before it and its first, as far back as the history goes.
    pub(crate) before: &'a [Sample],
    /// Whether it is as long as asked.
    pub(crate) is_full: bool,
}

impl Window<'_> {
    pub(crate) fn length(&self) -> Duration {
        let ends = self.samples.first().zip(self.samples.last());
        ends.map_or(Duration::ZERO, |(first, last)| age(first, last.at))
    }
}

impl SampleHistory {
    pub(crate) const fn new(longest: Duration, fine_for: Duration) -> Self {
        Self { longest, fine_for, samples: Vec::new() }
    }

    /// Forgets everything before `sample`.
    pub(crate) fn begin(&mut self, sample: Sample) {
        self.samples.clear();
        self.samples.push(sample);
    }

    /// Adds a sample. If a pool was replaced, the history begins with it.
    pub(crate) fn push(&mut self, sample: Sample) {
        if self.samples.last().is_some_and(|last| sample.is_reset_since(last)) {
            self.samples.clear();
        }
        let now = sample.at;
        self.samples.push(sample);
        while let Some(place) =
            self.samples.windows(3).position(|three| self.is_redundant(three, now))
        {
            self.samples.remove(place + 1);
        }
        while self.samples.get(1).is_some_and(|second| reaches(second, self.longest, now)) {
            self.samples.remove(0);
        }
    }

    /// The last `span`, or all of the history when that is shorter.
    pub(crate) fn window(&self, span: Duration) -> Window<'_> {
        let now = self.samples.last().map(|last| last.at);
        let first =
            now.and_then(|now| self.samples.iter().rposition(|sample| reaches(sample, span, now)));
        let begin = first.unwrap_or(0);
        let before = self.samples.get(..=begin).unwrap_or_default();
        Window { samples: &self.samples[begin..], before, is_full: first.is_some() }
    }

    /// Whether the samples around the middle one are close enough without it. The youngest sample
    /// beyond `fine_for` stays: a window of that length begins at it.
    fn is_redundant(&self, three: &[Sample], now: Instant) -> bool {
        let is_coarse = reaches(&three[2], self.fine_for, now);
        let step = if is_coarse { FINE.max(self.longest / COARSE_PARTS) } else { FINE };
        age(&three[0], three[2].at) <= step
    }
}

fn age(sample: &Sample, now: Instant) -> Duration {
    now.saturating_duration_since(sample.at)
}

fn reaches(sample: &Sample, span: Duration, now: Instant) -> bool {
    age(sample, now) + EARLY >= span
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const QUARTER: Duration = Duration::from_secs(15);

    fn sample(at: Instant, attempts: u64) -> Sample {
        let keyed = SideFigures { attempts, ..SideFigures::default() };
        Sample { at, percent: 10, keyed, actor: SideFigures::default(), resident_bytes: None }
    }

    #[test]
    fn s5_windows_do_not_reach_over_the_begin_of_the_stage() {
        let (mut history, start) = (SampleHistory::new(MINUTE, QUARTER), Instant::now());
        assert!(history.window(MINUTE).samples.is_empty());
        (0..100)
            .for_each(|second| history.push(sample(start + Duration::from_secs(second), second)));
        history.begin(sample(start + Duration::from_secs(100), 100));
        for second in 101..=104 {
            history.push(sample(start + Duration::from_secs(second), second));
            assert!(!history.window(Duration::from_secs(5)).is_full);
        }
        assert_eq!(history.window(MINUTE).length(), Duration::from_secs(4));
        history.push(sample(start + Duration::from_secs(105), 105));
        assert!(history.window(Duration::from_secs(5)).is_full && !history.window(QUARTER).is_full);
    }

    #[test]
    fn s5_a_counter_that_goes_back_begins_the_windows_anew() {
        let (mut history, start) = (SampleHistory::new(MINUTE, QUARTER), Instant::now());
        (0..100).for_each(|second| {
            history.push(sample(start + Duration::from_secs(second), 1_000 + second))
        });
        history.push(sample(start + Duration::from_secs(100), 3));
        assert_eq!(history.window(MINUTE).samples.len(), 1);
    }

    proptest! {
        #[test]
        fn s5_few_looks_are_kept_and_windows_are_about_as_long_as_asked(
            paces in prop::collection::vec(1_u64..3_000, 200..600),
            longest in 2_u64..600,
        ) {
            let longest = Duration::from_secs(longest);
            let (mut history, mut at) = (SampleHistory::new(longest, QUARTER), Instant::now());
            let begun = at;
            for pace in paces {
                at += Duration::from_millis(pace);
                history.push(sample(at, 0));
                prop_assert!(history.samples.len() <= 60, "{}", history.samples.len());
                prop_assert_eq!(history.samples.last().map(|last| last.at), Some(at));
                for span in [Duration::from_secs(5), QUARTER, longest] {
                    let window = history.window(span.min(longest));
                    let step = if span <= QUARTER { FINE } else { FINE.max(longest / COARSE_PARTS) };
                    let most = span.min(longest) + step + Duration::from_secs(3);
                    prop_assert!(window.length() <= most, "{:?} for {span:?}", window.length());
                    prop_assert!(!window.is_full || window.length() + EARLY >= span.min(longest));
                    prop_assert!(window.is_full || at - begun < span + Duration::from_secs(3));
                }
            }
        }
    }
}
