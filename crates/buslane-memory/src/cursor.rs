//! One group's place in one partition: what it has done, what is open, and where its present reader stands.

use crate::{
    assignment::{Assignment, Lot},
    log::Log,
    script::Script,
    tracker::{Tracker, WORD},
};
use buslane_core::{Delivery, Kind, Message, Route, Settle, Settlement};
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

    /// Appends up to `max` deliveries to `out`: first those given back, then new ones, never a done or an open one.
    pub(crate) fn hand_out(
        &mut self,
        log: &Log,
        mut script: Option<&mut Script>,
        max: usize,
        out: &mut Vec<Delivery>,
    ) -> usize {
        let Some(assignment) = self.assignment.clone() else { return 0 };
        let limit = log.end().min(assignment.window.end(self.tracker.first_word()));
        let mut sink: Option<Arc<dyn Settle>> = None;
        let mut given = 0;
        while given < max {
            if let Some(message) = self.copies.pop_front() {
                given += 1;
                out.push(Delivery { message, settlement: Settlement::ignored() });
                continue;
            }
            let offset = match self.returned.pop_first() {
                Some(offset) => offset,
                None => {
                    let offset = self.tracker.next_open(self.next);
                    if offset >= limit {
                        break;
                    }
                    self.next = offset + 1;
                    offset
                }
            };
            // Nothing that a group has open is ever dropped from the log.
            let Some(stored) = log.get(offset) else { continue };
            let message = Message {
                source: Arc::clone(&assignment.source),
                offset,
                timestamp_ms: stored.timestamp_ms,
                key: stored.record.key.clone(),
                headers: stored.record.headers.clone(),
                payload: stored.record.payload.clone(),
                route: Route::None,
                kind: Kind::Regular,
                attempt: 0,
            };
            given += 1;
            if assignment.settle_first {
                self.tracker.done(offset);
                out.push(Delivery { message, settlement: Settlement::ignored() });
                continue;
            }
            self.open += 1;
            let fault = script.as_deref_mut().map(Script::delivered).unwrap_or_default();
            self.copies.extend(fault.twice.then(|| message.clone()));
            let settlement = if fault.lose_ack {
                Settlement::new(assignment.losing_acks(), offset)
            } else {
                let sink = sink.get_or_insert_with(|| Arc::new(Lot(Arc::clone(&assignment))));
                Settlement::new(Arc::clone(sink), offset)
            };
            out.push(Delivery { message, settlement });
        }
        given
    }

    /// Whether the window, not the log, is what keeps the reader waiting.
    pub(crate) fn is_window_full(&self, log: &Log) -> bool {
        let next = self.tracker.next_open(self.next);
        next < log.end()
            && self.assignment.as_ref().is_some_and(|held| next >= held.window.end(self.tracker.first_word()))
    }
}

fn note(tracker: &mut Tracker, returned: &mut BTreeSet<u64>, open: &mut u64, word: u64, done: u64, back: u64) {
    let fresh = tracker.done_bits(word, done);
    *open = open.saturating_sub(u64::from(fresh) + u64::from(back.count_ones()));
    let mut bits = back;
    while bits != 0 {
        returned.insert(word * WORD + u64::from(bits.trailing_zeros()));
        bits &= bits - 1;
    }
}
