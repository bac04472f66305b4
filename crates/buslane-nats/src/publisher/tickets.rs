//! The records in flight, with the calls that wait for their acknowledgements.

use super::failure::{AckError, Failure};
use async_nats::{Message, StatusCode};
use parking_lot::Mutex;
use serde::Deserialize;
use std::{
    array,
    collections::HashMap,
    future::poll_fn,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
};

/// The server's acknowledgement of a record.
#[derive(Debug, Deserialize)]
struct PublishAck {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<AckError>,
}

/// The position of a record in the stream, and whether the record is a duplicate.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) sequence: u64,
    pub(super) is_duplicate: bool,
}

type AckResult = Result<Stored, Failure>;

/// The records of one call.
pub(super) struct Batch(Mutex<BatchState>);

struct BatchState {
    records: Vec<SentRecord>,
    answered: usize,
    /// The number of answers that the call waits for.
    goal: usize,
    /// Whether the connection was replaced, and the call does not know it yet.
    was_replaced: bool,
    waiting: Option<Waker>,
}

/// A record of a call.
struct SentRecord {
    /// The partition, which is the index of the subject.
    partition: u32,
    ticket: Option<u64>,
    answer: Option<AckResult>,
}

/// The end of a call's wait.
pub(super) enum BatchEvent {
    /// All awaited answers have arrived.
    Answered,
    /// The connection was replaced, so records without an answer may be lost.
    Reconnected,
}

impl Batch {
    pub(super) fn new(partitions: impl Iterator<Item = u32>) -> Arc<Self> {
        let records: Vec<_> = partitions
            .map(|partition| SentRecord { partition, ticket: None, answer: None })
            .collect();
        let goal = records.len();
        Arc::new(Self(Mutex::new(BatchState {
            records,
            answered: 0,
            goal,
            was_replaced: false,
            waiting: None,
        })))
    }

    /// The partition and the ticket of a record that waits for its answer.
    pub(super) fn open(&self, at: usize) -> Option<(usize, u64)> {
        let state = self.0.lock();
        let record = &state.records[at];
        record
            .ticket
            .filter(|_| record.answer.is_none())
            .map(|ticket| (record.partition as usize, ticket))
    }

