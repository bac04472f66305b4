//! What a parking log says of one key. Its size does not depend on the number of messages.

use crate::Position;

/// A key with parked messages. Their endings are in their order, so that a position divides those
/// that are over from those that are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedKey {
    pub(crate) count: u64,
    /// Messages of the key below this position are over.
    pub(crate) from: Position,
    /// The newest entry of a message, and the position of that message in the source.
    pub(crate) last: Position,
    pub(crate) last_origin: u64,
    /// The source position of the last message that is over.
    pub(crate) over_origin: Option<u64>,
    pub(crate) redrives: u32,
    pub(crate) work: Option<Work>,
    pub(crate) edit: Option<Edit>,
    /// An entry of a message of this key, from which on the log tells all of the above.
    pub(crate) anchor: Position,
}

/// Another body for a parked message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edit {
    /// The position of the message's entry.
    pub position: Position,
    /// The position of the request that holds the body.
    pub request: Position,
}

/// What the owner has to do with a key's parked messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Handle the first one, until none is left.
    Redrive,
    /// Drop the first one, or say [`NotFirst`](crate::Entry::NotFirst) if it is another one.
    Skip {
        /// The position of its entry.
        position: Position,
    },
    /// Move the first ones to the dead letters.
    Discard {
        /// How many.
        left: u64,
    },
}

impl ParkedKey {
    pub(crate) const fn new(position: Position, origin: u64) -> Self {
        Self {
            count: 1,
            from: position,
            last: position,
            last_origin: origin,
            over_origin: None,
            redrives: 0,
            work: None,
            edit: None,
            anchor: position,
        }
    }

    /// The number of its parked messages.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Its first parked message lies at this position of the log, or above.
    #[must_use]
    pub const fn from(&self) -> Position {
        self.from
    }

    /// The position of its newest parked message.
    #[must_use]
    pub const fn last(&self) -> Position {
        self.last
    }

    /// How many times its first message has failed in a redrive.
    #[must_use]
    pub const fn redrives(&self) -> u32 {
        self.redrives
    }

    /// What the owner has to do; none while the key waits for an operator.
    #[must_use]
    pub const fn work(&self) -> Option<Work> {
        self.work
    }

    /// Another body for one of its messages.
    #[must_use]
    pub const fn edit(&self) -> Option<Edit> {
        self.edit
    }

    /// Counts another message, whose place in the source is above that of all before.
    pub(crate) const fn park(&mut self, position: Position, origin: u64) {
        self.count += 1;
        (self.last, self.last_origin) = (position, origin);
    }

    /// The first message is over.
    pub(crate) const fn resolve(&mut self, position: Position, origin: u64) {
        self.count -= 1;
        self.from = position + 1;
        self.over_origin = Some(origin);
        self.redrives = 0;
        self.keep_edit_from(self.from);
        self.work = match self.work {
            Some(Work::Redrive) => Some(Work::Redrive),
            Some(Work::Discard { left }) if left > 1 => Some(Work::Discard { left: left - 1 }),
            _ => None,
        };
        self.rest_at(position);
    }

    /// The first message has failed in a redrive.
    pub(crate) const fn fail(&mut self, position: Position) {
        self.redrives += 1;
        self.from = position;
        self.work = None;
        self.keep_edit_from(position);
        self.rest_at(position);
    }

    /// Drops the edit of a message that is over.
    const fn keep_edit_from(&mut self, from: Position) {
        if let Some(edit) = self.edit
            && edit.position < from
        {
            self.edit = None;
        }
    }

    /// Lets the log forget what lies below, unless the request for the work lies there.
    const fn rest_at(&mut self, position: Position) {
        if self.work.is_none() {
            self.anchor = position;
        }
    }
}
