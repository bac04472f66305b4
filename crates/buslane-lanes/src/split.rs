//! Two schedulers, or pools, as one: each hash slot belongs to one of them, and can change sides
//! while messages flow.
//!
//! State and owner: which slot is where is behind `table`; what is between the sides is behind
//! `transit`. Order of locks: `table`, then `transit`, then those of a side.
//!
//! What keeps order: a slot is at one side, or on its way.
//! - Submitters read `table` for as long as they hand messages to a side, and a slot leaves under
//!   the write lock. So when it has left, everything that was submitted before lies at its old
//!   side, and everything after waits in transit.
//! - What has not begun is taken out of the old side. What is running there can only end, or wait
//!   for a retry and be taken out the next time; what is taken out later of a key stands before
//!   what was taken out earlier.
//! - The slot arrives when nothing of it runs at the old side: then all of it is in transit, and
//!   goes to the new side before anything that is submitted afterwards, under the write lock again.

mod slots;
mod transit;

use crate::{
    Item,
    sync::{Mutex, RwLock},
};
use buslane_core::{Moved, Taken};
use slots::{Place, Table};
use std::collections::VecDeque;
use transit::Transit;

pub use slots::{SLOTS, slot_of};

/// One of the two.
pub trait Side: Send + Sync {
    /// What runs in its lanes.
    type Item: Item;
    /// Why it does not take a message.
    type Refusal;

    /// Takes messages from the front of `batch` while there is room; never waits.
    ///
    /// # Errors
    /// Why the message now at the front was not taken.
    fn submit(&self, batch: &mut VecDeque<Self::Item>) -> Result<(), Self::Refusal>;

    /// Takes out every message whose key hash `matches` and that is not running.
    fn take(&self, matches: &dyn Fn(u64) -> bool) -> Taken<Self::Item>;

    /// Takes messages over, whatever its bounds say.
    fn put(&self, messages: Vec<Moved<Self::Item>>);

    /// Drops every queued message that `matches`; returns how many.
    fn purge(&self, matches: &dyn Fn(&Self::Item) -> bool) -> usize;
}

/// Why the message at the front of a batch was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused<R> {
    /// This side did not take it.
    Side(usize, R),
    /// Its slot is on its way, and as much waits in transit as may.
    Transit,
    /// Nothing is taken any more.
    Closed,
}

/// How far the slots are.
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
    /// At each side.
    pub at: [usize; 2],
    /// On their way.
    pub moving: usize,
    /// Messages in transit.
    pub held: usize,
}

/// Two sides, the slots, and what is between the sides.
pub struct Split<S: Side> {
    sides: [S; 2],
    table: RwLock<Table>,
    transit: Mutex<Transit<S::Item>>,
    /// Most messages that may arrive for slots that are on their way.
    most_held: usize,
}

impl<S: Side> Split<S> {
    /// The slots below `boundary` belong to the second side. At most `most_held` messages wait for
    /// slots on their way.
    #[must_use]
    pub fn new(sides: [S; 2], boundary: usize, most_held: usize) -> Self {
        Self {
            sides,
            table: RwLock::new(Table::new(boundary)),
            transit: Mutex::new(Transit::default()),
            most_held,
        }
    }

    /// The two sides.
    pub const fn sides(&self) -> &[S; 2] {
        &self.sides
    }