    /// Waits until `goal` records have an answer, or the connection is replaced.
    pub(super) async fn wait(&self, goal: usize) -> BatchEvent {
        poll_fn(|cx| {
            let mut state = self.0.lock();
            state.goal = goal;
            if state.answered >= goal {
                return Poll::Ready(BatchEvent::Answered);
            }
            if std::mem::take(&mut state.was_replaced) {
                return Poll::Ready(BatchEvent::Reconnected);
            }
            state.waiting = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Sets the answer to one record, unless the call has ended.
    fn answer(&self, at: usize, answer: AckResult) {
        let mut state = self.0.lock();
        let Some(record) = state.records.get_mut(at) else { return };
        record.answer = Some(answer);
        state.answered += 1;
        let waiting = if state.answered >= state.goal { state.waiting.take() } else { None };
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn reconnected(&self) {
        let mut state = self.0.lock();
        state.was_replaced = true;
        let waiting = state.waiting.take();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// The number of parts that the tickets have.
const PARTS: usize = 16;

/// The tickets of records in flight. The first answer removes the ticket, so a second one has no
/// effect.
///
/// Calls take turns on parts with separate locks, so that publishers rarely wait for each other.
pub(super) struct Tickets {
    parts: [Mutex<InFlight>; PARTS],
    turn: AtomicUsize,
}

/// The tickets of one part.
struct InFlight {
    /// The remainder of its division by [`PARTS`] is the index of the part.
    next: u64,
    open: HashMap<u64, (Arc<Batch>, usize), foldhash::fast::FixedState>,
    is_closed: bool,
}

impl Default for Tickets {
    fn default() -> Self {
        let part = |index| {
            Mutex::new(InFlight { next: index as u64, open: HashMap::default(), is_closed: false })
        };
        Self { parts: array::from_fn(part), turn: AtomicUsize::new(0) }
    }
}

impl Tickets {
    /// Issues tickets for some records of a call. After [`Self::close`], fails these records.
    pub(super) fn issue(&self, batch: &Arc<Batch>, range: Range<usize>) {
        let part = self.turn.fetch_add(1, Ordering::Relaxed) % PARTS;
        let mut out = self.parts[part].lock();
        if out.is_closed {
            drop(out);
            return range.for_each(|at| batch.answer(at, Err(Failure::Closed)));
        }
        let mut state = batch.0.lock();
        for at in range {
            let ticket = out.next;
            out.next += PARTS as u64;
            out.open.insert(ticket, (Arc::clone(batch), at));
            state.records[at].ticket = Some(ticket);
        }
    }

    /// Removes a ticket. Returns its call, and the index of its record.
    fn take(&self, ticket: u64) -> Option<(Arc<Batch>, usize)> {
        let part = usize::try_from(ticket % PARTS as u64).ok()?;
        self.parts[part].lock().open.remove(&ticket)
    }

    /// Handles the server's acknowledgement of a ticket.
    pub(super) fn acknowledge(&self, ticket: u64, message: &Message) {
        let answer = if message.status == Some(StatusCode::NO_RESPONDERS) {
            Err(Failure::NoStream)
        } else {
            match serde_json::from_slice::<PublishAck>(&message.payload) {
                Ok(PublishAck { error: Some(error), .. }) => Err(error.into()),
                Ok(PublishAck { seq, duplicate, .. }) => {
                    Ok(Stored { sequence: seq, is_duplicate: duplicate })
                }
                Err(error) => {
                    Err(Failure::Refused(format!("the acknowledgement cannot be read: {error}")))
                }
            }
        };
        self.answer(ticket, answer);
    }

    pub(super) fn answer(&self, ticket: u64, answer: AckResult) {
        if let Some((batch, at)) = self.take(ticket) {
            batch.answer(at, answer);
        }
    }

    /// Notifies every open call that the connection was replaced: the server may have missed any
    /// record in flight.
    pub(super) fn reconnected(&self) {
        for part in &self.parts {
            let open: Vec<Arc<Batch>> =
                part.lock().open.values().map(|(batch, _)| Arc::clone(batch)).collect();
            open.iter().for_each(|batch| batch.reconnected());
        }
    }

    /// Fails every record in flight and every later one.
    pub(super) fn close(&self) {
        for part in &self.parts {
            let mut out = part.lock();
            out.is_closed = true;
            let open = std::mem::take(&mut out.open);
            drop(out);
            open.into_values().for_each(|(batch, at)| batch.answer(at, Err(Failure::Closed)));
        }
    }

    /// Ends a call. Returns the partitions and answers of its records. A record without an answer
    /// gets `failure`, and a later answer has no effect.
    pub(super) fn settle(&self, batch: &Batch, failure: &Failure) -> Vec<(u32, AckResult)> {
        let records = std::mem::take(&mut batch.0.lock().records);
        let open = records
            .iter()
            .filter(|record| record.answer.is_none())
            .filter_map(|record| record.ticket);
        open.for_each(|ticket| drop(self.take(ticket)));
        let answer = |record: SentRecord| {
            (record.partition, record.answer.unwrap_or_else(|| Err(failure.clone())))
        };
        records.into_iter().map(answer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{pin::pin, task::Context};

    fn stored(sequence: u64) -> AckResult {
        Ok(Stored { sequence, is_duplicate: false })
    }

    fn open(tickets: &Tickets) -> Vec<usize> {
        tickets.parts.iter().map(|part| part.lock().open.len()).collect()
    }

    fn poll(batch: &Batch, goal: usize) -> Poll<BatchEvent> {
        pin!(batch.wait(goal)).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn b6_a_call_gets_its_own_answers_and_leaves_no_ticket() {
        let tickets = Tickets::default();
        let (one, other) = (Batch::new([0, 3].into_iter()), Batch::new([0].into_iter()));
        tickets.issue(&one, 0..2);
        tickets.issue(&other, 0..1);
        assert!(poll(&one, 1).is_pending());
        let (place, ticket) = one.open(1).unwrap();
        assert_eq!(place, 3);
        tickets.answer(ticket, stored(7));
        tickets.answer(ticket, stored(8));
        assert!(one.open(1).is_none());
        assert!(matches!(poll(&one, 1), Poll::Ready(BatchEvent::Answered)));
        let answers = tickets.settle(&one, &Failure::NoStream);
        let [(0, Err(Failure::NoStream)), (3, Ok(Stored { sequence: 7, is_duplicate: false }))] =
            &answers[..]
        else {
            panic!("{answers:?}")
        };
        assert_eq!(open(&tickets).iter().sum::<usize>(), 1, "the other's");
        assert!(other.open(0).is_some());
    }

    /// A call that holds the lock of its part delays no other one.
    #[test]
    fn b5_calls_take_turns_on_the_parts() {
        let tickets = Tickets::default();
        let calls: Vec<_> = (0..PARTS).map(|_| Batch::new([0, 0].into_iter())).collect();
        calls.iter().for_each(|call| tickets.issue(call, 0..2));
        assert_eq!(open(&tickets), [2; PARTS]);
        let held = tickets.parts[0].lock();
        for call in &calls[1..] {
            for at in 0..2 {
                tickets.answer(call.open(at).unwrap().1, stored(1));
            }
            assert!(matches!(poll(call, 2), Poll::Ready(BatchEvent::Answered)));
        }
        drop(held);
        assert!(poll(&calls[0], 2).is_pending());
        assert_eq!(open(&tickets).iter().sum::<usize>(), 2);
    }

    #[test]
    fn b9_nobody_waits_once_it_is_closed() {
        let (tickets, early, late) =
            (Tickets::default(), Batch::new([0].into_iter()), Batch::new([0].into_iter()));
        tickets.issue(&early, 0..1);
        tickets.reconnected();
        assert!(matches!(poll(&early, 1), Poll::Ready(BatchEvent::Reconnected)));
        assert!(poll(&early, 1).is_pending());
        tickets.close();
        tickets.issue(&late, 0..1);
        for batch in [early, late] {
            assert!(matches!(poll(&batch, 1), Poll::Ready(BatchEvent::Answered)));
            assert!(matches!(
                &tickets.settle(&batch, &Failure::NoStream)[..],
                [(0, Err(Failure::Closed))]
            ));
        }
    }
}
