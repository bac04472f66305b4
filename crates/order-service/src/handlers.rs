//! The handlers: envelopes, regular messages, and dead letters.

use super::faults::{Defect, Fault};
use super::ledger::Outcome;
use super::report::Counters;
use super::service::{Attempt, Note, Service};
use super::workload::CACHE;
use buslane::{
    BusError, Envelope, Event, EventBus, Handler, Message, Topic, Verdict, broker::header,
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};

/// The topic of envelopes that are given up.
pub(crate) const DEAD_LETTERS: &str = "order-service.dead-letters";
const A_WHILE: Duration = Duration::from_millis(5);
/// The beginning of each injected panic's text.
const INJECTED: &str = "injected:";

/// Subscribes to all topics, dead letters first. Announcing them joins the group once instead of
/// once a topic.
pub(crate) async fn subscribe(
    bus: &EventBus,
    service: &Arc<Service>,
    topics: &[String],
) -> Result<(), BusError> {
    bus.topics().announce(topics.iter().map(String::as_str).chain([CACHE, DEAD_LETTERS])).await?;
    bus.subscribe(DEAD_LETTERS, OnDeadLetter(Arc::clone(service))).await?;
    for topic in topics {
        bus.subscription(topic)
            .dead_letter(DEAD_LETTERS)
            .envelopes(OnEvent(Arc::clone(service)))
            .await?;
    }
    bus.subscribe(CACHE, OnInvalidation(Arc::clone(service))).await?;
    Ok(())
}

/// Handles an event of an order.
struct OnEvent(Arc<Service>);

impl Handler<Event> for OnEvent {
    type Output = Verdict;

    async fn handle(&self, event: Event) -> Verdict {
        let note: Note = match event.payload.parse() {
            Ok(note) => note,
            Err(error) => return Verdict::reject(format!("not an event of this program: {error}")),
        };
        let aggregate = event.aggregate_id.clone().into_bytes();
        let Some(sequence) =
            self.0.sequence(&event.message, event.message.topic().clone(), aggregate)
        else {
            return Verdict::Done;
        };
        let defect = self.0.defective_keys.as_ref().and_then(|defective_keys| {
            defective_keys.event(event.message.topic().as_str(), &sequence.aggregate)
        });
        let attempt = Attempt::begin(&self.0, &event.message, sequence, note);
        work(&self.0, defect).await;
        if let Some(Defect::Errors(_)) = defect {
            attempt.ended(Outcome::Rejected);
            return Verdict::reject("injected");
        }
        match note.fault {
            Some(Fault::Panic) if attempt.is_first() => {
                panic!("{INJECTED} the handler of an event")
            }
            Some(Fault::Once) if attempt.is_first() => {
                attempt.ended(Outcome::Failed);
                Verdict::Failed("the payment service did not answer".into())
            }
            Some(Fault::Poison) => {
                attempt.ended(Outcome::Failed);
                Verdict::Failed("the payment service has failed".into())
            }
            Some(Fault::Reject) => {
                attempt.ended(Outcome::Rejected);
                Verdict::reject("no such order")
            }
            None | Some(Fault::Once | Fault::Panic) => {
                attempt.ended(Outcome::Done);
                Verdict::Done
            }
        }
    }
}

/// Handles a regular message: its failure is final.
struct OnInvalidation(Arc<Service>);

impl Handler<Message> for OnInvalidation {
    type Output = Result<(), serde_json::Error>;

    async fn handle(&self, message: Message) -> Self::Output {
        let note: Note = serde_json::from_slice(&message.payload)?;
        let key = message.key.clone().unwrap_or_default();
        let Some(sequence) = self.0.sequence(&message, message.topic().clone(), key) else {
            return Ok(());
        };
        let defective_keys = self.0.defective_keys.as_ref();
        let defect = defective_keys.and_then(|defective_keys| {
            defective_keys.regular(message.topic().as_str(), &sequence.aggregate)
        });
        let attempt = Attempt::begin(&self.0, &message, sequence, note);
        work(&self.0, defect).await;
        let panics = note.fault.is_some() || defect == Some(Defect::Restart);
        assert!(!panics, "{INJECTED} the handler of a regular message");
        attempt.ended(Outcome::Done);
        Ok(())
    }
}

/// Reads the dead letters, which tell the envelopes that were given up.
struct OnDeadLetter(Arc<Service>);

impl Handler<Message> for OnDeadLetter {
    type Output = ();

    async fn handle(&self, message: Message) {
        let Some((topic, aggregate, note)) = original(&message) else { return };
        let Some(sequence) = self.0.sequence(&message, topic, aggregate) else { return };
        let counters = &self.0.counters;
        counters.happened(self.0.clock.now_ns());
        if self.0.checker.bury(&sequence, note.seq) {
            Counters::add(&counters.dead_lettered);
            self.0.free_place();
        } else {
            Counters::add(&counters.duplicates);
        }
    }
}

/// The original position of a dead letter, and the note in its payload.
fn original(message: &Message) -> Option<(Topic, Bytes, Note)> {
    let topic = std::str::from_utf8(message.headers.get(header::ORIGINAL_TOPIC)?).ok()?;
    let envelope = Envelope::decode(&message.payload).ok()?;
    let note = envelope.payload.parse().ok()?;
    Some((Topic::new(topic).ok()?, envelope.aggregate_id.into_bytes(), note))
}

/// Works for the configured time, extended by a slow defect; without a configured time, a slow
/// handler takes a few milliseconds.
async fn work(service: &Service, defect: Option<Defect>) {
    let time = match defect {
        Some(Defect::Slow(percent)) => service.work.max(A_WHILE) * (100 + percent) / 100,
        _ => service.work,
    };
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// Silences injected panics; any other still prints its location.
pub(crate) fn quieten_injected_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.payload_as_str().is_some_and(|text| text.starts_with(INJECTED)) {
            usual(panic);
        }
    }));
}
