//! What the tracker offers for commit. Offset and metadata are taken at one instant, so they belong
//! together.

use super::Tracker;
use crate::codec::encode;
use crate::desk::Offer;
use crate::picture::Picture;

impl Tracker {
    /// What to commit now, with metadata of at most `limit` characters (the broker's; see
    /// [`METADATA_LIMIT`](crate::METADATA_LIMIT)).
    ///
    /// None while an earlier offer is not answered by [`Tracker::acknowledged`] or
    /// [`Tracker::refused`], and when nothing has changed since the one that was acknowledged last.
    /// A `limit` of 0 offers the offset alone.
    pub fn offer(&mut self, limit: usize) -> Option<Offer> {
        if !self.desk.wants(self.low) {
            return None;
        }
        let encoded = encode::encode(&self.picture(), limit);
        self.desk.offer(self.low, encoded.metadata, encoded.left_out)
    }

    /// The broker has this commit. An offer that is not the one in flight changes nothing.
    pub fn acknowledged(&mut self, offer: &Offer) {
        self.desk.answer(offer, true);
    }

    /// The broker does not have this commit, or nobody knows: the next offer says everything again.
    pub fn refused(&mut self, offer: &Offer) {
        self.desk.answer(offer, false);
    }

    /// An upper bound for the characters of metadata that leaves nothing out, without making it:
    /// O(1).
    pub fn metadata_bound(&self) -> usize {
        let positions = self.known().max(self.restored.end()) - self.low;
        if positions == 0 {
            return 0;
        }
        let runs = self.open_runs.saturating_add(self.restored.len() as u64);
        let bytes = encode::bound(runs, positions);
        usize::try_from(bytes.div_ceil(3) * 4).unwrap_or(usize::MAX)
    }

    fn picture(&self) -> Picture<'_> {
        let known = self.known();
        let is_short = known - self.low < self.next - known;
        let open = if is_short {
            self.ring.count(self.low, known)
        } else {
            self.open - self.ring.count(known, self.next)
        };
        Picture { ring: &self.ring, low: self.low, known, open, restored: &self.restored }
    }

    /// Up to where the ring is asked.
    fn known(&self) -> u64 {
        // A gap at the end needs no word: an offset that does not exist is not delivered again.
        if self.restored.end() > self.next { self.next } else { self.finished.max(self.low) }
    }
}
