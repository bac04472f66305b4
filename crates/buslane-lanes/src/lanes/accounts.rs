//! Decides what may be admitted, and which of two accounts pays for it.
//!
//! Work that can run and work that waits behind a failing key are charged apart. With one account,
//! failing keys would fill it in the end and close the intake for the healthy ones.
//!
//! A lane is failing from the moment it is deferred until its first message succeeds. Its messages
//! are charged to the failing account as far as that has room. Where it has none, they stay in the
//! runnable account, and no more of them are admitted.

use super::table::{Lane, LanePhase};
use crate::bounds::{Bounds, Refusal};

/// Messages and bytes charged against a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    max_messages: usize,
    max_bytes: usize,
}

impl Account {
    const fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self { messages: 0, bytes: 0, max_messages, max_bytes }
    }

    const fn fits(&self, messages: usize, bytes: usize) -> bool {
        let is_alone = self.messages == 0 && messages == 1;
        self.messages + messages <= self.max_messages
            && (self.bytes + bytes <= self.max_bytes || is_alone)
    }

    const fn charge(&mut self, messages: usize, bytes: usize) {
        self.messages += messages;
        self.bytes += bytes;
    }

    const fn release(&mut self, messages: usize, bytes: usize) {
        self.messages -= messages;
        self.bytes -= bytes;
    }
}

/// Which account pays for one more message of a lane.
#[derive(Clone, Copy)]
enum Charge {
    Runnable,
    Failing,
    /// The failing account, if it has room for the whole lane.
    Move,
}

impl Charge {
    const fn of(lane: Option<&Lane>) -> Self {
        match lane {
            Some(Lane { charged_failing: true, .. }) => Self::Failing,
            Some(Lane { failures: 1.., .. }) => Self::Move,
            _ => Self::Runnable,
        }
    }
}

/// The bounds of all lanes, and what is charged against them.
// Called for each message from methods that other crates instantiate, hence `inline`.
pub(super) struct Accounts {
    pub(super) runnable: Account,
    pub(super) failing: Account,
    lane_messages: usize,
    /// The number of active lanes at which no further lane becomes active.
    pub(super) most_active: usize,
}

impl Accounts {
    pub(super) const fn new(bounds: &Bounds) -> Self {
        Self {
            runnable: Account::new(bounds.messages, bounds.bytes),
            failing: Account::new(bounds.failing_messages, bounds.failing_bytes),
            lane_messages: bounds.lane_messages,
            most_active: usize::MAX,
        }
    }

    /// Whether a message of `bytes` may be admitted to `lane`, or to a new lane, while `active`
    /// lanes are active.
    #[inline]
    pub(super) fn room(
        &self,
        lane: Option<&Lane>,
        active: usize,
        bytes: usize,
    ) -> Result<(), Refusal> {
        if active >= self.most_active
            && lane.is_none_or(|lane| matches!(lane.phase, LanePhase::Idle { .. }))
        {
            return Err(Refusal::KeysFull);
        }
        let Some(lane) = lane else {
            return if self.runnable.fits(1, bytes) { Ok(()) } else { Err(Refusal::Full) };
        };
        if lane.open() >= self.lane_messages {
            return Err(Refusal::LaneFull);
        }
        match Charge::of(Some(lane)) {
            Charge::Runnable if self.runnable.fits(1, bytes) => Ok(()),
            Charge::Runnable => Err(Refusal::Full),
            Charge::Failing if self.failing.fits(1, bytes) => Ok(()),
            Charge::Move if self.failing.fits(lane.open() + 1, lane.bytes + bytes) => Ok(()),
            Charge::Failing | Charge::Move => Err(Refusal::FailingFull),
        }
    }

    /// Whether the bounds of `lane` leave room for several messages more.
    pub(super) fn has_headroom(&self, lane: Option<&Lane>) -> bool {
        let lane_has_room = lane.is_none_or(|lane| {
            lane.open() + headroom(self.lane_messages, 32) <= self.lane_messages
        });
        let account =
            if let Charge::Runnable = Charge::of(lane) { &self.runnable } else { &self.failing };
        let spare = headroom(account.max_messages, 128);
        lane_has_room && account.messages + spare <= account.max_messages
    }

    /// Charges a message of `bytes` to `lane`, or to a new lane, whether there is room or not.
    #[inline]
    pub(super) const fn charge(&mut self, lane: Option<&mut Lane>, bytes: usize) {
        let Some(lane) = lane else {
            self.runnable.charge(1, bytes);
            return;
        };
        match Charge::of(Some(lane)) {
            Charge::Runnable => self.runnable.charge(1, bytes),
            Charge::Failing => self.failing.charge(1, bytes),
            Charge::Move => {
                self.runnable.release(lane.open(), lane.bytes);
                self.failing.charge(lane.open() + 1, lane.bytes + bytes);
                lane.charged_failing = true;
            }
        }
        lane.bytes += bytes;
    }

    /// Charges a failing lane to the failing account, if that has room for it.
    pub(super) const fn move_to_failing(&mut self, lane: &mut Lane) {
        let (open, bytes) = (lane.open(), lane.bytes);
        if !lane.charged_failing && self.failing.fits(open, bytes) {
            lane.charged_failing = true;
            self.runnable.release(open, bytes);
            self.failing.charge(open, bytes);
        }
    }

    /// Charges a lane whose first message succeeded to the runnable account again, if that has room
    /// for it.
    #[inline]
    pub(super) const fn move_to_runnable(&mut self, lane: &mut Lane) {
        let (open, bytes) = (lane.open(), lane.bytes);
        if lane.charged_failing && self.runnable.fits(open, bytes) {
            lane.charged_failing = false;
            self.failing.release(open, bytes);
            self.runnable.charge(open, bytes);
        }
    }

    /// Releases messages of a lane that have ended or were removed.
    #[inline]
    pub(super) const fn release(&mut self, lane: &mut Lane, messages: usize, bytes: usize) {
        lane.bytes -= bytes;
        if lane.charged_failing { &mut self.failing } else { &mut self.runnable }
            .release(messages, bytes);
    }
}

/// An eighth of `limit`, from 1 to `most`.
const fn headroom(limit: usize, most: usize) -> usize {
    let eighth = limit / 8;
    if eighth == 0 {
        1
    } else if eighth > most {
        most
    } else {
        eighth
    }
}
