//! The owner of a partition's parking log: decides about messages, and writes entries.
//!
//! An entry counts once it has been read back, because only then it is known that no other owner
//! had taken the partition before it.

use super::record;
use crate::flow::History;
use buslane_core::{Message, PublishError, Route, Source, broker::PartitionLog};
use buslane_parking::{
    Action, Answer, Cause, Ending, Entry, Fate, ParkedKey, Parking, Position, Work,
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::watch;

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The handler gets it.
    Run,
    /// It is parked already.
    Settle,
    /// This entry parks it, or says how its redrive ended. It counts as sent: write it.
    Write(Entry),
    /// Ask again after the next of [`Owner::changes`].
    Wait,
    /// The partition is given up: the next owner decides.
    Stopped,
}

/// Why an entry was not written.
#[derive(Debug)]
pub(crate) enum ParkError {
    /// Another owner has taken the partition: decide again.
    Lost,
    /// The partition is given up.
    Stopped,
    /// The log did not take it.
    Refused(PublishError),
}

/// Entries above a claim that make it old: so many are read in vain after a restart.
const OLD: u64 = 10_000;

/// Answers that are kept.
const ANSWERS: usize = 1_000;

/// How far the log was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    /// The position after the last applied entry.
    next: Position,
    /// Changes when the owner begins again.
    term: u64,
    /// Nothing more is read.
    is_stopped: bool,
}

pub(crate) struct Owner {
    source: Arc<Source>,
    pub(super) log: Arc<dyn PartitionLog>,
    /// The consumer group of this process.
    group: String,
    state: Mutex<State>,
    progress: watch::Sender<Progress>,
    /// The number of owners of the bus that are busy.
    busy: Arc<AtomicUsize>,
}

struct State {
    parking: Parking,
    /// The position of its claim, once that was read back.
    claim: Option<Position>,
    /// The message of each key that is redriven, skipped or discarded now.
    working: HashMap<Bytes, Place>,
    /// The last answers, for those who ask.
    answers: VecDeque<(Position, Answer)>,
    is_stopped: bool,
    /// Whether it is counted as busy.
    is_busy: bool,
}

/// A parked message: its entry, and its position in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) position: Position,
    pub(super) origin: u64,
}

impl Owner {
    pub(super) fn new(
        source: &Arc<Source>,
        log: Arc<dyn PartitionLog>,
        group: &str,
        busy: &Arc<AtomicUsize>,
    ) -> Arc<Self> {
        let state = State {
            parking: Parking::default(),
            claim: None,
            working: HashMap::new(),
            answers: VecDeque::new(),
            is_stopped: false,
            is_busy: false,
        };
        let owner = Self {
            source: Arc::clone(source),
            log,
            group: group.to_owned(),
            state: Mutex::new(state),
            progress: watch::Sender::new(Progress { next: 0, term: 0, is_stopped: false }),
            busy: Arc::clone(busy),
        };
        owner.change(|_| ());
        Arc::new(owner)
    }

