//! The open messages of one source: delivered and not acknowledged. Pure: no client, no clock.
//!
//! A message occupies a slot from its arrival until its acknowledgement is passed to the client.
//! Settlements name slots and not sequences, because a message that is delivered again while it is
//! open gets another subject for its acknowledgement.

use async_nats::Subject;
use buslane_core::{Outcome, shrunk_capacity};
use std::{collections::HashMap, time::Instant};

/// The kinds of acknowledgement that end a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AckKind {
    /// The message is done.
    Ack,
    /// A policy has given up the message. The server publishes an advisory.
    Term,
    /// The message is not done, so the server delivers it again.
    Nak,
}

impl AckKind {
    pub(crate) const fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Ok => Self::Ack,
            Outcome::Failed(_) | Outcome::Panicked(_) => Self::Term,
            Outcome::Abandoned => Self::Nak,
        }
    }
}

/// An acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) sequence: u64,
    /// The number of times that the message was delivered.
    pub(crate) deliveries: u64,
    /// When the stream stored the message, in milliseconds since the Unix epoch.
    pub(crate) timestamp_ms: i64,
    pub(crate) reply: Subject,
    pub(crate) kind: AckKind,
}

struct Slot {
    sequence: u64,
    deliveries: u64,
    reply: Subject,
    timestamp_ms: i64,
    /// The last time at which the message was reported as in progress.
    heard: Instant,
    is_used: bool,
}

pub(crate) struct OpenMessages {
    slots: Vec<Slot>,
    free: Vec<u32>,
    open: HashMap<u64, u32, foldhash::fast::FixedState>,
    settled: Vec<(u32, AckKind)>,
    capacity: usize,
}

