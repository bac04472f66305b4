//! One partition under one lock: its log, each group's cursor, and the publishers that wait for
//! capacity.
//!
//! Appending or reading a batch takes the lock once. Wakers run after the lock is released.

use crate::{
    assignment::{Assignment, PartitionWaiters},
    batch::{Part, PublishBatch},
    config::OffsetReset,
    cursor::Cursor,
    fault_script::FaultScript,
    log::{Log, LogLimits, StoredRecord},
    wakes::{DeferredWakes, PublisherQueue},
};
use buslane_core::{Delivery, Record};
use parking_lot::Mutex;
use std::{
    sync::Arc,
    task::{Poll, Waker},
};

/// The position of a group in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The partition.
    pub partition: u32,
    /// The offset of the oldest record.
    pub start: u64,
    /// The offset of the next record.
    pub end: u64,
    /// The lowest offset that the group has not settled.
    pub committed: u64,
    /// The number of deliveries that are handed out and not settled.
    pub open: u64,
    /// The number of settled records above the lowest unsettled one.
    pub done_ahead: u64,
}

impl Position {
    /// The number of records from the lowest unsettled one to the end, including settled ones above
    /// it.
    #[must_use]
    pub const fn lag(&self) -> u64 {
        self.end - self.committed
    }
}

pub(crate) struct Partition {
    pub(crate) index: u32,
    state: Mutex<PartitionState>,
}

struct PartitionState {
    log: Log,
    cursors: Vec<Cursor>,
    queue: PublisherQueue,
    /// Readers without a group that wait for the next record.
    log_readers: Vec<Waker>,
}

impl PartitionState {
    fn cursor(&mut self, group: u64) -> Option<&mut Cursor> {
        self.cursors.iter_mut().find(|cursor| cursor.group == group)
    }

    fn wake_readers(&mut self, wakes: &mut DeferredWakes) {
        self.cursors.iter_mut().for_each(|cursor| wakes.wake(cursor.reader.take()));
        self.log_readers.drain(..).for_each(|reader| wakes.wake(Some(reader)));
    }

    /// Collects settlements, and drops the records that every group has settled.
    fn collect(&mut self) {
        self.cursors.iter_mut().for_each(Cursor::collect);
        self.release();
    }

    fn read(
        &mut self,
        assignment: &Arc<Assignment>,
        mut script: Option<&mut FaultScript>,
        waker: &Waker,
        max: usize,
        out: &mut Vec<Delivery>,
        wakes: &mut DeferredWakes,
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

    /// Drops the records that every group has settled. Returns whether any were dropped.
    fn release(&mut self) -> bool {
        self.cursors.iter().map(Cursor::committed).min().is_some_and(|low| self.log.drop_below(low))
    }

    /// Frees capacity for a record of `bytes` if possible. Returns whether the record fits.
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
    pub(crate) fn new(index: u32, limits: LogLimits) -> Arc<Self> {
        let state = PartitionState {
            log: Log::new(limits),
            cursors: Vec::new(),
            queue: PublisherQueue::default(),
            log_readers: Vec::new(),
        };
        Arc::new(Self { index, state: Mutex::new(state) })
    }

    /// Appends the records of a part that fit, when it is the caller's turn. Returns whether all
    /// are stored. Otherwise, `ticket` holds the caller's place in the queue, and free capacity
    /// wakes `waker`.
    pub(crate) fn append(
        &self,
        batch: &mut PublishBatch,
        part: &mut Part,
        ticket: &mut Option<u64>,
        waker: Option<&Waker>,
    ) -> bool {
        let mut wakes = DeferredWakes::default();
        self.append_locked(&mut self.state.lock(), batch, part, ticket, waker, &mut wakes);
        wakes.run();
        part.is_done()
    }

    fn append_locked(
        &self,
        state: &mut PartitionState,
        batch: &mut PublishBatch,
        part: &mut Part,
        ticket: &mut Option<u64>,
        waker: Option<&Waker>,
        wakes: &mut DeferredWakes,
    ) {
        if state.queue.is_turn(*ticket) {
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
                state.wake_readers(wakes);
            }
        }
        if part.is_done() {
            state.queue.leave(ticket, wakes);
        } else {
            state.queue.wait(ticket, waker, wakes);
        }
    }

    /// Gives up a ticket of the publishers' queue.
    pub(crate) fn leave_queue(&self, ticket: &mut Option<u64>) {
        let mut wakes = DeferredWakes::default();
        self.state.lock().queue.leave(ticket, &mut wakes);
        wakes.run();
    }

    /// Reads up to `max` deliveries of an assignment, in order. The caller runs the wakes.
    pub(crate) fn poll_read(
        &self,
        assignment: &Arc<Assignment>,
        script: Option<&mut FaultScript>,
        waker: &Waker,
        max: usize,
        out: &mut Vec<Delivery>,
        wakes: &mut DeferredWakes,
    ) -> Poll<Option<usize>> {
        self.state.lock().read(assignment, script, waker, max, out, wakes)
    }

    /// Stores `waker` until there may be a record to read. Returns `true` when the assignment has
    /// ended instead.
    pub(crate) fn wait_reader(&self, assignment: &Assignment, waker: &Waker) -> bool {
        self.wait(assignment, waker, |cursor| &mut cursor.reader)
    }

    /// Stores `waker` until the assignment ends. Returns `true` when it has already ended.
    pub(crate) fn wait_end(&self, assignment: &Assignment, waker: &Waker) -> bool {
        self.wait(assignment, waker, |cursor| &mut cursor.ender)
    }

