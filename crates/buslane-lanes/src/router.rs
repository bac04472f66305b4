//! Routes messages to two schedulers: each of 1,024 hash slots is owned by one of them, and can
//! migrate to the other while messages flow.
//!
//! `table` protects the owner of each slot; `migrations` protects the messages between the
//! schedulers. Order of locks: `table`, then `migrations`, then the lock of a scheduler.
//!
//! A slot either has an owner or migrates. The order of its messages is kept as follows:
//! - Submitters hold the read lock of `table` while they hand messages over, and a slot leaves its
//!   owner under the write lock. So all messages that were submitted before are at the old owner,
//!   and all later ones wait in the migration.
//! - Messages that have not begun are taken out of the old owner. A running message can only end,
//!   or wait for a retry and be taken out by the next step. So of one key, messages that are taken
//!   out later precede those that were taken out earlier.
//! - The slot arrives when no message of it runs at the old owner. All its messages are in the
//!   migration then, and go to the new owner under the write lock, before any later message.

mod migration;

use crate::{
    Item, Refusal, Scheduler, Taken,
    sync::{Mutex, RwLock},
};
use migration::Migrations;
use std::{collections::VecDeque, sync::Arc};

/// Why the message at the front of a batch was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouterRefusal {
    /// The scheduler with this index refused it.
    By(usize, Refusal),
    /// Its slot migrates, and the messages between the schedulers have reached their bound.
    Migrating,
    /// The router is closed.
    Closed,
}

/// The result of a step of all migrations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MigrationProgress {
    /// The number of slots that arrived by this step.
    pub arrived: usize,
    /// The slots that wait for a running message.
    pub waiting: Vec<usize>,
}

/// The number of slots with each owner, and in migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlotCounts {
    /// Slots owned by each scheduler.
    pub at: [usize; 2],
    /// Slots that migrate.
    pub moving: usize,
    /// Messages between the schedulers.
    pub held: usize,
}

/// Routes messages to one of two schedulers by their hash slot, and migrates slots between them.
pub struct SlotRouter<T> {
    schedulers: [Arc<Scheduler<T>>; 2],
    table: RwLock<SlotTable>,
    migrations: Mutex<Migrations<T>>,
    /// The bound of messages that wait for slots that migrate.
    most_held: usize,
}

impl<T: Item> SlotRouter<T> {
    /// The second scheduler owns the slots below `boundary`. At most `most_held` messages wait for
    /// slots that migrate.
    #[must_use]
    pub fn new(schedulers: [Arc<Scheduler<T>>; 2], boundary: usize, most_held: usize) -> Self {
        Self {
            schedulers,
            table: RwLock::new(SlotTable::new(boundary)),
            migrations: Mutex::new(Migrations::default()),
            most_held,
        }
    }

    /// Submits each message to the owner of its slot while there is room, and converts it with
    /// `form`. Never waits. Refused messages stay in `batch`, in order per key; messages of other
    /// keys behind them may have been accepted. Returns whether more messages should be submitted,
    /// as [`Scheduler::submit_as`] does.
    ///
    /// # Errors
    /// Why the message that is now at the front was refused.
    pub fn submit_as<U: Item>(
        &self,
        batch: &mut VecDeque<U>,
        mut form: impl FnMut(U) -> T,
    ) -> Result<bool, RouterRefusal> {
        let table = self.table.read();
        if table.is_closed() {
            return if batch.is_empty() { Ok(true) } else { Err(RouterRefusal::Closed) };
        }
        if let Some(owner) = table.sole_owner() {
            return self.schedulers[owner]
                .submit_as(batch, form)
                .map_err(|refusal| RouterRefusal::By(owner, refusal));
        }
        let mut parts =
            [VecDeque::with_capacity(batch.len()), VecDeque::with_capacity(batch.len())];
        let mut late = VecDeque::new();
        for message in batch.drain(..) {
            match table.owner(slot_of(message.lane())) {
                SlotOwner::Is(owner) => parts[owner].push_back(message),
                SlotOwner::Changes => late.push_back(message),
            }
        }
        let mut refused = None;
        let mut makes_sense = false;
        if !late.is_empty() && !self.migrations.lock().hold(&mut late, &mut form, self.most_held) {
            refused = Some(RouterRefusal::Migrating);
            batch.append(&mut late);
        }
        for (owner, part) in parts.iter_mut().enumerate() {
            if part.is_empty() {
                continue;
            }
            match self.schedulers[owner].submit_as(part, &mut form) {
                Ok(more) => makes_sense |= more,
                Err(refusal) => {
                    refused.get_or_insert(RouterRefusal::By(owner, refusal));
                    batch.append(part);
                }
            }
        }
        refused.map_or(Ok(makes_sense), Err)
    }

