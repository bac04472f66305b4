//! The state of a parking log: a fold over its entries, beside the entries that the owner has sent
//! and not read back yet.
//!
//! A replay may begin at [`Parking::low`], or at an earlier value of it. What it finds is right
//! because each entry of an owner says what is to be done with its key from there on, the newest
//! one counts, and messages are counted by their origins: an ending whose message the replay has
//! not seen counts nothing.

use crate::{
    Position,
    entry::{Action, Answer, Ending, Entry, Refusal, Work},
    key::ParkedKey,
};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};

/// The parked keys of one source partition, as its owner knows them.
///
/// The owner applies every entry of the log in its order, its own included, and asks
/// [`fate`](Self::fate) before it handles a message. Applying the log from [`low`](Self::low) on
/// gives another owner the same state.
#[derive(Debug, Clone, Default)]
pub struct Parking {
    keys: HashMap<Bytes, ParkedKey>,
    /// Keys of which nothing is parked any more, while the source may deliver their messages again.
    gone: HashMap<Bytes, Gone>,
    /// The positions of claims, in their order. A fencing token is valid if no newer claim lies
    /// before its entry.
    claims: Vec<Position>,
    /// Requests without an answer, the oldest first.
    requests: VecDeque<Request>,
    /// Entries that the owner has sent and not read back, by their keys.
    sent: HashMap<Bytes, Sent>,
    /// The request whose answer is sent and not read back.
    answering: Option<Position>,
    next: Position,
}

/// A request without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The position of its entry.
    pub position: Position,
    /// The key.
    pub key: Bytes,
    /// What is asked for.
    pub action: Action,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gone {
    last: Position,
    last_origin: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    parked: u64,
    resolved: u64,
    last_origin: Option<u64>,
}

/// What becomes of the next message of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing of its key is parked: the handler gets it.
    Run,
    /// It is parked behind the others.
    Park,
    /// It is parked, or was: settle it.
    Copy,
    /// The last parked message of its key is ending: ask again once the log says so. Parked now, it
    /// would be behind nothing.
    Wait,
}

impl Parking {
    /// Applies the next entry of the log. Returns `false` for an entry that counts for nothing: its
    /// writer had lost the partition, or the same was said before.
    ///
    /// # Panics
    /// When `position` is not above that of the entry before.
    pub fn apply(&mut self, position: Position, entry: &Entry) -> bool {
        assert!(position >= self.next, "the entries of a log are applied in their order");
        self.next = position + 1;
        let newest = self.claims.last().copied();
        if let Some(claim) = entry.claim().filter(|claim| Some(*claim) != newest) {
            if Some(claim) < newest {
                return false;
            }
            // The log begins above this claim.
            self.claims.push(claim);
        }
        match entry {
            Entry::Claim { .. } => {
                self.claims.push(position);
                true
            }
            Entry::Parked { key, origin, .. } => self.park(position, key, *origin),
            Entry::Resolved { key, position, origin, work, .. } => {
                self.resolve(key, *position, *origin, *work)
            }
            Entry::FailedAgain { key, position, origin, redrives, .. } => {
                self.stop(key).is_some_and(|key| key.fail(*position, *origin, *redrives))
            }
            Entry::NotFirst { key, .. } => self.stop(key).is_some(),
            Entry::Request { key, action } => {
                let (key, action) = (key.clone(), *action);
                self.requests.push_back(Request { position, key, action });
                true
            }
            Entry::Answer { key, request, answer, .. } => self.answered(key, *request, *answer),
        }
    }

    fn park(&mut self, position: Position, key: &Bytes, origin: u64) -> bool {
        self.read_back(key, |sent| sent.parked = sent.parked.saturating_sub(1));
        if self.last_origin(key).is_some_and(|last| origin <= last) {
            return false;
        }
        self.gone.remove(key);
        match self.keys.get_mut(key) {
            Some(key) => key.park(position, origin),
            None => {
                self.keys.insert(key.clone(), ParkedKey::new(position, origin));
            }
        }
        true
    }

    /// An entry of this key has come back from the log.
    fn read_back(&mut self, key: &Bytes, counted: impl FnOnce(&mut Sent)) {
        let Some(sent) = self.sent.get_mut(key) else { return };
        counted(sent);
        if sent.parked + sent.resolved == 0 {
            self.sent.remove(key);
        }
    }

    fn resolve(
        &mut self,
        key: &Bytes,
        position: Position,
        origin: u64,
        work: Option<Work>,
    ) -> bool {
        self.read_back(key, |sent| sent.resolved = sent.resolved.saturating_sub(1));
        let Some(parked) = self.keys.get_mut(key) else { return false };
        parked.work = work;
        let is_counted = parked.resolve(position, origin);
        if parked.count == 0 {
            let gone = Gone { last: parked.last, last_origin: parked.last_origin };
            self.keys.remove(key);
            self.gone.insert(key.clone(), gone);
        }
        is_counted
    }

    /// Ends the work of a key.
    fn stop(&mut self, key: &Bytes) -> Option<&mut ParkedKey> {
        let parked = self.keys.get_mut(key)?;
        parked.work = None;
        Some(parked)
    }

    fn answered(&mut self, key: &Bytes, request: Position, answer: Answer) -> bool {
        if self.answering == Some(request) {
            self.answering = None;
        }
        let before = self.requests.len();
        self.requests.retain(|open| open.position != request);
        if let Some(parked) = self.keys.get_mut(key) {
            parked.answered(request, answer);
        }
        self.requests.len() < before
    }

