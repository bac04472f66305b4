//! What a group member counts, for the metrics of the bus.

use buslane_core::{BrokerCounts, Stragglers};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[derive(Default)]
pub(crate) struct MemberCounts {
    pub(super) stragglers: Stragglers,
    /// Settled offsets that had no room in the metadata of a commit.
    pub(super) left_out: AtomicU64,
}

impl MemberCounts {
    pub(crate) fn read(&self) -> BrokerCounts {
        BrokerCounts { left_out_offsets: self.left_out.load(Relaxed), ..self.stragglers.counts() }
    }
}
