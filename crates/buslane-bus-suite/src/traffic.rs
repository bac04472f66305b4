//! Many messages of many keys on one or several buses, and the check of their order.

use super::seen::{Note, Seen, envelope, publish};
use buslane::{EventBus, Topic};
use buslane_core::{Event, Handler};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

/// The keys whose messages are running, on all buses of a scenario.
#[derive(Default)]
pub(super) struct Busy(Mutex<HashSet<String>>);

impl Busy {
    fn enter(&self, key: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned())
    }

    fn leave(&self, key: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// A handler that yields a few times and records the name of its bus. Records `twice` when two
/// messages of one key run at once.
pub(super) fn busy(
    seen: &Arc<Seen<(&'static str, Note)>>,
    busy: &Arc<Busy>,
    who: &'static str,
) -> impl Handler<Event> + use<> {
    let (seen, busy) = (Arc::clone(seen), Arc::clone(busy));
    move |event: Event| {
        let (seen, busy) = (Arc::clone(&seen), Arc::clone(&busy));
        async move {
            let alone = busy.enter(&event.aggregate_id);
            for _ in 0..event.message.offset % 4 {
                tokio::task::yield_now().await;
            }
            busy.leave(&event.aggregate_id);
            seen.push((if alone { who } else { "twice" }, Note::from(&event)));
        }
    }
}

/// Checks that every number of every key arrived, the first time in order. Returns how many arrived
/// more than once.
pub(super) fn check_order(notes: &[Note], keys: usize, numbers: usize) -> usize {
    let mut next: HashMap<&str, usize> = HashMap::new();
    let mut again = 0;
    for note in notes {
        let next = next.entry(&note.label).or_default();
        assert!(note.number() <= *next, "{} of {} came before {next}", note.number(), note.label);
        if note.number() == *next {
            *next += 1;
        } else {
            again += 1;
        }
    }
    assert_eq!((next.len(), next.values().all(|next| *next == numbers)), (keys, true), "{next:?}");
    again
}

pub(super) fn plain(seen: &Seen<(&'static str, Note)>) -> Vec<Note> {
    let all = seen.all();
    assert!(all.iter().all(|(who, _)| *who != "twice"), "two handlers of one key at once");
    all.into_iter().map(|(_, note)| note).collect()
}

pub(super) async fn publish_round(
    bus: &EventBus,
    topic: &Topic,
    keys: usize,
    numbers: std::ops::Range<usize>,
) {
    let envelopes: Vec<_> =
        numbers.flat_map(|n| (0..keys).map(move |key| envelope(&format!("a{key}"), n))).collect();
    publish(bus, topic, &envelopes).await;
}
