//! Handlers that record their messages, the messages that a scenario publishes, and the check of
//! their order.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::future::{Ready, ready};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use buslane::{BusEvent, EventBus};
use buslane_core::{Envelope, Event, Handler, Kind, Message, Topic};
use buslane_testkit::deadline::{LIMIT, within};
use buslane_testkit::signal::Gate;
use tokio::sync::watch;

/// A list that handlers write and a scenario waits for.
pub struct Seen<T> {
    list: Mutex<Vec<T>>,
    count: watch::Sender<usize>,
}

impl<T: Clone + fmt::Debug> Seen<T> {
    /// An empty list.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { list: Mutex::default(), count: watch::Sender::new(0) })
    }

    /// Appends an item.
    pub fn push(&self, item: T) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.push(item);
        self.count.send_replace(list.len());
    }

    /// All items so far.
    #[must_use]
    pub fn all(&self) -> Vec<T> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        *self.count.borrow()
    }

    /// Whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits for `count` items, and returns all.
    ///
    /// # Panics
    /// When the items do not arrive in time.
    pub async fn reached(&self, count: usize) -> Vec<T> {
        self.until(&format!("{count} of them"), |list| list.len() >= count).await
    }

    /// Waits until `condition` holds for the list, and returns all items.
    ///
    /// # Panics
    /// When the condition does not hold in time.
    pub async fn until(&self, what: &str, condition: impl Fn(&[T]) -> bool) -> Vec<T> {
        let mut changes = self.count.subscribe();
        let wait = async {
            loop {
                changes.borrow_and_update();
                let list = self.all();
                if condition(&list) {
                    return list;
                }
                let _ = changes.changed().await;
            }
        };
        match tokio::time::timeout(LIMIT, wait).await {
            Ok(list) => list,
            Err(_) => panic!("waited for {what}; {} came: {:?}", self.len(), self.all()),
        }
    }
}

/// The events of a bus from now on.
#[must_use]
pub fn events_of(bus: &EventBus) -> Arc<Seen<BusEvent>> {
    let events = Seen::new();
    let into = Arc::clone(&events);
    bus.on_event(move |event| into.push(event.clone()));
    events
}

/// One attempt, as its handler sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The offset, or the sequence in a stream.
    pub offset: u64,
    /// The routing key, or `rr-N`.
    pub label: String,
    /// The number of the attempt.
    pub attempt: u32,
    /// The kind: envelope or regular message.
    pub kind: Kind,
    /// An envelope's payload, or a message's body.
    pub body: String,
}

impl Note {
    /// The body as a number.
    ///
    /// # Panics
    /// When the body is not a number.
    #[must_use]
    pub fn number(&self) -> usize {
        self.body.parse().expect("a number in the body")
    }
}

impl From<&Message> for Note {
    fn from(message: &Message) -> Self {
        Self {
            topic: message.topic().to_string(),
            partition: message.partition(),
            offset: message.offset,
            label: message.routing_label(),
            attempt: message.attempt,
            kind: message.kind,
            body: String::from_utf8_lossy(&message.payload).into_owned(),
        }
    }
}

impl From<&Event> for Note {
    fn from(event: &Event) -> Self {
        let body = String::from_utf8_lossy(event.payload.as_bytes()).into_owned();
        Self { body, ..Self::from(&event.message) }
    }
}

/// A handler that answers at once with `answer`.
pub fn now<M, R: Send>(
    answer: impl Fn(M) -> R + Send + Sync + 'static,
) -> impl Fn(M) -> Ready<R> + Send + Sync {
    move |message| ready(answer(message))
}

/// A handler of envelopes that records each and succeeds.
pub fn notes_events(seen: &Arc<Seen<Note>>) -> impl Handler<Event> + use<> {
    let seen = Arc::clone(seen);
    now(move |event: Event| {
        seen.push(Note::from(&event));
    })
}

/// A handler of regular messages that records each and succeeds.
pub fn notes_messages(seen: &Arc<Seen<Note>>) -> impl Handler<Message> + use<> {
    let seen = Arc::clone(seen);
    now(move |message: Message| {
        seen.push(Note::from(&message));
    })
}

/// A handler that records each message, then waits at a gate.
pub fn notes_then_waits<M>(seen: &Arc<Seen<Note>>, gate: &Arc<Gate>) -> impl Handler<M> + use<M>
where
    M: Send + 'static,
    Note: for<'a> From<&'a M>,
{
    let (seen, gate) = (Arc::clone(seen), Arc::clone(gate));
    move |message: M| {
        seen.push(Note::from(&message));
        let gate = Arc::clone(&gate);
        async move { gate.wait().await }
    }
}

/// A handler that waits at a gate, then records its message.
pub fn waits_then_notes<M>(seen: &Arc<Seen<Note>>, gate: &Arc<Gate>) -> impl Handler<M> + use<M>
where
    M: Send + 'static,
    Note: for<'a> From<&'a M>,
{
    let (seen, gate) = (Arc::clone(seen), Arc::clone(gate));
    move |message: M| {
        let (seen, gate) = (Arc::clone(&seen), Arc::clone(&gate));
        async move {
            gate.wait().await;
            seen.push(Note::from(&message));
        }
    }
}

/// A handler of envelopes that records each attempt, and fails those for which `fails` holds.
pub fn fails<F: Fn(&Note) -> bool + Send + Sync + 'static>(
    seen: &Arc<Seen<Note>>,
    fails: F,
) -> impl Handler<Event> + use<F> {
    let seen = Arc::clone(seen);
    now(move |event: Event| {
        let note = Note::from(&event);
        seen.push(note.clone());
        if fails(&note) { Err(format!("no to {}", note.body)) } else { Ok(()) }
    })
}

/// The `n`-th envelope of an aggregate: its payload is the number.
///
/// # Panics
/// Never, because a number is always valid JSON.
#[must_use]
pub fn envelope(aggregate: &str, n: usize) -> Envelope {
    Envelope::new(aggregate.to_owned(), "Counted", &n).expect("a number is JSON")
}

/// Publishes envelopes in one call.
///
/// # Panics
/// When the broker does not accept an envelope.
pub async fn publish(bus: &EventBus, topic: &Topic, envelopes: &[Envelope]) {
    let answers = within(LIMIT, "the publish", bus.publish_envelopes(topic, envelopes)).await;
    for answer in answers.expect("valid envelopes") {
        answer.expect("the broker takes it");
    }
}

/// Publishes the numbers of one aggregate, in order.
///
/// # Panics
/// When the broker does not accept an envelope.
pub async fn publish_numbers(
    bus: &EventBus,
    topic: &Topic,
    aggregate: &str,
    numbers: Range<usize>,
) {
    let envelopes: Vec<_> = numbers.map(|n| envelope(aggregate, n)).collect();
    publish(bus, topic, &envelopes).await;
}

/// The bodies, in order.
pub(super) fn bodies(notes: &[Note]) -> Vec<&str> {
    notes.iter().map(|note| note.body.as_str()).collect()
}

/// The numbers of one key, in order.
pub(super) fn numbers_of(notes: &[Note], key: &str) -> Vec<usize> {
    notes.iter().filter(|note| note.label == key).map(Note::number).collect()
}

/// The distinct numbers.
pub(super) fn sorted(notes: &[Note]) -> BTreeSet<usize> {
    notes.iter().map(Note::number).collect()
}

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

/// Checks that every number of every key arrived, the first time in order. Returns the number of
/// repeated arrivals.
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
