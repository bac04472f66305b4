//! Whether a difference between two shares can be chance. Pure arithmetic: it knows no limits and
//! not what is counted.
//!
//! It models no latencies. It compares only how many lie above a mark, so the shape of the tail
//! does not matter.

/// How many standard errors a difference must exceed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Significance {
    /// For failures and restarts to differ at all.
    pub(crate) counted: f64,
    /// For latencies to differ at all.
    pub(crate) queued: f64,
    /// For the difference to exceed the limit.
    pub(crate) over_limit: f64,
}

impl Significance {
    /// A day has 86,400 samples, each tested over three windows for three figures. Chance exceeds
    /// five standard errors once in 3.5 million tests. Latencies need more: a slow message delays
    /// those behind it for seconds. In 41 simulated rough days, one has a busy key whose queue
    /// exceeds six, and none exceeds seven. To exceed the limit, two (once in 44) are enough:
    /// they protect a pool that is a little slower, within the limit, and was unlucky too.
    pub(crate) const REQUIRED: Self = Self { counted: 5.0, queued: 7.0, over_limit: 2.0 };
}

/// Hits among a number of messages or attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) hits: u64,
    pub(crate) of: u64,
}

impl Share {
    /// No hits among infinitely many: what a fixed limit is compared with.
    pub(crate) const NONE: Self = Self { hits: 0, of: u64::MAX };

    /// Between 0 and 1; 0 of nothing.
    pub(crate) fn value(self) -> f64 {
        if self.of == 0 { 0.0 } else { (self.hits as f64 / self.of as f64).min(1.0) }
    }
}

/// Both pools over the same slice of time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) actor: Share,
    pub(crate) keyed: Share,
}

impl Pair {
    /// Whether both pools counted at least this many.
    pub(crate) const fn has_both(self, least: u64) -> bool {
        self.actor.of >= least && self.keyed.of >= least
    }

    /// Hits that the actor pool would have with the keyed pool's share and a margin.
    fn expected(self, margin: f64) -> f64 {
        (self.keyed.value() + margin).clamp(0.0, 1.0) * self.actor.of as f64
    }

    /// Hits of the actor pool beyond those expected.
    fn excess(self, margin: f64) -> f64 {
        self.actor.value() * self.actor.of as f64 - self.expected(margin)
    }
}

/// How many standard errors the actor pool's share of the `whole` is above the keyed pool's share
/// plus a margin.
///
/// Each slice of the window is compared with the same slice of the other pool, so a stall of both
/// counts for nothing. The standard error is the largest of three:
/// - that of independent messages;
/// - that of the differences among the slices. A burst or a busy key makes hundreds of messages
///   slow at once and proves no more than one of them, so a breach has to last: one that fills four
///   of five slices reaches four standard errors at most;
/// - that of the differences between neighbouring slices `before` the window, because a few slices
///   can look alike by chance.
pub(crate) fn standard_errors(whole: Pair, slices: &[Pair], before: &[Pair], margin: f64) -> f64 {
    let Some(window) = Excess::of(slices, margin).filter(|_| whole.has_both(1)) else { return 0.0 };
    let independent = of_independent_messages(whole, window.expected, window.mean);
    let variance = window.variance.max(variance_between_neighbours(before, margin));
    if variance > 0.0 {
        independent.min(window.mean / (variance / window.of).sqrt())
    } else {
        independent
    }
}

/// The actor pool's hits beyond those expected, over several slices.
struct Excess {
    /// Messages of the actor pool.
    of: f64,
    /// Their expected share of hits.
    expected: f64,
    /// Their share of hits beyond that.
    mean: f64,
    /// Variance of the excess for each message, bursts included.
    variance: f64,
}

impl Excess {
    /// `None` for fewer than two slices with messages of both pools.
    fn of(slices: &[Pair], margin: f64) -> Option<Self> {
        let both = || slices.iter().filter(|slice| slice.has_both(1));
        let sum = |value: &dyn Fn(&Pair) -> f64| both().map(value).sum::<f64>();
        let count = both().count() as f64;
        if count < 2.0 {
            return None;
        }
        let of = sum(&|slice| slice.actor.of as f64);
        let mean = sum(&|slice| slice.excess(margin)) / of;
        let squares = sum(&|slice| (slice.excess(margin) - mean * slice.actor.of as f64).powi(2));
        let variance = squares / of * count / (count - 1.0);
        Some(Self { of, expected: sum(&|slice| slice.expected(margin)) / of, mean, variance })
    }
}

