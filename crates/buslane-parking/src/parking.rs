//! The state of a parking log: a fold over its entries, beside the entries that the owner has sent
//! and not read back yet.

use crate::{
    Position,
    entry::{Action, Entry},
    key::{Edit, ParkedKey, Work},
};
use bytes::Bytes;
use std::collections::HashMap;

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
    /// Entries that the owner has sent and not read back, by their keys.
    sent: HashMap<Bytes, Sent>,
    next: Position,
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

/// What an entry has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The state has changed.
    Changed,
    /// Nothing: its writer has lost the partition, or the same was said before.
    Ignored,
    /// The request cannot be carried out.
    Refused(Refusal),
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The key has no parked message, or none as new as the named one.
    NotParked,
    /// The named message is over.
    Over,
    /// Another request for the key is being carried out.
    Busy,
}

impl Parking {
    /// Applies the next entry of the log.
    ///
    /// # Panics
    /// When `position` is not above that of the entry before.
    pub fn apply(&mut self, position: Position, entry: &Entry) -> Applied {
        assert!(position >= self.next, "the entries of a log are applied in their order");
        self.next = position + 1;
        let newest = self.claims.last().copied();
        if let Some(claim) = entry.claim().filter(|claim| Some(*claim) != newest) {
            if Some(claim) < newest {
                return Applied::Ignored;
            }
            // The log begins above this claim.
            self.claims.push(claim);
        }
        match entry {
            Entry::Claim { .. } => {
                self.claims.push(position);
                Applied::Changed
            }
            Entry::Parked { key, origin, .. } => self.park(position, key, *origin),
            Entry::Resolved { key, position, origin, .. } => self.resolve(key, *position, *origin),
            Entry::FailedAgain { key, position, redrives, .. } => {
                let failed = self.keys.get_mut(key);
                // The entry may be there twice.
                match failed.filter(|key| *position >= key.from && *redrives == key.redrives + 1) {
                    Some(key) => key.fail(*position),
                    None => return Applied::Ignored,
                }
                Applied::Changed
            }
            Entry::NotFirst { key, .. } => {
                let skipped = self.keys.get_mut(key);
                match skipped.filter(|key| matches!(key.work, Some(Work::Skip { .. }))) {
                    Some(key) => key.work = None,
                    None => return Applied::Ignored,
                }
                Applied::Changed
            }
            Entry::Request { key, action } => self.request(position, key, *action),
        }
    }

    fn park(&mut self, position: Position, key: &Bytes, origin: u64) -> Applied {
        self.read_back(key, |sent| sent.parked = sent.parked.saturating_sub(1));
        if self.last_origin(key).is_some_and(|last| origin <= last) {
            return Applied::Ignored;
        }
        self.gone.remove(key);
        match self.keys.get_mut(key) {
            Some(key) => key.park(position, origin),
            None => {
                self.keys.insert(key.clone(), ParkedKey::new(position, origin));
            }
        }
        Applied::Changed
    }

    /// An entry of this key has come back from the log.
    fn read_back(&mut self, key: &Bytes, counted: impl FnOnce(&mut Sent)) {
        let Some(sent) = self.sent.get_mut(key) else { return };
        counted(sent);
        if sent.parked + sent.resolved == 0 {
            self.sent.remove(key);
        }
    }

    fn resolve(&mut self, key: &Bytes, position: Position, origin: u64) -> Applied {
        self.read_back(key, |sent| sent.resolved = sent.resolved.saturating_sub(1));
        let Some(parked) = self.keys.get_mut(key).filter(|key| position >= key.from) else {
            return Applied::Ignored;
        };
        parked.resolve(position, origin);
        if parked.count == 0 {
            let gone = Gone { last: parked.last, last_origin: parked.last_origin };
            self.keys.remove(key);
            self.gone.insert(key.clone(), gone);
        }
        Applied::Changed
    }

    fn request(&mut self, position: Position, key: &Bytes, action: Action) -> Applied {
        let Some(key) = self.keys.get_mut(key) else {
            return Applied::Refused(Refusal::NotParked);
        };
        let work = match action {
            Action::Skip { position } | Action::Edit { position } if position < key.from => {
                return Applied::Refused(Refusal::Over);
            }
            Action::Skip { position } | Action::Edit { position } if position > key.last => {
                return Applied::Refused(Refusal::NotParked);
            }
            Action::Edit { position: of } => {
                key.edit = Some(Edit { position: of, request: position });
                return Applied::Changed;
            }
            Action::Redrive => Work::Redrive,
            Action::Skip { position } => Work::Skip { position },
            Action::Discard => Work::Discard { left: key.count },
        };
        if key.work.is_some() {
            return Applied::Refused(Refusal::Busy);
        }
        key.work = Some(work);
        Applied::Changed
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
        let Some(key) = entry.key() else { return };
        match entry {
            Entry::Parked { origin, .. } => {
                let sent = self.sent.entry(key.clone()).or_default();
                sent.parked += 1;
                sent.last_origin = sent.last_origin.max(Some(*origin));
            }
            Entry::Resolved { .. } => self.sent.entry(key.clone()).or_default().resolved += 1,
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
        !is_fenced
            && self.keys.get(key).is_some_and(|key| {
                position >= key.from && key.over_origin.is_none_or(|over| *origin > over)
            })
    }

    /// The source has committed everything below `origin`: it delivers none of it again.
    pub fn committed(&mut self, origin: u64) {
        self.gone.retain(|_, gone| gone.last_origin >= origin);
        let low = self.low();
        let before = self.claims.partition_point(|claim| *claim < low);
        // The newest one below tells which entries from there on are valid.
        self.claims.drain(..before.saturating_sub(1));
    }

    /// Entries below this position are not needed any more, neither by this owner nor by the next
    /// one.
    #[must_use]
    pub fn low(&self) -> Position {
        let parked = self.keys.values().map(|key| key.anchor);
        let gone = self.gone.values().map(|gone| gone.last);
        // Without the newest claim, an entry of an earlier owner that comes late would count.
        let claim = self.claims.last().copied();
        parked.chain(gone).chain(claim).min().unwrap_or(self.next)
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
