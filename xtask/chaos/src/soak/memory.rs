//! Whether the memory of a process is flat (SPEC T5): its last quarter beside its first.

use serde::Serialize;

/// A process that lived for fewer seconds than this is not judged.
const LONG_ENOUGH: f64 = 600.0;
/// Seconds of warm-up at the beginning of a life. Within five minutes a process has met most kinds
/// of faults: the memory for the backlog of the worst of them belongs to the warm-up too.
const WARM_UP: f64 = 300.0;
/// Permitted gain of the median from the first to the last quarter after the warm-up. Caches and
/// allocators vary by less.
const MOST_GROWTH: f64 = 0.1;
/// Permitted peak after the warm-up above the median: the backlog of an outage arrives at once.
const MOST_ABOVE: f64 = 1.0;
const MIB: f64 = 1_048_576.0;

/// Resident memory after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Memory {
    pub(super) median_mib: f64,
    pub(super) most_mib: f64,
    /// What the median of the last quarter is above that of the first, as a share of that.
    pub(super) growth: f64,
}

impl Memory {
    /// Of points of seconds and bytes, in order; none for a life that is too short.
    pub(super) fn of(points: &[(f64, f64)]) -> Option<Self> {
        let (begin, end) = (points.first()?.0, points.last()?.0);
        if end - begin < LONG_ENOUGH {
            return None;
        }
        let from = begin + WARM_UP;
        let quarter = (end - from) / 4.0;
        let median = |from: f64, to: f64| {
            let within = points.iter().filter(|(at, _)| (from..=to).contains(at));
            let mut bytes: Vec<f64> = within.map(|(_, bytes)| *bytes).collect();
            bytes.sort_by(f64::total_cmp);
            bytes.get(bytes.len() / 2).copied().filter(|bytes| *bytes > 0.0)
        };
        let (first, last) = (median(from, from + quarter)?, median(end - quarter, end)?);
        let warm = points.iter().filter(|(at, _)| *at >= from);
        Some(Self {
            median_mib: median(from, end)? / MIB,
            most_mib: warm.map(|(_, bytes)| *bytes).fold(0.0, f64::max) / MIB,
            growth: last / first - 1.0,
        })
    }

    pub(super) fn is_flat(&self) -> bool {
        self.growth <= MOST_GROWTH && self.most_mib <= self.median_mib * (1.0 + MOST_ABOVE)
    }

    /// The rule, for people.
    pub(super) fn rule() -> String {
        format!(
            "after {WARM_UP:.0} s of a life of at least {LONG_ENOUGH:.0} s, the median of the last \
             quarter is at most {:.0} % above that of the first, and the highest value at most \
             {:.0} % above the median",
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
            (0..=240).map(|at| f64::from(at) * 5.0).map(|at| (at, bytes(at) * MIB)).collect();
        Memory::of(&points).expect("long enough")
    }

    #[test]
    fn t5_memory_that_settles_is_flat() {
        let memory = of(|at| 30.0 + (at / 5.0 % 3.0) + 20.0 * (1.0 - (-at / 60.0).exp()));
        assert!(memory.is_flat() && memory.growth.abs() < 0.02, "{memory:?}");
    }

    #[test]
    fn t5_memory_that_grows_is_not() {
        // Between the middles of the quarters lie 675 s.
        let memory = of(|at| 37.0 + at / 100.0);
        assert!(!memory.is_flat() && (memory.growth - 6.75 / 41.12).abs() < 0.01, "{memory:?}");
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
        assert_eq!(Memory::of(&[(0.0, 1.0), (900.0, 2.0)]), None, "nothing in a quarter");
    }
}
