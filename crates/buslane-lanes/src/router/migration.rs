//! The slots that migrate, with the messages that were taken out of the old owner and those that
//! were submitted meanwhile.

use super::{SLOTS, slot_of};
use crate::{Item, lanes::Moved};
use std::collections::{BTreeMap, VecDeque};

/// The migration of a slot from one scheduler to the other.
struct Migration<T> {
    number: u64,
    from: usize,
    to: usize,
    /// The messages that were taken out. Of one key, a later batch has the older messages.
    taken: Vec<Vec<Moved<T>>>,
    /// The messages that were submitted meanwhile.
    came: VecDeque<T>,
}

pub(super) struct Migrations<T> {
    by_slot: BTreeMap<usize, Migration<T>>,
    /// The number of migrations so far.
    begun: u64,
    /// The number of messages that were submitted for migrating slots.
    came: usize,
}

impl<T> Default for Migrations<T> {
    fn default() -> Self {
        Self { by_slot: BTreeMap::new(), begun: 0, came: 0 }
    }
}

/// The slots that leave a scheduler.
pub(super) struct Leaving {
    /// Each slot with the number of its migration.
    pub(super) slots: Vec<(usize, u64)>,
    pub(super) is_leaving: Vec<bool>,
}

impl<T: Item> Migrations<T> {
    pub(super) fn begin(&mut self, slot: usize, from: usize, to: usize) {
        self.begun += 1;
        self.by_slot.insert(
            slot,
            Migration { number: self.begun, from, to, taken: Vec::new(), came: VecDeque::new() },
        );
    }

    /// Changes the new owner of a slot to `to`. Returns whether that is its old owner.
    pub(super) fn redirect(&mut self, slot: usize, to: usize) -> bool {
        self.by_slot.get_mut(&slot).is_some_and(|migration| {
            migration.to = to;
            migration.from == to
        })
    }

    /// Whether the present migration of a slot has this number.
    pub(super) fn is_current(&self, slot: usize, number: u64) -> bool {
        self.by_slot.get(&slot).is_some_and(|migration| migration.number == number)
    }

    pub(super) fn origin(&self, slot: usize) -> Option<usize> {
        self.by_slot.get(&slot).map(|migration| migration.from)
    }

    pub(super) fn leaving(&self, owner: usize) -> Leaving {
        let mut leaving = Leaving { slots: Vec::new(), is_leaving: vec![false; SLOTS] };
        for (slot, migration) in &self.by_slot {
            if migration.from == owner {
                leaving.slots.push((*slot, migration.number));
                leaving.is_leaving[*slot] = true;
            }
        }
        leaving
    }

    /// Adds messages that were taken out of the old owners.
    pub(super) fn add(&mut self, taken: Vec<Moved<T>>) {
        let mut grouped: BTreeMap<usize, Vec<Moved<T>>> = BTreeMap::new();
        for moved in taken {
            grouped.entry(slot_of(moved.item.lane())).or_default().push(moved);
        }
        for (slot, moved) in grouped {
            if let Some(migration) = self.by_slot.get_mut(&slot) {
                migration.taken.push(moved);
            }
        }
    }

    /// Holds messages of migrating slots, if there is room for all of them.
    pub(super) fn hold<U: Item>(
        &mut self,
        messages: &mut VecDeque<U>,
        mut form: impl FnMut(U) -> T,
        most: usize,
    ) -> bool {
        if self.came > 0 && self.came + messages.len() > most {
            return false;
        }
        for message in messages.drain(..) {
            if let Some(migration) = self.by_slot.get_mut(&slot_of(message.lane())) {
                migration.came.push_back(form(message));
                self.came += 1;
            }
        }
        true
    }

    /// Ends the migration of a slot. Returns its new owner and its messages, in order per key.
    pub(super) fn end(&mut self, slot: usize) -> Option<(usize, Vec<Moved<T>>)> {
        let migration = self.by_slot.remove(&slot)?;
        self.came -= migration.came.len();
        let came =
            migration.came.into_iter().map(|item| Moved { item, failures: 0, deferred: None });
        Some((migration.to, migration.taken.into_iter().rev().flatten().chain(came).collect()))
    }

    pub(super) fn purge(&mut self, matches: &dyn Fn(&T) -> bool) -> Vec<T> {
        let mut gone = Vec::new();
        for migration in self.by_slot.values_mut() {
            for taken in &mut migration.taken {
                gone.extend(
                    taken.extract_if(.., |moved| matches(&moved.item)).map(|moved| moved.item),
                );
            }
            let before = migration.came.len();
            let (purged, kept) = migration.came.drain(..).partition(matches);
            migration.came = kept;
            self.came -= before - migration.came.len();
            gone.extend(purged as VecDeque<T>);
        }
        gone
    }

    /// The number of messages between the schedulers.
    pub(super) fn held(&self) -> usize {
        let taken = |migration: &Migration<T>| migration.taken.iter().map(Vec::len).sum::<usize>();
        self.by_slot.values().map(|migration| taken(migration) + migration.came.len()).sum()
    }
}
