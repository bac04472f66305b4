//! Whether the memory of a process is flat: the rule of a soak for its second half.

use serde::Serialize;

/// The first half of a process's life is its warm-up; a process that lived for fewer seconds than
/// this is not judged. Within five minutes a process has met most kinds of faults: the memory for
/// the backlog of the worst of them belongs to the warm-up too.
const LONG_ENOUGH: f64 = 600.0;
/// Permitted gain of the fitted line over the second half, as a share of the mean. Caches and
/// allocators vary by less.
const MOST_GROWTH: f64 = 0.05;
/// Permitted peak of the second half above its mean: the backlog of an outage arrives at once.
const MOST_ABOVE: f64 = 1.0;
const MIB: f64 = 1_048_576.0;

/// Resident memory in the second half of a process's life.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Memory {
    pub(super) mean_mib: f64,
    pub(super) most_mib: f64,
    /// What the fitted line gains over the time, as a share of the mean.
    pub(super) growth: f64,
    pub(super) growth_an_hour: f64,
}

impl Memory {
    /// Of points of seconds and bytes, in order; none for a life that is too short.
    pub(super) fn of(points: &[(f64, f64)]) -> Option<Self> {
        let (begin, end) = (points.first()?.0, points.last()?.0);
        if end - begin < LONG_ENOUGH {
            return None;
        }
        let half = &points[points.partition_point(|(at, _)| *at < f64::midpoint(begin, end))..];
        let count = half.len() as f64;
        let mean = |value: fn(&(f64, f64)) -> f64| half.iter().map(value).sum::<f64>() / count;
        let (mean_at, mean_bytes) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = half.iter().map(|(at, _)| (at - mean_at).powi(2)).sum();
        let slope =
            half.iter().map(|(at, bytes)| (at - mean_at) * (bytes - mean_bytes)).sum::<f64>()
                / spread;
        let seconds = end - half.first()?.0;
        (spread > 0.0 && mean_bytes > 0.0).then(|| Self {
            mean_mib: mean_bytes / MIB,
            most_mib: half.iter().map(|(_, bytes)| *bytes).fold(0.0, f64::max) / MIB,
            growth: slope * seconds / mean_bytes,
            growth_an_hour: slope * 3_600.0 / mean_bytes,
        })
    }

    pub(super) fn is_flat(&self) -> bool {
        self.growth <= MOST_GROWTH && self.most_mib <= self.mean_mib * (1.0 + MOST_ABOVE)
    }

    /// The rule, for people.
    pub(super) fn rule() -> String {
        format!(
            "after the first half of a life of at least {LONG_ENOUGH:.0} s the fitted line gains at most {:.0} % of the mean, \
             and the highest value is at most {:.0} % above it",
            MOST_GROWTH * 100.0,
            MOST_ABOVE * 100.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{MIB, Memory};

    fn of(bytes: impl Fn(f64) -> f64) -> Memory {
        let points: Vec<_> =
            (0..=120).map(|at| f64::from(at) * 5.0).map(|at| (at, bytes(at) * MIB)).collect();
        Memory::of(&points).expect("long enough")
    }

    #[test]
    fn t5_memory_that_settles_is_flat() {
        let memory = of(|at| 30.0 + (at / 5.0 % 3.0) + 20.0 * (1.0 - (-at / 60.0).exp()));
        assert!(memory.is_flat() && memory.growth.abs() < 0.02, "{memory:?}");
    }

    #[test]
    fn t5_memory_that_grows_is_not() {
        let memory = of(|at| 30.0 + at / 100.0);
        assert!(
            !memory.is_flat() && (memory.growth_an_hour - 36.0 / 34.5).abs() < 0.01,
            "{memory:?}"
        );
    }

    #[test]
    fn t5_memory_that_bursts_is_not() {
        assert!(!of(|at| if (at - 450.0).abs() < 1.0 { 90.0 } else { 30.0 }).is_flat());
        assert!(
            of(|at| if at < 1.0 { 90.0 } else { 30.0 }).is_flat(),
            "a burst at the begin is warm-up"
        );
    }

    #[test]
    fn t5_a_short_life_is_not_judged() {
        assert_eq!(Memory::of(&[(0.0, 1.0), (200.0, 2.0)]), None);
        assert_eq!(Memory::of(&[]), None);
    }
}