    /// The oldest request without an answer.
    #[must_use]
    pub fn request(&self) -> Option<&Request> {
        self.requests.front()
    }

    /// The answer to the oldest open request, for the owner with this claim to send. None while an
    /// answer is on its way.
    #[must_use]
    pub fn answer(&self, claim: Position) -> Option<Entry> {
        let Request { position: request, key, action } =
            self.request().filter(|_| self.answering.is_none())?;
        let parked = self.keys.get(key);
        let answer =
            parked.map_or(Answer::Refused(Refusal::NotParked), |parked| parked.answer(*action));
        Some(Entry::Answer { claim, key: key.clone(), request: *request, answer })
    }

    /// The entry that ends the first parked message of a key, for the owner with this claim to
    /// send. The message is named by its position and its origin.
    #[must_use]
    pub fn ending(
        &self,
        claim: Position,
        key: &Bytes,
        (position, origin): (Position, u64),
        ending: Ending,
    ) -> Entry {
        let work = self.keys.get(key).and_then(|key| key.work?.after_one());
        Entry::Resolved { claim, key: key.clone(), position, origin, ending, work }
    }

    /// Whether nothing is parked, on its way, or remembered: every message runs.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.keys.is_empty() && self.gone.is_empty() && self.sent.is_empty()
    }

    /// Whether nothing is on its way, and nothing below the newest claim is needed: a further claim
    /// lets the log be forgotten up to it.
    #[must_use]
    pub fn can_be_claimed_again(&self) -> bool {
        let lowest = self.keys.values().map(|key| key.from).min();
        self.sent.is_empty()
            && self.answering.is_none()
            && self.requests.is_empty()
            && lowest.is_none_or(|lowest| Some(lowest) > self.claim())
    }

    /// What becomes of the next message of a key, which lies at `origin` in the source partition.
    #[must_use]
    pub fn fate(&self, key: &[u8], origin: u64) -> Fate {
        let sent = self.sent.get(key).copied().unwrap_or_default();
        let last = self.last_origin(key).max(sent.last_origin);
        if last.is_some_and(|last| origin <= last) {
            return Fate::Copy;
        }
        let parked = self.keys.get(key).map_or(0, ParkedKey::count) + sent.parked;
        if parked > sent.resolved {
            Fate::Park
        } else if parked > 0 {
            Fate::Wait
        } else {
            Fate::Run
        }
    }

    /// The owner sends an entry. Until it is applied, [`fate`](Self::fate) counts it. The entries of
    /// a key must reach the log in the order in which they are sent, each at least once: one whose
    /// write has failed is sent again before anything else of its key, because the log may have it.
    pub fn sends(&mut self, entry: &Entry) {
        match entry {
            Entry::Parked { key, origin, .. } => {
                let sent = self.sent.entry(key.clone()).or_default();
                sent.parked += 1;
                sent.last_origin = sent.last_origin.max(Some(*origin));
            }
            Entry::Resolved { key, .. } => self.sent.entry(key.clone()).or_default().resolved += 1,
            Entry::Answer { request, .. } => self.answering = Some(*request),
            _ => {}
        }
    }

    /// A parked key.
    #[must_use]
    pub fn key(&self, key: &[u8]) -> Option<&ParkedKey> {
        self.keys.get(key)
    }

    /// All parked keys, in no order.
    pub fn keys(&self) -> impl Iterator<Item = (&Bytes, &ParkedKey)> {
        self.keys.iter()
    }

    /// Whether an entry of this log is the first parked message of its key: the one that the work
    /// of the key is about. Look for it from [`ParkedKey::from`] on.
    #[must_use]
    pub fn is_first(&self, position: Position, entry: &Entry) -> bool {
        let Entry::Parked { claim, key, origin, .. } = entry else { return false };
        let before = self.claims.partition_point(|at| *at < position);
        let is_fenced = self.claims[..before].last().is_some_and(|newest| claim < newest);
        let parked = self.keys.get(key);
        !is_fenced && parked.is_some_and(|key| position >= key.from && *origin >= key.next_origin)
    }

    /// The source has committed everything below `origin`: it delivers none of it again.
    pub fn committed(&mut self, origin: u64) {
        self.gone.retain(|_, gone| gone.last_origin >= origin);
        let low = self.low();
        self.claims.retain(|claim| *claim >= low);
    }

    /// Entries below this position are not needed any more, neither by this owner nor by the next
    /// one.
    #[must_use]
    pub fn low(&self) -> Position {
        let parked = self.keys.values().map(|key| key.from);
        let gone = self.gone.values().map(|gone| gone.last);
        let request = self.request().map(|request| request.position);
        let newest = self.claims.last().copied();
        let low = parked.chain(gone).chain(request).chain(newest).min().unwrap_or(self.next);
        // Without the claim that is in force there, late entries of earlier owners would count.
        self.claims.iter().copied().rfind(|claim| *claim <= low).unwrap_or(low)
    }

    /// The newest claim. An owner whose claim it is not has lost the partition.
    #[must_use]
    pub fn claim(&self) -> Option<Position> {
        self.claims.last().copied()
    }

    fn last_origin(&self, key: &[u8]) -> Option<u64> {
        let parked = self.keys.get(key).map(|key| key.last_origin);
        parked.or_else(|| self.gone.get(key).map(|gone| gone.last_origin))
    }
}
