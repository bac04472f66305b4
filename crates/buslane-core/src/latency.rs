//! A histogram of durations, with quantiles. Pure: no clock.
//!
//! It holds only counts that grow, so that two snapshots of a recorder show what was recorded
//! between them.

use std::{fmt, time::Duration};

/// The number of buckets for each doubling: the width of a bucket is at most 1/32 of its lower end.
const STEPS_BITS: u32 = 5;
const STEPS: usize = 1 << STEPS_BITS;
/// The first doubling begins at 2^10 ns, about 1 us, and the last ends at 2^36 ns, which is 68.7 s.
const FIRST: u32 = 10;
const LAST: u32 = 36;

/// Counts of durations in log-linear buckets of about 3 % width, from 1 us to 68 s.
///
/// The first bucket holds durations below 1,024 ns, the last those above 68.7 s. The counts of a
/// recorder never decrease; [`Latencies::since`] returns the difference of two snapshots. A
/// recorder may count in atomics, by [`Latencies::bucket`], and convert with
/// [`Latencies::from_counts`].
///
/// It always takes 6.7 kB on the heap. The default is empty.
///
/// ```
/// use buslane_core::Latencies;
/// use std::time::Duration;
///
/// let mut latencies = Latencies::default();
/// (1..=100).for_each(|ms| latencies.record(Duration::from_millis(ms)));
/// let p99 = latencies.quantile(0.99).expect("durations were recorded");
/// assert!((98..=102).contains(&p99.as_millis()));
/// assert_eq!(latencies.count(), 100);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Latencies {
    counts: Box<[u64; Latencies::BUCKETS]>,
}

impl Latencies {
    /// The number of buckets: one below 1 us, 32 for each doubling, and one for longer durations.
    pub const BUCKETS: usize = (LAST - FIRST) as usize * STEPS + 2;

    /// Wraps the counts of the buckets.
    #[must_use]
    pub const fn from_counts(counts: Box<[u64; Self::BUCKETS]>) -> Self {
        Self { counts }
    }

    /// The number of durations in each bucket.
    #[must_use]
    pub const fn counts(&self) -> &[u64; Self::BUCKETS] {
        &self.counts
    }

    /// The bucket of a duration, below [`Latencies::BUCKETS`]. A longer duration never has a lower
    /// bucket.
    #[must_use]
    #[inline]
    pub fn bucket(duration: Duration) -> usize {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let Some(doubling) = nanos.checked_ilog2().filter(|log| *log >= FIRST) else { return 0 };
        if doubling >= LAST {
            return Self::BUCKETS - 1;
        }
        // The highest bit selects the doubling, and the bits behind it the step.
        let steps = usize::try_from(nanos >> (doubling - STEPS_BITS)).unwrap_or(STEPS);
        1 + (doubling - FIRST) as usize * STEPS + steps - STEPS
    }

    /// The exclusive upper end of a bucket; [`Duration::MAX`] for the last bucket and beyond.
    #[must_use]
    pub fn upper(bucket: usize) -> Duration {
        if bucket < Self::BUCKETS - 1 {
            Duration::from_nanos(lower(bucket + 1))
        } else {
            Duration::MAX
        }
    }

    /// Counts a duration.
    pub fn record(&mut self, duration: Duration) {
        self.counts[Self::bucket(duration)] += 1;
    }

    /// The durations recorded since an `earlier` snapshot of the same recorder. A bucket whose
    /// count is lower than before counts as 0.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut new = self.clone();
        for (count, before) in new.counts.iter_mut().zip(earlier.counts.iter()) {
            *count = count.saturating_sub(*before);
        }
        new
    }

    /// The number of durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The duration that the share `q` of all durations does not exceed, interpolated within its
    /// bucket, so that the error is at most the width of the bucket. `q` is clamped to 0..=1.
    /// Within the last bucket the result is 68.7 s. `None` without durations.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let total = self.count();
        let rank = q.clamp(0.0, 1.0) * total as f64;
        let mut below = 0;
        for (bucket, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let inside = (rank - below as f64) / *count as f64;
            if inside <= 1.0 {
                return Some(within(bucket, inside));
            }
            below += count;
        }
        // Rounding has put the rank behind the last duration.
        self.counts.iter().rposition(|count| *count > 0).map(|bucket| within(bucket, 1.0))
    }

    /// The number of durations above `limit`. The bucket of `limit` counts as evenly filled; every
    /// duration in the last bucket counts as above any limit.
    #[must_use]
    pub fn above(&self, limit: Duration) -> u64 {
        let bucket = Self::bucket(limit);
        let longer: u64 = self.counts[bucket + 1..].iter().sum();
        let count = self.counts[bucket];
        if bucket == Self::BUCKETS - 1 {
            return count;
        }
        let (from, to) = (lower(bucket), lower(bucket + 1));
        let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let share = u128::from(to - nanos.max(from)) * u128::from(count);
        let width = u128::from(to - from);
        longer + u64::try_from((share + width / 2) / width).unwrap_or(count)
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::from_counts(Box::new([0; Self::BUCKETS]))
    }
}

impl fmt::Debug for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quantile = |q| self.quantile(q).unwrap_or_default();
        f.debug_struct("Latencies")
            .field("count", &self.count())
            .field("p50", &quantile(0.5))
            .field("p99", &quantile(0.99))
            .finish_non_exhaustive()
    }
}

/// The lower end of a bucket in nanoseconds. `bucket` may be one past the last finite bucket.
fn lower(bucket: usize) -> u64 {
    let Some(place) = bucket.checked_sub(1) else { return 0 };
    ((STEPS + place % STEPS) as u64) << (place / STEPS + (FIRST - STEPS_BITS) as usize)
}