impl OpenMessages {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            open: HashMap::default(),
            settled: Vec::new(),
            capacity,
        }
    }

    /// The number of messages with a slot.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// The number of further messages that may be open.
    pub(crate) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.open.len())
    }

    pub(crate) fn contains(&self, sequence: u64) -> bool {
        self.open.contains_key(&sequence)
    }

    /// Assigns a slot to a message. `None` when the message has one, whose acknowledgement then
    /// goes to the newer subject.
    pub(crate) fn insert(
        &mut self,
        sequence: u64,
        deliveries: u64,
        timestamp_ms: i64,
        reply: Subject,
        now: Instant,
    ) -> Option<u32> {
        if let Some(&at) = self.open.get(&sequence) {
            let slot = &mut self.slots[at as usize];
            (slot.reply, slot.deliveries, slot.heard) = (reply, deliveries, now);
            return None;
        }
        let slot = Slot { sequence, deliveries, reply, timestamp_ms, heard: now, is_used: true };
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.open.insert(sequence, at);
        Some(at)
    }

    /// Records the end of a message. Returns whether it is the first end since the last
    /// [`OpenMessages::take_settled`].
    pub(crate) fn settle(&mut self, slot: u32, kind: AckKind) -> bool {
        self.settled.push((slot, kind));
        self.settled.len() == 1
    }

    pub(crate) fn has_settled(&self) -> bool {
        !self.settled.is_empty()
    }

    /// Takes the acknowledgements of settled messages, and frees their slots.
    pub(crate) fn take_settled(&mut self, out: &mut Vec<Ack>) {
        for (at, kind) in self.settled.drain(..) {
            let slot = &mut self.slots[at as usize];
            slot.is_used = false;
            let reply = std::mem::replace(&mut slot.reply, Subject::from_static(""));
            let Slot { sequence, deliveries, timestamp_ms, .. } = *slot;
            out.push(Ack { sequence, deliveries, timestamp_ms, reply, kind });
            self.open.remove(&slot.sequence);
            self.free.push(at);
        }
        if self.open.is_empty() {
            self.shrink();
        }
    }

    /// Frees memory that was unused since the last call. No message is open, so no slot is in use.
    fn shrink(&mut self) {
        let used = self.slots.len();
        self.slots.clear();
        self.free.clear();
        self.slots.shrink_to(shrunk_capacity(self.slots.capacity(), used));
        self.free.shrink_to(shrunk_capacity(self.free.capacity(), used));
        self.open.shrink_to(shrunk_capacity(self.open.capacity(), used));
        self.settled.shrink_to(shrunk_capacity(self.settled.capacity(), used));
    }

    /// Negative acknowledgements for every message that is open and not settled. The slots stay,
    /// because their settlements may still arrive.
    pub(crate) fn abandon(&mut self) -> Vec<Ack> {
        let settled: Vec<u32> = self.settled.iter().map(|(slot, _)| *slot).collect();
        let open = self
            .open
            .values()
            .filter(|at| !settled.contains(at))
            .map(|at| &self.slots[*at as usize]);
        open.map(|slot| Ack {
            sequence: slot.sequence,
            deliveries: slot.deliveries,
            timestamp_ms: slot.timestamp_ms,
            reply: slot.reply.clone(),
            kind: AckKind::Nak,
        })
        .collect()
    }

    /// The subjects of open messages whose progress was last reported before `before`. The caller
    /// reports them at `now`.
    pub(crate) fn silent_since(&mut self, before: Instant, now: Instant, out: &mut Vec<Subject>) {
        for slot in self.slots.iter_mut().filter(|slot| slot.is_used && slot.heard <= before) {
            slot.heard = now;
            out.push(slot.reply.clone());
        }
    }

    /// When the stream stored the oldest open message, in milliseconds since the Unix epoch.
    pub(crate) fn oldest_ms(&self) -> Option<i64> {
        self.slots.iter().filter(|slot| slot.is_used).map(|slot| slot.timestamp_ms).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{
        collections::{BTreeMap, BTreeSet},
        time::Duration,
    };

    #[derive(Debug, Clone)]
    enum Event {
        Arrive(u64),
        Settle(usize, bool),
        Ack,
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            (0..20_u64).prop_map(Event::Arrive),
            (0..20_usize, any::<bool>()).prop_map(|(at, back)| Event::Settle(at, back)),
            Just(Event::Ack),
        ];
        prop::collection::vec(event, 0..100)
    }

    proptest! {
        /// Each message is acknowledged once for each time it was opened, on the newest subject.
        #[test]
        fn d2_each_open_message_gets_exactly_its_own_answer(events in events()) {
            let (mut messages, now) = (OpenMessages::new(10), Instant::now());
            let (mut open, mut settled) = (BTreeMap::new(), BTreeMap::new());
            let mut newest = BTreeMap::new();
            for (n, event) in events.into_iter().enumerate() {
                match event {
                    Event::Arrive(sequence) => {
                        let reply = format!("r{n}");
                        let slot = messages.insert(sequence, 1, 0, reply.clone().into(), now);
                        newest.insert(sequence, reply);
                        let known = open.contains_key(&sequence) || settled.contains_key(&sequence);
                        prop_assert_eq!(slot.is_none(), known);
                        if let Some(slot) = slot {
                            open.insert(sequence, slot);
                        }
                    }
                    Event::Settle(at, back) => {
                        let Some((&sequence, &slot)) = open.iter().nth(at % open.len().max(1)) else { continue };
                        let kind = if back { AckKind::Nak } else { AckKind::Ack };
                        prop_assert_eq!(messages.settle(slot, kind), settled.is_empty());
                        open.remove(&sequence);
                        settled.insert(sequence, kind);
                    }
                    Event::Ack => {
                        let mut answers = Vec::new();
                        messages.take_settled(&mut answers);
                        for answer in &answers {
                            prop_assert_eq!(settled.remove(&answer.sequence), Some(answer.kind));
                            prop_assert_eq!(answer.reply.as_str(), &newest[&answer.sequence]);
                        }
                        prop_assert!(settled.is_empty());
                    }
                }
                prop_assert_eq!(messages.len(), open.len() + settled.len());
                prop_assert_eq!(messages.room(), 10_usize.saturating_sub(messages.len()));
            }
        }
    }

    #[test]
    fn t5_what_a_burst_needed_goes() {
        let (mut messages, now, mut answers) =
            (OpenMessages::new(1_000), Instant::now(), Vec::new());
        for count in std::iter::once(1_000).chain([1; 10]) {
            let slots: Vec<_> = (0..count)
                .map(|sequence| messages.insert(sequence, 1, 0, "r".into(), now).unwrap())
                .collect();
            for slot in slots {
                messages.settle(slot, AckKind::Ack);
            }
            messages.take_settled(&mut answers);
        }
        assert_eq!(answers.len(), 1_010);
        let room = [
            messages.slots.capacity(),
            messages.free.capacity(),
            messages.open.capacity(),
            messages.settled.capacity(),
        ];
        assert!(room.iter().all(|room| *room <= 32), "room for {room:?}");
    }

    #[test]
    fn n1_only_what_was_silent_is_beaten() {
        let (mut messages, start) = (OpenMessages::new(10), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for sequence in 0..3 {
            messages.insert(sequence, 1, 0, format!("r{sequence}").into(), at(sequence)).unwrap();
        }
        let mut silent = |before, now| {
            let mut out = Vec::new();
            messages.silent_since(at(before), at(now), &mut out);
            out.iter().map(|subject| subject.to_string()).collect::<BTreeSet<_>>()
        };
        assert_eq!(silent(1, 5), ["r0".to_owned(), "r1".to_owned()].into());
        assert_eq!(silent(2, 6), ["r2".to_owned()].into());
        assert_eq!(silent(5, 9), ["r0".to_owned(), "r1".to_owned()].into());
    }
}
