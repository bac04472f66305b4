//! One partition under one lock: its log, each group's cursor, and the publishers that wait for
//! room.
//!
//! A batch locks it once, whichever way it goes. Wakers run after the lock is free.

use crate::{
    assignment::Assignment,
    batch::{Batch, Part},
    config::OffsetReset,
    cursor::Cursor,
    log::{Limits, Log},
    queue::Queue,
    script::Script,
    wakes::Wakes,
};
use buslane_core::Delivery;
use parking_lot::Mutex;
use std::{
    sync::Arc,
    task::{Poll, Waker},
};

mod look;

pub use look::Position;

pub(crate) struct Partition {
    pub(crate) index: u32,
    state: Mutex<State>,
}

struct State {
    log: Log,
    cursors: Vec<Cursor>,
    queue: Queue,
}

impl State {
    fn cursor(&mut self, group: u64) -> Option<&mut Cursor> {
        self.cursors.iter_mut().find(|cursor| cursor.group == group)
    }

    /// Learns of settlements and drops what every group has settled.
    fn collect(&mut self) {
        self.cursors.iter_mut().for_each(Cursor::collect);
        self.release();
    }

    fn read(
        &mut self,
        assignment: &Arc<Assignment>,
        mut script: Option<&mut Script>,
        waker: &Waker,
        max: usize,
        out: &mut Vec<Delivery>,
        wakes: &mut Wakes,
    ) -> Poll<Option<usize>> {
        if assignment.is_ended() {
            return Poll::Ready(None);
        }
        let Some(at) = self.cursors.iter().position(|cursor| cursor.group == assignment.group())
        else {
            return Poll::Ready(None);
        };
        self.cursors[at].collect();
        if self.release() {
            self.queue.wake_first(wakes);
        }
        let cursor = &mut self.cursors[at];
        let mut given = cursor.hand_out(&self.log, script.as_deref_mut(), max, out);
        if given == 0 && cursor.is_window_full(&self.log) {
            assignment.ask_for_room();
            cursor.collect();
            given = cursor.hand_out(&self.log, script, max, out);
        }
        if given == 0 && max > 0 {
            wakes.replace(&mut cursor.reader, waker);
            return Poll::Pending;
        }
        Poll::Ready(Some(given))
    }

    /// Drops what every group has settled; whether there was any.
    fn release(&mut self) -> bool {
        self.cursors.iter().map(Cursor::committed).min().is_some_and(|low| self.log.drop_below(low))
    }

    /// Makes room for a record of `bytes` if that is possible.
    fn room_for(&mut self, bytes: usize, now_ms: i64) -> bool {
        if self.cursors.is_empty() {
            self.log.make_room(bytes, now_ms);
        }
        if self.log.fits(bytes) {
            return true;
        }
        self.collect();
        if self.log.fits(bytes) {
            return true;
        }
        for assignment in self.cursors.iter().filter_map(Cursor::assignment) {
            assignment.ask_for_room();
        }
        self.collect();
        self.log.fits(bytes)
    }
}

impl Partition {
    pub(crate) fn new(index: u32, limits: Limits) -> Arc<Self> {
        let state = State { log: Log::new(limits), cursors: Vec::new(), queue: Queue::default() };
        Arc::new(Self { index, state: Mutex::new(state) })
    }

    /// Appends what fits of a batch's part, in its turn; whether all of it is in. What is not keeps
    /// its place in the queue, and `waker` is woken when there is room.
    pub(crate) fn append(&self, batch: &mut Batch, part: &mut Part, waker: Option<&Waker>) -> bool {
        let mut wakes = Wakes::default();
        self.append_locked(&mut self.state.lock(), batch, part, waker, &mut wakes);
        wakes.run();
        part.is_done()
    }

    fn append_locked(
        &self,
        state: &mut State,
        batch: &mut Batch,
        part: &mut Part,
        waker: Option<&Waker>,
        wakes: &mut Wakes,
    ) {
        if state.queue.is_turn(part.ticket) {
            let before = state.log.end();
            while let Some((at, bytes)) = batch.peek(part) {
                let limits = &state.log.limits;
                if bytes > limits.max_message_bytes {
                    batch.refuse(
                        at,
                        part,
                        bytes,
                        format!("memory.max_message_bytes, {}", limits.max_message_bytes),
                    );
                } else if bytes > limits.max_bytes {
                    batch.refuse(
                        at,
                        part,
                        bytes,
                        format!("max_bytes of a partition, {}", limits.max_bytes),
                    );
                } else if state.room_for(bytes, batch.timestamp_ms) {
                    let offset = state.log.push(batch.take(at), bytes, batch.timestamp_ms);
                    batch.stored(at, part, self.index, offset);
                } else {
                    break;
                }
            }
            if state.log.end() > before {
                state.cursors.iter_mut().for_each(|cursor| wakes.wake(cursor.reader.take()));
            }
        }
        if part.is_done() {
            state.queue.leave(&mut part.ticket, wakes);
        } else {
            state.queue.wait(&mut part.ticket, waker, wakes);
        }
    }

