//! The state of a partition's commits: what the broker has, and what is in flight. One commit is in
//! flight at a time, and only its answer changes what the broker is known to have.

/// Characters of commit metadata that a broker accepts by default (`offset.metadata.max.bytes`).
pub const METADATA_LIMIT: usize = 4096;

/// An offset to commit together with its metadata. Both describe the same instant, so commit them
/// together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingCommit {
    /// The offset to commit: everything below it is done.
    pub offset: u64,
    /// The offsets above it that are done; may be empty.
    pub metadata: String,
    /// Done offsets, gaps included, that do not fit into the metadata. Their messages run again
    /// after a restart.
    pub left_out: u64,
    number: u64,
}

#[derive(Debug, Clone)]
struct Commit {
    number: u64,
    offset: u64,
    /// The value of [`CommitState::changes`] that this commit covers.
    changes: u64,
    /// `None` for the commit that the tracker started from: its metadata is unknown.
    metadata: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct CommitState {
    /// Counts completions.
    changes: u64,
    /// Numbers the commits.
    last_number: u64,
    acknowledged: Commit,
    in_flight: Option<Commit>,
    /// Done offsets that the last commit left out, whether it was worth sending or not.
    pub(crate) left_out: u64,
}

impl CommitState {
    /// The broker has `offset`.
    pub(crate) const fn new(offset: u64) -> Self {
        let acknowledged = Commit { number: 0, offset, changes: 0, metadata: None };
        Self { changes: 0, last_number: 0, acknowledged, in_flight: None, left_out: 0 }
    }

    /// Counts a completion.
    pub(crate) const fn changed(&mut self) {
        self.changes += 1;
    }

    /// Whether a commit may have news. Asked before the metadata is encoded, because encoding is
    /// expensive.
    pub(crate) const fn may_have_news(&self, offset: u64) -> bool {
        self.in_flight.is_none()
            && (self.acknowledged.offset != offset || self.acknowledged.changes != self.changes)
    }

    /// Puts a commit in flight; `None` when the broker already has exactly this offset and
    /// metadata.
    pub(crate) fn begin(
        &mut self,
        offset: u64,
        metadata: String,
        left_out: u64,
    ) -> Option<PendingCommit> {
        self.left_out = left_out;
        if self.acknowledged.offset == offset
            && self.acknowledged.metadata.as_ref() == Some(&metadata)
        {
            // The new completions did not fit into the metadata.
            self.acknowledged.changes = self.changes;
            return None;
        }
        self.last_number += 1;
        let number = self.last_number;
        let (changes, kept) = (self.changes, Some(metadata.clone()));
        self.in_flight = Some(Commit { number, offset, changes, metadata: kept });
        Some(PendingCommit { offset, metadata, left_out, number })
    }

    /// Ends the commit in flight. An answer to any other commit changes nothing.
    pub(crate) fn end(&mut self, pending: &PendingCommit, is_acknowledged: bool) {
        if let Some(commit) = self.in_flight.take_if(|commit| commit.number == pending.number)
            && is_acknowledged
        {
            self.acknowledged = commit;
        }
    }
}
