//! The time until which this member may act for its partitions. Every action checks it first: a
//! suspended process may resume after others have taken over.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A lease that each renewal extends. Once a check has found it expired, it stays expired: a
/// refused message goes back, and no later one may begin under the same lease.
#[derive(Debug, Clone)]
pub(crate) struct Lease(Arc<Term>);

#[derive(Debug)]
struct Term {
    since: Instant,
    /// Nanoseconds from `since` to the end of the lease; 0 when expired.
    length: AtomicU64,
}

impl Lease {
    pub(crate) fn new(since: Instant, length: Duration) -> Self {
        Self(Arc::new(Term { since, length: AtomicU64::new(nanos(length)) }))
    }

    pub(crate) fn is_valid(&self, now: Instant) -> bool {
        let passed = self.passed(now);
        let end = |length| (length != 0 && passed >= length).then_some(0);
        match self.0.length.fetch_update(Ordering::AcqRel, Ordering::Acquire, end) {
            Ok(_) | Err(0) => false,
            Err(_) => true,
        }
    }

    /// Extends the lease. Returns `false` if it has expired.
    pub(crate) fn extend(&self, until: Instant, now: Instant) -> bool {
        if !self.is_valid(now) {
            return false;
        }
        let to = self.passed(until);
        let longer = |length: u64| (length != 0).then(|| length.max(to));
        self.0.length.fetch_update(Ordering::AcqRel, Ordering::Acquire, longer).is_ok()
    }

    /// As [`Lease::is_valid`], without expiring the lease.
    #[cfg(test)]
    pub(crate) fn would_be_valid(&self, now: Instant) -> bool {
        self.passed(now) < self.0.length.load(Ordering::Acquire)
    }

    fn passed(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.0.since))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n5_a_lease_that_was_seen_over_stays_over() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let lease = Lease::new(start, Duration::from_secs(10));
        assert!(lease.is_valid(start) && lease.is_valid(at(9)));
        assert!(lease.extend(at(15), at(9)));
        assert!(lease.extend(at(12), at(9)), "an old answer takes nothing away");
        assert!(
            lease.is_valid(at(14)) && lease.would_be_valid(at(14)) && !lease.would_be_valid(at(15))
        );
        // One holder finds the lease expired, so a renewal that was checked earlier comes too late.
        let seen_by_another = lease.clone();
        assert!(!seen_by_another.is_valid(at(15)));
        assert!(!lease.extend(at(25), at(14)) && !lease.is_valid(at(14)));
    }
}
