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
    },
    /// The first parked message of a key has failed again, and stays the first.
    FailedAgain {
        /// The position of the writer's claim.
        claim: Position,
        /// The key of the message.
        key: Bytes,
        /// The position of its entry in this log.
        position: Position,
        /// How many times it has failed now.
        redrives: u32,
    },
    /// The first parked message of a key is not the one that an operator has named.
    NotFirst {
        /// The position of the writer's claim.
        claim: Position,
        /// The parked key.
        key: Bytes,
    },
    /// An operator asks for something. Anybody may write it.
    Request {
        /// The parked key.
        key: Bytes,
        /// What to do with it.
        action: Action,
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
            | Self::Request { key, .. } => Some(key),
        }
    }

    /// The fencing token of its writer; none for a claim and for requests.
    #[must_use]
    pub const fn claim(&self) -> Option<Position> {
        match self {
            Self::Parked { claim, .. }
            | Self::Resolved { claim, .. }
            | Self::FailedAgain { claim, .. }
            | Self::NotFirst { claim, .. } => Some(*claim),
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

/// What an operator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Handle the key's messages in order, until none is left or one fails.
    Redrive,
    /// Drop the first one, if it is still this one: of two operators who skip it, one is refused.
    Skip {
        /// The position of its entry.
        position: Position,
    },
    /// Move those that are parked now to the dead letters.
    Discard,
    /// The request holds another body for this one, which counts once it is the first. The original
    /// stays in the log. It has no effect on a handler that runs already.
    Edit {
        /// The position of its entry.
        position: Position,
    },
}
