//! Faults between a broker and its server that the broker has noticed by itself.
//!
//! A symptom states a fact and its beginning. How long it may last is for the caller to judge.

use crate::Topic;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// The kind of a symptom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SymptomKind {
    /// The server refuses settlements, or does not confirm them.
    SettlementRefused,
    /// The group keeps rebalancing: this member waits for its share.
    GroupUnsettled,
    /// The login was refused, or is about to expire and cannot be renewed.
    LoginRefused,
    /// A partition cannot be read.
    PartitionDead,
    /// A task of the client has ended without a replacement.
    ClientEnded,
}

/// A fault that is present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symptom {
    /// Its kind.
    pub kind: SymptomKind,
    /// The partition that it concerns, if it concerns one.
    pub partition: Option<(Topic, u32)>,
    /// When it began.
    pub since: Instant,
    /// The reason that the server or the client gives.
    pub reason: String,
}

/// The symptoms of one broker, for implementations of
/// [`Broker::symptoms`](super::Broker::symptoms).
///
/// Any thread may note and clear symptoms. It holds at most one entry for each kind and partition.
#[derive(Debug, Default)]
pub struct Symptoms(Mutex<BTreeMap<SymptomKey, (Instant, String)>>);

type SymptomKey = (SymptomKind, Option<(Topic, u32)>);

impl Symptoms {
    /// Notes a symptom. One that is present already keeps its beginning and gets this reason.
    pub fn note(
        &self,
        kind: SymptomKind,
        partition: Option<(Topic, u32)>,
        reason: impl Into<String>,
    ) {
        self.lock().entry((kind, partition)).or_insert_with(|| (Instant::now(), String::new())).1 =
            reason.into();
    }

    /// Removes a symptom.
    pub fn clear(&self, kind: SymptomKind, partition: Option<(Topic, u32)>) {
        let mut noted = self.lock();
        if !noted.is_empty() {
            noted.remove(&(kind, partition));
        }
    }

    /// Removes all symptoms of a kind.
    pub fn clear_all(&self, kind: SymptomKind) {
        self.lock().retain(|(noted, _), _| *noted != kind);
    }

    /// Returns the present symptoms.
    pub fn all(&self) -> Vec<Symptom> {
        let symptom =
            |((kind, partition), (since, reason)): (&SymptomKey, &(Instant, String))| Symptom {
                kind: *kind,
                partition: partition.clone(),
                since: *since,
                reason: reason.clone(),
            };
        self.lock().iter().map(symptom).collect()
    }

    /// No code panics in the middle of a change, so a poisoned lock still guards a valid table.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<SymptomKey, (Instant, String)>> {
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
