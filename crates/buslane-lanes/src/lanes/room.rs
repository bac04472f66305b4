//! What may be admitted, and which account pays for it.
//!
//! A lane is failing from the moment it is parked until its head gets through. As far as there is
//! room its messages are charged to the parked account. Where there is none they stay with the
//! runnable ones, but no more are let in: so failing keys cannot fill the account of the healthy
//! ones.

use super::{
    Lanes,
    table::{Lane, State},
};
use crate::bounds::Refusal;

/// Which account pays for one more message of a lane.
#[derive(Clone, Copy)]
enum Charge {
    Runnable,
    Parked,
    /// The parked one, if it can take the whole lane over.
    Move,
}

impl Charge {
    const fn of(lane: Option<&Lane>) -> Self {
        match lane {
            Some(Lane { charged_parked: true, .. }) => Self::Parked,
            Some(Lane { failures: 1.., .. }) => Self::Move,
            _ => Self::Runnable,
        }
    }
}

impl<T> Lanes<T> {
    /// Whether a message of `bytes` for lane `id` would be admitted now.
    ///
    /// # Errors
    /// The bound that has no room.
    pub fn has_room(&self, id: u64, bytes: usize) -> Result<(), Refusal> {
        self.room(self.table.find(id), bytes)
    }

    /// Whether there is room to spare for a message of `bytes` in lane `id`. Waking a submitter for
    /// each message that ends would cost more than the message.
    #[must_use]
    pub fn has_headroom(&self, id: u64, bytes: usize) -> bool {
        let known = self.table.find(id);
        let lane = known.map(|at| &self.table[at]);
        let lane_room = lane.is_none_or(|lane| {
            lane.open() + headroom(self.lane_messages, 32) <= self.lane_messages
        });
        let account =
            if let Charge::Runnable = Charge::of(lane) { &self.runnable } else { &self.parked };
        let spare = headroom(account.max_messages(), 128);
        lane_room
            && account.messages + spare <= account.max_messages()
            && self.room(known, bytes).is_ok()
    }

    /// Charges a message of `bytes` for the lane at `known`, or for a new one.
    pub(super) fn charge(&mut self, known: Option<u32>, bytes: usize) -> Result<(), Refusal> {
        self.room(known, bytes)?;
        self.charge_always(known, bytes);
        Ok(())
    }

    /// As [`Lanes::charge`], whether there is room or not.
    pub(super) fn charge_always(&mut self, known: Option<u32>, bytes: usize) {
        let Some(at) = known else {
            self.runnable.charge(1, bytes);
            return;
        };
        let lane = &mut self.table[at];
        match Charge::of(Some(lane)) {
            Charge::Runnable => self.runnable.charge(1, bytes),
            Charge::Parked => self.parked.charge(1, bytes),
            Charge::Move => {
                self.runnable.release(lane.open(), lane.bytes);
                self.parked.charge(lane.open() + 1, lane.bytes + bytes);
                lane.charged_parked = true;
            }
        }
        lane.bytes += bytes;
    }

    /// Charges a failing lane to the parked account, if that has room for it.
    pub(super) fn charge_to_parked(&mut self, at: u32) {
        let lane = &mut self.table[at];
        let (open, bytes) = (lane.open(), lane.bytes);
        if !lane.charged_parked && self.parked.fits(open, bytes) {
            lane.charged_parked = true;
            self.runnable.release(open, bytes);
            self.parked.charge(open, bytes);
        }
    }

    /// Charges a lane whose head got through to the runnable account again, if that has room for
    /// it.
    pub(super) fn charge_to_runnable(&mut self, at: u32) {
        let lane = &mut self.table[at];
        let (open, bytes) = (lane.open(), lane.bytes);
        if self.runnable.fits(open, bytes) {
            lane.charged_parked = false;
            self.parked.release(open, bytes);
            self.runnable.charge(open, bytes);
        }
    }

    /// Releases messages of a lane.
    pub(super) fn release(&mut self, at: u32, messages: usize, bytes: usize) {
        let lane = &mut self.table[at];
        lane.bytes -= bytes;
        if lane.charged_parked { &mut self.parked } else { &mut self.runnable }
            .release(messages, bytes);
    }

    fn room(&self, known: Option<u32>, bytes: usize) -> Result<(), Refusal> {
        let lane = known.map(|at| &self.table[at]);
        if self.active() >= self.most_active
            && lane.is_none_or(|lane| matches!(lane.state, State::Idle { .. }))
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
            Charge::Parked if self.parked.fits(1, bytes) => Ok(()),
            Charge::Move if self.parked.fits(lane.open() + 1, lane.bytes + bytes) => Ok(()),
            Charge::Parked | Charge::Move => Err(Refusal::ParkedFull),
        }
    }
}

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
