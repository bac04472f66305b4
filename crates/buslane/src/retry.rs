//! When a failed envelope is tried again. Pure: no clock, no randomness of its own.

use buslane_core::stable_hash;
use std::time::Duration;

/// How often and when a failed envelope is tried again, in its lane.
///
/// The wait before attempt 2 is [`Retry::initial`]; it doubles with each failure up to
/// [`Retry::max`]. With jitter a wait is drawn from its upper half, so that many keys that failed
/// together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all, the first one included; at least 1. Default: 5.
    pub attempts: u32,
    /// Wait before the second attempt. Default: 100 ms.
    pub initial: Duration,
    /// Longest wait, and the wait of a blocked key. Default: 30 s.
    pub max: Duration,
    /// Whether waits are spread. Default: yes.
    pub jitter: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            initial: Duration::from_millis(100),
            max: Duration::from_secs(30),
            jitter: true,
        }
    }
}

impl Retry {
    /// The default with another number of attempts.
    #[must_use]
    pub fn attempts(attempts: u32) -> Self {
        Self { attempts, ..Self::default() }
    }

    /// No second attempt.
    #[must_use]
    pub fn never() -> Self {
        Self::attempts(1)
    }

    /// The same with other waits.
    #[must_use]
    pub const fn backoff(mut self, initial: Duration, max: Duration) -> Self {
        self.initial = initial;
        self.max = max;
        self
    }

    /// The wait after `failures` failures. `seed` names the message: the same one always draws the
    /// same wait.
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
