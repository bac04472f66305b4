//! What a parking log says of one key. Its size does not depend on the number of messages.

use crate::{
    Position,
    entry::{Action, Answer, Refusal, Work},
};

/// A key with parked messages. They end in the order of their origins, so that one origin divides
/// those that are over from those that are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedKey {
    pub(crate) count: u64,
    /// The entries of its parked messages lie here or above.
    pub(crate) from: Position,
    /// Messages with an origin below this one are over.
    pub(crate) next_origin: u64,
    /// The newest parked message: its entry and its origin.
    pub(crate) last: Position,
    pub(crate) last_origin: u64,
    pub(crate) redrives: u32,
    pub(crate) work: Option<Work>,
    pub(crate) edit: Option<Edit>,
}

/// Another body for a parked message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edit {
    /// The origin of the message.
    pub origin: u64,
    /// The position of the request that holds the body.
    pub request: Position,
}

impl ParkedKey {
    pub(crate) const fn new(position: Position, origin: u64) -> Self {
        Self {
            count: 1,
            from: position,
            next_origin: origin,
            last: position,
            last_origin: origin,
            redrives: 0,
            work: None,
            edit: None,
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

    /// Decides about an operator's request.
    pub(crate) fn answer(&self, action: Action) -> Answer {
        if let Action::Skip { origin } | Action::Edit { origin } = action {
            if origin < self.next_origin {
                return Answer::Refused(Refusal::Over);
            }
            if origin > self.last_origin {
                return Answer::Refused(Refusal::NotParked);
            }
        }
        let is_busy = match action {
            Action::Edit { origin } => self.edit.is_some_and(|edit| edit.origin != origin),
            _ => self.work.is_some(),
        };
        if is_busy {
            return Answer::Refused(Refusal::Busy);
        }
        match action {
            Action::Redrive => Answer::Begun(Work::Redrive),
            Action::Skip { origin } => Answer::Begun(Work::Skip { origin }),
            Action::Discard => Answer::Begun(Work::Discard { left: self.count }),
            Action::Edit { origin } => Answer::Edited { origin },
        }
    }

    pub(crate) const fn answered(&mut self, request: Position, answer: Answer) {
        match answer {
            Answer::Begun(work) => self.work = Some(work),
            Answer::Edited { origin } if origin >= self.next_origin => {
                self.edit = Some(Edit { origin, request });
            }
            Answer::Edited { .. } | Answer::Refused(_) => {}
        }
    }

    /// Counts another message, whose origin is above that of all before.
    pub(crate) const fn park(&mut self, position: Position, origin: u64) {
        self.count += 1;
        (self.last, self.last_origin) = (position, origin);
    }

    /// The first message is over. Returns whether it was one of those that are counted.
    pub(crate) fn resolve(&mut self, position: Position, origin: u64) -> bool {
        if origin < self.next_origin {
            return false;
        }
        self.count -= 1;
        self.next_origin = origin + 1;
        self.from = self.from.max(position + 1);
        self.redrives = 0;
        self.edit = self.edit.filter(|edit| edit.origin > origin);
        true
    }

    /// The first message has failed again. Returns whether it is one of those that are counted.
    pub(crate) fn fail(&mut self, position: Position, origin: u64, redrives: u32) -> bool {
        if origin < self.next_origin {
            return false;
        }
        self.redrives = redrives;
        self.from = self.from.max(position);
        true
    }
}
