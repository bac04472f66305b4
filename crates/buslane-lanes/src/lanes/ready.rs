//! The lanes that can run, in the order in which they became able to: a list linked through the
//! lanes.

use super::table::{State, Table};
use crate::slab::NONE;

pub(super) struct Ready {
    head: u32,
    tail: u32,
    len: usize,
}

impl Ready {
    pub(super) const EMPTY: Self = Self { head: NONE, tail: NONE, len: 0 };

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push_back(&mut self, table: &mut Table, at: u32) {
        let lane = &mut table[at];
        lane.state = State::Ready;
        lane.next = NONE;
        let tail = std::mem::replace(&mut self.tail, at);
        if tail == NONE {
            self.head = at;
        } else {
            table[tail].next = at;
        }
        self.len += 1;
    }

    pub(super) fn push_front(&mut self, table: &mut Table, at: u32) {
        let lane = &mut table[at];
        lane.state = State::Ready;
        lane.next = std::mem::replace(&mut self.head, at);
        if self.tail == NONE {
            self.tail = at;
        }
        self.len += 1;
    }

    /// Takes the first lane.
    pub(super) fn pop(&mut self, table: &mut Table) -> Option<u32> {
        if self.head == NONE {
            return None;
        }
        let at = self.head;
        let lane = &mut table[at];
        lane.state = State::Taken;
        self.head = lane.next;
        if self.head == NONE {
            self.tail = NONE;
        }
        self.len -= 1;
        Some(at)
    }

    /// Takes the list apart, for lanes that may go while they are in it: a lane that goes reuses
    /// its link.
    pub(super) fn detach(&mut self, table: &Table) -> Vec<u32> {
        let mut places = Vec::with_capacity(self.len);
        let mut at = std::mem::replace(self, Self::EMPTY).head;
        while at != NONE {
            places.push(at);
            at = table[at].next;
        }
        places
    }
}
