//! How far a group has come, whichever of its members reads.

use crate::Topic;

/// How far a group has come in one partition. Positions are offsets, or sequence numbers of a
/// stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: u32,
    /// Position behind the newest record that the broker stores.
    pub end: u64,
    /// Everything below this position is settled.
    pub settled: u64,
    /// Records of the partition that are not settled, as far as the broker can tell; never fewer
    /// than there are.
    pub open: u64,
}
