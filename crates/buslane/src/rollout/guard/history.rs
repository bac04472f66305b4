//! The looks that windows begin at. Bounded: young ones a second apart, older ones a twelfth of the
//! window.

use super::Sample;
use std::time::{Duration, Instant};

/// Looks that are closer are not kept: it is as fine as chance is told from a burst.
const FINE: Duration = Duration::from_secs(1);
/// Clocks tick unevenly: a window may be shorter by this much.
const EARLY: Duration = Duration::from_millis(500);
/// Parts of a window whose fine looks are gone.
const COARSE_PARTS: u32 = 12;

/// Looks since the stage began, the newest last: 30 of them for windows of a minute, whatever the
/// pace.
pub(super) struct History {
    longest: Duration,
    /// Looks that are younger stay as fine as they are.
    fine_for: Duration,
    samples: Vec<Sample>,
}

/// A stretch of time up to the newest look.
pub(super) struct Window<'a> {
    /// Its looks from the first to the newest; a single one, or none, is no time at all.
    pub(super) samples: &'a [Sample],
    /// Those up to its first, since the stage began or a longest window ago.
    pub(super) before: &'a [Sample],
    /// Whether it is as long as was asked for.
    pub(super) is_full: bool,
}

impl Window<'_> {
    pub(super) fn length(&self) -> Duration {
        let ends = self.samples.first().zip(self.samples.last());
        ends.map_or(Duration::ZERO, |(first, last)| age(first, last.at))
    }
}

impl History {
    pub(super) const fn new(longest: Duration, fine_for: Duration) -> Self {
        Self { longest, fine_for, samples: Vec::new() }
    }

    /// Forgets all before `sample`.
    pub(super) fn begin(&mut self, sample: Sample) {
        self.samples.clear();
        self.samples.push(sample);
    }

    /// Takes a look; one after a pool began anew is the first of all.
    pub(super) fn push(&mut self, sample: Sample) {
        if self.samples.last().is_some_and(|last| sample.went_back(last)) {
            self.samples.clear();
        }
        let now = sample.at;
        self.samples.push(sample);
        while let Some(place) =
            self.samples.windows(3).position(|three| self.is_crowded(three, now))
        {
            self.samples.remove(place + 1);
        }
        while self.samples.get(1).is_some_and(|second| reaches(second, self.longest, now)) {
            self.samples.remove(0);
        }
    }

    /// The last `span`, or what there is of it since the stage began.
    pub(super) fn window(&self, span: Duration) -> Window<'_> {
        let now = self.samples.last().map(|last| last.at);
        let first =
            now.and_then(|now| self.samples.iter().rposition(|sample| reaches(sample, span, now)));
        let begin = first.unwrap_or(0);
        let before = self.samples.get(..=begin).unwrap_or_default();
        Window { samples: &self.samples[begin..], before, is_full: first.is_some() }
    }

    /// Whether the one in the middle is not needed: also the first that is too old to be fine is,
    /// for a window to begin at.
    fn is_crowded(&self, three: &[Sample], now: Instant) -> bool {
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
    use super::{super::SideFigures, *};
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const QUARTER: Duration = Duration::from_secs(15);

    fn look(at: Instant, attempts: u64) -> Sample {
        let keyed = SideFigures { attempts, ..SideFigures::default() };
        Sample { at, percent: 10, keyed, actor: SideFigures::default(), resident_bytes: None }
    }

    #[test]
    fn s5_windows_do_not_reach_over_the_begin_of_the_stage() {
        let (mut history, start) = (History::new(MINUTE, QUARTER), Instant::now());
        assert!(history.window(MINUTE).samples.is_empty());
        (0..100).for_each(|second| history.push(look(start + Duration::from_secs(second), second)));
        history.begin(look(start + Duration::from_secs(100), 100));
        for second in 101..=104 {
            history.push(look(start + Duration::from_secs(second), second));
            assert!(!history.window(Duration::from_secs(5)).is_full);
        }
        assert_eq!(history.window(MINUTE).length(), Duration::from_secs(4));
        history.push(look(start + Duration::from_secs(105), 105));
        assert!(history.window(Duration::from_secs(5)).is_full && !history.window(QUARTER).is_full);
    }

    #[test]
    fn s5_a_counter_that_goes_back_begins_the_windows_anew() {
        let (mut history, start) = (History::new(MINUTE, QUARTER), Instant::now());
        (0..100).for_each(|second| {
            history.push(look(start + Duration::from_secs(second), 1_000 + second))
        });
        history.push(look(start + Duration::from_secs(100), 3));
        assert_eq!(history.window(MINUTE).samples.len(), 1);
    }

    proptest! {
        #[test]
        fn s5_few_looks_are_kept_and_windows_are_about_as_long_as_asked(
            paces in prop::collection::vec(1_u64..3_000, 200..600),
            longest in 2_u64..600,
        ) {
            let longest = Duration::from_secs(longest);
            let (mut history, mut at) = (History::new(longest, QUARTER), Instant::now());
            let begun = at;
            for pace in paces {
                at += Duration::from_millis(pace);
                history.push(look(at, 0));
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
