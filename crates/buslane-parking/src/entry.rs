//! The entries of a parking log.
//!
//! The log of a source partition belongs to the owner of that partition. An owner begins with a
//! claim, and the position of its claim is its fencing token: it stands in everything that the
//! owner writes, and entries with an older token than the newest claim do not count.

use crate::Position;
use bytes::Bytes;

/// One entry. Bodies, headers and errors of messages are not part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A process owns the source partition from here on.
    Claim {
        /// Tells a process its own claim from that of another.
        nonce: u128,
    },
    /// A message of the source partition is parked.
    Parked {
        /// The position of the writer's claim.
        claim: Position,
        /// The key of the message.
        key: Bytes,
        /// The position of the message in the source partition.
        origin: u64,
        /// Why.
        cause: Cause,
    },
    /// The first parked message of a key is over.
    Resolved {
        /// The position of the writer's claim.
        claim: Position,
        /// The key of the message.
        key: Bytes,
        /// The position of its entry in this log.
        position: Position,
        /// The position of the message in the source partition.
        origin: u64,
        /// How it ended.
        ending: Ending,
        /// What is left to do with the key.
        work: Option<Work>,
    },
    /// The first parked message of a key has failed again, and stays the first. The key waits for
    /// an operator.
    FailedAgain {
        /// The position of the writer's claim.
        claim: Position,
        /// The key of the message.
        key: Bytes,
        /// The position of its entry in this log.
        position: Position,
        /// The position of the message in the source partition.
        origin: u64,
        /// How many times it has failed now.
        redrives: u32,
    },
    /// The first parked message of a key is not the one that an operator wants to skip. The key
    /// waits for an operator.
    NotFirst {
        /// The position of the writer's claim.
        claim: Position,
        /// The parked key.
        key: Bytes,
    },
    /// An operator asks for something. Anybody may write it, and it changes nothing.
    Request {
        /// The parked key.
        key: Bytes,
        /// What to do with it.
        action: Action,
    },
    /// The owner's decision about a request.
    Answer {
        /// The position of the writer's claim.
        claim: Position,
        /// The key of the request.
        key: Bytes,
        /// The position of the request.
        request: Position,
        /// The decision.
        answer: Answer,
    },
}

impl Entry {
    /// The key that the entry concerns; none for a claim.
    #[must_use]
    pub const fn key(&self) -> Option<&Bytes> {
        match self {
            Self::Claim { .. } => None,
            Self::Parked { key, .. }
            | Self::Resolved { key, .. }
            | Self::FailedAgain { key, .. }
            | Self::NotFirst { key, .. }
            | Self::Request { key, .. }
            | Self::Answer { key, .. } => Some(key),
        }
    }

    /// The fencing token of its writer; none for a claim and for requests.
    #[must_use]
    pub const fn claim(&self) -> Option<Position> {
        match self {
            Self::Parked { claim, .. }
            | Self::Resolved { claim, .. }
            | Self::FailedAgain { claim, .. }
            | Self::NotFirst { claim, .. }
            | Self::Answer { claim, .. } => Some(*claim),
            Self::Claim { .. } | Self::Request { .. } => None,
        }
    }
}

/// Why a message is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its last attempt has failed.
    Failed,
    /// An earlier message of its key is parked.
    Behind,
}

/// How a parked message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The handler has handled it.
    Handled,
    /// An operator has skipped it.
    Skipped,
    /// It went to the dead letters.
    Discarded,
}

/// What an operator asks for. A message is named by its position in the source partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Handle the key's messages in order, until none is left or one fails.
    Redrive,
    /// Drop the first one, if it is still this one: of two operators who skip it, one is refused.
    Skip {
        /// Its origin.
        origin: u64,
    },
    /// Move those that are parked now to the dead letters.
    Discard,
    /// The request holds another body for this one, which counts once it is the first. The original
    /// stays in the log. It has no effect on a handler that runs already.
    Edit {
        /// Its origin.
        origin: u64,
    },
}

/// What the owner decides about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The work begins.
    Begun(Work),
    /// The message gets the body of the request.
    Edited {
        /// The origin of the message.
        origin: u64,
    },
    /// Nothing is done.
    Refused(Refusal),
}

/// What the owner has to do with a key's parked messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Handle the first one, until none is left.
    Redrive,
    /// Drop the first one, or say [`NotFirst`](Entry::NotFirst) if it is another one.
    Skip {
        /// Its origin.
        origin: u64,
    },
    /// Move the first ones to the dead letters.
    Discard {
        /// How many.
        left: u64,
    },
}

impl Work {
    /// What is left of it after the end of a message.
    #[must_use]
    pub const fn after_one(self) -> Option<Self> {
        match self {
            Self::Redrive => Some(self),
            Self::Discard { left } if left > 1 => Some(Self::Discard { left: left - 1 }),
            Self::Skip { .. } | Self::Discard { .. } => None,
        }
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The key has no parked message, or not yet the named one.
    NotParked,
    /// The named message is over.
    Over,
    /// Another request for the key is being carried out, or another message of it was edited.
    Busy,
}

impl Refusal {
    /// In words, about the key.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotParked => "it, or the named message, is not parked",
            Self::Over => "the named message is over",
            Self::Busy => "another request is being carried out, or another message was edited",
        }
    }
}