/// The same variance, estimated from neighbouring slices. A breach that began among them raises it
/// only a little.
fn variance_between_neighbours(slices: &[Pair], margin: f64) -> f64 {
    let both: Vec<_> = slices.iter().filter(|slice| slice.has_both(1)).collect();
    let steps = both.windows(2).map(|two| {
        let [one, other] =
            [two[0], two[1]].map(|slice| (slice.excess(margin), slice.actor.of as f64));
        (one.0 / one.1 - other.0 / other.1).powi(2) / (1.0 / one.1 + 1.0 / other.1)
    });
    if both.len() < 2 { 0.0 } else { steps.sum::<f64>() / (both.len() - 1) as f64 }
}

/// The arc sine gives shares of every size the variance `1 / of`, and errs to the safe side where
/// hits are few.
fn of_independent_messages(whole: Pair, expected: f64, excess: f64) -> f64 {
    let angle = |share: f64| 2.0 * share.clamp(0.0, 1.0).sqrt().asin();
    let variance = 1.0 / whole.actor.of as f64 + 1.0 / whole.keyed.of as f64;
    (angle(expected + excess) - angle(expected)) / variance.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn pair(actor: (u64, u64), keyed: (u64, u64)) -> Pair {
        Pair {
            actor: Share { hits: actor.0, of: actor.1 },
            keyed: Share { hits: keyed.0, of: keyed.1 },
        }
    }

    fn sum(slices: &[Pair]) -> Pair {
        let total = |side: fn(&Pair) -> Share| Share {
            hits: slices.iter().map(|slice| side(slice).hits).sum(),
            of: slices.iter().map(|slice| side(slice).of).sum(),
        };
        Pair { actor: total(|slice| slice.actor), keyed: total(|slice| slice.keyed) }
    }

    #[test]
    fn s5_the_same_share_is_no_difference_and_more_messages_are_surer() {
        let slices = |scale: u64| [pair((2 * scale, 100 * scale), (scale, 100 * scale)); 5];
        let errors = |scale| standard_errors(sum(&slices(scale)), &slices(scale), &[], 0.0);
        assert!(errors(1) > 0.5 && errors(1) < 2.0, "{}", errors(1));
        assert!((errors(100) / errors(1) - 10.0).abs() < 1e-6);
        assert_eq!(
            standard_errors(pair((7, 700), (9, 900)), &[pair((7, 700), (9, 900)); 3], &[], 0.0),
            0.0
        );
        let at_the_margin = pair((20, 1_000), (10, 1_000));
        assert!(standard_errors(at_the_margin, &[at_the_margin; 2], &[], 0.01).abs() < 1e-9);
    }

    #[test]
    fn s5_a_burst_is_one_event_however_many_messages_it_has() {
        let (calm, burst) = (pair((5, 1_000), (5, 1_000)), pair((900, 1_000), (5, 1_000)));
        for bursts in 1..5 {
            let mut slices = [calm; 5];
            slices[..bursts].fill(burst);
            let errors = standard_errors(sum(&slices), &slices, &[], 0.0);
            assert!(errors < Significance::REQUIRED.counted, "{bursts} of 5: {errors}");
        }
        assert!(standard_errors(sum(&[burst; 5]), &[burst; 5], &[], 0.0) > 50.0);
    }

    #[test]
    fn s5_nothing_on_a_side_is_no_difference() {
        for whole in [pair((0, 0), (0, 0)), pair((5, 10), (0, 0)), pair((0, 0), (5, 10))] {
            assert_eq!(standard_errors(whole, &[whole; 3], &[], 0.0), 0.0);
        }
    }

    fn share() -> impl Strategy<Value = Share> {
        prop_oneof![
            Just(Share::NONE),
            (0..5_000_u64, 0..5_000_u64).prop_map(|(hits, of)| Share { hits, of }),
            (any::<u64>(), any::<u64>()).prop_map(|(hits, of)| Share { hits, of }),
        ]
    }

    proptest! {
        #[test]
        fn s5_no_counts_make_it_divide_by_zero(
            shares in prop::collection::vec((share(), share()), 1..20),
            margin in -2.0..2.0,
        ) {
            let slices: Vec<_> = shares.into_iter().map(|(actor, keyed)| Pair { actor, keyed }).collect();
            prop_assert!(standard_errors(slices[0], &slices[1..], &slices, margin).is_finite());
        }
    }
}