    /// Assigns the slots below `boundary` to the second scheduler and the others to the first:
    /// slots with another owner begin to migrate. A migrating slot that returns to its old owner
    /// arrives at once. Has no effect on a closed router.
    pub fn rebalance_to(&self, boundary: usize) {
        let mut table = self.table.write();
        if table.is_closed() {
            return;
        }
        let mut migrations = self.migrations.lock();
        table.set_boundary(boundary);
        for slot in 0..SLOTS {
            let to = table.wanted(slot);
            match table.owner(slot) {
                SlotOwner::Is(from) if from != to => {
                    table.set(slot, SlotOwner::Changes);
                    migrations.begin(slot, from, to);
                }
                SlotOwner::Is(_) => {}
                SlotOwner::Changes => {
                    if migrations.redirect(slot, to) {
                        self.arrive(&mut table, &mut migrations, slot);
                    }
                }
            }
        }
        table.find_sole_owner();
    }

    /// Advances all migrations as far as possible. Call it again a little later while slots wait.
    pub fn step(&self) -> MigrationProgress {
        let (mut done, mut waiting) = (Vec::new(), Vec::new());
        {
            let mut migrations = self.migrations.lock();
            for (owner, scheduler) in self.schedulers.iter().enumerate() {
                let leaving = migrations.leaving(owner);
                if leaving.slots.is_empty() {
                    continue;
                }
                let Taken { moved, running } =
                    scheduler.take(&|lane| leaving.is_leaving[slot_of(lane)]);
                let mut runs = vec![false; SLOTS];
                running.iter().for_each(|lane| runs[slot_of(*lane)] = true);
                migrations.add(moved);
                for (slot, number) in leaving.slots {
                    if runs[slot] {
                        waiting.push(slot);
                    } else {
                        done.push((slot, number));
                    }
                }
            }
        }
        // The old owners have no message of these slots, and receive none.
        let mut arrived = 0;
        if !done.is_empty() {
            let mut table = self.table.write();
            let mut migrations = self.migrations.lock();
            for (slot, number) in done {
                // Meanwhile the slot may have been redirected, and have left again.
                if migrations.is_current(slot, number) {
                    arrived += usize::from(self.arrive(&mut table, &mut migrations, slot));
                }
            }
            table.find_sole_owner();
        }
        MigrationProgress { arrived, waiting }
    }

    /// Returns migrating slots with all their messages to their old owners. Another
    /// [`SlotRouter::rebalance_to`] begins the migration again.
    pub fn abort(&self, slots: &[usize]) {
        let mut table = self.table.write();
        let mut migrations = self.migrations.lock();
        for slot in slots {
            if let Some(from) = migrations.origin(*slot) {
                migrations.redirect(*slot, from);
                self.arrive(&mut table, &mut migrations, *slot);
            }
        }
        table.find_sole_owner();
    }

    /// Passes the messages of a migration to the new owner. Returns whether the slot was migrating.
    fn arrive(&self, table: &mut SlotTable, migrations: &mut Migrations<T>, slot: usize) -> bool {
        let Some((to, messages)) = migrations.end(slot) else { return false };
        // A closed scheduler refuses them, and dropping them abandons them.
        drop(self.schedulers[to].put(messages));
        table.set(slot, SlotOwner::Is(to));
        true
    }

    /// Removes every queued message that satisfies `matches`, in the schedulers and between them,
    /// and returns them for the caller to drop.
    pub fn purge(&self, matches: &dyn Fn(&T) -> bool) -> Vec<T> {
        // The lock keeps slots from migrating meanwhile.
        let mut migrations = self.migrations.lock();
        let mut gone = migrations.purge(matches);
        for scheduler in &self.schedulers {
            gone.append(&mut scheduler.purge(matches));
        }
        gone
    }

    /// Refuses messages and new migrations from now on. Migrations that have begun can still end.
    pub fn close(&self) {
        self.table.write().close();
    }

    /// Removes the messages between the schedulers, and returns them for the caller to drop.
    pub fn abandon(&self) -> Vec<T> {
        self.migrations.lock().purge(&|_| true)
    }