    /// Takes messages while there is room, each at its side; never waits. What is not taken stays
    /// in `batch`, each key in its order; of messages of other keys some behind it may have been
    /// taken.
    ///
    /// # Errors
    /// Why the message now at the front was not taken.
    pub fn submit(&self, batch: &mut VecDeque<S::Item>) -> Result<(), Refused<S::Refusal>> {
        let table = self.table.read();
        if table.is_closed() {
            return if batch.is_empty() { Ok(()) } else { Err(Refused::Closed) };
        }
        if let Some(side) = table.only() {
            return self.sides[side].submit(batch).map_err(|refusal| Refused::Side(side, refusal));
        }
        let mut parts =
            [VecDeque::with_capacity(batch.len()), VecDeque::with_capacity(batch.len())];
        let mut late = VecDeque::new();
        for message in batch.drain(..) {
            match table.place(slot_of(message.lane())) {
                Place::At(side) => parts[side].push_back(message),
                Place::Moving => late.push_back(message),
            }
        }
        let mut refused = None;
        if !late.is_empty() && !self.transit.lock().hold(&mut late, self.most_held) {
            refused = Some(Refused::Transit);
            batch.append(&mut late);
        }
        for (side, part) in parts.iter_mut().enumerate() {
            if part.is_empty() {
                continue;
            }
            if let Err(refusal) = self.sides[side].submit(part) {
                refused.get_or_insert(Refused::Side(side, refusal));
                batch.append(part);
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// From now on the slots below `boundary` belong to the second side, and those that are
    /// elsewhere begin to leave. What is on its way back to where it comes from arrives at once.
    /// Does nothing once it is closed.
    pub fn aim(&self, boundary: usize) {
        let mut table = self.table.write();
        if table.is_closed() {
            return;
        }
        let mut transit = self.transit.lock();
        table.aim(boundary);
        for slot in 0..SLOTS {
            let to = table.wanted(slot);
            match table.place(slot) {
                Place::At(from) if from != to => {
                    table.set(slot, Place::Moving);
                    transit.leave(slot, from, to);
                }
                Place::At(_) => {}
                Place::Moving => {
                    if transit.turn(slot, to) {
                        self.arrive(&mut table, &mut transit, slot);
                    }
                }
            }
        }
        table.look();
    }

    /// Moves what can be moved now. Call it again, a little later, while slots wait.
    pub fn step(&self) -> Progress {
        let (mut done, mut waiting) = (Vec::new(), Vec::new());
        {
            let mut transit = self.transit.lock();
            for side in 0..2 {
                let leaving = transit.leaving(side);
                if leaving.slots.is_empty() {
                    continue;
                }
                let taken = self.sides[side].take(&|lane| leaving.is_leaving[slot_of(lane)]);
                let mut runs = vec![false; SLOTS];
                taken.running.iter().for_each(|lane| runs[slot_of(*lane)] = true);
                transit.add(taken.moved);
                for (slot, journey) in leaving.slots {
                    if runs[slot] {
                        waiting.push(slot);
                    } else {
                        done.push((slot, journey));
                    }
                }
            }
        }
        // Nothing of these slots runs or is queued at their old sides, and nothing is submitted
        // there.
        let mut arrived = 0;
        if !done.is_empty() {
            let mut table = self.table.write();
            let mut transit = self.transit.lock();
            for (slot, journey) in done {
                // It may have turned round meanwhile, and have left again.
                if transit.is_on(slot, journey) {
                    arrived += usize::from(self.arrive(&mut table, &mut transit, slot));
                }
            }
            table.look();
        }
        Progress { arrived, waiting }
    }

    /// Sends slots that wait back to where they come from, with everything of them. Another
    /// [`Split::aim`] tries again.
    pub fn give_up(&self, slots: &[usize]) {
        let mut table = self.table.write();
        let mut transit = self.transit.lock();
        for slot in slots {
            if let Some(from) = transit.origin(*slot) {
                transit.turn(*slot, from);
                self.arrive(&mut table, &mut transit, *slot);
            }
        }
        table.look();
    }

    /// Hands what is in transit of a slot to the side that it goes to. Tells whether the slot was
    /// on its way.
    fn arrive(&self, table: &mut Table, transit: &mut Transit<S::Item>, slot: usize) -> bool {
        let Some((to, messages)) = transit.arrive(slot) else { return false };
        self.sides[to].put(messages);
        table.set(slot, Place::At(to));
        true
    }

    /// Drops every queued message that `matches`, wherever it is; returns how many.
    pub fn purge(&self, matches: &dyn Fn(&S::Item) -> bool) -> usize {
        let (gone, purged) = {
            // Nothing changes sides meanwhile.
            let mut transit = self.transit.lock();
            (
                transit.purge(matches),
                self.sides.iter().map(|side| side.purge(matches)).sum::<usize>(),
            )
        };
        gone.len() + purged
    }

    /// Takes no more messages, and lets no more slots leave. What is in transit can still arrive.
    pub fn close(&self) {
        self.table.write().close();
    }

    /// Takes out what is in transit, for the caller to drop.
    pub fn abandon(&self) -> Vec<S::Item> {
        self.transit.lock().purge(&|_| true)
    }

    /// Where the messages of a key hash are run; `None` while its slot is on its way.
    pub fn side_of(&self, lane: u64) -> Option<usize> {
        match self.table.read().place(slot_of(lane)) {
            Place::At(side) => Some(side),
            Place::Moving => None,
        }
    }

    /// Where what is running of a key hash runs.
    pub fn runs_at(&self, lane: u64) -> usize {
        let (table, slot) = (self.table.read(), slot_of(lane));
        match table.place(slot) {
            Place::At(side) => side,
            Place::Moving => self.transit.lock().origin(slot).unwrap_or_else(|| table.wanted(slot)),
        }
    }

    /// Whether a slot is where it belongs.
    pub fn is_at_home(&self, slot: usize) -> bool {
        let table = self.table.read();
        table.place(slot) == Place::At(table.wanted(slot))
    }

    /// The side that has every slot, if one has.
    pub fn only(&self) -> Option<usize> {
        self.table.read().only()
    }

    /// How many slots are where.
    pub fn counts(&self) -> SlotCounts {
        let table = self.table.read();
        let mut counts = table.counts();
        counts.held = self.transit.lock().held();
        counts
    }
}
