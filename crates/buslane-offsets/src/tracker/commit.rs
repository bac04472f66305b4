//! Produces the tracker's next commit.

use super::Tracker;
use crate::codec::encode;
use crate::commit_state::PendingCommit;
use crate::snapshot::CommitSnapshot;

impl Tracker {
    /// The next commit, with metadata of at most `limit` characters (the broker's limit; see
    /// [`METADATA_LIMIT`](crate::METADATA_LIMIT)). A `limit` of 0 commits the offset alone.
    ///
    /// `None` while an earlier commit awaits [`Tracker::acknowledged`] or [`Tracker::refused`], and
    /// when nothing has changed since the last acknowledged commit.
    pub fn next_commit(&mut self, limit: usize) -> Option<PendingCommit> {
        if !self.commits.may_have_news(self.low) {
            return None;
        }
        let encoded = encode::encode(&self.snapshot(), limit);
        self.commits.begin(self.low, encoded.metadata, encoded.left_out)
    }

    /// The broker has stored this commit. A commit that is not the one in flight is ignored.
    pub fn acknowledged(&mut self, commit: &PendingCommit) {
        self.commits.end(commit, true);
    }

    /// The broker has not stored this commit, or its answer is unknown: the next commit contains
    /// everything again.
    pub fn refused(&mut self, commit: &PendingCommit) {
        self.commits.end(commit, false);
    }

    /// An upper bound, computed in O(1), for the length of metadata that leaves no offset out.
    pub fn metadata_bound(&self) -> usize {
        let positions = self.known().max(self.restored.end()) - self.low;
        if positions == 0 {
            return 0;
        }
        let runs = self.open_runs.saturating_add(self.restored.len() as u64);
        let bytes = encode::bound(runs, positions);
        usize::try_from(bytes.div_ceil(3) * 4).unwrap_or(usize::MAX)
    }

    fn snapshot(&self) -> CommitSnapshot<'_> {
        let known = self.known();
        let is_short = known - self.low < self.next - known;
        let open = if is_short {
            self.ring.count(self.low, known)
        } else {
            self.open - self.ring.count(known, self.next)
        };
        CommitSnapshot { ring: &self.ring, low: self.low, known, open, restored: &self.restored }
    }

    /// The end of the offsets that the snapshot reads from the ring.
    fn known(&self) -> u64 {
        // Metadata need not name a gap at the end: an offset that does not exist never arrives.
        if self.restored.end() > self.next { self.next } else { self.finished.max(self.low) }
    }
}