    /// The scheduler that owns the slot of a key hash; `None` while the slot migrates.
    pub fn owner(&self, lane: u64) -> Option<usize> {
        match self.table.read().owner(slot_of(lane)) {
            SlotOwner::Is(owner) => Some(owner),
            SlotOwner::Changes => None,
        }
    }

    /// The scheduler that runs the running message of a key hash.
    pub fn runs_at(&self, lane: u64) -> usize {
        let (table, slot) = (self.table.read(), slot_of(lane));
        match table.owner(slot) {
            SlotOwner::Is(owner) => owner,
            SlotOwner::Changes => {
                self.migrations.lock().origin(slot).unwrap_or_else(|| table.wanted(slot))
            }
        }
    }

    /// Whether a slot has its intended owner.
    pub fn is_settled(&self, slot: usize) -> bool {
        let table = self.table.read();
        table.owner(slot) == SlotOwner::Is(table.wanted(slot))
    }

    /// The scheduler that owns all slots, if one does.
    pub fn sole_owner(&self) -> Option<usize> {
        self.table.read().sole_owner()
    }

    /// Counts the slots with each owner, and in migration.
    pub fn counts(&self) -> SlotCounts {
        let table = self.table.read();
        let mut counts = table.counts();
        counts.held = self.migrations.lock().held();
        counts
    }
}

/// The number of hash slots, the unit in which keys migrate.
pub const SLOTS: usize = 1_024;

/// The slot of a key hash. Uses other bits than fixed lanes do, and spreads small numbers.
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "ten bits")]
pub const fn slot_of(lane: u64) -> usize {
    (lane.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize
}

/// The owner of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotOwner {
    Is(usize),
    /// The slot migrates.
    Changes,
}

/// The present and the intended owner of each slot.
struct SlotTable {
    slots: Box<[SlotOwner]>,
    boundary: usize,
    /// The scheduler that owns all slots, if one does.
    sole_owner: Option<usize>,
    closed: bool,
}

impl SlotTable {
    fn new(boundary: usize) -> Self {
        let mut table = Self {
            slots: vec![SlotOwner::Changes; SLOTS].into(),
            boundary,
            sole_owner: None,
            closed: false,
        };
        for slot in 0..SLOTS {
            table.slots[slot] = SlotOwner::Is(table.wanted(slot));
        }
        table.find_sole_owner();
        table
    }

    /// The intended owner of a slot.
    const fn wanted(&self, slot: usize) -> usize {
        if slot < self.boundary { 1 } else { 0 }
    }

    const fn set_boundary(&mut self, boundary: usize) {
        self.boundary = boundary;
    }

    fn owner(&self, slot: usize) -> SlotOwner {
        self.slots[slot]
    }

    fn set(&mut self, slot: usize, owner: SlotOwner) {
        self.slots[slot] = owner;
    }

    /// Updates the sole owner after slots have changed.
    fn find_sole_owner(&mut self) {
        self.sole_owner =
            (0..2).find(|it| self.slots.iter().all(|owner| *owner == SlotOwner::Is(*it)));
    }

    const fn sole_owner(&self) -> Option<usize> {
        self.sole_owner
    }

    const fn close(&mut self) {
        self.closed = true;
    }

    const fn is_closed(&self) -> bool {
        self.closed
    }

    fn counts(&self) -> SlotCounts {
        let mut counts = SlotCounts::default();
        for owner in &self.slots {
            match owner {
                SlotOwner::Is(owner) => counts.at[*owner] += 1,
                SlotOwner::Changes => counts.moving += 1,
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_the_keys_of_a_part_are_among_those_of_a_larger_one() {
        let on = |boundary| -> Vec<u64> {
            let table = SlotTable::new(boundary);
            (0..10_000).filter(|key| table.owner(slot_of(*key)) == SlotOwner::Is(1)).collect()
        };
        let (few, half, all) = (on(102), on(512), on(SLOTS));
        assert!(
            few.iter().all(|key| half.contains(key)) && all.len() == 10_000 && on(0).is_empty()
        );
        // Small numbers, which unordered messages have, are spread as well.
        assert!(
            (900..1_100).contains(&few.len()) && (4_900..5_100).contains(&half.len()),
            "{} {}",
            few.len(),
            half.len()
        );
    }

    #[test]
    fn s3_slots_are_stable() {
        assert_eq!([0, 1, 2, u64::MAX].map(slot_of), [0, 632, 241, 391]);
    }
}
