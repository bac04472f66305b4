//! One group's place in one partition: what it has done, what is open, and where its present reader
//! stands.

use crate::{
    assignment::{Assignment, Lot},
    log::Log,
    script::Script,
    tracker::{Tracker, WORD},
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
    tracker: Tracker,
    /// First offset that the present assignment has not handed out yet.
    next: u64,
    /// Offsets below `next` that were given back and go out again, lowest first.
    returned: BTreeSet<u64>,
    /// Handed out by the present assignment, neither settled nor given back.
    open: u64,
    /// Second copies of deliveries, by a scripted fault.
    copies: VecDeque<Message>,
    assignment: Option<Arc<Assignment>>,
    /// Woken when there may be something to read.
    pub(crate) reader: Option<Waker>,
    /// Woken when the assignment ends.
    pub(crate) ender: Option<Waker>,
}

impl Cursor {
    pub(crate) fn new(group: u64, group_name: Arc<str>, start: u64) -> Self {
        Self {
            group,
            group_name,
            tracker: Tracker::new(start),
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
        self.tracker.committed()
    }

    pub(crate) fn done_ahead(&self) -> u64 {
        self.tracker.done_ahead()
    }

    pub(crate) const fn open(&self) -> u64 {
        self.open
    }

    pub(crate) const fn assignment(&self) -> Option<&Arc<Assignment>> {
        self.assignment.as_ref()
    }

    /// Starts an assignment: it reads from the lowest open offset, past what is done.
    pub(crate) fn attach(&mut self, assignment: Arc<Assignment>) {
        debug_assert!(self.assignment.is_none(), "the old assignment is detached first");
        self.next = self.tracker.committed();
        self.returned.clear();
        self.copies.clear();
        self.open = 0;
        self.assignment = Some(assignment);
    }

    /// Ends the present assignment for good: what it still has open is open for the next one.
    pub(crate) fn detach(&mut self) {
        if let Some(assignment) = self.assignment.take() {
            let words = self.words();
            assignment.window.seal(words, |word, done, back| {
                note(&mut self.tracker, &mut self.returned, &mut self.open, word, done, back);
            });
        }
        self.open = 0;
        self.returned.clear();
        self.copies.clear();
    }

    /// Learns of the settlements since the last call.
    pub(crate) fn collect(&mut self) {
        if let Some(assignment) = &self.assignment {
            let words = self.words();
            assignment.window.collect(words, |word, done, back| {
                note(&mut self.tracker, &mut self.returned, &mut self.open, word, done, back);
            });
        }
    }

    /// Words of the window that can hold a settlement.
    fn words(&self) -> Range<u64> {
        self.tracker.first_word()..self.next.div_ceil(WORD)
    }

    /// Appends up to `max` deliveries to `out`: first those given back, then new ones, never a done
    /// or an open one.
    pub(crate) fn hand_out(
        &mut self,
        log: &Log,
        script: Option<&mut Script>,
        max: usize,
        out: &mut Vec<Delivery>,
    ) -> usize {
        let Some(assignment) = self.assignment.clone() else { return 0 };
        let limit = log.end().min(assignment.window.end(self.tracker.first_word()));
        let plain = script.is_none()
            && !assignment.settle_first
            && self.returned.is_empty()
            && self.copies.is_empty();
        let before = self.next;
        let given = if plain && self.tracker.is_open_from(self.next) {
            self.hand_out_run(log, &assignment, limit, max, out)
        } else {
            self.hand_out_each(log, &assignment, limit, script, max, out)
        };
        assignment.window.prepare(before / WORD..self.next.div_ceil(WORD));
        given
    }

    /// The usual case: the next messages of the log, none of which is done.
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
        let sink: Arc<dyn Settle> = Arc::new(Lot(Arc::clone(assignment)));
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
        mut script: Option<&mut Script>,
        max: usize,
        out: &mut Vec<Delivery>,
    ) -> usize {
        let sink: Arc<dyn Settle> = Arc::new(Lot(Arc::clone(assignment)));
        let before = out.len();
        while out.len() - before < max {
            if let Some(message) = self.copies.pop_front() {
                out.push(Delivery { message, settlement: Settlement::ignored() });
                continue;
            }
            let Some(offset) = self.next_offset(limit) else { break };
            // Nothing that a group has open is ever dropped from the log.
            let Some(stored) = log.get(offset) else { continue };
            let message = stored.message(&assignment.source, offset);
            let settlement = if assignment.settle_first {
                self.tracker.done(offset);
                Settlement::ignored()
            } else {
                self.open += 1;
                let hit = script.as_deref_mut().map(Script::delivered).unwrap_or_default();
                self.copies.extend(hit.twice.then(|| message.clone()));
                let sink = if hit.lose_ack { assignment.losing_acks() } else { Arc::clone(&sink) };
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
        let offset = self.tracker.next_open(self.next);
        (offset < limit).then(|| {
            self.next = offset + 1;
            offset
        })
    }

    /// Whether the window, not the log, is what keeps the reader waiting.
    pub(crate) fn is_window_full(&self, log: &Log) -> bool {
        let next = self.tracker.next_open(self.next);
        next < log.end()
            && self
                .assignment
                .as_ref()
                .is_some_and(|held| next >= held.window.end(self.tracker.first_word()))
    }
}

fn note(
    tracker: &mut Tracker,
    returned: &mut BTreeSet<u64>,
    open: &mut u64,
    word: u64,
    done: u64,
    back: u64,
) {
    let fresh = tracker.done_bits(word, done);
    *open = open.saturating_sub(u64::from(fresh) + u64::from(back.count_ones()));
    let mut bits = back;
    while bits != 0 {
        returned.insert(word * WORD + u64::from(bits.trailing_zeros()));
        bits &= bits - 1;
    }
}