    pub(crate) const fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Changes the state, and counts the owner as busy while a message may have to be parked.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let answer = change(&mut state);
        let is_busy = state.claim.is_none() || !state.parking.is_quiet();
        if is_busy && !state.is_busy {
            self.busy.fetch_add(1, Ordering::AcqRel);
        } else if !is_busy && state.is_busy {
            self.busy.fetch_sub(1, Ordering::AcqRel);
        }
        state.is_busy = is_busy;
        answer
    }

    /// Decides about a message that begins. A message whose key is parked counts as sent.
    pub(crate) fn begin(&self, message: &Message) -> Decision {
        let (key, origin) = (key_of(message), message.offset);
        let mut state = self.state.lock();
        let Some(claim) = state.claim else {
            return if state.is_stopped { Decision::Stopped } else { Decision::Wait };
        };
        if state.is_redriven(&key, origin) {
            return if state.is_stopped { Decision::Stopped } else { Decision::Run };
        }
        match state.parking.fate(&key, origin) {
            Fate::Copy => Decision::Settle,
            Fate::Run => Decision::Run,
            _ if state.is_stopped => Decision::Stopped,
            Fate::Park => {
                let entry = Entry::Parked { claim, key, origin, cause: Cause::Behind };
                state.parking.sends(&entry);
                Decision::Write(entry)
            }
            Fate::Wait => Decision::Wait,
        }
    }

    /// Decides about a message that is given up.
    pub(crate) fn give_up(&self, message: &Message) -> Decision {
        let (key, origin) = (key_of(message), message.offset);
        self.change(|state| {
            if state.is_stopped {
                return Decision::Stopped;
            }
            let Some(claim) = state.claim else { return Decision::Wait };
            let entry = match state.working.get(&key).filter(|place| place.origin == origin) {
                Some(&Place { position, .. }) => {
                    let redrives = state.parking.key(&key).map_or(0, ParkedKey::redrives) + 1;
                    Entry::FailedAgain { claim, key, position, origin, redrives }
                }
                None if state.parking.fate(&key, origin) == Fate::Copy => return Decision::Settle,
                None => Entry::Parked { claim, key, origin, cause: Cause::Failed },
            };
            state.parking.sends(&entry);
            Decision::Write(entry)
        })
    }

    /// The entry that ends the redrive of a message that was handled; none if it is not redriven.
    pub(crate) fn handled(&self, key: &Bytes, origin: u64) -> Option<Entry> {
        self.end(key, origin, Ending::Handled)
    }

    /// The entry that ends the first message of a key; none if that is not worked on.
    pub(super) fn end(&self, key: &Bytes, origin: u64, ending: Ending) -> Option<Entry> {
        self.change(|state| {
            let place = *state.working.get(key).filter(|place| place.origin == origin)?;
            let place = (place.position, place.origin);
            let entry = state.parking.ending(state.claim?, key, place, ending);
            state.parking.sends(&entry);
            Some(entry)
        })
    }

    /// The key under which a message would be parked, if it is being redriven.
    pub(crate) fn redriven(&self, message: &Message) -> Option<Bytes> {
        let key = key_of(message);
        self.state.lock().is_redriven(&key, message.offset).then_some(key)
    }

    /// Writes an entry about a message, with its failures if they are why, and waits until it
    /// counts.
    ///
    /// # Errors
    /// The entry does not count. One that was refused must be written again before any other one of
    /// its key, because the log may have it.
    ///
    /// # Cancel safety
    /// The entry may be written.
    pub(crate) async fn write(
        &self,
        entry: &Entry,
        message: Option<&Message>,
        history: Option<&History>,
    ) -> Result<(), ParkError> {
        let record = match (entry, message) {
            (Entry::Parked { .. }, Some(message)) => {
                record::parked(entry, message, &self.group, history)
            }
            _ => record::bare(entry),
        };
        let mut progress = self.progress.subscribe();
        let term = progress.borrow_and_update().term;
        let claim = self.state.lock().claim;
        if entry.claim().is_some_and(|of_entry| Some(of_entry) != claim) {
            // It was refused in an earlier term, and would not count in this one.
            return Err(ParkError::Lost);
        }
        let position = self.log.append(record).await.map_err(ParkError::Refused)?;
        let is_read = |now: &Progress| now.term == term && now.next > position;
        let ends = |now: &Progress| is_read(now) || now.term != term || now.is_stopped;
        match progress.wait_for(ends).await {
            Ok(now) if is_read(&now) => Ok(()),
            Ok(now) if !now.is_stopped => Err(ParkError::Lost),
            _ => Err(ParkError::Stopped),
        }
    }

    /// Tells of changes from now on of what [`begin`](Self::begin) says.
    pub(crate) fn changes(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Begins to read the log for a new claim.
    pub(super) fn begin_term(&self) {
        self.change(|state| {
            state.parking = Parking::default();
            state.claim = None;
            state.working.clear();
        });
        self.progress.send_modify(|progress| {
            progress.next = 0;
            progress.term += 1;
        });
    }

    /// Ends the owner: what is not written yet is left to the next one. It goes on to decide about
    /// messages of its source that still wait for their first attempt.
    pub(super) fn stop(&self) {
        self.change(|state| state.is_stopped = true);
        self.progress.send_modify(|progress| progress.is_stopped = true);
    }

    /// Whether it has ended.
    pub(super) fn is_stopped(&self) -> bool {
        self.state.lock().is_stopped
    }

    /// Whether it has ended, and no message of its source is left to decide about.
    pub(super) fn is_over(&self) -> bool {
        Arc::strong_count(&self.source) == 1 && self.state.lock().is_stopped
    }

    /// Applies entries with their positions, up to `next`. `own` is the position of its claim.
    /// Returns `false` when another owner has claimed the log after that: the entries behind that
    /// claim do not count, and whoever waits for one of them learns it when the next term begins.
    pub(super) fn apply(
        &self,
        entries: impl Iterator<Item = (Position, Entry)>,
        next: Position,
        own: Position,
    ) -> bool {
        let lost_at = self.change(|state| {
            for (position, entry) in entries {
                state.parking.apply(position, &entry);
                match &entry {
                    Entry::Claim { .. } if position == own => state.claim = Some(own),
                    Entry::Claim { .. } if position > own => {
                        state.claim = None;
                        return Some(position);
                    }
                    Entry::Resolved { claim, key, origin, .. }
                    | Entry::FailedAgain { claim, key, origin, .. }
                        if *claim == own =>
                    {
                        state.done(key, *origin);
                    }
                    Entry::NotFirst { claim, key } if *claim == own => {
                        state.working.remove(key);
                    }
                    Entry::Answer { claim, request, answer, .. } if *claim == own => {
                        state.answers.truncate(ANSWERS - 1);
                        state.answers.push_front((*request, *answer));
                    }
                    _ => {}
                }
            }
            None
        });
        self.progress.send_modify(|progress| progress.next = lost_at.unwrap_or(next));
        lost_at.is_none()
    }

    /// Waits until its claim was read back: from then on it knows its parked keys.
    pub(crate) async fn ready(&self) {
        let mut progress = self.progress.subscribe();
        while self.state.lock().claim.is_none() {
            let _ = progress.changed().await;
        }
    }

    /// The position up to which the log was read.
    pub(super) fn read_to(&self) -> Position {
        self.progress.borrow().next
    }

    /// The answer to the oldest open request, which counts as sent.
    pub(super) fn answer(&self) -> Option<Entry> {
        let mut state = self.state.lock();
        let answer = state.parking.answer(state.claim?)?;
        state.parking.sends(&answer);
        Some(answer)
    }

    /// The keys whose work waits, with the lowest position of their first message. The lowest one
    /// comes first.
    pub(super) fn works(&self) -> Vec<(Bytes, Position, Work)> {
        let state = self.state.lock();
        let waiting = state.parking.keys().filter(|(key, _)| !state.working.contains_key(*key));
        let mut works: Vec<_> = waiting
            .filter_map(|(key, parked)| Some((key.clone(), parked.from(), parked.work()?)))
            .collect();
        works.sort_by_key(|(_, from, _)| *from);
        works
    }

    /// The lowest position of a key's first message.
    pub(super) fn from(&self, key: &[u8]) -> Option<Position> {
        Some(self.state.lock().parking.key(key)?.from())
    }

    /// The origin of an entry that is the first parked message of its key.
    pub(super) fn first(&self, position: Position, entry: &Entry) -> Option<u64> {
        let Entry::Parked { origin, .. } = entry else { return None };
        self.state.lock().parking.is_first(position, entry).then_some(*origin)
    }

    /// The position of the request that holds another body for a message.
    pub(super) fn edit(&self, key: &[u8], origin: u64) -> Option<Position> {
        let edit = self.state.lock().parking.key(key)?.edit()?;
        (edit.origin == origin).then_some(edit.request)
    }

    /// A message of a key is worked on from now on.
    pub(super) fn works_on(&self, key: &Bytes, place: Place) {
        self.state.lock().working.insert(key.clone(), place);
    }

    /// The work on a message has ended, also without an entry.
    pub(super) fn worked(&self, key: &Bytes, origin: u64) {
        self.state.lock().done(key, origin);
        self.progress.send_modify(|_| ());
    }

    /// The entry for a key whose first message is another one than an operator wants to skip.
    pub(super) fn not_first(&self, key: &Bytes) -> Option<Entry> {
        let claim = self.state.lock().claim?;
        Some(Entry::NotFirst { claim, key: key.clone() })
    }

    /// Whether it should claim the log again: what lies below its claim is not needed, much lies
    /// above, and nothing is on its way.
    pub(super) fn is_claim_old(&self, own: Position) -> bool {
        let state = self.state.lock();
        let parking = &state.parking;
        self.read_to() - own > OLD && state.working.is_empty() && parking.can_be_claimed_again()
    }

    /// The source has committed everything below `offset`. Returns the position below which the
    /// log may be forgotten.
    pub(super) fn committed(&self, offset: u64) -> Option<Position> {
        self.change(|state| {
            state.claim?;
            state.parking.committed(offset);
            Some(state.parking.low())
        })
    }

    /// Whether a message may have to be parked.
    pub(super) fn is_busy(&self) -> bool {
        self.state.lock().is_busy
    }

    /// Its parked keys.
    pub(crate) fn keys(&self) -> Vec<(Bytes, ParkedKey)> {
        let state = self.state.lock();
        state.parking.keys().map(|(key, parked)| (key.clone(), parked.clone())).collect()
    }

    /// Whether a key is parked.
    pub(crate) fn has(&self, key: &[u8]) -> bool {
        self.state.lock().parking.key(key).is_some()
    }

    /// Writes the request of an operator, with another body for an edit, and waits for the answer;
    /// `None` when the partition is given up meanwhile.
    ///
    /// # Errors
    /// As for a publish.
    ///
    /// # Cancel safety
    /// The request may be written.
    pub(crate) async fn ask(
        &self,
        key: &[u8],
        action: Action,
        body: Bytes,
    ) -> Result<Option<Answer>, PublishError> {
        let entry = Entry::Request { key: Bytes::copy_from_slice(key), action };
        let mut record = record::bare(&entry);
        record.payload = body;
        let mut progress = self.progress.subscribe();
        let request = self.log.append(record).await?;
        loop {
            progress.borrow_and_update();
            {
                let state = self.state.lock();
                if let Some((_, answer)) = state.answers.iter().find(|(at, _)| *at == request) {
                    return Ok(Some(*answer));
                }
                if state.is_stopped {
                    return Ok(None);
                }
            }
            let _ = progress.changed().await;
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if self.state.get_mut().is_busy {
            self.busy.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl State {
    fn is_redriven(&self, key: &[u8], origin: u64) -> bool {
        self.working.get(key).is_some_and(|place| place.origin == origin)
    }

    fn done(&mut self, key: &Bytes, origin: u64) {
        if self.is_redriven(key, origin) {
            self.working.remove(key);
        }
    }
}

/// The key under which a message is parked. One without a key is alone under its offset: nothing is
/// behind it.
fn key_of(message: &Message) -> Bytes {
    match (&message.route, message.routing_key()) {
        (Route::RoundRobin(_), _) | (_, None) => {
            [&b"\0offset "[..], &message.offset.to_be_bytes()].concat().into()
        }
        (_, Some(key)) => Bytes::copy_from_slice(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use buslane_core::{Broker, Topic};
    use buslane_memory::{MemberOptions, MemoryBroker};

    #[tokio::test]
    async fn q2_an_entry_behind_the_claim_of_another_owner_does_not_count() {
        let member = MemoryBroker::default().member(MemberOptions::new("g"));
        let [topic, log] =
            ["orders", "orders.parked"].map(|name| Topic::new(name).expect("a name"));
        member.ensure_log(&topic, &log).await.expect("it is kept");
        let log = member.log(&log, 0).expect("it is kept");
        let claim = |nonce| Entry::Claim { nonce };
        let own = log.append(record::bare(&claim(1))).await.expect("it is stored");
        let source = Arc::new(Source::new(topic.clone(), 0));
        let owner = Owner::new(&source, Arc::clone(&log), "g", &Arc::default());
        owner.begin_term();
        assert!(owner.apply([(own, claim(1))].into_iter(), own + 1, own));

        let mut message = Message::new(topic, "x");
        (message.key, message.route) = (Some(Bytes::from_static(b"a")), Route::RecordKey);
        assert_eq!(owner.begin(&message), Decision::Run);
        let Decision::Write(entry) = owner.give_up(&message) else { panic!("it is parked") };
        let other = log.append(record::bare(&claim(2))).await.expect("it is stored");
        let reads = async {
            let read = [(other, claim(2)), (other + 1, entry.clone())];
            assert!(!owner.apply(read.into_iter(), other + 2, own));
            assert_eq!(owner.begin(&message), Decision::Wait);
            tokio::task::yield_now().await;
            owner.begin_term();
        };
        let (written, ()) = tokio::join!(owner.write(&entry, Some(&message), None), reads);
        assert!(matches!(written, Err(ParkError::Lost)), "{written:?}");

        // Nor does it when it is written again under the next claim.
        let own = log.append(record::bare(&claim(3))).await.expect("it is stored");
        owner.apply([(own, claim(3))].into_iter(), own + 1, own);
        let written = owner.write(&entry, Some(&message), None).await;
        assert!(matches!(written, Err(ParkError::Lost)), "{written:?}");
        assert_eq!(owner.begin(&message), Decision::Run, "it is not parked: it begins again");
    }
}