    fn wait(
        &self,
        assignment: &Assignment,
        waker: &Waker,
        slot: fn(&mut Cursor) -> &mut Option<Waker>,
    ) -> bool {
        let mut wakes = DeferredWakes::default();
        let mut state = self.state.lock();
        let ended = assignment.is_ended();
        if !ended && let Some(cursor) = state.cursor(assignment.group()) {
            wakes.replace(slot(cursor), waker);
        }
        drop(state);
        wakes.run();
        ended
    }

    /// Wakes all readers and the first publisher, because the connection changed.
    pub(crate) fn wake_all(&self) {
        let mut wakes = DeferredWakes::default();
        let mut state = self.state.lock();
        state.wake_readers(&mut wakes);
        state.queue.wake_first(&mut wakes);
        drop(state);
        wakes.run();
    }

    /// Creates a missing cursor of a group, at the oldest record or after the newest.
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

    /// Removes the cursor of a group without members, which then holds no records back.
    pub(crate) fn remove_cursor(&self, group: u64) {
        let mut wakes = DeferredWakes::default();
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

    /// Ends the group's present assignment for good. Its further settlements are late.
    pub(crate) fn detach(&self, group: u64, wakes: &mut DeferredWakes) {
        let mut state = self.state.lock();
        if let Some(cursor) = state.cursor(group) {
            cursor.detach();
        }
        state.release();
        state.queue.wake_first(wakes);
    }

    /// Changes the limits, and wakes the first waiting publisher, which tries again.
    pub(crate) fn set_limits(&self, limits: LogLimits) {
        let mut wakes = DeferredWakes::default();
        let mut state = self.state.lock();
        state.log.limits = limits;
        state.queue.wake_first(&mut wakes);
        drop(state);
        wakes.run();
    }

    /// The position of a group, including all settlements so far.
    pub(crate) fn position(&self, group: u64) -> Option<Position> {
        let mut state = self.state.lock();
        state.collect();
        let (start, end) = (state.log.start(), state.log.end());
        let partition = self.index;
        state.cursor(group).map(|cursor| Position {
            partition,
            start,
            end,
            committed: cursor.committed(),
            open: cursor.open(),
            done_ahead: cursor.done_ahead(),
        })
    }

    /// The publish time of the lowest record that a group has not settled, in milliseconds since
    /// the Unix epoch.
    pub(crate) fn oldest_unsettled(&self, group: u64) -> Option<i64> {
        let mut state = self.state.lock();
        state.collect();
        let committed = state.cursor(group)?.committed();
        Some(state.log.get(committed)?.timestamp_ms)
    }

    /// Appends one record, ahead of publishers that wait for capacity. Returns its offset, or
    /// `None` while it does not fit.
    pub(crate) fn append_one(&self, record: Record, timestamp_ms: i64) -> Option<u64> {
        let mut wakes = DeferredWakes::default();
        let mut state = self.state.lock();
        let bytes = record.bytes();
        if !state.room_for(bytes, timestamp_ms) {
            return None;
        }
        let offset = state.log.push(record, bytes, timestamp_ms);
        state.wake_readers(&mut wakes);
        drop(state);
        wakes.run();
        Some(offset)
    }

    /// Calls `each` with up to `max` records from `offset` on, and returns the offset after them.
    /// Without a record, returns `None` and stores `waker` until there is one.
    pub(crate) fn read_from(
        &self,
        offset: u64,
        max: usize,
        waker: &Waker,
        mut each: impl FnMut(u64, &StoredRecord),
    ) -> Option<u64> {
        let mut state = self.state.lock();
        let start = offset.max(state.log.start());
        let end = state.log.end().min(start.saturating_add(max as u64));
        if start >= end {
            state.log_readers.retain(|waiting| !waiting.will_wake(waker));
            state.log_readers.push(waker.clone());
            return None;
        }
        state.log.range(start..end).for_each(|(offset, stored)| each(offset, stored));
        Some(end)
    }

    /// Drops the records below `offset`.
    pub(crate) fn drop_below(&self, offset: u64) {
        let mut wakes = DeferredWakes::default();
        let mut state = self.state.lock();
        state.log.drop_below(offset);
        state.queue.wake_first(&mut wakes);
        drop(state);
        wakes.run();
    }

    /// Calls `each` with every record, in order.
    pub(crate) fn read_all(&self, mut each: impl FnMut(u64, &StoredRecord)) {
        self.state.lock().log.iter().for_each(|(offset, stored)| each(offset, stored));
    }

    /// The reason why the partition is full, for the error of a publisher.
    pub(crate) fn describe_full(&self) -> String {
        let mut state = self.state.lock();
        state.collect();
        let held = state.log.end() - state.log.start();
        let slowest = state.cursors.iter().min_by_key(|cursor| cursor.committed()).map_or_else(
            || {
                "no group reads it, so nothing makes room: subscribe to it, or set a retention"
                    .to_owned()
            },
            |cursor| {
                format!(
                    "group {} has not settled offset {}, {} open",
                    cursor.group_name,
                    cursor.committed(),
                    cursor.open()
                )
            },
        );
        let LogLimits { max_messages, max_bytes, .. } = state.log.limits;
        format!(
            "partition {} is full with {held} records of at most {max_messages}, {max_bytes} bytes; {slowest}",
            self.index
        )
    }
}

impl PartitionWaiters for Partition {
    fn wake_waiting(&self, group: u64) {
        let mut wakes = DeferredWakes::default();
        let mut state = self.state.lock();
        wakes.wake(state.cursor(group).and_then(|cursor| cursor.reader.take()));
        state.queue.wake_first(&mut wakes);
        drop(state);
        wakes.run();
    }

    fn take_readers(&self, group: u64, wakes: &mut DeferredWakes) {
        if let Some(cursor) = self.state.lock().cursor(group) {
            wakes.wake(cursor.reader.take());
            wakes.wake(cursor.ender.take());
        }
    }
}
