//! A group's cursor in one partition: the done offsets, the open offsets, and the position of the
//! present reader.

use crate::{
    assignment::{Assignment, BatchSink},
    done_set::{DoneSet, WORD},
    fault_script::FaultScript,
    log::Log,
};
use buslane_core::{Delivery, Message, Settle, Settlement};
use std::{
    collections::{BTreeSet, VecDeque},
    ops::Range,
    sync::Arc,
    task::Waker,
};

pub(crate) struct Cursor {
    pub(crate) group: u64,
    pub(crate) group_name: Arc<str>,
    done: DoneSet,
    /// The first offset that the present assignment has not handed out yet.
    next: u64,
    /// Abandoned offsets below `next`, which are delivered again, lowest first.
    returned: BTreeSet<u64>,
    /// The number of deliveries of the present assignment that are neither settled nor abandoned.
    open: u64,
    /// Duplicates for a scripted fault.
    copies: VecDeque<Message>,
    assignment: Option<Arc<Assignment>>,
    /// Woken when there may be a record to read.
    pub(crate) reader: Option<Waker>,
    /// Woken when the assignment ends.
    pub(crate) ender: Option<Waker>,
}

impl Cursor {
    pub(crate) fn new(group: u64, group_name: Arc<str>, start: u64) -> Self {
        Self {
            group,
            group_name,
            done: DoneSet::new(start),
            next: start,
            returned: BTreeSet::new(),
            open: 0,
            copies: VecDeque::new(),
            assignment: None,
            reader: None,
            ender: None,
        }
    }

    pub(crate) fn committed(&self) -> u64 {
        self.done.committed()
    }

    pub(crate) fn done_ahead(&self) -> u64 {
        self.done.done_ahead()
    }

    pub(crate) const fn open(&self) -> u64 {
        self.open
    }

    pub(crate) const fn assignment(&self) -> Option<&Arc<Assignment>> {
        self.assignment.as_ref()
    }

    /// Starts an assignment. It reads from the lowest open offset, and skips done offsets.
    pub(crate) fn attach(&mut self, assignment: Arc<Assignment>) {
        debug_assert!(self.assignment.is_none(), "the old assignment is detached first");
        self.next = self.done.committed();
        self.returned.clear();
        self.copies.clear();
        self.open = 0;
        self.assignment = Some(assignment);
    }

    /// Ends the present assignment for good. Its open deliveries are open for the next assignment.
    pub(crate) fn detach(&mut self) {
        if let Some(assignment) = self.assignment.take() {
            let words = self.words();
            assignment.window.seal(words, |word, done, back| {
                note(&mut self.done, &mut self.returned, &mut self.open, word, done, back);
            });
            assignment.left(self.open);
        }
        self.open = 0;
        self.returned.clear();
        self.copies.clear();
    }

    /// Collects the settlements since the last call.
    pub(crate) fn collect(&mut self) {
        if let Some(assignment) = &self.assignment {
            let words = self.words();
            assignment.window.collect(words, |word, done, back| {
                note(&mut self.done, &mut self.returned, &mut self.open, word, done, back);
            });
        }
    }

    /// The words of the window that can hold a settlement.
    fn words(&self) -> Range<u64> {
        self.done.first_word()..self.next.div_ceil(WORD)
    }

    /// Appends up to `max` deliveries to `out`: first abandoned ones, then new ones. Skips done and
    /// open offsets.
    pub(crate) fn hand_out(
        &mut self,
        log: &Log,
        script: Option<&mut FaultScript>,
        max: usize,
        out: &mut Vec<Delivery>,
    ) -> usize {
        let Some(assignment) = self.assignment.clone() else { return 0 };
        let limit = log.end().min(assignment.window.end(self.done.first_word()));
        let plain = script.is_none()
            && !assignment.settle_first
            && self.returned.is_empty()
            && self.copies.is_empty();
        let before = self.next;
        let given = if plain && self.done.is_open_from(self.next) {
            self.hand_out_run(log, &assignment, limit, max, out)
        } else {
            self.hand_out_each(log, &assignment, limit, script, max, out)
        };
        assignment.window.prepare(before / WORD..self.next.div_ceil(WORD));
        given
    }

    /// The common case: the next messages of the log, if none of them is done.
    fn hand_out_run(
        &mut self,
        log: &Log,
        assignment: &Arc<Assignment>,
        limit: u64,
        max: usize,
        out: &mut Vec<Delivery>,
    ) -> usize {
        let end = limit.min(self.next.saturating_add(max as u64));
        if end <= self.next {
            return 0;
        }
        let sink: Arc<dyn Settle> = Arc::new(BatchSink(Arc::clone(assignment)));
        let before = out.len();
        out.extend(log.range(self.next..end).map(|(offset, stored)| Delivery {
            settlement: Settlement::new(Arc::clone(&sink), offset),
            message: stored.message(&assignment.source, offset),
        }));
        self.open += end - self.next;
        self.next = end;
        out.len() - before
    }

    fn hand_out_each(
        &mut self,
        log: &Log,
        assignment: &Arc<Assignment>,
        limit: u64,
        mut script: Option<&mut FaultScript>,
        max: usize,
        out: &mut Vec<Delivery>,
    ) -> usize {
        let sink: Arc<dyn Settle> = Arc::new(BatchSink(Arc::clone(assignment)));
        let before = out.len();
        while out.len() - before < max {
            if let Some(message) = self.copies.pop_front() {
                out.push(Delivery { message, settlement: Settlement::ignored() });
                continue;
            }
            let Some(offset) = self.next_offset(limit) else { break };
            // The log never drops a record that a group has open.
            let Some(stored) = log.get(offset) else { continue };
            let message = stored.message(&assignment.source, offset);
            let settlement = if assignment.settle_first {
                self.done.done(offset);
                Settlement::ignored()
            } else {
                self.open += 1;
                let faults = script.as_deref_mut().map(FaultScript::delivered).unwrap_or_default();
                self.copies.extend(faults.twice.then(|| message.clone()));
                let sink =
                    if faults.lose_ack { assignment.losing_acks() } else { Arc::clone(&sink) };
                Settlement::new(sink, offset)
            };
            out.push(Delivery { message, settlement });
        }
        out.len() - before
    }

    fn next_offset(&mut self, limit: u64) -> Option<u64> {
        if let Some(offset) = self.returned.pop_first() {
            return Some(offset);
        }
        let offset = self.done.next_open(self.next);
        (offset < limit).then(|| {
            self.next = offset + 1;
            offset
        })
    }

    /// Whether the reader waits because the window is full, and not for new records.
    pub(crate) fn is_window_full(&self, log: &Log) -> bool {
        let next = self.done.next_open(self.next);
        next < log.end()
            && self
                .assignment
                .as_ref()
                .is_some_and(|held| next >= held.window.end(self.done.first_word()))
    }
}

/// Records one word of settlements: `done` and `back` are the bits of settled and returned offsets.
fn note(
    done_set: &mut DoneSet,
    returned: &mut BTreeSet<u64>,
    open: &mut u64,
    word: u64,
    done: u64,
    back: u64,
) {
    let fresh = done_set.done_bits(word, done);
    *open = open.saturating_sub(u64::from(fresh) + u64::from(back.count_ones()));
    let mut bits = back;
    while bits != 0 {
        returned.insert(word * WORD + u64::from(bits.trailing_zeros()));
        bits &= bits - 1;
    }
}
