//! What is between the sides: messages that were taken out, and those that came meanwhile.

use super::{SLOTS, slot_of};
use crate::Item;
use buslane_core::Moved;
use std::collections::{BTreeMap, VecDeque};

/// A slot on its way.
struct Journey<T> {
    number: u64,
    from: usize,
    to: usize,
    /// What was taken out: the later, the older are its messages of one key.
    taken: Vec<Vec<Moved<T>>>,
    /// What was submitted meanwhile.
    came: VecDeque<T>,
}

pub(super) struct Transit<T> {
    journeys: BTreeMap<usize, Journey<T>>,
    /// Journeys so far.
    begun: u64,
    /// Messages that came for slots on their way.
    came: usize,
}

impl<T> Default for Transit<T> {
    fn default() -> Self {
        Self { journeys: BTreeMap::new(), begun: 0, came: 0 }
    }
}

/// The slots that leave one side.
pub(super) struct Leaving {
    /// Each with the number of its journey.
    pub(super) slots: Vec<(usize, u64)>,
    pub(super) is_leaving: Vec<bool>,
}

impl<T: Item> Transit<T> {
    pub(super) fn leave(&mut self, slot: usize, from: usize, to: usize) {
        self.begun += 1;
        self.journeys.insert(
            slot,
            Journey { number: self.begun, from, to, taken: Vec::new(), came: VecDeque::new() },
        );
    }

    /// Lets a slot go to `to`. Tells whether that is where it comes from.
    pub(super) fn turn(&mut self, slot: usize, to: usize) -> bool {
        self.journeys.get_mut(&slot).is_some_and(|journey| {
            journey.to = to;
            journey.from == to
        })
    }

    /// Whether a slot is on this journey.
    pub(super) fn is_on(&self, slot: usize, number: u64) -> bool {
        self.journeys.get(&slot).is_some_and(|journey| journey.number == number)
    }

    pub(super) fn origin(&self, slot: usize) -> Option<usize> {
        self.journeys.get(&slot).map(|journey| journey.from)
    }

    pub(super) fn leaving(&self, side: usize) -> Leaving {
        let mut leaving = Leaving { slots: Vec::new(), is_leaving: vec![false; SLOTS] };
        for (slot, journey) in &self.journeys {
            if journey.from == side {
                leaving.slots.push((*slot, journey.number));
                leaving.is_leaving[*slot] = true;
            }
        }
        leaving
    }

    /// Adds what was taken out of the old sides.
    pub(super) fn add(&mut self, taken: Vec<Moved<T>>) {
        let mut by_slot: BTreeMap<usize, Vec<Moved<T>>> = BTreeMap::new();
        for moved in taken {
            by_slot.entry(slot_of(moved.item.lane())).or_default().push(moved);
        }
        for (slot, moved) in by_slot {
            if let Some(journey) = self.journeys.get_mut(&slot) {
                journey.taken.push(moved);
            }
        }
    }

    /// Keeps messages of slots on their way, if there is room for all of them.
    pub(super) fn hold(&mut self, messages: &mut VecDeque<T>, most: usize) -> bool {
        if self.came > 0 && self.came + messages.len() > most {
            return false;
        }
        for message in messages.drain(..) {
            if let Some(journey) = self.journeys.get_mut(&slot_of(message.lane())) {
                journey.came.push_back(message);
                self.came += 1;
            }
        }
        true
    }

    /// Ends the journey of a slot: where it goes, and everything of it, each key in its order.
    pub(super) fn arrive(&mut self, slot: usize) -> Option<(usize, Vec<Moved<T>>)> {
        let journey = self.journeys.remove(&slot)?;
        self.came -= journey.came.len();
        let came = journey.came.into_iter().map(|item| Moved { item, failures: 0, parked: None });
        Some((journey.to, journey.taken.into_iter().rev().flatten().chain(came).collect()))
    }

    pub(super) fn purge(&mut self, matches: &dyn Fn(&T) -> bool) -> Vec<T> {
        let mut gone = Vec::new();
        for journey in self.journeys.values_mut() {
            for taken in &mut journey.taken {
                gone.extend(
                    taken.extract_if(.., |moved| matches(&moved.item)).map(|moved| moved.item),
                );
            }
            let before = journey.came.len();
            let (purged, kept) = journey.came.drain(..).partition(matches);
            journey.came = kept;
            self.came -= before - journey.came.len();
            gone.extend(purged as VecDeque<T>);
        }
        gone
    }

    /// Messages between the sides.
    pub(super) fn held(&self) -> usize {
        let taken = |journey: &Journey<T>| journey.taken.iter().map(Vec::len).sum::<usize>();
        self.journeys.values().map(|journey| taken(journey) + journey.came.len()).sum()
    }
}
