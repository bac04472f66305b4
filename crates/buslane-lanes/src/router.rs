//! Two schedulers as one: each hash slot is owned by one of them, and can migrate to the other
//! while messages flow.
//!
//! State and owner: which scheduler owns a slot is behind `table`; what is between the schedulers
//! is behind `migrations`. Order of locks: `table`, then `migrations`, then those of a scheduler.
//!
//! A slot is owned by a scheduler or migrates; that keeps order:
//! - Submitters read `table` for as long as they hand messages over, and a slot leaves under the
//!   write lock. So when it has left, everything that was submitted before lies at its old owner,
//!   and everything after waits in its migration.
//! - What has not begun is taken out of the old owner. What is running there can only end, or wait
//!   for a retry and be taken out by the next step; what is taken out later of a key stands before
//!   what was taken out earlier.
//! - The slot arrives when nothing of it runs at the old owner: then all of it is in the migration,
//!   and goes to the new owner before anything that is submitted afterwards, under the write lock
//!   again.

mod migration;
mod slots;

use crate::{
    Item, Refusal, Scheduler, Taken,
    sync::{Mutex, RwLock},
};
use migration::Migrations;
use slots::{Owner, Table};
use std::{collections::VecDeque, sync::Arc};

pub use slots::{SLOTS, slot_of};

/// Why the message at the front of a batch was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// This scheduler refused it.
    By(usize, Refusal),
    /// Its slot migrates, and as many messages wait for that as may.
    Migrating,
    /// Nothing is taken any more.
    Closed,
}

/// How far the migrations are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// Slots that have arrived by this step.
    pub arrived: usize,
    /// Slots that wait for a message that is running.
    pub waiting: Vec<usize>,
}

/// How many slots are where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlotCounts {
    /// Owned by each scheduler.
    pub at: [usize; 2],
    /// Migrating.
    pub moving: usize,
    /// Messages between the schedulers.
    pub held: usize,
}

/// Routes messages to one of two schedulers by their hash slot, and migrates slots between them.
pub struct SlotRouter<T> {
    schedulers: [Arc<Scheduler<T>>; 2],
    table: RwLock<Table>,
    migrations: Mutex<Migrations<T>>,
    /// Most messages that may arrive for slots that migrate.
    most_held: usize,
}

impl<T: Item> SlotRouter<T> {
    /// The second scheduler owns the slots below `boundary`. At most `most_held` messages wait for
    /// slots that migrate.
    #[must_use]
    pub fn new(schedulers: [Arc<Scheduler<T>>; 2], boundary: usize, most_held: usize) -> Self {
        Self {
            schedulers,
            table: RwLock::new(Table::new(boundary)),
            migrations: Mutex::new(Migrations::default()),
            most_held,
        }
    }

    /// Takes messages while there is room, each at the owner of its slot, and puts them into
    /// another form as they are taken; never waits. What is not taken stays in `batch`, each key in
    /// its order; of messages of other keys some behind it may have been taken. Returns whether it
    /// makes sense to submit more, as [`Scheduler::submit_as`] does.
    ///
    /// # Errors
    /// Why the message now at the front was not taken.
    pub fn submit_as<U: Item>(
        &self,
        batch: &mut VecDeque<U>,
        mut form: impl FnMut(U) -> T,
    ) -> Result<bool, Refused> {
        let table = self.table.read();
        if table.is_closed() {
            return if batch.is_empty() { Ok(true) } else { Err(Refused::Closed) };
        }
        if let Some(owner) = table.sole_owner() {
            return self.schedulers[owner]
                .submit_as(batch, form)
                .map_err(|refusal| Refused::By(owner, refusal));
        }
        let mut parts =
            [VecDeque::with_capacity(batch.len()), VecDeque::with_capacity(batch.len())];
        let mut late = VecDeque::new();
        for message in batch.drain(..) {
            match table.owner(slot_of(message.lane())) {
                Owner::Is(owner) => parts[owner].push_back(message),
                Owner::Changes => late.push_back(message),
            }
        }
        let mut refused = None;
        let mut makes_sense = false;
        if !late.is_empty() && !self.migrations.lock().hold(&mut late, &mut form, self.most_held) {
            refused = Some(Refused::Migrating);
            batch.append(&mut late);
        }
        for (owner, part) in parts.iter_mut().enumerate() {
            if part.is_empty() {
                continue;
            }
            match self.schedulers[owner].submit_as(part, &mut form) {
                Ok(more) => makes_sense |= more,
                Err(refusal) => {
                    refused.get_or_insert(Refused::By(owner, refusal));
                    batch.append(part);
                }
            }
        }
        refused.map_or(Ok(makes_sense), Err)
    }

