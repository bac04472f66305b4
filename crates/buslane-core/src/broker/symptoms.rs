//! What is wrong between a broker and its server, as the broker has noticed by itself.
//!
//! Facts and since when, not judgements: how long something may last is for whoever asks.

use crate::Topic;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SymptomKind {
    /// Settlements are refused, or nobody confirms them.
    SettlementRefused,
    /// The group does not come to rest: this member waits for its share.
    GroupUnsettled,
    /// The login is refused, or about to end and cannot be renewed.
    LoginRefused,
    /// A partition cannot be read.
    PartitionDead,
    /// A task of the client has ended, and none has taken its place.
    ClientEnded,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symptom {
    /// What.
    pub kind: SymptomKind,
    /// The partition that it is about, if it is about one.
    pub place: Option<(Topic, u32)>,
    /// Since when.
    pub since: Instant,
    /// Why, as the server or the client says it.
    pub reason: String,
}

/// The symptoms of one broker, for implementations of
/// [`Broker::symptoms`](super::Broker::symptoms).
///
/// Any thread notes and clears. It is bounded by what there is: one entry a kind and partition.
#[derive(Debug, Default)]
pub struct Symptoms(Mutex<BTreeMap<Key, (Instant, String)>>);

type Key = (SymptomKind, Option<(Topic, u32)>);

impl Symptoms {
    /// Something is wrong. What was noted before keeps its time and gets this reason.
    pub fn note(&self, kind: SymptomKind, place: Option<(Topic, u32)>, reason: impl Into<String>) {
        self.lock().entry((kind, place)).or_insert_with(|| (Instant::now(), String::new())).1 =
            reason.into();
    }

    /// It is not wrong any more.
    pub fn clear(&self, kind: SymptomKind, place: Option<(Topic, u32)>) {
        let mut noted = self.lock();
        if !noted.is_empty() {
            noted.remove(&(kind, place));
        }
    }

    /// None of this kind is wrong any more, wherever.
    pub fn clear_all(&self, kind: SymptomKind) {
        self.lock().retain(|(noted, _), _| *noted != kind);
    }

    /// All of them.
    pub fn all(&self) -> Vec<Symptom> {
        let symptom = |((kind, place), (since, reason)): (&Key, &(Instant, String))| Symptom {
            kind: *kind,
            place: place.clone(),
            since: *since,
            reason: reason.clone(),
        };
        self.lock().iter().map(symptom).collect()
    }

    /// Nothing here panics half-way, so a poisoned lock guards a sound table.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, (Instant, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o3_a_symptom_keeps_its_time_until_it_is_cleared() {
        let symptoms = Symptoms::default();
        let place = || Some((Topic::new("orders").unwrap(), 3));
        symptoms.note(SymptomKind::SettlementRefused, place(), "first");
        let since = symptoms.all()[0].since;
        symptoms.note(SymptomKind::SettlementRefused, place(), "second");
        symptoms.note(SymptomKind::LoginRefused, None, "over");
        let all = symptoms.all();
        assert_eq!((all.len(), all[0].since, &*all[0].reason), (2, since, "second"));
        symptoms.clear(SymptomKind::SettlementRefused, None);
        assert_eq!(symptoms.all().len(), 2, "another place");
        symptoms.clear(SymptomKind::SettlementRefused, place());
        symptoms.clear_all(SymptomKind::LoginRefused);
        assert!(symptoms.all().is_empty());
    }
}
