//! The state of commits: what the broker has, and what is on its way. One at a time, and only an
//! answer moves it.

/// Characters of commit metadata that a broker takes by default (`offset.metadata.max.bytes`).
pub const METADATA_LIMIT: usize = 4096;

/// An offset to commit together with its metadata. Both are of one instant: commit them together or
/// not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The offset to commit: everything below it is done.
    pub offset: u64,
    /// What is done above it; may be empty.
    pub metadata: String,
    /// Finished offsets, gaps among them, that the metadata does not name for want of room. After a
    /// restart their messages run again.
    pub left_out: u64,
    number: u64,
}

#[derive(Debug, Clone)]
struct Sample {
    number: u64,
    offset: u64,
    /// The state of changes that it shows.
    changes: u64,
    /// What the broker was told; none if that was before this tracker.
    metadata: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Desk {
    /// Grows with every completion.
    changes: u64,
    offers: u64,
    acknowledged: Sample,
    in_flight: Option<Sample>,
}

impl Desk {
    /// The broker has `offset`.
    pub(crate) const fn new(offset: u64) -> Self {
        let acknowledged = Sample { number: 0, offset, changes: 0, metadata: None };
        Self { changes: 0, offers: 0, acknowledged, in_flight: None }
    }

    pub(crate) const fn changed(&mut self) {
        self.changes += 1;
    }

    /// Whether it is worth while to look closer: metadata costs time.
    pub(crate) const fn wants(&self, offset: u64) -> bool {
        self.in_flight.is_none()
            && (self.acknowledged.offset != offset || self.acknowledged.changes != self.changes)
    }

    pub(crate) fn offer(&mut self, offset: u64, metadata: String, left_out: u64) -> Option<Offer> {
        if self.acknowledged.offset == offset
            && self.acknowledged.metadata.as_ref() == Some(&metadata)
        {
            // What finished did not find room: the broker would hear the same again.
            self.acknowledged.changes = self.changes;
            return None;
        }
        self.offers += 1;
        let number = self.offers;
        self.in_flight = Some(Sample {
            number,
            offset,
            changes: self.changes,
            metadata: Some(metadata.clone()),
        });
        Some(Offer { offset, metadata, left_out, number })
    }

    pub(crate) fn answer(&mut self, offer: &Offer, is_taken: bool) {
        if let Some(sample) = self.in_flight.take_if(|sample| sample.number == offer.number)
            && is_taken
        {
            self.acknowledged = sample;
        }
    }
}