    /// Gives the slots below `boundary` to the second scheduler: those with another owner begin to
    /// migrate. A slot that migrates and returns to its old owner arrives at once. Does nothing on
    /// a closed router.
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
                Owner::Is(from) if from != to => {
                    table.set(slot, Owner::Changes);
                    migrations.begin(slot, from, to);
                }
                Owner::Is(_) => {}
                Owner::Changes => {
                    if migrations.redirect(slot, to) {
                        self.arrive(&mut table, &mut migrations, slot);
                    }
                }
            }
        }
        table.find_sole_owner();
    }

    /// Advances the migrations as far as they go now. Call it again, a little later, while slots
    /// wait.
    pub fn step(&self) -> Progress {
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
        // Nothing of these slots runs or is queued at their old owners, and nothing is submitted
        // there.
        let mut arrived = 0;
        if !done.is_empty() {
            let mut table = self.table.write();
            let mut migrations = self.migrations.lock();
            for (slot, number) in done {
                // It may have been redirected meanwhile, and have left again.
                if migrations.is_current(slot, number) {
                    arrived += usize::from(self.arrive(&mut table, &mut migrations, slot));
                }
            }
            table.find_sole_owner();
        }
        Progress { arrived, waiting }
    }

    /// Returns slots that migrate to their old owners, with everything of them. Another
    /// [`SlotRouter::rebalance_to`] tries again.
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

    /// Hands the messages of a migration to the new owner of the slot. Returns whether the slot was
    /// migrating.
    fn arrive(&self, table: &mut Table, migrations: &mut Migrations<T>, slot: usize) -> bool {
        let Some((to, messages)) = migrations.end(slot) else { return false };
        // A closed scheduler does not take them: dropping them abandons them.
        drop(self.schedulers[to].put(messages));
        table.set(slot, Owner::Is(to));
        true
    }

    /// Removes every queued message that `matches`, wherever it is, and returns them for the caller
    /// to drop.
    pub fn purge(&self, matches: &dyn Fn(&T) -> bool) -> Vec<T> {
        // Nothing migrates meanwhile.
        let mut migrations = self.migrations.lock();
        let mut gone = migrations.purge(matches);
        for scheduler in &self.schedulers {
            gone.append(&mut scheduler.purge(matches));
        }
        gone
    }

    /// Takes no more messages, and begins no more migrations. Those under way can still end.
    pub fn close(&self) {
        self.table.write().close();
    }

    /// Takes out what is between the schedulers, for the caller to drop.
    pub fn abandon(&self) -> Vec<T> {
        self.migrations.lock().purge(&|_| true)
    }

    /// The scheduler that runs the messages of a key hash; `None` while its slot migrates.
    pub fn owner(&self, lane: u64) -> Option<usize> {
        match self.table.read().owner(slot_of(lane)) {
            Owner::Is(owner) => Some(owner),
            Owner::Changes => None,
        }
    }

    /// The scheduler at which a running message of a key hash runs.
    pub fn runs_at(&self, lane: u64) -> usize {
        let (table, slot) = (self.table.read(), slot_of(lane));
        match table.owner(slot) {
            Owner::Is(owner) => owner,
            Owner::Changes => {
                self.migrations.lock().origin(slot).unwrap_or_else(|| table.wanted(slot))
            }
        }
    }

    /// Whether a slot has the owner that it should have.
    pub fn is_settled(&self, slot: usize) -> bool {
        let table = self.table.read();
        table.owner(slot) == Owner::Is(table.wanted(slot))
    }

    /// The scheduler that owns every slot, if one does.
    pub fn sole_owner(&self) -> Option<usize> {
        self.table.read().sole_owner()
    }

    /// How many slots are where.
    pub fn counts(&self) -> SlotCounts {
        let table = self.table.read();
        let mut counts = table.counts();
        counts.held = self.migrations.lock().held();
        counts
    }
}