/// The duration at `share` of the width of a bucket.
fn within(bucket: usize, share: f64) -> Duration {
    let from = Duration::from_nanos(lower(bucket));
    if bucket == Latencies::BUCKETS - 1 {
        return from;
    }
    from + (Latencies::upper(bucket) - from).mul_f64(share.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Of every size, not mostly long ones.
    fn nanos() -> impl Strategy<Value = u64> {
        (0_u32..40, any::<u64>()).prop_map(|(bits, seed)| (1 << bits) + seed % (1 << bits))
    }

    fn recorded(nanos: &[u64]) -> Latencies {
        let mut latencies = Latencies::default();
        for nanos in nanos {
            latencies.record(Duration::from_nanos(*nanos));
        }
        latencies
    }

    #[test]
    fn s5_buckets_follow_each_other_without_a_gap() {
        for bucket in 0..Latencies::BUCKETS - 1 {
            let end = Latencies::upper(bucket);
            assert_eq!(Latencies::bucket(end), bucket + 1);
            assert_eq!(Latencies::bucket(end - Duration::from_nanos(1)), bucket);
            let width = end.as_nanos() as f64 / f64::max(lower(bucket) as f64, 1.0) - 1.0;
            assert!(bucket == 0 || (0.0..=1.0 / 32.0).contains(&width), "{bucket} is {width} wide");
        }
        assert_eq!(Latencies::upper(0), Duration::from_nanos(1_024));
        assert!(Latencies::bucket(Duration::from_secs(60)) < Latencies::BUCKETS - 1);
        for bucket in [Latencies::BUCKETS - 1, Latencies::BUCKETS, usize::MAX] {
            assert_eq!(Latencies::upper(bucket), Duration::MAX);
        }
        assert_eq!(Latencies::bucket(Duration::MAX), Latencies::BUCKETS - 1);
    }

    #[test]
    fn s5_nothing_recorded_has_no_quantile() {
        let empty = Latencies::default();
        assert_eq!(
            (empty.count(), empty.above(Duration::ZERO), empty.quantile(0.99)),
            (0, 0, None)
        );
    }

    #[test]
    fn s5_what_is_too_long_counts_as_the_longest() {
        let mut latencies = Latencies::default();
        latencies.record(Duration::MAX);
        assert_eq!(latencies.quantile(0.5), Some(Duration::from_nanos(1 << LAST)));
        assert_eq!(latencies.above(Duration::from_secs(3_600)), 1);
    }

    #[test]
    fn s5_a_quantile_is_interpolated_in_its_bucket() {
        // 131,072 ns to 135,168 ns is one bucket.
        let latencies = recorded(&[132_000; 100]);
        assert_eq!(latencies.quantile(0.5), Some(Duration::from_nanos(133_120)));
        assert_eq!(latencies.above(Duration::from_nanos(133_120)), 50);
        assert_eq!(latencies.quantile(-1.0), Some(Duration::from_nanos(131_072)));
        assert_eq!(latencies.quantile(7.0), Some(Duration::from_nanos(135_168)));
    }

    proptest! {
        #[test]
        fn s5_a_quantile_is_in_the_bucket_of_the_sorted_one(
            mut nanos in prop::collection::vec(nanos(), 1..500),
            q in 0.0_f64..=1.0,
        ) {
            let found = recorded(&nanos).quantile(q).unwrap();
            nanos.sort_unstable();
            let rank = q * nanos.len() as f64;
            let place = (1..nanos.len()).find(|place| *place as f64 >= rank).unwrap_or(nanos.len());
            let bucket = Latencies::bucket(Duration::from_nanos(nanos[place - 1]));
            prop_assert!(found >= Duration::from_nanos(lower(bucket)) && found <= Latencies::upper(bucket));
        }

        #[test]
        fn s5_above_differs_by_no_more_than_the_bucket_of_the_limit(
            nanos in prop::collection::vec(nanos(), 0..500),
            limit in nanos(),
        ) {
            let limit = Duration::from_nanos(limit);
            let bucket = Latencies::bucket(limit);
            let latencies = recorded(&nanos);
            let exact = nanos.iter().filter(|nanos| Duration::from_nanos(**nanos) > limit).count() as u64;
            prop_assert!(latencies.above(limit).abs_diff(exact) <= latencies.counts()[bucket]);
        }

        #[test]
        fn s5_since_is_what_was_recorded_between(
            before in prop::collection::vec(nanos(), 0..200),
            later in prop::collection::vec(nanos(), 0..200),
        ) {
            let earlier = recorded(&before);
            let now = recorded(&[before, later.clone()].concat());
            prop_assert_eq!(now.since(&earlier), recorded(&later));
            prop_assert_eq!(now.since(&earlier).count(), later.len() as u64);
            prop_assert_eq!(earlier.since(&now).count(), 0);
        }

        #[test]
        fn s5_longer_durations_are_not_in_lower_buckets(one in nanos(), other in nanos()) {
            let bucket = |nanos| Latencies::bucket(Duration::from_nanos(nanos));
            prop_assert!(bucket(one.min(other)) <= bucket(one.max(other)));
        }

        #[test]
        fn s5_counts_make_the_same_again(nanos in prop::collection::vec(nanos(), 0..200)) {
            let latencies = recorded(&nanos);
            prop_assert_eq!(Latencies::from_counts(Box::new(*latencies.counts())), latencies);
        }
    }
}
