//! When a failed envelope is retried. Pure: no clock, no randomness of its own.

use buslane_core::stable_hash;
use buslane_settings::{
    BrokenRule, above_zero, at_least,
    duration::{millis, secs, show},
    settings,
};
use std::time::Duration;

settings! {
    /// How often and when a failed envelope is retried, in its lane. The wait doubles with each
    /// failure.
    ///
    /// It is the section `retry` of a [`Config`](crate::Config), and an option of a
    /// [subscription](crate::SubscriptionBuilder::retry). With jitter each wait is drawn from its
    /// upper half, so that many keys that failed together do not retry together.
    ///
    /// ```
    /// use buslane::Retry;
    /// use std::time::Duration;
    ///
    /// let retry = Retry::attempts(3).backoff(Duration::from_millis(50), Duration::from_secs(1));
    /// let waits = [1, 2].map(|failures| retry.without_jitter().delay(failures, 0).as_millis());
    /// assert_eq!(waits, [50, 100]);
    /// assert_eq!(Retry::never().attempts, 1);
    /// ```
    #[derive(Copy, Eq)]
    #[non_exhaustive]
    pub struct Retry {
        /// Attempts of an envelope, including the first.
        attempts: u32 = 5, at_least(1);
        /// Wait before the second attempt. It doubles with each failure.
        initial: Duration = millis(100), above_zero();
        /// The longest wait between two attempts, and the wait of a blocked key; at least
        /// `retry.initial`.
        max: Duration = secs(30);
        /// Whether waits vary at random, so that many keys do not retry at the same moment.
        jitter: bool = true;
    }
    also Self::max_is_longer;
}

impl Retry {
    /// The default with another number of attempts, the first one included; at least 1.
    #[must_use]
    pub fn attempts(attempts: u32) -> Self {
        Self { attempts, ..Self::default() }
    }

    /// No second attempt.
    #[must_use]
    pub fn never() -> Self {
        Self::attempts(1)
    }

    /// The same with other waits: `initial` before the second attempt, `max` at most.
    #[must_use]
    pub const fn backoff(mut self, initial: Duration, max: Duration) -> Self {
        self.initial = initial;
        self.max = max;
        self
    }

    /// The same with exact waits.
    #[must_use]
    pub const fn without_jitter(mut self) -> Self {
        self.jitter = false;
        self
    }

    /// The wait after `failures` failures. `seed` identifies the message: the same seed always
    /// gives the same wait.
    #[must_use]
    pub fn delay(&self, failures: u32, seed: u64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let full = self.initial.saturating_mul(1 << doublings).min(self.max);
        if !self.jitter {
            return full;
        }
        let draw = stable_hash(&(seed ^ u64::from(failures).rotate_left(32)).to_le_bytes());
        // 2^11 steps are fine enough, and an exact fraction of a duration.
        let share = u32::try_from(draw >> 53).unwrap_or_default();
        full / 2 + (full / 2) * share / 2048
    }

    fn max_is_longer(&self, key: &str) -> Result<(), BrokenRule> {
        if self.max >= self.initial {
            return Ok(());
        }
        let rule = format!("must be at least {key}.initial ({})", show(self.initial));
        BrokenRule::because(format!("{key}.max"), rule, show(self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d3_waits_double_up_to_the_longest() {
        let plain = Retry { jitter: false, ..Retry::default() };
        let waits: Vec<u128> =
            (1..=10).map(|failures| plain.delay(failures, 7).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000]);
        assert_eq!(plain.delay(u32::MAX, 7), plain.max);
    }

    #[test]
    fn d3_jitter_draws_from_the_upper_half_and_spreads() {
        let retry = Retry::default();
        let waits: Vec<Duration> = (0..1_000).map(|seed| retry.delay(1, seed)).collect();
        assert!(waits.iter().all(|wait| (50..=100).contains(&wait.as_millis())));
        let distinct: std::collections::HashSet<_> = waits.iter().collect();
        assert!(distinct.len() > 300, "{} distinct waits", distinct.len());
        assert_eq!(retry.delay(3, 9), retry.delay(3, 9));
    }
}
