//! Whether a difference of two shares can be chance. Pure arithmetic: it knows neither limits nor
//! what is counted.
//!
//! Not a model of latencies: only counts of what is above a mark are compared, so that no shape of
//! the tail matters.

/// How sure it must be, in standard errors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Chance {
    /// That the sides differ at all in what they count: failures, restarts.
    pub(super) counted: f64,
    /// That they differ at all in how long messages take.
    pub(super) queued: f64,
    /// That the difference is over the limit.
    pub(super) over: f64,
}

impl Chance {
    /// A day has 86,400 looks, each at three windows and three figures. Five standard errors are
    /// passed by chance once in 3.5 million. Messages wait for each other, so that what makes one
    /// of them slow makes its followers slow, for some seconds: of 41 rough days of the simulation
    /// one has a busy key whose queue passes six, none passes seven. That the value lies over the
    /// limit needs less: two (once in 44) keep out a side that is a little slower, within the
    /// limit, and was unlucky too.
    pub(super) const SURE: Self = Self { counted: 5.0, queued: 7.0, over: 2.0 };
}

/// So many of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) hits: u64,
    pub(super) of: u64,
}

impl Share {
    /// Nothing of infinitely many: what a fixed limit is compared with.
    pub(super) const NONE: Self = Self { hits: 0, of: u64::MAX };

    /// Between 0 and 1; 0 of nothing.
    pub(super) fn value(self) -> f64 {
        if self.of == 0 { 0.0 } else { (self.hits as f64 / self.of as f64).min(1.0) }
    }
}

/// The same slice of time on both sides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    pub(super) actor: Share,
    pub(super) keyed: Share,
}

impl Pair {
    /// Whether both sides have so many.
    pub(super) const fn has_both(self, least: u64) -> bool {
        self.actor.of >= least && self.keyed.of >= least
    }

    /// Hits of the actor's, had it the keyed side's share and a margin.
    fn expected(self, margin: f64) -> f64 {
        (self.keyed.value() + margin).clamp(0.0, 1.0) * self.actor.of as f64
    }

    /// Hits that the actor has more.
    fn excess(self, margin: f64) -> f64 {
        self.actor.value() * self.actor.of as f64 - self.expected(margin)
    }
}

/// How many standard errors the actor's share of the `whole` is above the keyed one and a margin.
///
/// Each slice of the window is compared with the same slice of the other side: what makes both
/// sides slow makes neither of them slower. The standard error is the largest of three:
/// - that of independent messages;
/// - what the slices differ by among themselves. A burst or a busy key makes hundreds of messages
///   slow at once, which says no more than one of them does. So a breach has to last: one that
///   fills four of five slices is four standard errors at most;
/// - what the slices `before` the window differed by from one to the next, for a few slices can
///   look alike by chance.
pub(super) fn standard_errors(whole: Pair, slices: &[Pair], before: &[Pair], margin: f64) -> f64 {
    let Some(window) = Excess::of(slices, margin).filter(|_| whole.has_both(1)) else { return 0.0 };
    let by_messages = by_messages(whole, window.expected, window.mean);
    let variance = window.variance.max(unrest(before, margin));
    if variance > 0.0 {
        by_messages.min(window.mean / (variance / window.of).sqrt())
    } else {
        by_messages
    }
}

/// How much more of the actor's messages hit than of the keyed ones.
struct Excess {
    /// Messages of the actor side.
    of: f64,
    /// The share that is expected of them.
    expected: f64,
    /// The share that is too much.
    mean: f64,
    /// What a message adds to the variance of the hits that are too many, bursts included.
    variance: f64,
}

impl Excess {
    /// `None` for fewer than two slices with messages on both sides.
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

/// The same variance from one slice to the next, which a breach that has begun among them adds
/// little to.
fn unrest(slices: &[Pair], margin: f64) -> f64 {
    let both: Vec<_> = slices.iter().filter(|slice| slice.has_both(1)).collect();
    let steps = both.windows(2).map(|two| {
        let [one, other] =
            [two[0], two[1]].map(|slice| (slice.excess(margin), slice.actor.of as f64));
        (one.0 / one.1 - other.0 / other.1).powi(2) / (1.0 / one.1 + 1.0 / other.1)
    });
    if both.len() < 2 { 0.0 } else { steps.sum::<f64>() / (both.len() - 1) as f64 }
}

/// The arc sine gives shares of every size the same variance, `1 / of`, and errs to the safe side
/// where hits are few.
fn by_messages(whole: Pair, expected: f64, excess: f64) -> f64 {
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
            assert!(errors < Chance::SURE.counted, "{bursts} of 5: {errors}");
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