    /// Gives up a place in the queue of publishers.
    pub(crate) fn leave_queue(&self, ticket: &mut Option<u64>) {
        let mut wakes = Wakes::default();
        self.state.lock().queue.leave(ticket, &mut wakes);
        wakes.run();
    }

    /// Reads for an assignment: up to `max` deliveries, in order. The caller runs the wakes.
    pub(crate) fn poll_read(
        &self,
        assignment: &Arc<Assignment>,
        script: Option<&mut Script>,
        waker: &Waker,
        max: usize,
        out: &mut Vec<Delivery>,
        wakes: &mut Wakes,
    ) -> Poll<Option<usize>> {
        self.state.lock().read(assignment, script, waker, max, out, wakes)
    }

    /// Keeps `waker` until there may be something to read; `true` when the assignment has ended
    /// instead.
    pub(crate) fn wait_reader(&self, assignment: &Assignment, waker: &Waker) -> bool {
        self.wait(assignment, waker, |cursor| &mut cursor.reader)
    }

    /// Keeps `waker` until the assignment ends; `true` when it has.
    pub(crate) fn wait_end(&self, assignment: &Assignment, waker: &Waker) -> bool {
        self.wait(assignment, waker, |cursor| &mut cursor.ender)
    }

    fn wait(
        &self,
        assignment: &Assignment,
        waker: &Waker,
        slot: fn(&mut Cursor) -> &mut Option<Waker>,
    ) -> bool {
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        let ended = assignment.is_ended();
        if !ended && let Some(cursor) = state.cursor(assignment.group()) {
            wakes.replace(slot(cursor), waker);
        }
        drop(state);
        wakes.run();
        ended
    }

    /// Wakes the reader of a group and the first publisher in the queue.
    pub(crate) fn wake_waiting(&self, group: u64) {
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        wakes.wake(state.cursor(group).and_then(|cursor| cursor.reader.take()));
        state.queue.wake_first(&mut wakes);
        drop(state);
        wakes.run();
    }

    /// Wakes a group's reader because its assignment has ended.
    pub(crate) fn take_readers(&self, group: u64, wakes: &mut Wakes) {
        if let Some(cursor) = self.state.lock().cursor(group) {
            wakes.wake(cursor.reader.take());
            wakes.wake(cursor.ender.take());
        }
    }

    /// Wakes all readers and the first publisher: the connection changed.
    pub(crate) fn wake_all(&self) {
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        state.cursors.iter_mut().for_each(|cursor| wakes.wake(cursor.reader.take()));
        state.queue.wake_first(&mut wakes);
        drop(state);
        wakes.run();
    }

    /// Gives a group a cursor unless it has one: at the oldest record, or behind the newest.
    pub(crate) fn ensure_cursor(&self, group: u64, name: &Arc<str>, reset: OffsetReset) {
        let mut state = self.state.lock();
        if state.cursor(group).is_none() {
            let start = match reset {
                OffsetReset::Earliest => state.log.start(),
                OffsetReset::Latest => state.log.end(),
            };
            state.cursors.push(Cursor::new(group, Arc::clone(name), start));
        }
    }

    /// Forgets a group that has no member: it holds no record back any longer.
    pub(crate) fn remove_cursor(&self, group: u64) {
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        state.cursors.retain(|cursor| cursor.group != group);
        state.release();
        state.queue.wake_first(&mut wakes);
        drop(state);
        wakes.run();
    }

    /// Starts an assignment at the group's cursor.
    pub(crate) fn attach(&self, assignment: Arc<Assignment>) {
        let group = assignment.group();
        if let Some(cursor) = self.state.lock().cursor(group) {
            cursor.attach(assignment);
        }
    }

    /// Ends the group's present assignment for good; later settlements of it are late.
    pub(crate) fn detach(&self, group: u64, wakes: &mut Wakes) {
        let mut state = self.state.lock();
        if let Some(cursor) = state.cursor(group) {
            cursor.detach();
        }
        state.release();
        state.queue.wake_first(wakes);
    }

    /// Changes the limits; waiting publishers look again.
    pub(crate) fn set_limits(&self, limits: Limits) {
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        state.log.limits = limits;
        state.queue.wake_first(&mut wakes);
        drop(state);
        wakes.run();
    }
}
